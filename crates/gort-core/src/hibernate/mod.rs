//! Goroutines that have been parked for long give their stacks' memory back, but for what is in use.
//!
//! A thread, the *keeper*, looks at all goroutines from time to time. Whoever has been parked for as long as the
//! settings say is held so (Traced), what is live of its stack is copied into a record (`record`), and its pages go
//! (`gort_arch::hibernate`). Whoever touches them brings them back, in the handler of the fault (`fault`): a waker
//! that writes to the parked goroutine's wait node; the M that is about to run it, which writes to its block
//! (`thread_state::set_running_m_of_block`) before it changes to it; a goroutine that has borrowed from it.
//! So nobody else knows of all this, and a switch costs what it has cost. Only who shows goroutines does, and looks
//! into the record ([`peek`]), as it would bring all of them back.
//!
//! H1. Only a goroutine that the keeper has made Traced is put away; it is let go when its word says so. So it has
//!     left its stack, and does not run until its pages can be brought back.
//! H2. Between the first word that is made BUSY and the last that is not any more, the keeper waits for nobody but the
//!     kernel: it neither locks nor allocates. Whoever touches these pages waits for it, with whatever locks, and with its P.
//! H3. Nobody runs on a goroutine's FS base before a touch of its block's page from another one. A handler
//!     of a fault there could not use thread-locals.
//! H4. A fork falls between two windows of the keeper's (`WINDOW`). Of a handler that was bringing pages back the
//!     child finishes the work (`fault`).
//! H5. Whoever touches such pages does not block SIGBUS and SIGSEGV: the kernel would end the process. Not put away are
//!     goroutines that have changed the mask of their thread's signals.
//! H6. Who has lent its stack by a scope of ours is not put away (LENDS): others may hand it to system calls, which
//!     fail with EFAULT where a page is away. Lent otherwise, by `std::thread::scope` say, it is put away: the docs
//!     say so.
//!
//! Slots that lie side by side are put away together: 3 µs each, and 12 µs alone, most of it for protecting and
//! flushing.
//!
//! Elsewhere: the word (`gort_queue::sleep_word`). Checked by `gort/tests/hibernate.rs`.

mod fault;
mod record;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use gort_arch::guard::{self, GuardKind};
use gort_arch::hibernate::{self as arch, Frozen, PAGE_BYTES};
use gort_arch::stack::{self, Slot};
use gort_queue::sleep_word::SleepWord;
use gort_queue::status::State;

use crate::clock::{self, NEVER};
use crate::g::{GRef, Kind, flags, slab};
use crate::os::{futex, thread};
use crate::sched::{self, wake};
use record::{Draft, PAGES_MAX, Record, Records};

pub(crate) use fault::{peek, resolve};
pub use gort_arch::hibernate::{Refused, probe};

/// Slots that are in hand at once: for 200 µs if they are neighbours, 800 if none are. Their wakers may have to wait for so
/// long.
const RUN_MAX: usize = 64;
/// Descriptors that are looked at before what was found is put away.
const BATCH: usize = 4096;
/// The least time between two looks.
const PERIOD_MIN_NS: u64 = 10_000_000;
/// Looking, and finding that they are put away, takes one part in so many of the time, if there are very many.
const LOOK_SHARE: u64 = 20;

static IS_STARTED: AtomicBool = AtomicBool::new(false);
/// Goroutines whose pages are away.
static AWAY: AtomicUsize = AtomicUsize::new(0);

mod counters {
    use super::{AtomicU64, AtomicUsize};

    /// What their records take.
    pub(super) static BYTES: AtomicUsize = AtomicUsize::new(0);
    /// How often a goroutine was put away.
    pub(super) static TIMES: AtomicU64 = AtomicU64::new(0);
    /// Looks that are over.
    pub(super) static LOOKS: AtomicU64 = AtomicU64::new(0);
}

/// What hibernation has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Hibernation {
    /// Goroutines whose stacks are put away.
    pub goroutines: usize,
    /// What is kept of them.
    pub bytes: usize,
    /// How often a stack was put away.
    pub times: u64,
    /// How often the keeper has looked at all goroutines.
    pub looks: u64,
}

/// What it has done until now. The numbers are of slightly different moments.
pub fn report() -> Hibernation {
    Hibernation {
        goroutines: AWAY.load(Ordering::Relaxed),
        bytes: counters::BYTES.load(Ordering::Relaxed),
        times: counters::TIMES.load(Ordering::Relaxed),
        looks: counters::LOOKS.load(Ordering::Relaxed),
    }
}

/// Whether stacks are put away.
pub fn is_started() -> bool {
    IS_STARTED.load(Ordering::Relaxed)
}

/// For tests: whether the memory at an address on a stack is put away.
#[doc(hidden)]
pub fn is_away(address: usize) -> bool {
    let word = stack::find(address).and_then(arch::word);
    word.is_some_and(|word| SleepWord::from_atomic(word).is_away())
}

// ---- forks ----

/// Bit 0: the keeper has pages in hand. The rest: forks that are about to happen. (H4)
static WINDOW: AtomicU32 = AtomicU32::new(0);
const OPEN: u32 = 1;
const FORK: u32 = 2;

/// The keeper's, while it has pages in hand.
struct Window;

impl Window {
    /// `None` while a process forks.
    fn open() -> Option<Window> {
        WINDOW
            .compare_exchange(0, OPEN, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(Window)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if WINDOW.fetch_and(!OPEN, Ordering::Release) != OPEN {
            futex::wake(&raw const WINDOW, u32::MAX >> 1);
        }
    }
}

/// Before a fork: waits until the keeper has nothing in hand, and keeps it from it.
pub(crate) fn before_fork() {
    let mut window = WINDOW.fetch_add(FORK, Ordering::Acquire) + FORK;
    while window & OPEN != 0 {
        futex::wait(&WINDOW, window, NEVER);
        window = WINDOW.load(Ordering::Acquire);
    }
}

/// After it, in the parent.
pub(crate) fn after_fork() {
    WINDOW.fetch_sub(FORK, Ordering::Release);
}

// ---- the keeper ----

/// Looks asked for; the keeper waits for it to change where it has nothing to expect.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Has goroutines that have been parked for `after` put away from now on. After `tls::init`, with the handlers of faults in
/// place. One caller at a time, once.
///
/// # Errors
///
/// Why it cannot be, for the user.
pub(crate) fn start(after: Duration) -> Result<(), String> {
    arch::start().map_err(|refused| refused.to_string())?;
    let after_ns = clock::to_ns(after);
    thread::builder("gort-keeper".into(), 256 << 10)
        .spawn(move || Keeper::new(after_ns).serve())
        .map_err(|error| format!("no thread for it ({error})"))?;
    IS_STARTED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Has the keeper look: it need not know when goroutines park. Sysmon asks once a second, and when it begins to sleep
/// for long; then those do who bring pages back ([`ask_for_sysmon`]). Tests do too. Neither allocates nor locks.
#[doc(hidden)]
pub fn ask() {
    if !is_started() {
        return;
    }
    ASKED.fetch_add(1, Ordering::Release);
    futex::wake(&raw const ASKED, 1);
}

/// Has the keeper look if sysmon sleeps, as it will not ask. For who has brought pages back, perhaps without waking their
/// goroutine, as a thread that has borrowed from it.
///
/// Sysmon tells that it sleeps, and then asks; we finish the word, and then see whether it sleeps. A SeqCst fence is
/// between the two on either side: so either sysmon's ask comes after the word was finished, and the keeper finds it,
/// or we see that it sleeps.
fn ask_for_sysmon() {
    fence(Ordering::SeqCst);
    if wake::SYSMON_ASLEEP.load(Ordering::Relaxed) != 0 {
        ask();
    }
}

/// A goroutine that may be put away.
#[derive(Clone, Copy)]
struct Candidate {
    gp: GRef,
    slot: Slot,
}

/// One whose word is BUSY by the keeper.
struct Held {
    gp: GRef,
    slot: Slot,
    word: &'static SleepWord,
    /// Once its pages are gone.
    record: Option<Record>,
}

struct Keeper {
    after_ns: u64,
    draft: Draft,
    records: Records,
    candidates: Vec<Candidate>,
    /// Of those that are put away at the moment: all that are Traced, and those of them that can be put away.
    traced: Vec<GRef>,
    held: Vec<Held>,
    /// Goroutines that are parked, but not for long enough; or the process was forking.
    is_more_to_come: bool,
    /// How much of a look's time went into putting away.
    put_away_ns: u64,
}

impl Keeper {
    fn new(after_ns: u64) -> Keeper {
        Keeper {
            after_ns,
            draft: Draft::new(),
            records: Records::new(),
            candidates: Vec::with_capacity(BATCH),
            traced: Vec::with_capacity(RUN_MAX),
            held: Vec::with_capacity(RUN_MAX),
            is_more_to_come: true,
            put_away_ns: 0,
        }
    }

    fn serve(mut self) {
        /// Nobody wakes who sleeps on it.
        static PAUSE: AtomicU32 = AtomicU32::new(0);
        thread::begin_own();
        let mut look_ns = 0;
        let mut seen = ASKED.load(Ordering::Acquire);
        loop {
            let period_ns = (self.after_ns / 2).max(PERIOD_MIN_NS);
            let period_ns = period_ns.max(LOOK_SHARE * look_ns);
            let until_ns = clock::now_ns().saturating_add(period_ns);
            while !self.is_more_to_come && ASKED.load(Ordering::Acquire) == seen {
                futex::wait(&ASKED, seen, NEVER);
            }
            // Not more often, whoever asks.
            while clock::now_ns() < until_ns {
                futex::wait(&PAUSE, 0, until_ns);
            }
            // Before the look: it may be past those that were asked for meanwhile.
            seen = ASKED.load(Ordering::Acquire);
            let begin_ns = clock::now_ns();
            self.put_away_ns = 0;
            self.look(begin_ns);
            counters::LOOKS.fetch_add(1, Ordering::Relaxed);
            look_ns = (clock::now_ns() - begin_ns).saturating_sub(self.put_away_ns);
        }
    }

    fn look(&mut self, now_ns: u64) {
        self.is_more_to_come = false;
        self.records.collect();
        slab::each(|gp| {
            let Some(slot) = slot_of_parked(gp) else {
                return;
            };
            match arch::word(slot).map(SleepWord::from_atomic) {
                Some(word) if !word.is_away() => {}
                _ => return,
            }
            let parked = gp.get().parked_coarse.load(Ordering::Relaxed);
            if clock::to_ns(clock::since_coarse(parked, now_ns)) < self.after_ns {
                self.is_more_to_come = true;
                return;
            }
            self.candidates.push(Candidate { gp, slot });
            if self.candidates.len() == BATCH {
                self.put_candidates_away();
            }
        });
        self.put_candidates_away();
    }

    fn put_candidates_away(&mut self) {
        let begin_ns = clock::now_ns();
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_unstable_by_key(|candidate| candidate.slot.base());
        for run in candidates.chunks(RUN_MAX) {
            self.put_away(run);
        }
        candidates.clear();
        self.candidates = candidates;
        self.put_away_ns += clock::now_ns() - begin_ns;
    }

    /// Puts away goroutines that come in the order of their slots, if they are parked still.
    fn put_away(&mut self, run: &[Candidate]) {
        let Some(window) = Window::open() else {
            self.is_more_to_come = true;
            return;
        };
        for candidate in run {
            self.hold(*candidate);
        }
        let mut held = std::mem::take(&mut self.held);
        // Between those that are neighbours lie guards, which only of one kind may be changed for a while.
        let are_neighbours = |one: &Held, next: &Held| {
            one.slot.end() == next.slot.base() && guard::kind() == Some(GuardKind::Install)
        };
        for together in held.chunk_by_mut(are_neighbours) {
            // What is refused is asked for again when somebody asks to look: not at once, as it may be so for long.
            self.empty(together);
            for held in together.iter() {
                held.let_go();
            }
        }
        held.clear();
        self.held = held;
        // Not before: who is queued wants locks.
        drop(window);
        for gp in self.traced.drain(..) {
            sched::end_trace(gp);
        }
    }

    /// Makes the goroutine Traced, and its word BUSY, if it is parked and can be put away.
    fn hold(&mut self, Candidate { gp, slot }: Candidate) {
        let g = gp.get();
        if !g.status.try_trace() {
            return;
        }
        self.traced.push(gp);
        // It may be another one by now, or have gone deeper before it parked again.
        if slot_of_switched_out(gp) != Some(slot) {
            return;
        }
        let live = slot.end() - page_of(g.sp.load(Ordering::Relaxed));
        if live > PAGES_MAX * PAGE_BYTES {
            return;
        }
        let word = arch::word(slot).map(SleepWord::from_atomic);
        if let Some(word) = word.filter(|word| word.try_begin()) {
            self.held.push(Held {
                gp,
                slot,
                word,
                record: None,
            });
        }
    }

    /// Takes the pages of neighbours away, for records of them. `None`: they are as they were, without records.
    fn empty(&mut self, together: &mut [Held]) -> Option<()> {
        let (first, last) = (together.first()?, together.last()?);
        let addr = first.slot.limit() as usize;
        // SAFETY: slots of one chunk, as they are neighbours. Their goroutines are Traced (H1). Others who write wait in
        // `fault`, as the words are BUSY. Guards in between are of the right kind, see the caller.
        let frozen = unsafe { Frozen::new(addr, last.slot.end() - addr) }?;
        for held in together.iter_mut() {
            self.draft.clear();
            let sp = held.gp.get().sp.load(Ordering::Relaxed);
            for page in (page_of(sp)..held.slot.end()).step_by(PAGE_BYTES) {
                // SAFETY: a page of the slot, which is frozen.
                unsafe { self.draft.add(page, sp) };
            }
            held.record = self.records.finish(&self.draft);
        }
        let is_complete = together.iter().all(|held| held.record.is_some());
        let Some(emptied) = Some(frozen).filter(|_| is_complete).and_then(Frozen::empty) else {
            for record in together.iter_mut().filter_map(|held| held.record.take()) {
                self.records.release(record);
            }
            return None;
        };
        for held in together.iter_mut() {
            let record = held.record.expect("all are there");
            let mut is_marked = true;
            record.each_address(|addr| is_marked &= emptied.mark(addr));
            if !is_marked {
                // SAFETY: nobody else puts back what the keeper has in hand, and these were the contents.
                unsafe { fault::put_back(record) };
                self.records.release(record);
                held.record = None;
            }
        }
        Some(())
    }
}

impl Held {
    /// The pages are everybody's to touch, or to bring back.
    fn let_go(&self) {
        let is_waited = match self.record {
            Some(record) => {
                AWAY.fetch_add(1, Ordering::Relaxed);
                counters::BYTES.fetch_add(record.bytes(), Ordering::Relaxed);
                counters::TIMES.fetch_add(1, Ordering::Relaxed);
                self.word.put_away(record.address())
            }
            None => self.word.finish(),
        };
        if is_waited {
            futex::wake(self.word.futex(), u32::MAX >> 1);
        }
    }
}

fn page_of(addr: usize) -> usize {
    addr & !(PAGE_BYTES - 1)
}

/// The slot of a goroutine that is parked, as it seems, and may be put away.
fn slot_of_parked(gp: GRef) -> Option<Slot> {
    let is_parked = gp.get().status.load() == State::Waiting;
    is_parked.then(|| slot_of_switched_out(gp)).flatten()
}

/// The slot of a goroutine that has left it, as it seems, and may be put away: by where it has saved its registers.
fn slot_of_switched_out(gp: GRef) -> Option<Slot> {
    let g = gp.get();
    let is_fit = g.kind.get() == Kind::Stackful
        && !g.has_flag(flags::SYSTEM | flags::OWN_SIGNALS | flags::LENDS);
    if !is_fit {
        return None;
    }
    stack::find(g.sp.load(Ordering::Relaxed))
}
