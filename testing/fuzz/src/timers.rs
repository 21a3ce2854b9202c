//! A program of timer operations, compared with a list of what is set.
//!
//! Time is the machine's, so the model knows two moments for each deadline: it was computed between them. A value
//! that comes must lie between the two and in the past; a timer may have nothing only before the later one. Whether
//! `stop` and `reset` found it set is exact: a value that is due but was not received counts as set.
//!
//! Receiving futures wait in a line; a value that is due goes to the first, and comes back if that is dropped
//! without having been polled, unless the timer was set anew meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use gort::chan::{RecvError, TryRecvError};
use gort::time::{Timer, after_func};

use crate::Decisions;
use crate::polled::Polled;

const TIMERS: usize = 3;
const FUTURES_MAX: usize = 4;
/// Longer than any run.
const FAR: Duration = Duration::from_secs(3600);
/// For what is to happen soon, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(30);

/// Runs the program, and panics with its steps where gort and the model differ. The number of steps.
///
/// To be called on a goroutine.
pub fn run(bytes: &[u8]) -> usize {
    let mut decisions = Decisions::new(bytes);
    let timers: Vec<Timer> = (0..TIMERS).map(|_| Timer::new(FAR)).collect();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let func = after_func(FAR, move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let now = Instant::now();
    let line = || Line {
        set: Some(Due::between(now, now, FAR)),
        settings: 0,
        waiting: VecDeque::new(),
    };
    let mut session = Session {
        timers: &timers,
        lines: (0..TIMERS).map(|_| line()).collect(),
        futures: Vec::new(),
        future_count: 0,
        func: &func,
        is_func_set: true,
        runs: &runs,
        runs_expected: 0,
        log: Vec::new(),
    };
    while !decisions.is_over() {
        session.step(&mut decisions);
        session.deliver();
    }
    while let Some(index) = session.futures.len().checked_sub(1) {
        session.cancel(index);
        session.deliver();
    }
    session.log.len()
}

/// A deadline, as exactly as the model knows it.
#[derive(Clone, Copy, Debug)]
struct Due {
    earliest: Instant,
    latest: Instant,
}

impl Due {
    /// Of a timer that was set to `delay` between these moments.
    fn between(before: Instant, after: Instant, delay: Duration) -> Self {
        Self {
            earliest: before + delay,
            // A timer that is set twice to the same moment is given the next one.
            latest: after + delay + Duration::from_nanos(1),
        }
    }

    fn is_far(self) -> bool {
        self.earliest > Instant::now() + FAR / 2
    }
}

/// One timer's.
#[derive(Debug)]
struct Line {
    /// When its value is due, if it is set and the value was not received.
    set: Option<Due>,
    /// How often it was set or stopped.
    settings: usize,
    /// The numbers of the futures that wait.
    waiting: VecDeque<usize>,
}

struct Pending<'a> {
    number: usize,
    timer: usize,
    future: Polled<'a, Result<Instant, RecvError>>,
    /// What it was given, and after how many settings of the timer.
    given: Option<(Due, usize)>,
}

/// A program that runs.
struct Session<'a> {
    timers: &'a [Timer],
    lines: Vec<Line>,
    futures: Vec<Pending<'a>>,
    future_count: usize,
    func: &'a Timer,
    is_func_set: bool,
    runs: &'a AtomicUsize,
    runs_expected: usize,
    log: Vec<String>,
}

impl Session<'_> {
    fn step(&mut self, decisions: &mut Decisions<'_>) {
        let timer = decisions.below(TIMERS);
        match decisions.below(10) {
            0..3 => self.reset(timer, delay(decisions)),
            3 => self.stop(timer),
            4 | 5 => self.try_receive(timer),
            6 if self.futures.len() < FUTURES_MAX => self.start_future(timer),
            7 if !self.futures.is_empty() => {
                let index = decisions.below(self.futures.len());
                self.poll(index);
            }
            8 if !self.futures.is_empty() => {
                let index = decisions.below(self.futures.len());
                self.cancel(index);
            }
            9 => self.set_func(decisions),
            _ => {}
        }
    }

    fn reset(&mut self, timer: usize, delay: Duration) {
        self.log.push(format!("reset {timer} to {delay:?}"));
        let before = Instant::now();
        let was_set = self.timers[timer].reset(delay);
        let due = Due::between(before, Instant::now(), delay);
        let expected = self.lines[timer].set.replace(due).is_some();
        self.lines[timer].settings += 1;
        self.agree(was_set == expected, "whether it was set before");
    }

    fn stop(&mut self, timer: usize) {
        self.log.push(format!("stop {timer}"));
        let was_set = self.timers[timer].stop();
        let expected = self.lines[timer].set.take().is_some();
        self.lines[timer].settings += 1;
        self.agree(was_set == expected, "whether it was set before");
        let received = self.timers[timer].chan().try_recv();
        self.agree(received.is_err(), "a value came after a stop");
    }

    fn try_receive(&mut self, timer: usize) {
        self.log.push(format!("try {timer}"));
        let chan = self.timers[timer].chan();
        let before = Instant::now();
        let received = chan.try_recv();
        let set = self.lines[timer].set;
        match (received, set) {
            (Ok(value), Some(due)) => {
                self.agree_on_value(value, due);
                self.lines[timer].set = None;
            }
            (Err(TryRecvError::Empty), set) => {
                let is_early = set.is_none_or(|due| before < due.latest);
                self.agree(is_early, "nothing, though it is due");
            }
            (received, set) => self.agree(false, &format!("{received:?}, though set {set:?}")),
        }
        // A timer's channel has no buffer that one could see into (Go 1.23).
        let chan = self.timers[timer].chan();
        self.agree(
            chan.is_empty() && chan.capacity() == Some(0),
            "length and capacity are 0",
        );
    }

    fn start_future(&mut self, timer: usize) {
        let number = self.future_count;
        self.future_count += 1;
        self.log.push(format!("future {number} on {timer}"));
        let mut pending = Pending {
            number,
            timer,
            future: Polled::new(Box::pin(self.timers[timer].chan().recv_async())),
            given: None,
        };
        let before = Instant::now();
        match (pending.future.poll(), self.lines[timer].set) {
            (Poll::Ready(Ok(value)), Some(due)) => {
                self.agree_on_value(value, due);
                self.lines[timer].set = None;
            }
            (Poll::Pending, set) => {
                let is_early = set.is_none_or(|due| before < due.latest);
                self.agree(is_early, "the future waits, though a value is due");
                self.lines[timer].waiting.push_back(number);
                self.futures.push(pending);
            }
            (polled, set) => self.agree(false, &format!("{polled:?}, though set {set:?}")),
        }
    }

    /// Values that are due soon go to those who wait.
    fn deliver(&mut self) {
        for timer in 0..TIMERS {
            let line = &mut self.lines[timer];
            let (Some(due), Some(&first)) = (line.set, line.waiting.front()) else {
                continue;
            };
            if due.is_far() {
                continue;
            }
            line.waiting.pop_front();
            line.set = None;
            let settings = line.settings;
            let index = self.index_of(first);
            self.futures[index].given = Some((due, settings));
            self.soon("the future is woken", |this| {
                this.futures[index].future.was_woken()
            });
        }
    }

    fn index_of(&self, number: usize) -> usize {
        let position = self.futures.iter().position(|f| f.number == number);
        position.expect("who waits is a future that is alive")
    }

    fn poll(&mut self, index: usize) {
        let pending = &mut self.futures[index];
        self.log.push(format!("poll {}", pending.number));
        match (pending.future.poll(), pending.given) {
            (Poll::Pending, None) => {}
            (Poll::Ready(Ok(value)), Some((due, _))) => {
                self.futures.swap_remove(index);
                self.agree_on_value(value, due);
            }
            (polled, given) => self.agree(false, &format!("{polled:?}, though given {given:?}")),
        }
    }

    fn cancel(&mut self, index: usize) {
        let pending = self.futures.swap_remove(index);
        self.log.push(format!("drop {}", pending.number));
        let line = &mut self.lines[pending.timer];
        line.waiting.retain(|&number| number != pending.number);
        if let Some((due, settings)) = pending.given
            && settings == line.settings
        {
            line.set = Some(due);
        }
        drop(pending);
    }

    /// The timer that runs a function.
    fn set_func(&mut self, decisions: &mut Decisions<'_>) {
        let (was_set, delay) = if decisions.below(3) == 0 {
            self.log.push("stop the function".to_owned());
            (self.func.stop(), None)
        } else {
            let delay = delay(decisions);
            self.log.push(format!("run the function after {delay:?}"));
            (self.func.reset(delay), Some(delay))
        };
        self.agree(was_set == self.is_func_set, "whether it was set before");
        self.is_func_set = delay == Some(FAR);
        if delay.is_some_and(|delay| delay != FAR) {
            self.runs_expected += 1;
            self.soon("the function runs", |this| {
                this.runs.load(Ordering::SeqCst) >= this.runs_expected
            });
        }
        let runs = self.runs.load(Ordering::SeqCst);
        let text = format!("it ran {runs} times, not {}", self.runs_expected);
        self.agree(runs == self.runs_expected, &text);
    }

    #[track_caller]
    fn agree_on_value(&self, value: Instant, due: Due) {
        let now = Instant::now();
        let is_right = due.earliest <= value && value <= due.latest && value <= now;
        self.agree(is_right, &format!("{value:?} came at {now:?} for {due:?}"));
    }

    #[track_caller]
    fn soon(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition(self) {
            if Instant::now() >= deadline {
                self.agree(
                    false,
                    &format!("not soon: {what}\n{}", gort::runtime::stacks()),
                );
            }
            // waits: between two looks at the condition
            gort::time::sleep(Duration::from_micros(50));
        }
    }

    #[track_caller]
    fn agree(&self, is_so: bool, text: &str) {
        assert!(
            is_so,
            "{text}, after\n  {}\n{:#?}",
            self.log.join("\n  "),
            self.lines
        );
    }
}

/// Past, soon, or never.
fn delay(decisions: &mut Decisions<'_>) -> Duration {
    match decisions.below(4) {
        0 => Duration::ZERO,
        1 => Duration::from_micros(100 * decisions.below(20) as u64),
        _ => FAR,
    }
}
