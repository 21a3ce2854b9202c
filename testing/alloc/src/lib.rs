//! What each program of this package does with its global allocator: use it hard from goroutines that change
//! their threads and are preempted, and then say what it costs.
//!
//! It prints `bytes_per_goroutine N`, `ns_per_pair N` (an allocation and its end, on a goroutine) and
//! `preemptions N`; it fails by a panic.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::TlsMode;

/// Goroutines that are measured.
const PARKED: usize = 2_000;

/// All of it.
pub fn run() {
    gort::Config::new()
        .procs(4)
        .run(|| {
            // First: what earlier goroutines leave behind goes back to the system when the allocator likes, some
            // 100 MiB of it without the wrapper, and would be missing here.
            measure_memory();
            churn();
            compute();
            measure_time();
        })
        .expect("the runtime starts");
    println!("preemptions {}", gort::runtime::metrics().preemptions);
}

/// Numbers that need no seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below
    }
}

/// A block whose every byte says whose it is.
struct Block {
    bytes: Vec<u8>,
    owner: u8,
}

impl Block {
    fn new(owner: u8, len: usize) -> Block {
        Block {
            bytes: vec![owner; len],
            owner,
        }
    }

    fn grow(&mut self, by: usize) {
        let len = self.bytes.len() + by;
        self.bytes.resize(len, self.owner);
    }

    fn check(&self) {
        assert!(self.bytes.iter().all(|byte| *byte == self.owner));
    }
}

thread_local! {
    static OWNER: Cell<u8> = const { Cell::new(0) };
}

/// Goroutines and plain threads make blocks, resize them and send them to each other; whoever has one at last
/// frees it. A goroutine's own thread-locals stay its own.
fn churn() {
    const GOROUTINES: u8 = 100;
    const BLOCKS: usize = 300;
    let (tx, rx) = chan::bounded::<Block>(64);
    let send_blocks = |owner: u8, tx: chan::Sender<Block>| {
        OWNER.set(owner);
        let mut numbers = Numbers(u64::from(owner));
        let mut kept: Vec<Block> = Vec::new();
        for _ in 0..BLOCKS {
            let len = match numbers.next(50) {
                0 => 300_000,
                1..5 => numbers.next(20_000),
                _ => numbers.next(400),
            };
            kept.push(Block::new(owner, len));
            let index = numbers.next(kept.len());
            kept[index].grow(numbers.next(1_000));
            if kept.len() > 10 {
                let block = kept.swap_remove(index);
                assert!(tx.send(block).is_ok());
            }
            assert_eq!(OWNER.get(), owner);
            if numbers.next(8) == 0 {
                gort::yield_now();
            }
        }
        kept.iter().for_each(Block::check);
    };
    let senders: Vec<_> = (1..=GOROUTINES)
        .map(|owner| {
            let tx = tx.clone();
            gort::go(move || send_blocks(owner, tx))
        })
        .collect();
    let plain = std::thread::spawn(move || send_blocks(200, tx));
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let rx = rx.clone();
            gort::go(move || rx.iter().inspect(Block::check).count())
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender does not panic");
    }
    gort::blocking(|| plain.join()).expect("the plain thread does not panic");
    let count: usize = receivers
        .into_iter()
        .map(|receiver| receiver.join().expect("a receiver does not panic"))
        .sum();
    assert_eq!(count, (usize::from(GOROUTINES) + 1) * (BLOCKS - 10));
}

/// Loops that allocate and never call gort, more than there are processors for: they are stopped in the middle,
/// often in the allocator, while others allocate.
///
/// Where goroutines share threads, until one has been stopped: on a busy machine the first loops may be over before
/// somebody comes to stop them.
fn compute() {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        compute_beside_others();
        let now = gort::runtime::metrics();
        let is_stopped = now.preemptions > 0 || now.tls_mode == TlsMode::Thread;
        if is_stopped || Instant::now() > deadline {
            return;
        }
    }
}

fn compute_beside_others() {
    let until = Instant::now() + Duration::from_millis(400);
    let loops: Vec<_> = (0..12u64)
        .map(|seed| {
            gort::go(move || {
                let mut numbers = Numbers(seed);
                let mut blocks: Vec<Block> = Vec::new();
                while Instant::now() < until {
                    blocks.push(Block::new(seed as u8, numbers.next(2_000)));
                    if blocks.len() > 50 {
                        let index = numbers.next(blocks.len());
                        blocks.swap_remove(index).check();
                    }
                }
            })
        })
        .collect();
    while Instant::now() < until {
        let length = gort::go(|| black_box(vec![1u8; 100]).len()).join();
        assert_eq!(length.expect("it does not panic"), 100);
    }
    for each in loops {
        each.join().expect("a loop does not panic");
    }
}

/// The best of several rounds, as others use the machine too.
fn measure_time() {
    const PAIRS: u32 = 100_000;
    let best = (0..7)
        .map(|_| {
            let begin = Instant::now();
            for n in 0..PAIRS {
                drop(black_box(Box::new([n; 12])));
            }
            begin.elapsed()
        })
        .min();
    let best = best.expect("there are rounds");
    println!("ns_per_pair {}", best.as_nanos() / u128::from(PAIRS));
}

/// Bytes of memory that the process has. The kernel counts them here; elsewhere it may be off by some pages for each
/// processor.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")
        .or_else(|_| std::fs::read_to_string("/proc/self/status"))
        .expect("/proc is mounted");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:").or(line.strip_prefix("VmRSS:")));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.expect("a number of KiB") * 1024
}

/// What a goroutine takes that has allocated a little, holds some of it, and is parked.
fn measure_memory() {
    let (parked, is_parked) = chan::unbounded();
    let (stop, stopped) = chan::bounded::<()>(0);
    let before = resident();
    let handles: Vec<_> = (0..PARKED)
        .map(|n| {
            let (parked, stopped) = (parked.clone(), stopped.clone());
            gort::go(move || {
                let held = (Box::new(n), vec![n as u8; 100], n.to_string());
                drop(black_box(vec![0u8; 1_000]));
                parked.send(()).expect("somebody counts");
                let _ = stopped.recv();
                black_box(held);
            })
        })
        .collect();
    for _ in 0..PARKED {
        is_parked.recv().expect("each says so");
    }
    let bytes = (resident() - before) / PARKED;
    println!("bytes_per_goroutine {bytes}");
    drop(stop);
    for handle in handles {
        handle.join().expect("it does not panic");
    }
}
