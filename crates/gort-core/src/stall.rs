//! Who keeps others waiting: goroutines that held a P for more than 10 ms without giving it up.
//!
//! A stall begins with the goroutine's last switch, or with the last one's end, and ends when it next comes to the
//! runtime by itself, or is stopped by the signal of `preempt`. It was *blocked*, if sysmon saw its thread asleep in the kernel
//! (in any library's call; one that was announced with `blocking` holds no P), or it was *computing*, which
//! includes waiting for a processor that other threads use. Losing the P on the way ends nothing: the
//! others are no longer kept waiting, but the cause is the same.
//!
//! | who                 | does                                                                       |
//! |---------------------|----------------------------------------------------------------------------|
//! | sysmon              | finds that a P has made no switch, copies the stack of its thread if that  |
//! |                     | sleeps, and leaves a record at the M ([`tell_of_p`], [`tell_of_lost`])                 |
//! | the goroutine       | finds the record at its next entry into the runtime, and adds the time and |
//! |                     | the stack with which it came back ([`came_back`])                          |
//! | the signal handler  | does the same for one that is stopped while it computes ([`until_stopped`])|
//! | the reporter        | counts by sites, and writes a line for each new one (`GORT_STALL=log`)     |
//!
//! A stall that has gone on for a second is counted then, with its time so far: it may never end. sysmon leaves a
//! copy of the record; of one that computes, the reporter asks for the stack (`trace`), if its thread is on a
//! processor. At the end, the rest of the time is added.
//!
//! A thread that sleeps is sent no signal, as some calls would end with EINTR. So its stack is walked from
//! outside, as a copy (`gort_arch::trace::copied`); if that fails, the stack with which the goroutine came back
//! stands in for it, which has the callers of the call, if no more. That is also what is known of one that
//! computed while nobody wanted its P.
//!
//! Bounded: 64 stalls that go on at once, 64 sites; what is beyond is counted. sysmon, the goroutine and
//! the handler allocate nothing and take no lock.
//!
//! It can miss: sysmon looks every 10 ms if nothing happens, so a stall of less than 20 ms may pass unseen.
//!
//! Elsewhere: records and who owns them when (`record`). Checked by `gort/tests/stalls.rs`.

mod call;
mod record;

use std::ffi::c_void;
use std::fmt;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gort_arch::trace as arch;

use crate::clock;
use crate::dump;
use crate::fatal::write_line;
use crate::g::GRef;
use crate::inside;
use crate::reporter::{self, Job};
use crate::sched::m::M;
use crate::sched::p::P;
use crate::sched::seen::Still;
use crate::settings;
use crate::symbol::Symbol;
use crate::trace::{Stack, Tracer};
use record::{Holds, Tell, Told, Who};

/// Sites that are told apart.
const SITES_MAX: usize = 64;
/// Lines of the log in a second.
const LINES_MAX: u32 = 10;
const SECOND_NS: u64 = 1_000_000_000;
/// After how long a stall is counted although it goes on.
const SO_FAR_NS: u64 = SECOND_NS;
/// How often a thread that computes is asked for its stack, if it is not on a processor, and how long after the last
/// time: it gets one every few milliseconds.
const ASKS_MAX: u32 = 20;
const ASK_AGAIN: Duration = Duration::from_millis(1);

// ---- sysmon's side ----

/// P `pp` has made no switch, after so many, and that is due.
#[cold]
pub(crate) fn tell_of_p(pp: &'static P, switches: u64, still: &mut Still, now_ns: u64) {
    // SAFETY: null or an M, made before it was stored there (`M::acquire`), which is never freed.
    if let Some(mp) = unsafe { pp.m.load(Ordering::Acquire).as_ref() } {
        tell(mp, Holds::P(pp, switches), still, now_ns);
    }
}

/// M `mp`, whose P was taken, has not noticed, and that is due.
#[cold]
pub(crate) fn tell_of_lost(mp: &'static M, still: &mut Still, now_ns: u64) {
    tell(mp, Holds::Nothing, still, now_ns);
}

fn tell(mp: &'static M, holds: Holds, still: &mut Still, now_ns: u64) {
    let since_ns = still.since_ns.max(mp.came_back_ns.load(Ordering::Relaxed));
    if now_ns < since_ns + Still::LONG_NS {
        return still.tell_later(since_ns);
    }
    let has_record = record::post(mp, holds, since_ns);
    if still.tell_again(since_ns, now_ns) && !has_record {
        record::count_missed();
    }
    let is_long = now_ns >= since_ns + SO_FAR_NS;
    if is_long && record::copy_so_far(mp, since_ns, now_ns, SO_FAR_NS) {
        reporter::ask(Job::Stalls);
    }
}

// ---- the goroutine's side ----

/// For a goroutine, `gp` on `mp`, that enters the runtime and was asked for: it may have been stalled. It is inside
/// once, and may have left and entered again when this returns.
pub(crate) fn came_back(mp: &'static M, gp: GRef) {
    if let Some(record) = record::take_own(mp, gp) {
        record.stop_clock(mp);
        // The unwinder of an old libc takes the loader's lock.
        inside::step_out(|| record.end(|addresses| arch::own(addresses)));
        reporter::ask(Job::Stalls);
    }
}

/// For the signal handler that is about to stop goroutine `gp` on `mp`, by calling `stop`: it may have been stalled
/// until now. Async-signal-safe.
///
/// # Safety
///
/// `context` is the `ucontext_t` of the handler.
pub(crate) unsafe fn until_stopped(
    mp: &'static M,
    gp: GRef,
    context: *const c_void,
    stop: impl FnOnce(),
) {
    let record = record::take_own(mp, gp);
    record.inspect(|record| record.stop_clock(mp));
    stop();
    // Its stack is as before, and now it keeps nobody waiting.
    if let Some(record) = record {
        // SAFETY: as the caller promises.
        record.end(|addresses| unsafe { arch::interrupted(context, addresses) });
        reporter::ask(Job::Stalls);
    }
}

// ---- the reporter's side ----

/// What stalled goroutines were doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The thread slept in this system call of the kernel's; -1 is a page fault.
    Blocked(i64),
    /// The goroutine computed.
    Computing,
}

impl Kind {
    fn of(told: &Told) -> Kind {
        told.call.map_or(Kind::Computing, Kind::Blocked)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Blocked(call) => match call::name(*call) {
                Some(name) => write!(f, "blocking {name}"),
                None => write!(f, "blocking system call {call}"),
            },
            Kind::Computing => f.write_str("computing"),
        }
    }
}

/// A place at which goroutines were stalled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Site {
    /// What they did.
    pub kind: Kind,
    /// How often.
    pub count: u64,
    /// For how long, together.
    pub total: Duration,
    /// For how long, at most.
    pub longest: Duration,
    /// Where they were started.
    pub created_at: Option<&'static Location<'static>>,
    /// The stack of the first of them.
    pub stack: Stack,
    /// The number of the first of them.
    first_id: u64,
    /// Of how many the end is still to come.
    going_on: u32,
    /// What is the same for all of the site, beside kind and creation site: where computing goroutines are
    /// interrupted varies, their functions do not.
    key: Vec<usize>,
    is_logged: bool,
}

struct Sites {
    all: Vec<Site>,
    /// Those that were counted before their end: as many as there can be records.
    going_on: Vec<GoingOn>,
    /// Those that were told before their end and at it, of which the latter came first.
    over: Vec<Who>,
    /// Of further sites.
    left_out: u64,
    log: LogRate,
}

/// What is in here is reached by methods of [`Sites`] alone, which are not inlined: `ci/tsan.supp` names them.
static SITES: Mutex<Sites> = Mutex::new(Sites::new());

/// A stall that was counted before its end.
#[derive(Clone, Copy)]
struct GoingOn {
    who: Who,
    /// The site, and the time that it was counted with; none if it was left out.
    counted: Option<(usize, Duration)>,
}

/// For how many lines there is room in this second.
struct LogRate {
    second: u64,
    lines: u32,
}

/// Has stalls counted as they end; once, at start.
pub(crate) fn start() {
    reporter::set(Job::Stalls, report);
}

/// The sites so far, in the order in which they were found, and how many stalls are in none of them.
///
/// For code outside the runtime: takes a lock and allocates.
pub fn sites() -> (Vec<Site>, u64) {
    let (sites, left_out) = counted().copy();
    (sites, left_out + record::missed())
}

/// The sites, with all stalls that have ended, or gone on for long.
fn counted() -> MutexGuard<'static, Sites> {
    let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
    record::collect(|told| sites.count(told));
    sites
}

fn report() {
    // Without the lock: a goroutine that is stopped may hold it.
    record::ask_for_stacks(stack_of);
    let mut sites = counted();
    if !settings::stall_log() {
        return;
    }
    let to_log = sites.take_to_log(clock::now_ns());
    // Names take a while, and whoever asks for the sites meanwhile may be a goroutine.
    drop(sites);
    for site in to_log {
        write_line(format_args!("gort: stall: {site}"));
    }
}

/// The stack of a goroutine that computes, if it still does.
fn stack_of(gp: GRef, id: u64) -> Option<Stack> {
    let mut tracer = Tracer::new();
    for _ in 0..ASKS_MAX {
        let stack = tracer.ask(gp, id, false);
        if stack.is_some() {
            return stack;
        }
        // waits: until it has a processor, perhaps
        std::thread::sleep(ASK_AGAIN);
    }
    None
}

impl LogRate {
    fn has_room(&mut self, now_ns: u64) -> bool {
        let second = now_ns / SECOND_NS;
        if second != self.second {
            *self = LogRate { second, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LINES_MAX
    }
}

impl Sites {
    const fn new() -> Sites {
        Sites {
            all: Vec::new(),
            going_on: Vec::new(),
            over: Vec::new(),
            left_out: 0,
            log: LogRate {
                second: 0,
                lines: 0,
            },
        }
    }

    /// The sites, and how many stalls are in none of them.
    #[inline(never)]
    fn copy(&self) -> (Vec<Site>, u64) {
        (self.all.clone(), self.left_out)
    }

    /// The sites that have not been logged, as far as there is room for them.
    #[inline(never)]
    fn take_to_log(&mut self, now_ns: u64) -> Vec<Site> {
        let mut to_log = Vec::new();
        for site in self.all.iter_mut().filter(|site| !site.is_logged) {
            if !self.log.has_room(now_ns) {
                break;
            }
            site.is_logged = true;
            to_log.push(site.clone());
        }
        to_log
    }

    /// Counts a stall. One that is told twice, while it goes on and at its end, is counted once, with its whole time.
    #[inline(never)]
    fn count(&mut self, told: Told) {
        if told.duration_ns < Still::LONG_NS {
            return;
        }
        let (who, duration) = (told.who, Duration::from_nanos(told.duration_ns));
        match told.tell {
            Tell::SoFar => {
                if let Some(index) = self.over.iter().position(|over| *over == who) {
                    self.over.swap_remove(index);
                    return;
                }
                let counted = self.count_new(told, duration).map(|index| {
                    self.all[index].going_on += 1;
                    (index, duration)
                });
                self.going_on.push(GoingOn { who, counted });
            }
            Tell::TheRest => {
                let index = self.going_on.iter().position(|known| known.who == who);
                match index.map(|index| self.going_on.swap_remove(index).counted) {
                    Some(Some((index, before))) => {
                        self.all[index].count_rest(told, duration, before)
                    }
                    Some(None) => {}
                    None => {
                        self.over.push(who);
                        self.count_new(told, duration);
                    }
                }
            }
            Tell::All => {
                self.count_new(told, duration);
            }
        }
    }

    /// The site of a stall, with that counted in; none if there is no room.
    fn count_new(&mut self, told: Told, duration: Duration) -> Option<usize> {
        let (id, kind, created_at) = (told.who.id, Kind::of(&told), told.created_at);
        let (key, stack) = place(told);
        let mut known = self.all.iter();
        let known = known
            .position(|site| (site.kind, site.created_at) == (kind, created_at) && site.key == key);
        if let Some(index) = known {
            let site = &mut self.all[index];
            site.count += 1;
            site.total += duration;
            site.longest = site.longest.max(duration);
            return Some(index);
        }
        if self.all.len() == SITES_MAX {
            self.left_out += 1;
            return None;
        }
        self.all.push(Site {
            kind,
            count: 1,
            total: duration,
            longest: duration,
            created_at,
            stack,
            first_id: id,
            going_on: 0,
            key,
            is_logged: false,
        });
        Some(self.all.len() - 1)
    }
}

/// What a stall has in common with others of its place, and its stack.
fn place(told: Told) -> (Vec<usize>, Stack) {
    let kind = Kind::of(&told);
    let Told {
        in_call,
        at_end,
        is_cut,
        ..
    } = told;
    // The first frame alone, which the kernel gives, says nothing.
    let addresses = if in_call.len() > 1 { in_call } else { at_end };
    let key = match kind {
        Kind::Blocked(_) => addresses.clone(),
        Kind::Computing => {
            let functions = addresses.iter().map(|&a| arch::function_of(a - 1));
            functions.collect()
        }
    };
    let addresses = addresses.into();
    (key, Stack { addresses, is_cut })
}

impl Site {
    /// A stall of this site, counted with the time `before`, is over.
    fn count_rest(&mut self, told: Told, duration: Duration, before: Duration) {
        self.going_on -= 1;
        self.total += duration.saturating_sub(before);
        self.longest = self.longest.max(duration);
        if self.stack.addresses.is_empty() {
            (self.key, self.stack) = place(told);
        }
    }
}

impl Site {
    /// The function of the user's, or of a library, that called what took so long. Reads the program's debug
    /// information.
    pub fn culprit(&self) -> Option<Symbol> {
        dump::users(&self.stack)
    }
}

/// One line.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(culprit) = self.culprit() {
            write!(f, " in {}", culprit.function)?;
            if let (Some(file), Some(line)) = (culprit.file, culprit.line) {
                write!(f, " ({file}:{line})")?;
            }
        }
        write!(f, ", {} ms", self.longest.as_millis())?;
        if self.count > 1 {
            write!(f, " at most, {} times", self.count)?;
        }
        if self.going_on > 0 {
            f.write_str(" so far")?;
        }
        write!(f, "; goroutine {}", self.first_id)?;
        match self.created_at {
            Some(at) => write!(f, ", created at {at}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(call: Option<i64>, duration_ms: u64, place: usize) -> Told {
        Told {
            call,
            duration_ns: duration_ms * 1_000_000,
            tell: Tell::All,
            who: Who { id: 7, since_ns: 1 },
            created_at: None,
            in_call: vec![place, place + 1],
            at_end: vec![1],
            is_cut: false,
        }
    }

    #[test]
    fn stalls_are_counted_by_place() {
        let mut sites = Sites::new();
        sites.count(ended(Some(0), 12, 100));
        sites.count(ended(Some(0), 30, 100));
        sites.count(ended(Some(1), 11, 100));
        sites.count(ended(Some(0), 11, 200));
        sites.count(ended(None, 11, 200));
        sites.count(ended(None, 9, 300));
        let counts: Vec<_> = sites.all.iter().map(|site| site.count).collect();
        assert_eq!(counts, [2, 1, 1, 1]);
        let first = &sites.all[0];
        assert_eq!(first.kind, Kind::Blocked(0));
        assert_eq!(first.total, Duration::from_millis(42));
        assert_eq!(first.longest, Duration::from_millis(30));
    }

    /// Of goroutine 7's stall that began at `since_ns`.
    fn told(tell: Tell, since_ns: u64, duration_ms: u64, place: usize) -> Told {
        Told {
            tell,
            who: Who { id: 7, since_ns },
            ..ended(Some(0), duration_ms, place)
        }
    }

    #[test]
    fn one_that_goes_on_is_counted_once() {
        let mut sites = Sites::new();
        sites.count(ended(Some(0), 12, 100));
        sites.count(told(Tell::SoFar, 2, 1_000, 100));
        let site = &sites.all[0];
        assert_eq!((site.count, site.going_on), (2, 1));
        assert_eq!(site.total, Duration::from_millis(1_012));
        let text = site.to_string();
        assert!(text.contains(" 1000 ms at most, 2 times so far"), "{text}");
        // At its end it is found at another place.
        sites.count(told(Tell::TheRest, 2, 5_000, 200));
        assert_eq!((sites.all.len(), sites.going_on.len()), (1, 0));
        let site = &sites.all[0];
        assert_eq!((site.count, site.going_on), (2, 0));
        assert_eq!(site.total, Duration::from_millis(5_012));
        assert_eq!(site.longest, Duration::from_millis(5_000));
        // The same goroutine, later.
        sites.count(told(Tell::SoFar, 3, 1_000, 100));
        assert_eq!((sites.all[0].count, sites.all[0].going_on), (3, 1));
    }

    #[test]
    fn one_whose_end_is_told_first_is_counted_once() {
        let mut sites = Sites::new();
        sites.count(told(Tell::TheRest, 2, 1_100, 100));
        sites.count(told(Tell::SoFar, 2, 1_000, 200));
        assert_eq!((sites.all.len(), sites.going_on.len()), (1, 0));
        assert!(sites.over.is_empty());
        let site = &sites.all[0];
        assert_eq!((site.count, site.going_on), (1, 0));
        assert_eq!(site.total, Duration::from_millis(1_100));
    }

    #[test]
    fn one_without_a_stack_gets_that_of_its_end() {
        let mut sites = Sites::new();
        sites.count(Told {
            in_call: Vec::new(),
            at_end: Vec::new(),
            ..told(Tell::SoFar, 2, 1_000, 0)
        });
        sites.count(told(Tell::TheRest, 2, 5_000, 100));
        sites.count(ended(Some(0), 12, 100));
        assert_eq!(sites.all.len(), 1);
        assert_eq!(sites.all[0].count, 2);
        assert_eq!(*sites.all[0].stack.addresses, [100, 101]);
    }

    #[test]
    fn there_is_a_bound() {
        let mut sites = Sites::new();
        for place in 0..SITES_MAX + 3 {
            sites.count(ended(Some(0), 12, place * 10));
        }
        assert_eq!((sites.all.len(), sites.left_out), (SITES_MAX, 3));
        sites.count(ended(Some(0), 12, 0));
        assert_eq!(sites.all[0].count, 2, "those that are known go on");
    }

    #[test]
    fn the_log_has_a_rate() {
        let mut rate = Sites::new().log;
        let room = |rate: &mut LogRate, now_ns| (0..20).filter(|_| rate.has_room(now_ns)).count();
        assert_eq!(room(&mut rate, 5 * SECOND_NS), 10);
        assert_eq!(room(&mut rate, 5 * SECOND_NS + 1), 0);
        assert_eq!(room(&mut rate, 6 * SECOND_NS), 10);
    }
}
