//! Who has subscribed to what, and the goroutine that tells them.
//!
//! R1. A signal is caught while a subscription wants it. Catching and releasing happen under the lock, and so does
//!     ignoring.
//! R2. The teller runs while there is a subscription: who finds none makes it, and it ends, under the lock, when
//!     it finds none. Who takes the last one away interrupts its wait.
//! R3. Under the lock no value is sent and no handle dropped: both may call the user's wakers, or come back here.
//!
//! Elsewhere: the handler (`gort_core::notify`), which signals may be had (`kind`).
#![forbid(unsafe_code)]

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use gort_core::notify;
use gort_core::os::signal::{self as os, Action};
use gort_core::sched::{self, SpawnOptions};

use super::{Received, Signal};
use crate::chan::watched::{self, ChanId, Watch};
use crate::chan::{Receiver, Sender};
use crate::context::CancelCause;
use crate::sync::Mutex;

/// How many signals wait in the channel of a subscription: one of each kind there is.
///
/// # Examples
///
/// ```
/// use gort::signal::{self, Signal};
///
/// let signals = signal::notify(&[Signal::SIGWINCH]);
/// assert_eq!(signals.capacity(), Some(signal::BUFFER));
/// ```
pub const BUFFER: usize = 64;

struct Registry {
    subscriptions: Vec<Subscription>,
    /// R2.
    has_teller: bool,
    /// What was done with a signal before it was first ignored by us.
    before_ignored: Vec<(Signal, Action)>,
}

struct Subscription {
    id: Id,
    signals: Set,
    target: Target,
}

/// Which subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Id {
    /// That of the channel.
    Channel(ChanId),
    /// One with a context, by a number of its own.
    Context(u64),
}

/// Who is told.
#[derive(Clone)]
enum Target {
    Channel(Sender<Signal>),
    Context(CancelCause),
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    subscriptions: Vec::new(),
    has_teller: false,
    before_ignored: Vec::new(),
});

/// A set of signals.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Set(u64);

impl Set {
    fn of(signals: &[Signal]) -> Set {
        let bits = signals.iter().map(|signal| notify::bit(signal.as_raw()));
        Set(bits.fold(0, |set, bit| set | bit))
    }

    fn has(self, signal: Signal) -> bool {
        self.0 & notify::bit(signal.as_raw()) != 0
    }

    fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn signals(self) -> impl Iterator<Item = Signal> {
        Signal::all().filter(move |&signal| self.has(signal))
    }
}

impl Registry {
    /// What somebody wants.
    fn wanted(&self) -> Set {
        let sets = self.subscriptions.iter().map(|it| it.signals.0);
        Set(sets.fold(0, |all, set| all | set))
    }

    /// Changes the subscriptions, and sees to R1 and R2.
    fn change<R>(&mut self, change: impl FnOnce(&mut Vec<Subscription>) -> R) -> R {
        let before = self.wanted();
        let result = change(&mut self.subscriptions);
        let after = self.wanted();
        for signal in after.without(before).signals() {
            notify::catch(signal.as_raw());
        }
        for signal in before.without(after).signals() {
            notify::release(signal.as_raw());
        }
        if self.subscriptions.is_empty() && self.has_teller {
            notify::interrupt();
        }
        result
    }

    /// Takes `signals` out of all subscriptions. Those that have none left are given back.
    fn withdraw(&mut self, signals: Set) -> Vec<Subscription> {
        self.change(|subscriptions| {
            for subscription in subscriptions.iter_mut() {
                subscription.signals = subscription.signals.without(signals);
            }
            let is_over = |it: &mut Subscription| it.signals.is_empty();
            subscriptions.extract_if(.., is_over).collect()
        })
    }
}

/// Subscribes a new channel.
#[track_caller]
pub(super) fn subscribe_channel(signals: &[Signal]) -> Receiver<Signal> {
    let (sender, receiver) = watched::bounded::<Signal, Ends>(BUFFER);
    let id = sender.id().expect("it is not nil");
    subscribe(Id::Channel(id), signals, Target::Channel(sender));
    receiver
}

/// Subscribes what cancels a context.
#[track_caller]
pub(super) fn subscribe_context(signals: &[Signal], cancel: CancelCause) -> Id {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = Id::Context(LAST.fetch_add(1, Ordering::Relaxed));
    subscribe(id, signals, Target::Context(cancel));
    id
}

#[track_caller]
fn subscribe(id: Id, signals: &[Signal], target: Target) {
    if let Err(error) = notify::start() {
        panic!("cannot wait for signals: {error}");
    }
    let subscription = Subscription {
        id,
        signals: Set::of(signals),
        target,
    };
    let mut registry = REGISTRY.lock();
    if !registry.has_teller {
        let options = SpawnOptions {
            name: Some("signals".into()),
            system: true,
            group: Some(0),
            ..SpawnOptions::new()
        };
        if let Err(error) = sched::spawn(tell, options) {
            drop(registry);
            panic!("cannot start the goroutine that tells of signals: {error}");
        }
        registry.has_teller = true;
    }
    registry.change(|subscriptions| subscriptions.push(subscription));
}

/// Is told when the channel of a subscription is closed.
struct Ends;

impl Watch for Ends {
    fn closed(channel: ChanId) {
        unsubscribe(Id::Channel(channel));
    }
}

pub(super) fn unsubscribe(id: Id) {
    let ended: Vec<Subscription> = REGISTRY.lock().change(|subscriptions| {
        let is_it = |it: &mut Subscription| it.id == id;
        subscriptions.extract_if(.., is_it).collect()
    });
    end(ended);
}

/// Closes the channels, for which the teller may have a handle for a moment more; contexts lose theirs. Without
/// the lock (R3): a close comes back to `unsubscribe`, and finds nothing.
fn end(subscriptions: Vec<Subscription>) {
    for subscription in subscriptions {
        if let Target::Channel(sender) = subscription.target {
            sender.close();
        }
    }
}

pub(super) fn ignore(signals: &[Signal]) {
    let mut registry = REGISTRY.lock();
    for &signal in signals {
        let before = notify::ignore(signal.as_raw());
        let known = &mut registry.before_ignored;
        if !known.iter().any(|(other, _)| *other == signal) {
            known.push((signal, before));
        }
    }
    // Only now: what was done before the subscriptions is not done in between.
    let ended = registry.withdraw(Set::of(signals));
    drop(registry);
    end(ended);
}

pub(super) fn reset(signals: &[Signal]) {
    let mut registry = REGISTRY.lock();
    let set = Set::of(signals);
    let ended = registry.withdraw(set);
    for (signal, before) in mem::take(&mut registry.before_ignored) {
        if set.has(signal) {
            os::restore(signal.as_raw(), &before);
        } else {
            registry.before_ignored.push((signal, before));
        }
    }
    drop(registry);
    end(ended);
}

pub(super) fn is_ignored(signal: Signal) -> bool {
    os::is_ignored(signal.as_raw())
}

/// The teller: sends what comes to those who want it.
fn tell() {
    loop {
        let wanted_by: Vec<Subscription> = {
            let mut registry = REGISTRY.lock();
            if registry.subscriptions.is_empty() {
                registry.has_teller = false;
                return;
            }
            let come = Set(notify::take());
            let wants = |it: &&Subscription| it.signals.0 & come.0 != 0;
            let wants = registry.subscriptions.iter().filter(wants);
            wants
                .map(|it| Subscription {
                    id: it.id,
                    signals: Set(it.signals.0 & come.0),
                    target: it.target.clone(),
                })
                .collect()
        };
        for subscription in wanted_by {
            for signal in subscription.signals.signals() {
                match &subscription.target {
                    // Full, and that signal is lost for this one; or closed, and it is not wanted any more.
                    Target::Channel(sender) => drop(sender.try_send(signal)),
                    // The first is the cause.
                    Target::Context(cancel) => cancel.cancel(Received(signal)),
                }
            }
        }
        // The counter is never closed.
        let _ = notify::wait();
    }
}
