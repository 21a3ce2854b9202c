//! The status word of one goroutine, and the waist of all waiting: park and ready.
//!
//! | from      | to        | by                          | then                                    |
//! |-----------|-----------|-----------------------------|-----------------------------------------|
//! | Idle      | Runnable  | the spawner                 | it is on a run queue                    |
//! | Runnable  | Running   | the M that dequeued it      | that M owns the stack                   |
//! | Running   | Runnable  | its M, on the system stack  | it yielded or lost its P; or stays on   |
//! |           |           | or in a signal handler      | its M, and waits there for a P          |
//! | Running   | Waiting   | its M, on the system stack  | one waker can ready it (`stop`)         |
//! | Waiting   | Runnable  | `ready`, once per park      | it is on a run queue                    |
//! | Running   | Syscall   | itself                      | sysmon may retake the P                 |
//! | Syscall   | Running   | itself                      | it kept its P or got another            |
//! | Syscall   | Runnable  | its M, finding no idle P    | it is on the global queue               |
//! | Running   | Dead      | its M, on the system stack  | the stack goes back to the pool         |
//! | Dead      | Idle      | who takes it for reuse      | nobody else knows of it                 |
//! | Waiting   | Running   | `ready_thread`, or itself   | an OS thread, or who has lent its stack |
//! | Waiting   | Traced    | who walks its stack         | nobody resumes it meanwhile             |
//! | Traced    | Waiting   | the same (`end_trace`)      | as before                               |
//! | Traced    | Runnable  | the same, finding a token   | it is on a run queue                    |
//!
//! G1. A G is on at most one run queue, and only while Runnable.
//! G2. The stack of a G belongs to the M that moved it to Running, until that M makes it Runnable,
//!     Waiting or Dead. An M does so only from its system stack, or for a G that no other M may run. The stack of a Traced G belongs to
//!     who moved it there, for reading.
//! G3. Whoever holds the last way to ready a Waiting G either uses it or passes it on.
//!
//! # Park and ready
//!
//! A goroutine that parks first tells others of it (a `Waiter` in a channel, a timer), and only
//! then leaves its stack. A waker may come in between, from another M; if it queued the G at once, a
//! second M could resume the stack that the first still stands on. So the waker asks the word:
//!
//! * The G is Waiting, it has left its stack: [`ready`](Status::ready) makes it Runnable, and the
//!   waker queues it.
//! * It is not: `ready` leaves the NOTIFIED flag. The parker finds it, before it switches away
//!   ([`take_notified`](Status::take_notified)) or right after ([`stop`](Status::stop)), and either
//!   stays or queues itself.
//!
//! Both sides change one word by read-modify-write, so one of the two sees the other. A G may also
//! lose its P between its promise to wait and its park; the flag then survives those transitions.
//!
//! A tracer comes in the same way: it moves a Waiting G to Traced ([`try_trace`](Status::try_trace)),
//! and a `ready` meanwhile leaves its token, as it does before the park. So no waker waits for a
//! tracer. When it is done it ends the trace as the parker's M ends the park: finding the token it
//! queues the G itself ([`end_trace`](Status::end_trace)). The wait of an OS thread, which sleeps on the
//! word, is told apart (ON_THREAD) and cannot be traced; nor can that of a G that has lent its stack.
//!
//! S1. NOTIFIED is set only by `ready`, and cleared only by the parker or, for it, by its tracer: once
//!     for each park.
//! S2. WOKEN is set only in Runnable, from `ready` to the next Running. It has no use but to
//!     catch a second `ready`.
//! S3. ON_THREAD is set in Waiting and nowhere else: from `stop_thread` to the end of that wait.
//!
//! Orderings: each change is AcqRel. A change out of Running releases the stack and what the G
//! wrote; the change into Running, or the waker's, acquires it. Under `ready`, what the waker wrote
//! reaches the parker in the same way. A tracer acquires the stack with
//! the change to Traced, and its last look at it comes before the release of the change back.
//!
//! Elsewhere: who among several wakers may call `ready` (`claim`); queueing, switching.
//! Checked by the tests below and `tests/loom_status.rs`.

use crate::facade::{AtomicU32, Ordering, const_unless_loom};
use std::fmt;

/// What a goroutine is doing. See the table in the [module header](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Made, not started.
    Idle,
    /// On a run queue.
    Runnable,
    /// On an M that has a P.
    Running,
    /// In a system call it announced; its P may be gone.
    Syscall,
    /// Parked.
    Waiting,
    /// Finished.
    Dead,
    /// In the signal handler of its M, waiting for a P. Only shown so: the word says Runnable, as it is
    /// on a queue.
    Preempted,
    /// Parked, and somebody walks its stack.
    Traced,
}

impl State {
    const ALL: [State; 8] = [
        State::Idle,
        State::Runnable,
        State::Running,
        State::Syscall,
        State::Waiting,
        State::Dead,
        State::Preempted,
        State::Traced,
    ];

    /// The word for it in goroutine dumps: Go's where Go has the state.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Runnable => "runnable",
            State::Running => "running",
            State::Syscall => "syscall",
            State::Waiting => "waiting",
            State::Dead => "dead",
            State::Preempted => "preempted",
            // Nobody but the tracer cares.
            State::Traced => "waiting",
        }
    }

    /// Whether the table has a row from `self` to `to`.
    pub const fn may_become(self, to: State) -> bool {
        use State::*;
        matches!(
            (self, to),
            (Idle, Runnable)
                | (Runnable, Running)
                | (Running, Runnable | Waiting | Syscall | Dead)
                | (Waiting, Runnable | Running | Traced)
                | (Traced, Waiting | Runnable)
                | (Syscall, Running | Runnable)
                | (Dead, Idle)
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bits 0 to 7 of the word: the state.
const STATE_MASK: u32 = 0xff;
/// Bit 8: a `ready` came before the park it belongs to (S1).
const NOTIFIED: u32 = 1 << 8;
/// Bit 9: `ready` made it Runnable, and it has not run since (S2).
const WOKEN: u32 = 1 << 9;
/// Bit 10: it is an OS thread that waits, on the word itself (S3).
const ON_THREAD: u32 = 1 << 10;

const RUNNING: u32 = State::Running as u32;
const RUNNING_NOTIFIED: u32 = RUNNING | NOTIFIED;
const WAITING: u32 = State::Waiting as u32;
const WAITING_ON_THREAD: u32 = WAITING | ON_THREAD;
const RUNNABLE_WOKEN: u32 = State::Runnable as u32 | WOKEN;
const TRACED: u32 = State::Traced as u32;
const TRACED_NOTIFIED: u32 = TRACED | NOTIFIED;

/// `State::ALL`, filled up so that a mask makes an index.
const BY_CODE: [State; 16] = {
    let mut states = [State::Idle; 16];
    let mut code = 0;
    while code < State::ALL.len() {
        states[code] = State::ALL[code];
        code += 1;
    }
    states
};

#[inline]
fn state_of(word: u32) -> State {
    BY_CODE[(word & STATE_MASK) as usize % BY_CODE.len()]
}

/// What the caller of [`Status::ready`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a goroutine that was made Runnable is the caller's to queue"]
pub enum Readied {
    /// It was Waiting. The caller owns it now and must queue it (an OS thread: wake its futex).
    Enqueue,
    /// It has not left its stack yet. The parker will see the token and not stop, or queue itself.
    Deferred,
}

/// The state of one goroutine, or of an OS thread that waits like one.
pub struct Status(AtomicU32);

impl Status {
    const_unless_loom! {
        /// A status word that begins in `state`.
        pub fn new(state: State) -> Self {
            Self(AtomicU32::new(state as u32))
        }
    }

    /// The state at this moment.
    ///
    /// Acquire: who sees Dead or Waiting also sees what the goroutine did before.
    #[inline]
    pub fn load(&self) -> State {
        state_of(self.0.load(Ordering::Acquire))
    }

    /// The state at this moment as dumps show it: who is Traced waits, or if it was readied meanwhile, is about to be
    /// queued by its tracer.
    pub fn load_shown(&self) -> State {
        match self.0.load(Ordering::Acquire) {
            TRACED => State::Waiting,
            TRACED_NOTIFIED => State::Runnable,
            word => state_of(word),
        }
    }

    /// Changes `from` to `to`.
    ///
    /// # Panics
    ///
    /// The state is not `from`, or the table has no such row.
    #[inline]
    #[track_caller]
    pub fn transition(&self, from: State, to: State) {
        if let Err(actual) = self.try_transition(from, to) {
            refuse(actual, to.name());
        }
    }

    /// Changes `from` to `to`, keeping a token of `ready`.
    ///
    /// # Errors
    ///
    /// The actual state, if it is not `from`. Also `Running` on the way to Dead, if there is a token:
    /// then somebody readied a goroutine that was not waiting for it.
    ///
    /// # Panics
    ///
    /// The table has no such row.
    #[inline]
    #[track_caller]
    pub fn try_transition(&self, from: State, to: State) -> Result<(), State> {
        assert!(
            from.may_become(to),
            "a goroutine cannot go from {from} to {to}"
        );
        // A guess at the whole word, flags included; the CAS tells if it is stale.
        let mut word = self.0.load(Ordering::Relaxed);
        if state_of(word) != from {
            word = from as u32;
        }
        loop {
            if to == State::Dead && word & NOTIFIED != 0 {
                return Err(from);
            }
            // WOKEN and ON_THREAD go: they belong to the state that is left (S2, S3).
            let next = to as u32 | word & NOTIFIED;
            match self.exchange(word, next) {
                Ok(()) => return Ok(()),
                Err(actual) if state_of(actual) == from => word = actual,
                Err(actual) => return Err(state_of(actual)),
            }
        }
    }

    /// The parker, while it still can stay: takes the token of a `ready` that came already.
    ///
    /// True: there was one. The wait is over; do not park. False says nothing: `ready` may come
    /// any moment, and `stop` decides.
    #[inline]
    pub fn take_notified(&self) -> bool {
        self.0.load(Ordering::Relaxed) & NOTIFIED != 0
            && self.0.fetch_and(!NOTIFIED, Ordering::AcqRel) & NOTIFIED != 0
    }

    /// The parker's M, on its system stack, once the goroutine has left its own: Running → Waiting.
    ///
    /// True: it is parked, and from this moment on a waker may run it elsewhere: touch nothing of
    /// it. False: `ready` came first. It is Runnable, and the caller must queue it.
    ///
    /// # Panics
    ///
    /// It is not Running.
    #[inline]
    #[must_use = "if `ready` came first, the caller has to queue the goroutine"]
    #[track_caller]
    pub fn stop(&self) -> bool {
        if cfg!(gort_fault = "status_stop") {
            // The fault that loom must find: a token that came meanwhile is overwritten.
            self.0.store(WAITING, Ordering::Release);
            return true;
        }
        match self.exchange(RUNNING, WAITING) {
            Ok(()) => true,
            Err(actual) => {
                self.stop_notified(actual, RUNNABLE_WOKEN);
                false
            }
        }
    }

    /// Who may wake this goroutine, exactly once per park.
    ///
    /// What the caller wrote before is seen by the goroutine when it goes on.
    ///
    /// # Panics
    ///
    /// It cannot be waiting: see [`try_ready`](Self::try_ready).
    #[inline]
    #[track_caller]
    pub fn ready(&self) -> Readied {
        match self.try_ready() {
            Ok(readied) => readied,
            Err(actual) => refuse(actual, "readied"),
        }
    }

    /// As [`ready`](Self::ready), for callers with their own way to end the process.
    ///
    /// # Errors
    ///
    /// The state, if it is not started or dead, or was readied for this park before. (Once it runs
    /// again a second `ready` cannot be told from an early one for its next park.)
    #[inline]
    pub fn try_ready(&self) -> Result<Readied, State> {
        self.ready_to(WAITING, RUNNABLE_WOKEN)
    }

    /// Before a look at the stack of a parked goroutine: Waiting → Traced.
    ///
    /// True: nobody runs it before [`end_trace`](Self::end_trace), which the caller owes, soon: the
    /// goroutine may have been readied already. False: it is not Waiting, or an OS thread.
    #[inline]
    #[must_use = "a trace that was begun has to end"]
    pub fn try_trace(&self) -> bool {
        self.exchange(WAITING, TRACED).is_ok()
    }

    /// The tracer, done with the stack: back to Waiting.
    ///
    /// True: it waits as before. False: `ready` came meanwhile. It is Runnable, and the caller must
    /// queue it.
    ///
    /// # Panics
    ///
    /// It is not Traced.
    #[must_use = "if `ready` came meanwhile, the caller has to queue the goroutine"]
    #[track_caller]
    pub fn end_trace(&self) -> bool {
        if cfg!(gort_fault = "status_end_trace") {
            // The fault that loom must find: a token that came meanwhile is overwritten.
            self.0.store(WAITING, Ordering::Release);
            return true;
        }
        match self.exchange(TRACED, WAITING) {
            Ok(()) => true,
            // Wakers are done (S1), and nobody else changes a Traced word.
            Err(TRACED_NOTIFIED) if self.exchange(TRACED_NOTIFIED, RUNNABLE_WOKEN).is_ok() => false,
            Err(actual) => refuse(state_of(actual), "traced no longer"),
        }
    }

    /// [`stop`](Self::stop) for an OS thread that will sleep on the word itself: Running → Waiting. Also for a
    /// goroutine that lends its stack to another: nobody is to look at it as if it were its own.
    ///
    /// False: `ready_thread` came first; its token is taken, and the thread is still Running.
    ///
    /// # Panics
    ///
    /// It is not Running.
    #[inline]
    #[must_use = "if `ready_thread` came first, the thread must not sleep"]
    #[track_caller]
    pub fn stop_thread(&self) -> bool {
        match self.exchange(RUNNING, WAITING_ON_THREAD) {
            Ok(()) => true,
            Err(actual) => {
                self.stop_notified(actual, RUNNING);
                false
            }
        }
    }

    /// [`ready`](Self::ready) for an OS thread: Waiting → Running. At `Enqueue` the caller wakes
    /// the futex; the thread may have seen the change, and be gone, before that.
    ///
    /// # Panics
    ///
    /// As `ready`.
    #[inline]
    #[track_caller]
    pub fn ready_thread(&self) -> Readied {
        match self.ready_to(WAITING_ON_THREAD, RUNNING) {
            Ok(readied) => readied,
            Err(actual) => refuse(actual, "readied"),
        }
    }

    /// The word on which a thread in [`stop_thread`](Self::stop_thread) sleeps, as long as it is
    /// [`WAITING_WORD`](Self::WAITING_WORD).
    #[cfg(not(loom))]
    #[inline]
    pub fn as_futex(&self) -> &AtomicU32 {
        &self.0
    }

    /// What the word holds while a thread waits.
    pub const WAITING_WORD: u32 = WAITING_ON_THREAD;

    /// Ends a `stop` that did not find a plain Running: takes the token and stores `next`.
    #[cold]
    #[track_caller]
    fn stop_notified(&self, actual: u32, next: u32) {
        // While a token is there nobody else changes a Running word: wakers are done (S1), and
        // sysmon takes no P from an M that is inside the runtime.
        if actual != RUNNING_NOTIFIED || self.exchange(RUNNING_NOTIFIED, next).is_err() {
            refuse(self.load(), State::Waiting.name());
        }
    }

    #[inline]
    fn ready_to(&self, waiting: u32, next: u32) -> Result<Readied, State> {
        // Waiting is the common case; try it without looking.
        let Err(mut word) = self.exchange(waiting, next) else {
            return Ok(Readied::Enqueue);
        };
        loop {
            let result = match state_of(word) {
                State::Waiting => self.exchange(word, next).map(|()| Readied::Enqueue),
                State::Idle | State::Dead => return Err(state_of(word)),
                _ if word & (NOTIFIED | WOKEN) != 0 => return Err(state_of(word)),
                // On its way into the park. Runnable and the others: it lost its P on that way. Or
                // parked, and Traced: the tracer sees to it.
                _ => self
                    .exchange(word, word | NOTIFIED)
                    .map(|()| Readied::Deferred),
            };
            match result {
                Ok(readied) => return Ok(readied),
                Err(actual) => word = actual,
            }
        }
    }

    #[inline]
    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.load(Ordering::Relaxed);
        let flag = |bit, name| if word & bit != 0 { name } else { "" };
        write!(
            f,
            "{:?}{}{}",
            state_of(word),
            flag(NOTIFIED, " + notified"),
            flag(WOKEN, " + woken")
        )
    }
}

#[cold]
#[track_caller]
fn refuse(actual: State, what: &str) -> ! {
    panic!("a goroutine that is {actual} cannot be {what}")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use State::*;

    #[test]
    fn the_table_is_the_one_in_the_header() {
        let mut rows: Vec<(State, State)> = Vec::new();
        for line in include_str!("status.rs").lines() {
            let Some(row) = line.strip_prefix("//! |") else {
                continue;
            };
            let mut cells = row.split('|').map(str::trim);
            let state = |name: &str| State::ALL.into_iter().find(|s| format!("{s:?}") == name);
            if let (Some(from), Some(to)) =
                (cells.next().and_then(state), cells.next().and_then(state))
            {
                rows.push((from, to));
            }
        }
        assert_eq!(rows.len(), 14);
        for from in State::ALL {
            for to in State::ALL {
                assert_eq!(
                    from.may_become(to),
                    rows.contains(&(from, to)),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn a_state_is_stored_and_named() {
        for state in State::ALL {
            assert_eq!(Status::new(state).load(), state);
            if state != Traced {
                assert_eq!(format!("{state:?}").to_lowercase(), state.to_string());
            }
        }
    }

    #[test]
    fn a_transition_checks_both_ends() {
        let status = Status::new(Idle);
        status.transition(Idle, Runnable);
        assert_eq!(status.try_transition(Idle, Runnable), Err(Runnable));
        status.transition(Runnable, Running);
        status.transition(Running, Syscall);
        assert_eq!(status.try_transition(Running, Dead), Err(Syscall));
        status.transition(Syscall, Running);
        status.transition(Running, Dead);
        status.transition(Dead, Idle);
    }

    #[test]
    #[should_panic(expected = "cannot go from waiting to dead")]
    fn a_row_that_is_not_in_the_table_panics() {
        let _ = Status::new(Waiting).try_transition(Waiting, Dead);
    }

    #[test]
    #[should_panic(expected = "a goroutine that is running cannot be waiting")]
    fn stopping_what_runs_elsewhere_panics() {
        let status = Status::new(Runnable);
        status.transition(Runnable, Running);
        assert!(status.stop());
        status.transition(Waiting, Running);
        let _ = status.ready();
        status.transition(Running, Syscall);
        status.transition(Syscall, Running);
        assert!(!status.stop(), "the token outlives the loss of the P");
        status.transition(Runnable, Running);
        status.stop_notified(RUNNING, RUNNABLE_WOKEN);
    }

    #[test]
    fn ready_after_the_stop_hands_the_goroutine_to_the_waker() {
        let status = Status::new(Running);
        assert!(!status.take_notified());
        assert!(status.stop());
        assert_eq!(status.load(), Waiting);
        assert_eq!(status.ready(), Readied::Enqueue);
        assert_eq!(status.load(), Runnable);
        status.transition(Runnable, Running);
        assert!(status.stop(), "the first park's ready is used up");
    }

    #[test]
    fn ready_before_the_stop_is_seen_by_the_parker() {
        let status = Status::new(Running);
        assert_eq!(status.ready(), Readied::Deferred);
        assert!(!status.stop());
        assert_eq!(status.load(), Runnable);

        let status = Status::new(Running);
        assert_eq!(status.ready(), Readied::Deferred);
        assert!(status.take_notified());
        assert!(!status.take_notified(), "a token is taken once");
        assert!(status.stop());
    }

    #[test]
    fn who_is_traced_is_shown_as_what_it_is_without() {
        let status = Status::new(Running);
        assert_eq!(status.load_shown(), Running);
        assert!(status.stop() && status.try_trace());
        assert_eq!((status.load(), status.load_shown()), (Traced, Waiting));
        assert_eq!(status.ready(), Readied::Deferred);
        assert_eq!((status.load(), status.load_shown()), (Traced, Runnable));
        assert!(!status.end_trace());
        assert_eq!(status.load_shown(), Runnable);
    }

    #[test]
    fn a_token_survives_the_loss_of_the_p() {
        for (away, back) in [(Runnable, Running), (Syscall, Running)] {
            for ready_while_away in [false, true] {
                let status = Status::new(Running);
                if !ready_while_away {
                    assert_eq!(status.ready(), Readied::Deferred);
                }
                status.transition(Running, away);
                if ready_while_away {
                    assert_eq!(status.ready(), Readied::Deferred);
                }
                assert_eq!(status.load(), away);
                status.transition(away, back);
                assert!(status.take_notified());
            }
        }
    }

    #[test]
    fn a_second_ready_for_one_park_is_caught() {
        let deferred = Status::new(Running);
        assert_eq!(deferred.try_ready(), Ok(Readied::Deferred));
        assert_eq!(deferred.try_ready(), Err(Running));
        assert!(!deferred.stop());
        assert_eq!(deferred.try_ready(), Err(Runnable));

        let enqueued = Status::new(Running);
        assert!(enqueued.stop());
        assert_eq!(enqueued.try_ready(), Ok(Readied::Enqueue));
        assert_eq!(enqueued.try_ready(), Err(Runnable));
    }

    #[test]
    fn what_is_not_started_or_dead_cannot_be_readied() {
        assert_eq!(Status::new(Idle).try_ready(), Err(Idle));
        assert_eq!(Status::new(Dead).try_ready(), Err(Dead));
    }

    #[test]
    fn nobody_dies_with_a_token() {
        let status = Status::new(Running);
        assert_eq!(status.ready(), Readied::Deferred);
        assert_eq!(status.try_transition(Running, Dead), Err(Running));
        assert!(status.take_notified());
        status.transition(Running, Dead);
    }

    #[test]
    fn a_thread_waits_on_the_word() {
        let status = Status::new(Running);
        assert!(status.stop_thread());
        assert_eq!(
            status.as_futex().load(Ordering::Relaxed),
            Status::WAITING_WORD
        );
        assert_eq!(status.ready_thread(), Readied::Enqueue);
        assert_eq!(status.load(), Running);
        assert_eq!(status.ready_thread(), Readied::Deferred);
        assert!(
            !status.stop_thread(),
            "the token is taken, the thread stays"
        );
        assert_eq!(status.load(), Running);
        assert!(status.stop_thread());
        status.transition(Waiting, Running); // Its timeout.
    }
    #[test]
    fn a_trace_ends_where_it_began() {
        let status = Status::new(Running);
        assert!(!status.try_trace(), "its stack is in use");
        assert!(status.stop());
        assert!(status.try_trace());
        assert_eq!(status.load(), Traced);
        assert!(!status.try_trace(), "one tracer at a time");
        assert!(status.end_trace());
        assert_eq!(status.load(), Waiting);
        assert_eq!(status.ready(), Readied::Enqueue);
        assert!(!status.try_trace());
    }

    #[test]
    fn ready_during_a_trace_leaves_the_queueing_to_the_tracer() {
        let status = Status::new(Running);
        assert!(status.stop());
        assert!(status.try_trace());
        assert_eq!(status.ready(), Readied::Deferred);
        assert_eq!(status.try_ready(), Err(Traced), "one ready per park");
        assert!(!status.end_trace());
        assert_eq!(status.load(), Runnable);
        assert_eq!(status.try_ready(), Err(Runnable));
        status.transition(Runnable, Running);
        assert!(status.stop(), "the token is used up");
    }

    #[test]
    fn a_thread_that_waits_cannot_be_traced() {
        let status = Status::new(Running);
        assert!(status.stop_thread());
        assert!(!status.try_trace());
        assert_eq!(status.load(), Waiting);
        assert_eq!(status.ready_thread(), Readied::Enqueue);
        assert!(status.stop(), "nothing of the thread's wait is left");
    }

    #[test]
    #[should_panic(expected = "a goroutine that is waiting cannot be traced no longer")]
    fn the_end_of_no_trace_is_caught() {
        let _ = Status::new(Waiting).end_trace();
    }
}
