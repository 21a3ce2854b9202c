//! A million goroutines parked on one channel at once.
//!
//! Each has run: it makes a local of 64 bytes from its number, calls some functions deep, parks
//! there, and checks the local when it is woken. One close wakes them all. So a stack that was mixed
//! up, lost or overwritten shows as a wrong local.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use gort::chan::{self, Receiver};
use gort_arch::guard::GuardKind;
use gort_arch::tls;

use crate::number::{bytes, grouped, ns_each, time};
use crate::progress::Progress;
use crate::tour::report::Report;
use crate::{Failure, limits, machine};

/// The smallest class of stacks: what one takes for the millions.
const STACK_BYTES: usize = 64 << 10;
/// A parked goroutine takes a page of stack, its page tables and its header: some 4.5 KB, with a
/// margin.
const BYTES_EACH_GUESS: u64 = 6_000;
/// Frames between the local and the park.
const DEPTH: u32 = 4;
/// Goroutines started in one go; then they get to run, so that they do not all wait in the queues.
const BATCH: u64 = 1_000;
/// An OS thread each, in thread mode: far below the usual limits.
const THREADS_MAX: u64 = 2_000;

#[derive(Debug, Default)]
struct Counts {
    arrived: AtomicU64,
    woken: AtomicU64,
    wrong: AtomicU64,
}

/// Those that could be made, and why they are not all.
struct Made {
    count: u64,
    refusal: Option<io::Error>,
}

pub(crate) fn visit(wanted: u64, report: &mut Report) -> Result<(), Failure> {
    let (n, bound) = goroutines_that_fit(wanted);
    let counts = Arc::new(Counts::default());
    let (gate, at_gate) = chan::bounded::<()>(0);

    let bytes_before = machine::resident_bytes();
    let start = Instant::now();
    let made = create(n, &at_gate, &counts);
    let creating = start.elapsed();
    let bound = made
        .refusal
        .map_or_else(|| bound.to_owned(), |err| err.to_string());
    let made = made.count;
    if made == 0 {
        return Err(Failure::failed(format!(
            "no goroutine could be made: {bound}"
        )));
    }
    let bytes_taken = machine::resident_bytes().saturating_sub(bytes_before) as f64;
    let alive = counts.arrived.load(Relaxed) - counts.woken.load(Relaxed);

    let start = Instant::now();
    drop(gate);
    wait_for_all_to_wake(made, &counts);
    let waking = start.elapsed();

    let scaled = match made == wanted {
        true => String::new(),
        false => format!(" (not {}: {bound})", grouped(wanted)),
    };
    report.section(format!(
        "{} goroutines parked on one channel at once{scaled}",
        grouped(made)
    ));
    report.row("memory each", bytes(bytes_taken / made as f64));
    report.row("memory in all", bytes(bytes_taken));
    report.row("create, run and park, each", time(ns_each(creating, made)));
    report.row("wake, check and end, each", time(ns_each(waking, made)));

    let wrong = counts.wrong.load(Relaxed);
    let right = counts.woken.load(Relaxed) - wrong;
    report.check(
        alive == made,
        format!(
            "{} of {} goroutines were alive at once",
            grouped(alive),
            grouped(made)
        ),
    );
    report.check(
        right == made,
        format!(
            "{} of {} found their 64-byte local unchanged after the park",
            grouped(right),
            grouped(made)
        ),
    );
    Ok(())
}

/// Starts `n` goroutines and waits until all are parked.
fn create(n: u64, at_gate: &Receiver<()>, counts: &Arc<Counts>) -> Made {
    let mut progress = Progress::new("parking goroutines", n);
    let show = |progress: &mut Progress| {
        let arrived = counts.arrived.load(Relaxed);
        progress.set(arrived, &grouped(arrived));
    };
    let mut made = Made {
        count: 0,
        refusal: None,
    };
    while made.count < n && made.refusal.is_none() {
        for number in made.count..(made.count + BATCH).min(n) {
            let (at_gate, counts) = (at_gate.clone(), Arc::clone(counts));
            let builder = gort::Builder::new().stack_size(STACK_BYTES);
            match builder.go(move || keep_a_local(number, &at_gate, &counts)) {
                Ok(_detached) => made.count += 1,
                Err(err) => {
                    made.refusal = Some(err);
                    break;
                }
            }
        }
        gort::yield_now();
        show(&mut progress);
    }
    wait_until(|| {
        show(&mut progress);
        counts.arrived.load(Relaxed) == made.count && is_nobody_runnable()
    });
    progress.finish(&grouped(made.count));
    made
}

/// They end right after.
fn wait_for_all_to_wake(made: u64, counts: &Counts) {
    let mut progress = Progress::new("waking them", made);
    wait_until(|| {
        let woken = counts.woken.load(Relaxed);
        progress.set(woken, &grouped(woken));
        woken == made
    });
    progress.finish(&grouped(made));
}

/// The condition is looked at every millisecond: a thousandth of what is measured here.
fn wait_until(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        gort::time::sleep(Duration::from_millis(1));
    }
}

/// Those that have arrived and are in no queue are parked, or about to be within some instructions.
fn is_nobody_runnable() -> bool {
    let metrics = gort::runtime::metrics();
    metrics.global_queue == 0 && metrics.local_queues == 0
}

/// What each of them does.
#[inline(never)]
fn keep_a_local(number: u64, at_gate: &Receiver<()>, counts: &Counts) {
    let mut local = local_of(number);
    // Opaque to the compiler: it cannot keep the local anywhere but on this stack.
    black_box(&mut local);
    counts.arrived.fetch_add(1, Relaxed);
    park_deep_down(DEPTH, at_gate);
    if *black_box(&local) != local_of(number) {
        counts.wrong.fetch_add(1, Relaxed);
    }
    counts.woken.fetch_add(1, Relaxed);
}

#[inline(never)]
fn park_deep_down(depth: u32, at_gate: &Receiver<()>) {
    match depth {
        0 => {
            // Nothing is ever sent: the close is the signal.
            let _closed = at_gate.recv();
        }
        _ => park_deep_down(black_box(depth - 1), at_gate),
    }
    // Not a tail call: each level keeps its frame.
    black_box(depth);
}

/// 64 bytes that no other number makes.
fn local_of(number: u64) -> [u64; 8] {
    let spread = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    std::array::from_fn(|index| spread.rotate_left(index as u32 * 8))
}

/// How many fit, and what the bound is.
fn goroutines_that_fit(wanted: u64) -> (u64, &'static str) {
    let facts = gort_core::runtime::report();
    // Two thirds: the tour should not push the machine's other work out of memory.
    let by_memory = machine::available_memory() / 3 * 2 / BYTES_EACH_GUESS;
    let by_guards = match facts.stacks.guard {
        Some(GuardKind::Protect) => facts.stacks.guards_max as u64 / 2,
        _ => u64::MAX,
    };
    let by_threads = match facts.tls.mode {
        tls::Mode::Own => u64::MAX,
        _ => THREADS_MAX.min(limits::processes().soft / 2),
    };
    let by_space = limits::address_space().soft / 2 / STACK_BYTES as u64;
    let bounds = [
        (wanted, "as wanted"),
        (by_memory, "memory"),
        (by_guards, "vm.max_map_count, see gort doctor"),
        (by_threads, "each is an OS thread, see gort doctor"),
        (by_space, "the limit on address space, ulimit -v"),
    ];
    let (n, why) = bounds
        .into_iter()
        .min_by_key(|(n, _)| *n)
        .expect("there are bounds");
    (n.max(1), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locals_of_neighbours_differ_in_every_word() {
        let (a, b) = (local_of(7), local_of(8));
        assert!(a.iter().zip(&b).all(|(a, b)| a != b));
    }

    #[test]
    fn a_small_visit_passes_its_own_checks() {
        let report = gort::run(|| {
            let mut report = Report::default();
            visit(500, &mut report).expect("500 goroutines fit");
            report
        });
        assert_eq!(report.failed_checks(), 0, "{report}");
        assert!(
            report
                .to_string()
                .contains("500 of 500 found their 64-byte local"),
            "{report}"
        );
    }
}
