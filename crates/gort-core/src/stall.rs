//! Who keeps others waiting: goroutines that held a P for more than 10 ms without giving it up.
//!
//! A stall begins with the goroutine's last switch and ends when it next comes to the runtime by itself, or
//! is stopped by the signal of `preempt`. It was *blocked*, if sysmon saw its thread asleep in the kernel
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
use crate::sched::p::{P, Still};
use crate::settings;
use crate::symbol::Symbol;
use crate::trace::Stack;
use record::{Ended, Holds};

/// Sites that are told apart.
const SITES_MAX: usize = 64;
/// Lines of the log in a second.
const LINES_MAX: u32 = 10;
const SECOND_NS: u64 = 1_000_000_000;

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
    let has_record = record::post(mp, holds, still.since_ns);
    if still.tell_again(now_ns) && !has_record {
        record::count_missed();
    }
}

// ---- the goroutine's side ----

/// For a goroutine, `gp` on `mp`, that enters the runtime and was asked for: it may have been stalled. It is inside
/// once, and may have left and entered again when this returns.
pub(crate) fn came_back(mp: &'static M, gp: GRef) {
    if let Some(record) = record::take_own(mp, gp) {
        record.stop_clock();
        // The unwinder of an old libc takes the loader's lock.
        inside::step_out(|| record.end(|addresses| arch::own(addresses)));
        reporter::ask(Job::Stalls);
    }
}

/// For the signal handler that is about to stop goroutine `gp` on `mp`, by calling `stop`: it may have been stalled
/// until now. Async-signal-safe.
pub(crate) fn until_stopped(mp: &'static M, gp: GRef, stop: impl FnOnce()) {
    let record = record::take_own(mp, gp);
    record.inspect(|record| record.stop_clock());
    stop();
    // Its stack is as before, and now it keeps nobody waiting.
    if let Some(record) = record {
        record.end(|addresses| arch::interrupted(addresses));
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
    /// What is the same for all of the site, beside kind and creation site: where computing goroutines are
    /// interrupted varies, their functions do not.
    key: Vec<usize>,
    is_logged: bool,
}

struct Sites {
    all: Vec<Site>,
    /// Of further sites.
    left_out: u64,
    log: LogRate,
}

/// For how many lines there is room in this second.
struct LogRate {
    second: u64,
    lines: u32,
}

static SITES: Mutex<Sites> = Mutex::new(Sites {
    all: Vec::new(),
    left_out: 0,
    log: LogRate {
        second: 0,
        lines: 0,
    },
});

/// Has stalls counted as they end; once, at start.
pub(crate) fn start() {
    reporter::set(Job::Stalls, report);
}

/// The sites so far, in the order in which they were found, and how many stalls are in none of them.
///
/// For code outside the runtime: takes a lock and allocates.
pub fn sites() -> (Vec<Site>, u64) {
    let sites = counted();
    (sites.all.clone(), sites.left_out + record::missed())
}

/// The sites, with all stalls that have ended.
fn counted() -> MutexGuard<'static, Sites> {
    let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
    record::collect(|ended| sites.count(ended));
    sites
}

fn report() {
    let mut sites = counted();
    if !settings::stall_log() {
        return;
    }
    let now_ns = clock::now_ns();
    let mut lines = Vec::new();
    let Sites { all, log, .. } = &mut *sites;
    for site in all.iter_mut().filter(|site| !site.is_logged) {
        if !log.has_room(now_ns) {
            break;
        }
        site.is_logged = true;
        lines.push(site.clone());
    }
    // Names take a while, and whoever asks for the sites meanwhile may be a goroutine.
    drop(sites);
    for site in lines {
        write_line(format_args!("gort: stall: {site}"));
    }
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
    fn count(&mut self, ended: Ended) {
        if ended.duration_ns < Still::LONG_NS {
            return;
        }
        let Ended {
            call,
            duration_ns,
            id,
            created_at,
            in_call,
            at_end,
            is_cut,
        } = ended;
        // The first frame alone, which the kernel gives, says nothing.
        let addresses = if in_call.len() > 1 { in_call } else { at_end };
        let kind = call.map_or(Kind::Computing, Kind::Blocked);
        let key: Vec<usize> = match kind {
            Kind::Blocked(_) => addresses.clone(),
            Kind::Computing => addresses
                .iter()
                .map(|&a| arch::function_of(a - 1))
                .collect(),
        };
        let duration = Duration::from_nanos(duration_ns);
        let mut known = self.all.iter_mut();
        let known = known
            .find(|site| (site.kind, site.created_at) == (kind, created_at) && site.key == key);
        if let Some(site) = known {
            site.count += 1;
            site.total += duration;
            site.longest = site.longest.max(duration);
        } else if self.all.len() < SITES_MAX {
            self.all.push(Site {
                kind,
                count: 1,
                total: duration,
                longest: duration,
                created_at,
                stack: Stack {
                    addresses: addresses.into(),
                    is_cut,
                },
                first_id: id,
                key,
                is_logged: false,
            });
        } else {
            self.left_out += 1;
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

    fn ended(call: Option<i64>, duration_ms: u64, place: usize) -> Ended {
        Ended {
            call,
            duration_ns: duration_ms * 1_000_000,
            id: 7,
            created_at: None,
            in_call: vec![place, place + 1],
            at_end: vec![1],
            is_cut: false,
        }
    }

    fn empty() -> Sites {
        Sites {
            all: Vec::new(),
            left_out: 0,
            log: LogRate {
                second: 0,
                lines: 0,
            },
        }
    }

    #[test]
    fn stalls_are_counted_by_place() {
        let mut sites = empty();
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

    #[test]
    fn there_is_a_bound() {
        let mut sites = empty();
        for place in 0..SITES_MAX + 3 {
            sites.count(ended(Some(0), 12, place * 10));
        }
        assert_eq!((sites.all.len(), sites.left_out), (SITES_MAX, 3));
        sites.count(ended(Some(0), 12, 0));
        assert_eq!(sites.all[0].count, 2, "those that are known go on");
    }

    #[test]
    fn the_log_has_a_rate() {
        let mut rate = empty().log;
        let room = |rate: &mut LogRate, now_ns| (0..20).filter(|_| rate.has_room(now_ns)).count();
        assert_eq!(room(&mut rate, 5 * SECOND_NS), 10);
        assert_eq!(room(&mut rate, 5 * SECOND_NS + 1), 0);
        assert_eq!(room(&mut rate, 6 * SECOND_NS), 10);
    }
}
