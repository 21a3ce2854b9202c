//! Do signals show? Every blocking call that a handler can interrupt, beside goroutines that compute.
//!
//! Each goroutine computes for a while, so that it is likely to be asked to stop, and then makes the call,
//! which must not notice. Which calls a handler interrupts in spite of `SA_RESTART` is said in signal(7);
//! here these have a bound, as the runtime cannot know that a goroutine is about to make one. All others,
//! and all of gort's own, must never.

mod ours;
mod sys;
mod timed;
mod woken;

use std::io;
use std::time::{Duration, Instant};

use gort::runtime::metrics;
use gort_test_support::Random;

use crate::load::{Load, burn};
use crate::mark;
use crate::watch;

/// A call, made again and again: it is told for how long to block. The error says what a user would get.
type Op = Box<dyn FnMut(Duration) -> io::Result<()> + Send>;

/// How often a signal may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The kernel, std or gort goes on by itself.
    Never,
    /// The kernel gives EINTR whatever the handler's flags are.
    Rarely,
}

/// One row of the list.
#[derive(Debug)]
struct Call {
    name: &'static str,
    shows: Shows,
    /// Makes what a goroutine needs to make the call. The error says why it cannot be had here.
    new: fn() -> io::Result<Op>,
}

/// Goroutines that make a call at the same time.
const CALLERS: u64 = 64;
const HOGS: usize = 2;
const TICKERS: usize = 4;
/// At most so many of a million calls may be interrupted, where the kernel does that.
///
/// A goroutine that computes is sent a signal when its turn is over; between the look at its thread and the signal's
/// arrival it may have begun a call. Measured with these callers: up to 5,000 of a million on 2 Ps, 12,000 on one,
/// and 250,000 where sysmon did not look right before the signal.
const RARELY_PER_MILLION: u64 = 30_000;
/// Fewer calls have no rate: a signal that comes late on a busy machine meets a call, and there a few do.
const RATE_CALLS_MIN: u64 = 10_000;

/// What became of the calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u64,
    interrupted: u64,
}

/// Makes each call `times` times, or those named. True if no signal showed that must not.
pub(crate) fn run(times: u64, seed: u64, names: &[String]) -> bool {
    let all = || {
        let lists = [timed::CALLS, woken::CALLS, ours::CALLS];
        lists.into_iter().flatten()
    };
    if let Some(unknown) = names
        .iter()
        .find(|name| !all().any(|call| call.name == **name))
    {
        eprintln!("preempt: no call is named {unknown}; there are:");
        all().for_each(|call| eprintln!("  {}", call.name));
        return false;
    }
    let mut random = Random::new(seed);
    mark::observe();
    let load = Load::start(HOGS, TICKERS, random.number());
    let mut all_well = true;
    println!("{:<28} {:>9} {:>9} {:>8}", "call", "times", "EINTR", "ms");
    for call in all().filter(|call| names.is_empty() || names.iter().any(|name| name == call.name))
    {
        let start = Instant::now();
        let counts = match make(call, times, &mut random) {
            Ok(counts) => counts,
            Err(why) => {
                println!("{:<28} not here: {why}", call.name);
                continue;
            }
        };
        let bound = match call.shows {
            Shows::Never => 0,
            Shows::Rarely if counts.calls < RATE_CALLS_MIN => u64::MAX,
            Shows::Rarely => counts.calls * RARELY_PER_MILLION / 1_000_000,
        };
        let verdict = match counts.interrupted > bound {
            true => "TOO OFTEN",
            false => "",
        };
        all_well &= verdict.is_empty();
        println!(
            "{:<28} {:>9} {:>9} {:>8} {verdict}",
            call.name,
            counts.calls,
            counts.interrupted,
            start.elapsed().as_millis()
        );
    }
    load.stop();
    let now = metrics();
    println!(
        "{} preemptions, {} retakes, {} met the thread coming back",
        now.preemptions, now.retakes, now.retake_races
    );
    all_well
}

fn make(call: &'static Call, times: u64, random: &mut Random) -> io::Result<Counts> {
    let callers = CALLERS.min(times);
    // One is made ahead, to see whether it can be had.
    let mut first = Some((call.new)()?);
    let callers: Vec<_> = (0..callers)
        .map(|caller| {
            let share = times / callers + u64::from(caller < times % callers);
            let (op, random) = (first.take(), random.fork());
            gort::go(move || caller_of(call, op, share, random))
        })
        .collect();
    let mut sum = Counts::default();
    for caller in callers {
        let counts = caller.join().expect("the call fails in no other way");
        sum.calls += counts.calls;
        sum.interrupted += counts.interrupted;
    }
    Ok(sum)
}

fn caller_of(call: &Call, op: Option<Op>, times: u64, mut random: Random) -> Counts {
    let mut op = op.unwrap_or_else(|| (call.new)().expect("there was one before"));
    let mut counts = Counts::default();
    while counts.calls < times {
        // Mostly short; now and then long enough to be found computing.
        let micros = match random.below(16) {
            0 => random.below(3_000),
            _ => random.below(60),
        };
        burn(Duration::from_micros(micros));
        let length = Duration::from_micros(20 + random.below(380));
        match op(length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => counts.interrupted += 1,
            Err(error) => panic!("{}: {error}", call.name),
        }
        counts.calls += 1;
        watch::progress();
    }
    counts
}
