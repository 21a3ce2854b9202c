//! Memory barriers in other threads, so that they need none of their own.

use std::sync::atomic::{AtomicU32, Ordering};

/// From the kernel's `linux/membarrier.h`.
const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

const UNKNOWN: u32 = 0;
const WORKS: u32 = 1;
const REFUSED: u32 = 2;

/// Whether the kernel does it. Written by whoever asks first; all write the same.
static STATE: AtomicU32 = AtomicU32::new(UNKNOWN);

/// Has every thread of this process pass a full memory barrier, at some point of what it is doing,
/// before this returns. About 11 µs on 2 cores. False: the kernel refuses, and no barrier was passed.
///
/// The heavy half of an asymmetric fence; a compiler fence in the other threads is the light half.
pub fn barrier_in_all_threads() -> bool {
    if STATE.load(Ordering::Relaxed) == UNKNOWN {
        let state = if membarrier(REGISTER_PRIVATE_EXPEDITED) {
            WORKS
        } else {
            REFUSED
        };
        STATE.store(state, Ordering::Relaxed);
    }
    STATE.load(Ordering::Relaxed) == WORKS && membarrier(PRIVATE_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes a command, flags and a CPU number that these commands do not use.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::compiler_fence;

    /// Store, then load the other's: with a barrier between in both threads, not both can miss the
    /// other's store. Here only one of them has one.
    #[test]
    fn one_side_needs_no_barrier_of_its_own() {
        const ROUNDS: usize = 3_000;
        if !barrier_in_all_threads() {
            eprintln!("skipped: the kernel refuses membarrier");
            return;
        }
        let words: Vec<_> = (0..ROUNDS)
            .map(|_| [AtomicU32::new(0), AtomicU32::new(0)])
            .collect();
        let start = Barrier::new(2);
        let saw_heavy: Vec<u32> = std::thread::scope(|scope| {
            let light = scope.spawn(|| {
                let rounds = words.iter().map(|[light, heavy]| {
                    start.wait();
                    light.store(1, Ordering::Relaxed);
                    compiler_fence(Ordering::SeqCst);
                    heavy.load(Ordering::Relaxed)
                });
                rounds.collect()
            });
            for [light, heavy] in &words {
                start.wait();
                heavy.store(1, Ordering::Relaxed);
                assert!(barrier_in_all_threads());
                // What was read stays in the second word: 2 says that the light side was seen.
                if light.load(Ordering::Relaxed) == 1 {
                    light.store(2, Ordering::Relaxed);
                }
            }
            light.join().expect("the light side does not panic")
        });
        for (round, (saw_heavy, [light, _])) in saw_heavy.iter().zip(&words).enumerate() {
            let saw_light = light.load(Ordering::Relaxed) == 2;
            assert!(*saw_heavy == 1 || saw_light, "round {round}: both missed");
        }
    }
}
