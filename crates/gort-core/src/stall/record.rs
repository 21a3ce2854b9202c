//! One stall on its way from sysmon, which sees it begin, to the goroutine, which knows its end, and to the
//! thread that counts it.
//!
//! | state | owner                  | then                                                            |
//! |-------|------------------------|-----------------------------------------------------------------|
//! | FREE  | sysmon                 | it may take the record, fill it, and leave it at the M           |
//! | HELD  | who got it from the M  | `M::stall` has its number; an exchange with 0 gets the record    |
//! | BARE  | the reporter           | a copy of one that computes: it asks for the stack ([`ask_for_stacks`]) |
//! | TOLD  | who counts             | it copies what there is and makes it FREE                       |
//!
//! T1. A record is filled before it is left at the M (release), and read by who has got it (acquire); so
//!     sysmon never writes to one that somebody else has. What it has filled in itself it may read until it fills
//!     the next: nobody else writes that.
//! T2. The goroutine may have come and gone while sysmon was filling. So a record names its moment: the P and
//!     how many switches that had made, or how often the M had lost its P. Who gets the record compares
//!     them with what they are now ([`Moment`]), and throws it away if they differ.
//! T3. One that goes on for long is told by a copy, once: `is_told` is set before the copy is given to those who count,
//!     and only if the goroutine has not got the record by then, so that it comes to them with the end as well.
//!
//! Nothing here allocates, locks or waits: sysmon, signal handlers and goroutines on their way into the runtime
//! are at work. A record that there is none of is counted ([`missed`]).

use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use gort_arch::trace::{self as arch, Walk};

use crate::clock;
use crate::g::{G, GRef};
use crate::os::thread::{self, Asleep};
use crate::sched::m::M;
use crate::sched::p::P;
use crate::trace::Stack;

/// Stalls that go on, or are not counted yet, at once.
const RECORDS: usize = 64;
/// Of the stack of a thread that sleeps: 8 KiB, some dozens of frames.
const WORDS: usize = 1024;
/// Frames that are kept of a goroutine that has come back.
pub(super) const FRAMES: usize = 64;

const FREE: u32 = 0;
const HELD: u32 = 1;
const TOLD: u32 = 2;
const BARE: u32 = 3;

/// For `Record::call`: it was seen computing.
const COMPUTING: i64 = i64::MIN;

pub(super) struct Record {
    state: AtomicU32,
    // What sysmon saw.
    since_ns: AtomicU64,
    /// The thread's CPU clock when it looked.
    cpu_ns: AtomicU64,
    /// The system call that the thread slept in, or COMPUTING.
    call: AtomicI64,
    /// A copy of it was given to those who count (T3).
    is_told: AtomicBool,
    moment: Moment,
    gp: AtomicPtr<G>,
    id: AtomicU64,
    created_at: AtomicPtr<Location<'static>>,
    /// Where it slept, and the stack above that; no words if it was not asleep from first to last.
    pc: AtomicUsize,
    sp: AtomicUsize,
    words: [AtomicUsize; WORDS],
    words_len: AtomicUsize,
    // What the goroutine added, or sysmon and the reporter to a copy.
    is_copy: AtomicBool,
    duration_ns: AtomicU64,
    addresses: [AtomicUsize; FRAMES],
    addresses_len: AtomicUsize,
    is_cut: AtomicBool,
}

static RECORDS_OF_ALL: [Record; RECORDS] = [const { Record::new() }; RECORDS];

static MISSED: AtomicU64 = AtomicU64::new(0);

/// One more.
pub(super) fn count_missed() {
    MISSED.fetch_add(1, Ordering::Relaxed);
}

/// How many stalls there was no record for.
pub(super) fn missed() -> u64 {
    MISSED.load(Ordering::Relaxed)
}

/// T2.
struct Moment {
    /// The P it held; null if it had lost it.
    p: AtomicPtr<P>,
    switches: AtomicU64,
    losses: AtomicU32,
}

/// By whose look a stall is recorded.
#[derive(Clone, Copy)]
pub(super) enum Holds {
    /// The M holds this P, which had made so many switches.
    P(&'static P, u64),
    /// Its P was taken.
    Nothing,
}

impl Moment {
    fn set(&self, mp: &M, holds: Holds) {
        let (pp, switches) = match holds {
            Holds::P(pp, switches) => (ptr::from_ref(pp).cast_mut(), switches),
            Holds::Nothing => (ptr::null_mut(), 0),
        };
        self.p.store(pp, Ordering::Relaxed);
        self.switches.store(switches, Ordering::Relaxed);
        let losses = mp.losses.load(Ordering::Relaxed);
        self.losses.store(losses, Ordering::Relaxed);
    }

    /// Whether it is the same still, asked by the M itself.
    fn is_now(&self, mp: &M) -> bool {
        if mp.gate.is_taken() {
            return self.losses.load(Ordering::Relaxed) == mp.losses.load(Ordering::Relaxed);
        }
        let pp = self.p.load(Ordering::Relaxed);
        // SAFETY: null or a P, which is never freed.
        let switches = unsafe { pp.as_ref() }.map(|pp| pp.switches.load(Ordering::Relaxed));
        ptr::eq(pp, mp.p.get().map_or(ptr::null(), ptr::from_ref))
            && switches == Some(self.switches.load(Ordering::Relaxed))
    }
}

/// Leaves a record of a goroutine at its M `mp`, which has made no switch since `since_ns`, or takes a
/// second look at one that was seen computing. False if all records are in use. For sysmon.
pub(super) fn post(mp: &'static M, holds: Holds, since_ns: u64) -> bool {
    let is_there = match holds {
        Holds::P(..) => !mp.gate.is_taken(),
        Holds::Nothing => mp.gate.is_taken(),
    };
    let Some(gp) = mp
        .current
        .get()
        .filter(|_| is_there && mp.gate.depth() == 0)
    else {
        // On a system stack, or in the runtime: it comes by itself.
        return true;
    };
    let tid = mp.tid.load(Ordering::Relaxed);
    let known = of_number(mp.stall.load(Ordering::Relaxed))
        .filter(|known| known.since_ns.load(Ordering::Relaxed) == since_ns);
    if known.is_some_and(|known| known.call.load(Ordering::Relaxed) != COMPUTING) {
        return true;
    }
    let cpu_ns = thread::cpu_ns(tid).unwrap_or(0);
    let asleep = thread::asleep(tid);
    if known.is_some() && asleep.is_none() {
        return true;
    }
    let is_told = known.is_some_and(|known| known.is_told.load(Ordering::Relaxed));
    let Some(record) = Record::take() else {
        return false;
    };
    record.moment.set(mp, holds);
    record.since_ns.store(since_ns, Ordering::Relaxed);
    record.cpu_ns.store(cpu_ns, Ordering::Relaxed);
    record.is_told.store(is_told, Ordering::Relaxed);
    record.gp.store(gp.as_ptr(), Ordering::Relaxed);
    record.id.store(gp.id(), Ordering::Relaxed);
    record.created_at.store(
        gp.get().created_at.load(Ordering::Relaxed),
        Ordering::Relaxed,
    );
    record.copy_stack(tid, asleep, cpu_ns);
    leave_at(mp, record.number());
    let has_left = match holds {
        Holds::P(pp, switches) => pp.switches.load(Ordering::Relaxed) != switches,
        Holds::Nothing => !mp.gate.is_taken(),
    };
    // Or has been here, and counted what was until then.
    if has_left || mp.came_back_ns.load(Ordering::Relaxed) > since_ns {
        leave_at(mp, 0);
        return true;
    }
    // So that it looks at its next entry.
    mp.gate.ask();
    true
}

/// Leaves the record of this number, or none, in place of what was there.
fn leave_at(mp: &M, number: u32) {
    let before = mp.stall.swap(number, Ordering::AcqRel);
    if let Some(record) = of_number(before) {
        record.state.store(FREE, Ordering::Release);
    }
}

/// Tells of the stall that is recorded at `mp`, which goes on since `since_ns`, by a copy, if it takes `least_ns` already
/// and that was not done before (T3). True if it has. For sysmon.
pub(super) fn copy_so_far(mp: &'static M, since_ns: u64, now_ns: u64, least_ns: u64) -> bool {
    let number = mp.stall.load(Ordering::Relaxed);
    let Some(record) = of_number(number)
        .filter(|record| record.since_ns.load(Ordering::Relaxed) == since_ns)
        .filter(|record| !record.is_told.load(Ordering::Relaxed))
    else {
        return false;
    };
    let duration_ns = record.duration_until(now_ns, mp.tid.load(Ordering::Relaxed));
    if duration_ns < least_ns {
        return false;
    }
    let Some(copy) = Record::take() else {
        return false;
    };
    copy.copy_from(record);
    copy.duration_ns.store(duration_ns, Ordering::Relaxed);
    copy.is_copy.store(true, Ordering::Relaxed);
    record.is_told.store(true, Ordering::Relaxed);
    // Its release goes with the acquire of who takes the record after this.
    let is_there = mp
        .stall
        .compare_exchange(number, number, Ordering::AcqRel, Ordering::Relaxed);
    let state = match (is_there, record.call.load(Ordering::Relaxed)) {
        (Err(_), _) => FREE,
        (Ok(_), COMPUTING) => BARE,
        (Ok(_), _) => TOLD,
    };
    copy.state.store(state, Ordering::Release);
    is_there.is_ok()
}

/// Adds to stalls of goroutines that compute, and go on, what `ask` gives as the stack of one: it may wait. For the
/// reporter alone.
pub(super) fn ask_for_stacks(ask: impl Fn(GRef, u64) -> Option<Stack>) {
    let bare = |record: &&Record| record.state.load(Ordering::Acquire) == BARE;
    for record in RECORDS_OF_ALL.iter().filter(bare) {
        // SAFETY: sysmon has stored what `as_ptr` gave.
        let gp = unsafe { GRef::from_ptr(record.gp.load(Ordering::Relaxed)) };
        if let Some(stack) = ask(gp, record.id.load(Ordering::Relaxed)) {
            record.add_stack(&stack.addresses, stack.is_cut);
        }
        record.state.store(TOLD, Ordering::Release);
    }
}

/// The record that was left at `mp`, on which the caller runs `gp`, if it is of this moment. Async-signal-safe.
pub(super) fn take_own(mp: &'static M, gp: GRef) -> Option<&'static Record> {
    if mp.stall.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let record = of_number(mp.stall.swap(0, Ordering::AcqRel))?;
    if record.id.load(Ordering::Relaxed) == gp.id() && record.moment.is_now(mp) {
        return Some(record);
    }
    record.state.store(FREE, Ordering::Release);
    None
}

fn of_number(number: u32) -> Option<&'static Record> {
    RECORDS_OF_ALL.get((number as usize).checked_sub(1)?)
}

impl Record {
    const fn new() -> Record {
        Record {
            state: AtomicU32::new(FREE),
            since_ns: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            call: AtomicI64::new(0),
            is_told: AtomicBool::new(false),
            moment: Moment {
                p: AtomicPtr::new(ptr::null_mut()),
                switches: AtomicU64::new(0),
                losses: AtomicU32::new(0),
            },
            gp: AtomicPtr::new(ptr::null_mut()),
            id: AtomicU64::new(0),
            created_at: AtomicPtr::new(ptr::null_mut()),
            pc: AtomicUsize::new(0),
            sp: AtomicUsize::new(0),
            words: [const { AtomicUsize::new(0) }; WORDS],
            words_len: AtomicUsize::new(0),
            is_copy: AtomicBool::new(false),
            duration_ns: AtomicU64::new(0),
            addresses: [const { AtomicUsize::new(0) }; FRAMES],
            addresses_len: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
        }
    }

    /// Its number, which is not 0.
    fn number(&self) -> u32 {
        let offset = ptr::from_ref(self) as usize - RECORDS_OF_ALL.as_ptr() as usize;
        (offset / size_of::<Record>() + 1) as u32
    }

    /// A free one. sysmon alone takes any.
    fn take() -> Option<&'static Record> {
        let mut all = RECORDS_OF_ALL.iter();
        let free = all.find(|record| record.state.load(Ordering::Acquire) == FREE)?;
        free.state.store(HELD, Ordering::Relaxed);
        Some(free)
    }

    /// Copies the stack of a thread that sleeps, if it does so from before the look until after.
    fn copy_stack(&self, tid: u32, asleep: Option<Asleep>, cpu_ns: u64) {
        self.words_len.store(0, Ordering::Relaxed);
        let call = asleep.map_or(COMPUTING, |asleep| asleep.call);
        self.call.store(call, Ordering::Relaxed);
        let Some(Asleep { sp, pc, .. }) = asleep else {
            return;
        };
        self.pc.store(pc, Ordering::Relaxed);
        self.sp.store(sp, Ordering::Relaxed);
        let len = thread::copy_words(sp, &self.words);
        // Its clock stands still as long as it has not run, however shortly.
        if thread::cpu_ns(tid) == Some(cpu_ns) {
            self.words_len.store(len, Ordering::Relaxed);
        }
    }

    /// The stall of the goroutine that calls, on `mp`, is over. Async-signal-safe.
    pub(super) fn stop_clock(&self, mp: &M) {
        let now_ns = clock::now_ns();
        let before_ns = mp.came_back_ns.swap(now_ns, Ordering::Relaxed);
        if !self.is_told.load(Ordering::Relaxed) {
            // It may have come back while sysmon was filling: what was counted then is not counted again.
            self.since_ns.fetch_max(before_ns, Ordering::Relaxed);
        }
        let duration_ns = self.duration_until(now_ns, thread::tid());
        self.duration_ns.store(duration_ns, Ordering::Relaxed);
    }

    /// For how long it has gone on, on thread `tid`. Async-signal-safe.
    fn duration_until(&self, now_ns: u64, tid: u32) -> u64 {
        let elapsed_ns = now_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        let mut duration_ns = elapsed_ns;
        if self.call.load(Ordering::Relaxed) != COMPUTING {
            // What it has computed since it was seen asleep is not the call's.
            let cpu_ns = thread::cpu_ns(tid).unwrap_or(0);
            let computed_ns = cpu_ns.saturating_sub(self.cpu_ns.load(Ordering::Relaxed));
            duration_ns = elapsed_ns.saturating_sub(computed_ns);
        }
        duration_ns
    }

    /// Adds its stack, and gives the record to those who count. Async-signal-safe, if `walk` is.
    pub(super) fn end(&self, walk: impl FnOnce(&mut [usize; FRAMES]) -> Walk) {
        let mut addresses = [0; FRAMES];
        let found = walk(&mut addresses);
        self.add_stack(&addresses[..found.len], found.is_cut);
        self.is_copy.store(false, Ordering::Relaxed);
        self.state.store(TOLD, Ordering::Release);
    }

    fn add_stack(&self, addresses: &[usize], is_cut: bool) {
        for (to, from) in self.addresses.iter().zip(addresses) {
            to.store(*from, Ordering::Relaxed);
        }
        let is_too_long = addresses.len() > FRAMES;
        self.addresses_len
            .store(addresses.len().min(FRAMES), Ordering::Relaxed);
        self.is_cut.store(is_cut || is_too_long, Ordering::Relaxed);
    }

    /// Becomes what sysmon knows of another one. For sysmon.
    fn copy_from(&self, other: &Record) {
        fn copy(to: &AtomicUsize, from: &AtomicUsize) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let same = Ordering::Relaxed;
        self.since_ns.store(other.since_ns.load(same), same);
        self.call.store(other.call.load(same), same);
        self.gp.store(other.gp.load(same), same);
        self.id.store(other.id.load(same), same);
        self.created_at.store(other.created_at.load(same), same);
        copy(&self.pc, &other.pc);
        copy(&self.sp, &other.sp);
        copy(&self.words_len, &other.words_len);
        for (to, from) in self.words.iter().zip(&other.words) {
            copy(to, from);
        }
        self.add_stack(&[], false);
    }
}

/// A stall that is over, or has gone on for long.
#[derive(Debug)]
pub(super) struct Told {
    /// The system call; `None`: it computed.
    pub(super) call: Option<i64>,
    pub(super) duration_ns: u64,
    pub(super) tell: Tell,
    pub(super) who: Who,
    pub(super) created_at: Option<&'static Location<'static>>,
    /// The stack in the call; empty if it was not seen.
    pub(super) in_call: Vec<usize>,
    /// The stack with which it came back, or was stopped or asked.
    pub(super) at_end: Vec<usize>,
    pub(super) is_cut: bool,
}

/// What is told of a stall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tell {
    /// It goes on.
    SoFar,
    /// It is over; before or after this it is told what it was so far.
    TheRest,
    /// It is over.
    All,
}

/// Which stall it is: a goroutine's, by when it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Who {
    pub(super) id: u64,
    pub(super) since_ns: u64,
}

/// Calls `count` with each stall that has been told since the last time. One caller at a time.
pub(super) fn collect(mut count: impl FnMut(Told)) {
    for record in &RECORDS_OF_ALL {
        if record.state.load(Ordering::Acquire) != TOLD {
            continue;
        }
        let told = record.copy_told();
        record.state.store(FREE, Ordering::Release);
        count(told);
    }
}

impl Record {
    fn copy_told(&self) -> Told {
        let load = |words: &[AtomicUsize], len: &AtomicUsize| -> Vec<usize> {
            let len = len.load(Ordering::Relaxed);
            let words = words[..len].iter();
            words.map(|word| word.load(Ordering::Relaxed)).collect()
        };
        let call = self.call.load(Ordering::Relaxed);
        let stack = load(&self.words, &self.words_len);
        let mut is_cut = self.is_cut.load(Ordering::Relaxed);
        let mut in_call = Vec::new();
        if !stack.is_empty() {
            let (pc, sp) = (
                self.pc.load(Ordering::Relaxed),
                self.sp.load(Ordering::Relaxed),
            );
            in_call = vec![0; FRAMES];
            let walk = arch::copied(pc, sp, &stack, &mut in_call);
            in_call.truncate(walk.len);
            is_cut = walk.is_cut;
        }
        // SAFETY: only `&'static Location`s are stored.
        let created_at = unsafe { self.created_at.load(Ordering::Relaxed).as_ref() };
        Told {
            call: (call != COMPUTING).then_some(call),
            duration_ns: self.duration_ns.load(Ordering::Relaxed),
            tell: match self.is_told.load(Ordering::Relaxed) {
                _ if self.is_copy.load(Ordering::Relaxed) => Tell::SoFar,
                true => Tell::TheRest,
                false => Tell::All,
            },
            who: Who {
                id: self.id.load(Ordering::Relaxed),
                since_ns: self.since_ns.load(Ordering::Relaxed),
            },
            created_at,
            in_call,
            at_end: load(&self.addresses, &self.addresses_len),
            is_cut,
        }
    }
}
