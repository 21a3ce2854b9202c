//! A program of channel operations, done by goroutines and futures, and compared with the model.
//!
//! The one who runs it gives orders to a few goroutines, each of which does one operation at a time, polls and
//! drops futures, and does what never waits itself. After each step it waits until nobody runs (`settle`).
//!
//! Besides results this checks that a future is woken when something has become of it, and the lengths.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use gort::chan::{
    self, Receiver, Select, Sender, TryRecvError, TrySendError, select, select_biased,
};
use gort_core::snapshot;
use gort_queue::status::State;

use crate::Decisions;
use crate::channel_model::{Arm, Fate, Model, Party, Result};
use crate::polled::Polled;

const CHANNELS: usize = 3;
const GOROUTINES: usize = 4;
const FUTURES_MAX: usize = 5;
const ARMS_MAX: usize = 4;
/// Longer than any run: operations with a deadline wait in another way, and none may time out.
const LONG: Duration = Duration::from_secs(3600);
/// For a step, on a machine that is busy with other things.
const STEP_MAX: Duration = Duration::from_secs(30);

type Ends<T = u32> = (Sender<T>, Receiver<T>);

/// Which arm it was, and its result.
type Done = (usize, Result);

/// Runs the program, and panics with its steps where gort and the model differ. The number of steps.
///
/// To be called on a goroutine.
pub fn run(bytes: &[u8]) -> usize {
    let mut decisions = Decisions::new(bytes);
    let capacities: Vec<Option<usize>> = (0..CHANNELS)
        .map(|_| [Some(0), Some(0), Some(1), Some(2), None][decisions.below(5)])
        .collect();
    let ends: Vec<Ends> = capacities
        .iter()
        .map(|capacity| capacity.map_or_else(chan::unbounded, chan::bounded))
        .collect();
    let desks: Vec<Desk> = (0..GOROUTINES).map(|_| Desk::new()).collect();
    gort::scope(|scope| {
        let workers = desks
            .iter()
            .map(|desk| {
                let (orders, received) = chan::unbounded::<Order>();
                let ends = &ends;
                let handle = scope.go(move || desk.work(&received, ends));
                Worker {
                    id: handle.goroutine().id().as_u64(),
                    orders,
                    desk,
                    arms: None,
                }
            })
            .collect();
        let mut session = Session {
            ends: &ends,
            model: Model::new(&capacities),
            workers,
            futures: Vec::new(),
            future_count: 0,
            value: 0,
            log: vec![format!("capacities {capacities:?}")],
        };
        while !decisions.is_over() {
            session.step(&mut decisions);
            session.check();
        }
        session.end()
    })
}

/// What a goroutine is to do.
#[derive(Clone, Debug)]
struct Order {
    arms: Vec<Arm>,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// The plain operation, for the one arm.
    Plain,
    PlainWithDeadline,
    /// The macro, for a receive and a send.
    Macro,
    MacroBiased,
    Select,
    SelectBiased,
    SelectWithDeadline,
    TrySelect,
}

/// Between the one who runs the program and a goroutine.
struct Desk {
    has_begun: AtomicBool,
    results: Ends<Done>,
}

impl Desk {
    fn new() -> Self {
        Self {
            has_begun: AtomicBool::new(false),
            results: chan::bounded(1),
        }
    }

    fn work(&self, orders: &Receiver<Order>, ends: &[Ends]) {
        for order in orders {
            self.has_begun.store(true, Ordering::SeqCst);
            let sent = self.results.0.try_send(order.perform(ends));
            sent.expect("the result before was taken before the next order");
        }
    }
}

impl Order {
    fn perform(&self, ends: &[Ends]) -> Done {
        let sent = |result: std::result::Result<(), u32>| match result {
            Ok(()) => Result::Sent,
            Err(value) => Result::SendClosed(value),
        };
        let received = |result: std::result::Result<u32, ()>| match result {
            Ok(value) => Result::Received(value),
            Err(()) => Result::ReceiveClosed,
        };
        let (how, arms) = (self.how, &self.arms[..]);
        match (how, arms) {
            (How::Plain, &[Arm::Send(channel, value)]) => {
                let result = ends[channel].0.send(value);
                (0, sent(result.map_err(|error| error.0)))
            }
            (How::Plain, &[Arm::Receive(channel)]) => {
                (0, received(ends[channel].1.recv().map_err(drop)))
            }
            (How::PlainWithDeadline, &[Arm::Send(channel, value)]) => {
                let result = ends[channel].0.send_timeout(value, LONG);
                (0, sent(result.map_err(|error| error.into_inner())))
            }
            (How::PlainWithDeadline, &[Arm::Receive(channel)]) => {
                let result = ends[channel].1.recv_timeout(LONG);
                (0, received(result.map_err(drop)))
            }
            (How::Macro, &[Arm::Receive(from), Arm::Send(to, value)]) => select! {
                recv(ends[from].1) -> result => (0, received(result.map_err(drop))),
                send(ends[to].0, value) -> result => (1, sent(result.map_err(|error| error.0))),
            },
            (How::MacroBiased, &[Arm::Receive(from), Arm::Send(to, value)]) => select_biased! {
                recv(ends[from].1) -> result => (0, received(result.map_err(drop))),
                send(ends[to].0, value) -> result => (1, sent(result.map_err(|error| error.0))),
                default(LONG) => panic!("an hour has passed"),
            },
            _ => {
                let mut select = match how {
                    How::SelectBiased => Select::new_biased(),
                    _ => Select::new(),
                };
                for &arm in arms {
                    match arm {
                        Arm::Send(channel, _) => select.send(&ends[channel].0),
                        Arm::Receive(channel) => select.recv(&ends[channel].1),
                    };
                }
                let operation = match how {
                    How::TrySelect => match select.try_select() {
                        Ok(operation) => operation,
                        Err(_) => return (0, Result::Nothing),
                    },
                    How::SelectWithDeadline => select.select_timeout(LONG).expect("an hour"),
                    _ => select.select(),
                };
                let index = operation.index();
                let result = match arms[index] {
                    Arm::Send(channel, value) => {
                        let result = operation.send(&ends[channel].0, value);
                        sent(result.map_err(|error| error.0))
                    }
                    Arm::Receive(channel) => {
                        received(operation.recv(&ends[channel].1).map_err(drop))
                    }
                };
                (index, result)
            }
        }
    }

    /// Whether the first arm that is ready has to win.
    fn is_biased(&self) -> bool {
        matches!(self.how, How::MacroBiased | How::SelectBiased)
    }
}

struct Worker<'a> {
    id: u64,
    orders: Sender<Order>,
    desk: &'a Desk,
    /// What it waits for, if it does.
    arms: Option<Vec<Arm>>,
}

struct Pending<'a> {
    party: Party,
    arms: Vec<Arm>,
    future: Polled<'a, Done>,
}

/// A program that runs.
struct Session<'a> {
    ends: &'a [Ends],
    model: Model,
    workers: Vec<Worker<'a>>,
    futures: Vec<Pending<'a>>,
    future_count: usize,
    /// The latest value that was sent; no two are equal.
    value: u32,
    log: Vec<String>,
}

impl<'a> Session<'a> {
    fn step(&mut self, decisions: &mut Decisions<'_>) {
        let idle: Vec<usize> = (0..GOROUTINES)
            .filter(|&i| self.workers[i].arms.is_none())
            .collect();
        match decisions.below(16) {
            0..7 => {
                if let Some(worker) = decisions.pick(&idle) {
                    let order = self.order(decisions);
                    self.start(worker, order);
                }
            }
            7 => {
                let arm = Arm::Send(decisions.below(CHANNELS), self.next_value());
                self.try_at_once(arm);
            }
            8 => self.try_at_once(Arm::Receive(decisions.below(CHANNELS))),
            9..12 if self.futures.len() < FUTURES_MAX => {
                let order = self.future_order(decisions);
                self.start_future(order);
            }
            12 | 13 if !self.futures.is_empty() => {
                let index = decisions.below(self.futures.len());
                self.poll(index);
            }
            14 if !self.futures.is_empty() => {
                let index = decisions.below(self.futures.len());
                self.cancel(index);
            }
            // Rare, for afterwards not much happens on that channel.
            15 if decisions.below(6) == 0 => self.close(decisions.below(CHANNELS)),
            _ => {}
        }
    }

    fn next_value(&mut self) -> u32 {
        self.value += 1;
        self.value
    }

    fn arm(&mut self, decisions: &mut Decisions<'_>) -> Arm {
        let channel = decisions.below(CHANNELS);
        if decisions.below(2) == 0 {
            Arm::Send(channel, self.next_value())
        } else {
            Arm::Receive(channel)
        }
    }

    fn order(&mut self, decisions: &mut Decisions<'_>) -> Order {
        let how = [
            How::Plain,
            How::PlainWithDeadline,
            How::Macro,
            How::MacroBiased,
            How::Select,
            How::SelectBiased,
            How::SelectWithDeadline,
            How::TrySelect,
        ][decisions.below(8)];
        let arms = match how {
            How::Plain | How::PlainWithDeadline => vec![self.arm(decisions)],
            How::Macro | How::MacroBiased => vec![
                Arm::Receive(decisions.below(CHANNELS)),
                Arm::Send(decisions.below(CHANNELS), self.next_value()),
            ],
            _ => {
                // One value: which of two equal arms wins makes no difference then.
                let value = self.next_value();
                (0..=decisions.below(ARMS_MAX))
                    .map(|_| match self.arm(decisions) {
                        Arm::Send(channel, _) => Arm::Send(channel, value),
                        arm => arm,
                    })
                    .collect()
            }
        };
        Order { arms, how }
    }

    /// A select that waits with send arms keeps a place or a receiver until it is polled, which the model has
    /// no notion of.
    fn future_order(&mut self, decisions: &mut Decisions<'_>) -> Order {
        if decisions.below(3) > 0 {
            let arms = vec![self.arm(decisions)];
            let how = How::Plain;
            return Order { arms, how };
        }
        let arms = (0..=decisions.below(ARMS_MAX))
            .map(|_| Arm::Receive(decisions.below(CHANNELS)))
            .collect();
        Order {
            arms,
            how: [How::Select, How::SelectBiased][decisions.below(2)],
        }
    }

    fn start(&mut self, index: usize, order: Order) {
        self.log.push(format!("goroutine {index}: {order:?}"));
        let worker = &mut self.workers[index];
        worker.desk.has_begun.store(false, Ordering::SeqCst);
        worker.arms = Some(order.arms.clone());
        let sent = worker.orders.send(order.clone());
        sent.expect("the goroutine takes orders until the end");
        self.settle();

        let worker = &mut self.workers[index];
        let done = worker.desk.results.1.try_recv().ok();
        let is_ready = order.arms.iter().any(|&arm| self.model.is_ready(arm));
        match done {
            Some((_, Result::Nothing)) => {
                worker.arms = None;
                self.agree(!is_ready, "an operation could go on");
            }
            Some(done) => {
                worker.arms = None;
                self.perform(&order, done);
            }
            None => {
                let waits = !is_ready && order.how != How::TrySelect;
                self.agree(waits, "the goroutine need not wait");
                self.model.wait(Party::Goroutine(index), &order.arms);
            }
        }
    }

    /// The model does what was done at once.
    fn perform(&mut self, order: &Order, (index, result): Done) {
        let arm = order.arms[index];
        let first = order.arms.iter().find(|&&arm| self.model.is_ready(arm));
        let may_win = self.model.is_ready(arm) && (!order.is_biased() || first == Some(&arm));
        self.agree(may_win, &format!("arm {index} could not win: {result:?}"));
        let expected = self.model.perform(arm);
        self.agree(
            result == expected,
            &format!("arm {index} gave {result:?}, not {expected:?}"),
        );
    }

    fn try_at_once(&mut self, arm: Arm) {
        self.log.push(format!("try {arm:?}"));
        let result = match arm {
            Arm::Send(channel, value) => match self.ends[channel].0.try_send(value) {
                Ok(()) => Result::Sent,
                Err(TrySendError::Full(_)) => Result::Nothing,
                Err(TrySendError::Disconnected(value)) => Result::SendClosed(value),
            },
            Arm::Receive(channel) => match self.ends[channel].1.try_recv() {
                Ok(value) => Result::Received(value),
                Err(TryRecvError::Empty) => Result::Nothing,
                Err(TryRecvError::Disconnected) => Result::ReceiveClosed,
            },
        };
        self.settle();
        let expected = if self.model.is_ready(arm) {
            self.model.perform(arm)
        } else {
            Result::Nothing
        };
        self.agree(
            result == expected,
            &format!("{arm:?} gave {result:?}, not {expected:?}"),
        );
    }

    fn close(&mut self, channel: usize) {
        self.log.push(format!("close {channel}"));
        let (s, r) = &self.ends[channel];
        let is_first = if self.value.is_multiple_of(2) {
            s.close()
        } else {
            r.close()
        };
        self.settle();
        let expected = self.model.close(channel);
        self.agree(is_first == expected, "whether it was closed before");
    }

    fn start_future(&mut self, order: Order) {
        let party = Party::Future(self.future_count);
        self.future_count += 1;
        self.log.push(format!("{party:?}: {order:?}"));
        let mut pending = Pending {
            party,
            arms: order.arms.clone(),
            future: Polled::new(future_of(&order, self.ends)),
        };
        let is_ready = order.arms.iter().any(|&arm| self.model.is_ready(arm));
        match pending.future.poll() {
            Poll::Ready(done) => {
                self.settle();
                self.perform(&order, done);
            }
            Poll::Pending if !is_ready => {
                self.model.wait(party, &order.arms);
                self.futures.push(pending);
            }
            Poll::Pending => {
                // It has met a goroutine's select, which sends the value as soon as it runs.
                self.settle();
                self.agree(pending.future.was_woken(), "nobody has woken the future");
                match pending.future.poll() {
                    Poll::Ready(done) => self.perform(&order, done),
                    Poll::Pending => self.agree(false, "the future need not wait"),
                }
            }
        }
    }

    fn poll(&mut self, index: usize) {
        let pending = &mut self.futures[index];
        let party = pending.party;
        self.log.push(format!("poll {party:?}"));
        let was_woken = pending.future.was_woken();
        let polled = pending.future.poll();
        let fate = self.model.fate(party);
        match (polled, fate) {
            (Poll::Pending, None) => return,
            (Poll::Pending, Some(fate)) => {
                self.agree(false, &format!("the future is not ready: {fate:?}"));
            }
            (Poll::Ready(done), None) => {
                self.agree(false, &format!("the future is ready: {done:?}"));
            }
            (Poll::Ready(done), Some(Fate::Granted(channel, value))) => {
                self.agree(done == (0, Result::Sent), "the place was the future's");
                self.model.redeem(party, channel, value);
            }
            (Poll::Ready(done), Some(fate)) => {
                let pending = &self.futures[index];
                let is_right = fits(&pending.arms, done, fate);
                self.agree(is_right, &format!("{done:?} is not {fate:?}"));
                self.model.forget_fate(party);
            }
        }
        self.agree(was_woken, "nobody has woken the future");
        self.futures.swap_remove(index);
    }

    fn cancel(&mut self, index: usize) {
        let pending = self.futures.swap_remove(index);
        self.log.push(format!("drop {:?}", pending.party));
        self.model.cancel(pending.party);
        drop(pending);
        self.settle();
    }

    /// What has become of those who waited, and the lengths.
    fn check(&mut self) {
        for index in 0..GOROUTINES {
            let worker = &mut self.workers[index];
            let Some(arms) = worker.arms.clone() else {
                continue;
            };
            let done = worker.desk.results.1.try_recv().ok();
            let party = Party::Goroutine(index);
            match (done, self.model.fate(party)) {
                (None, None) => {}
                (Some(done), Some(fate)) => {
                    worker.arms = None;
                    let is_right = fits(&arms, done, fate);
                    let text = format!("goroutine {index}: {done:?} is not {fate:?}");
                    self.agree(is_right, &text);
                    self.model.forget_fate(party);
                }
                (done, fate) => {
                    let text = format!("goroutine {index} has {done:?}, and should have {fate:?}");
                    self.agree(false, &text);
                }
            }
        }
        for pending in &self.futures {
            let has_fate = self.model.fate(pending.party).is_some();
            let text = format!("{:?} was not woken", pending.party);
            self.agree(!has_fate || pending.future.was_woken(), &text);
        }
        for (channel, (s, r)) in self.ends.iter().enumerate() {
            let expected = self.model.len(channel);
            let text = format!("channel {channel} has {} values, not {expected}", r.len());
            self.agree(r.len() == expected && s.len() == expected, &text);
        }
    }

    /// Ends everything, and receives what is left.
    fn end(&mut self) -> usize {
        while !self.futures.is_empty() {
            self.cancel(0);
            self.check();
        }
        for channel in 0..CHANNELS {
            self.close(channel);
            self.check();
            while self.model.len(channel) > 0 {
                self.try_at_once(Arm::Receive(channel));
            }
            self.try_at_once(Arm::Receive(channel));
        }
        let is_idle = self.workers.iter().all(|worker| worker.arms.is_none());
        self.agree(is_idle, "a goroutine waits on closed channels");
        self.log.len()
    }

    /// Waits until every goroutine has done what it was told, or is parked in it.
    #[track_caller]
    fn settle(&self) {
        let deadline = Instant::now() + STEP_MAX;
        // Twice, for a goroutine that was seen parked may be woken by one that is looked at later.
        let mut quiet_looks = 0;
        while quiet_looks < 2 {
            quiet_looks = if self.is_quiet() { quiet_looks + 1 } else { 0 };
            if Instant::now() >= deadline {
                self.agree(false, &format!("no end:\n{}", gort::runtime::stacks()));
            }
            gort::yield_now();
        }
    }

    fn is_quiet(&self) -> bool {
        let busy = |worker: &&Worker<'_>| worker.arms.is_some() && worker.desk.results.1.is_empty();
        let busy: Vec<&Worker<'_>> = self.workers.iter().filter(busy).collect();
        if busy.is_empty() {
            return true;
        }
        let states = snapshot::goroutines();
        busy.iter().all(|worker| {
            let is_parked = states
                .iter()
                .any(|g| g.id == worker.id && g.state == State::Waiting);
            worker.desk.has_begun.load(Ordering::SeqCst) && is_parked
        })
    }

    #[track_caller]
    fn agree(&self, is_so: bool, text: &str) {
        assert!(
            is_so,
            "{text}, after\n  {}\n{:#?}",
            self.log.join("\n  "),
            self.model
        );
    }
}

impl Drop for Session<'_> {
    /// Where the two differ the scope waits for goroutines that are parked.
    fn drop(&mut self) {
        for (s, _) in self.ends {
            s.close();
        }
    }
}

/// Whether this is what has become of a party with these arms.
fn fits(arms: &[Arm], (index, result): Done, fate: Fate) -> bool {
    let arm = arms[index];
    match fate {
        Fate::Done(expected_arm, expected) => arm == expected_arm && result == expected,
        Fate::Closed(channel) => {
            arm.channel() == channel
                && result
                    == match arm {
                        Arm::Send(_, value) => Result::SendClosed(value),
                        Arm::Receive(_) => Result::ReceiveClosed,
                    }
        }
        Fate::Granted(..) => false,
    }
}

fn future_of<'a>(order: &Order, ends: &'a [Ends]) -> Pin<Box<dyn Future<Output = Done> + 'a>> {
    let receive = |result: std::result::Result<u32, chan::RecvError>| match result {
        Ok(value) => Result::Received(value),
        Err(_) => Result::ReceiveClosed,
    };
    match (order.how, &order.arms[..]) {
        (How::Plain, &[Arm::Send(channel, value)]) => Box::pin(async move {
            match ends[channel].0.send_async(value).await {
                Ok(()) => (0, Result::Sent),
                Err(error) => (0, Result::SendClosed(error.0)),
            }
        }),
        (How::Plain, &[Arm::Receive(channel)]) => {
            Box::pin(async move { (0, receive(ends[channel].1.recv_async().await)) })
        }
        _ => {
            let order = order.clone();
            Box::pin(async move {
                let mut select = match order.how {
                    How::SelectBiased => Select::new_biased(),
                    _ => Select::new(),
                };
                for arm in &order.arms {
                    select.recv(&ends[arm.channel()].1);
                }
                let operation = select.select_async().await;
                let index = operation.index();
                let receiver = &ends[order.arms[index].channel()].1;
                (index, receive(operation.recv(receiver)))
            })
        }
    }
}
