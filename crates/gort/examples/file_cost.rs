//! What reading 4 KiB from the page cache costs a goroutine, by the way in which the call is made; and when others
//! run that want the P of a goroutine whose thread sleeps in such a call.
//!
//! `cargo run --release -p gort --example file_cost [RUNS] [FILE]`. The table in `src/fs/call.rs` is from here. A
//! result is the median of nine runs, and says nothing on a machine that does other things.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::sync::Semaphore;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let runs = args.next().map_or(9, |n| n.parse().expect("a number"));
    let path = args.next().map_or_else(
        || std::env::temp_dir().join(format!("gort-file-cost-{}", std::process::id())),
        Into::into,
    );
    std::fs::write(&path, [1; 4096])?;
    let file = File::open(&path)?;
    std::fs::remove_file(&path)?;
    gort::run(|| {
        for procs in [1, 2] {
            gort::runtime::set_gomaxprocs(procs);
            reads(&file, runs, &format!("{procs} P, alone"));
            let stop = Arc::new(AtomicBool::new(false));
            let others = [(); 2].map(|()| {
                let stop = Arc::clone(&stop);
                gort::go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gort::yield_now();
                    }
                })
            });
            reads(&file, runs, &format!("{procs} P, two others yield"));
            stop.store(true, Ordering::Relaxed);
            for other in others {
                other.join().expect("it only yields");
            }
            for (count, sleep_us) in [(100, 1_000), (20, 20_000)] {
                retakes(procs, count, Duration::from_micros(sleep_us));
            }
        }
    });
    Ok(())
}

fn reads(file: &File, runs: usize, what: &str) {
    let mut buf = [0; 4096];
    let mut plain = || assert_eq!(file.read_at(&mut buf, 0).expect("a file"), 4096);
    let measure = |way, count, call: &mut dyn FnMut()| {
        let ns = median((0..runs).map(|_| {
            let start = Instant::now();
            (0..count).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / f64::from(count)
        }));
        println!("{:40} {ns:8.0} ns", format!("{what}: {way}"));
    };
    measure("plain call", 20_000, &mut plain);
    let places = Semaphore::new(512);
    measure("with a place", 20_000, &mut || {
        let _place = places.acquire(1);
        plain();
    });
    measure("handed off", 5_000, &mut || gort::blocking(&mut plain));
    match no_wait(file) {
        Ok(()) => measure("RWF_NOWAIT", 20_000, &mut || {
            no_wait(file).expect("it did before");
        }),
        Err(error) => println!("RWF_NOWAIT is not to be had of this file: {error}"),
    }
}

fn no_wait(file: &File) -> std::io::Result<()> {
    let mut buf = [0; 4096];
    let part = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    // SAFETY: the part is `buf`, which lives and may be written during the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, 0, libc::RWF_NOWAIT) };
    if count < 0 {
        return Err(std::io::Error::last_os_error());
    }
    assert_eq!(count, 4096, "it is not whole in the page cache");
    Ok(())
}

/// How long after its start another goroutine runs, while the thread of ours sleeps unannounced.
fn retakes(procs: usize, count: usize, sleep: Duration) {
    let after_us = median((0..count).map(|_| {
        let start = Instant::now();
        let other = gort::go(move || start.elapsed());
        // waits: a thread that sleeps is what is measured
        std::thread::sleep(sleep);
        other.join().expect("it returns").as_nanos() as f64 / 1e3
    }));
    println!("{procs} P, thread asleep for {sleep:?}: another runs after {after_us:.0} us");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
