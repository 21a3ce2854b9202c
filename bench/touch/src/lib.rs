//! What it costs a goroutine to use a library that keeps something per thread: bytes and nanoseconds.
//!
//! A goroutine has thread-locals of its own, so such a library keeps one more for each goroutine that uses it.
//! Each thing is measured in a process of its own: memory that was given back is not given back to the system.
//!
//! Bytes are what the process grew by (resident) for each of many goroutines that have used the thing and are parked,
//! less the same for goroutines that used nothing. First and next use are timed inside the goroutine, and are
//! medians; a life is start, use, end and join, one after the other, with the thread-local destructors in it,
//! less the life of a goroutine that does nothing.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

use gort::chan;
use gort::sync::WaitGroup;

/// Something that a goroutine may use.
#[derive(Debug)]
pub struct Thing {
    /// What it is called in the table and on the command line.
    pub name: &'static str,
    /// Called once before any goroutine.
    set_up: fn(),
    /// One use.
    touch: fn(),
}

/// What was found for one thing.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Resident bytes for each goroutine.
    pub bytes: f64,
    /// The first use of a goroutine, which makes what is kept.
    pub first_ns: f64,
    /// A later use.
    pub next_ns: f64,
    /// Start, first use, end and join.
    pub life_ns: f64,
}

/// Fewer than the 4,096 threads that tracing-subscriber's registry has room for.
pub const GOROUTINES: usize = 4_000;
const LIVES: u32 = 4_000;

static REGEX: LazyLock<regex::Regex> =
    LazyLock::new(|| regex::Regex::new(r"^(\w+)@(\w+)\.org$").expect("it is well-formed"));

/// Everything that is measured. The first is what the others are compared with.
pub const THINGS: [Thing; 9] = [
    Thing {
        name: "nothing",
        set_up: || (),
        touch: || (),
    },
    Thing {
        name: "malloc",
        set_up: || (),
        touch: || drop(black_box(Box::new([0_u64; 8]))),
    },
    Thing {
        name: "HashMap",
        set_up: || (),
        touch: || drop(black_box(HashMap::<u64, u64>::new())),
    },
    Thing {
        name: "rand",
        set_up: || (),
        touch: || {
            black_box(rand::random::<u64>());
        },
    },
    Thing {
        name: "crossbeam-epoch",
        set_up: || (),
        touch: || drop(crossbeam_epoch::pin()),
    },
    Thing {
        name: "64 KiB of stack",
        set_up: || (),
        touch: use_stack,
    },
    Thing {
        name: "regex",
        set_up: || assert!(!REGEX.is_match("")),
        touch: || assert!(REGEX.captures("someone@example.org").is_some()),
    },
    Thing {
        name: "tracing",
        set_up: || (),
        touch: || span(),
    },
    Thing {
        name: "tracing-registry",
        set_up: || {
            tracing::subscriber::set_global_default(tracing_subscriber::registry())
                .expect("nobody else has set one");
        },
        touch: span,
    },
];

/// Writes to each page of a large frame.
#[inline(never)]
fn use_stack() {
    black_box([1_u8; 64 << 10]);
}

fn span() {
    let _entered = tracing::info_span!("request", id = 7).entered();
}

/// Uses the thing of that name in many goroutines. `None` if there is none of that name.
pub fn measure(name: &str) -> Option<Cost> {
    let thing = THINGS.iter().find(|thing| thing.name == name)?;
    (thing.set_up)();
    // Descriptors, stacks and queues are there before anything is counted.
    live(|| ());
    let (bytes, first_ns, next_ns) = park(thing.touch);
    Some(Cost {
        bytes,
        first_ns,
        next_ns,
        life_ns: live(thing.touch),
    })
}

/// Bytes for each goroutine that has used it and is parked; the medians of first and next use.
fn park(touch: fn()) -> (f64, f64, f64) {
    let times = Arc::new(Mutex::new(Vec::with_capacity(GOROUTINES)));
    let used = WaitGroup::new();
    let (release, released) = chan::bounded::<()>(0);
    let before = resident_bytes();
    let parked: Vec<_> = (0..GOROUTINES)
        .map(|_| {
            let (times, used, released) = (Arc::clone(&times), used.clone(), released.clone());
            used.add(1);
            gort::go(move || {
                let start = Instant::now();
                touch();
                let first = start.elapsed();
                touch();
                let next = start.elapsed() - first;
                times
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((first.as_nanos() as f64, next.as_nanos() as f64));
                used.done();
                released.recv().expect_err("nobody sends");
            })
        })
        .collect();
    used.wait();
    let bytes = (resident_bytes() as f64 - before as f64) / GOROUTINES as f64;
    drop(release);
    for goroutine in parked {
        goroutine.join().expect("it does not panic");
    }
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    (
        bytes,
        median(times.iter().map(|pair| pair.0)),
        median(times.iter().map(|pair| pair.1)),
    )
}

/// The median of five means of lives.
fn live(touch: fn()) -> f64 {
    median((0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..LIVES / 5 {
            gort::go(touch).join().expect("it does not panic");
        }
        start.elapsed().as_nanos() as f64 / f64::from(LIVES / 5)
    }))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `/proc` says that the process has in memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .expect("it has this line");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("it is a number");
    kib * 1024
}

/// The line by which a measuring process tells its parent.
pub fn print(cost: Cost) {
    println!(
        "{} {} {} {}",
        cost.bytes, cost.first_ns, cost.next_ns, cost.life_ns
    );
}

/// Reads what [`print`] wrote.
pub fn parse(line: &str) -> Option<Cost> {
    let mut numbers = line.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Cost {
        bytes: next()?,
        first_ns: next()?,
        next_ns: next()?,
        life_ns: next()?,
    })
}
