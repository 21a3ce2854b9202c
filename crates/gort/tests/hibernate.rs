//! Stacks of parked goroutines give their memory back, and nobody notices. A program of its own: the setting is the
//! process's.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gort::chan;
use gort::runtime::{TlsMode, metrics};
use gort::time::sleep;
use gort_core::hibernate;
use gort_test_support::{Random, alone, eventually, eventually_within, is_long, scaled};

const AFTER: Duration = Duration::from_millis(10);

/// Starts the runtime. False where stacks cannot be put away, or are not ours: then all has to go on without.
fn start() -> bool {
    gort::Config::new().hibernate(AFTER).start().unwrap();
    let can_hibernate = hibernate::probe().is_ok();
    assert!(!can_hibernate || metrics().tls_mode == TlsMode::Own);
    assert_eq!(hibernate::is_started(), can_hibernate);
    can_hibernate
}

/// Waits until at least so many are put away.
fn until_away(count: usize) {
    if hibernate::is_started() {
        eventually("goroutines hibernate", || metrics().hibernating >= count);
    } else {
        assert_eq!(metrics().hibernating, 0);
    }
}

thread_local! {
    static OWN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Uses `depth` frames of its stack, parks there, and finds all as it was.
fn park_deep(number: u64, depth: u32, park: &dyn Fn()) -> u64 {
    let local = std::hint::black_box([number.wrapping_mul(0x9e37_79b9_7f4a_7c15); 40]);
    let below = match depth {
        0 => {
            park();
            0
        }
        _ => park_deep(number + 1, depth - 1, park),
    };
    let found = std::hint::black_box(local);
    assert_eq!(found, [number.wrapping_mul(0x9e37_79b9_7f4a_7c15); 40]);
    below + 1
}

/// From a few hundred bytes of stack to more than is put away.
const DEPTHS: [u32; 6] = [0, 1, 5, 20, 100, 400];

#[test]
fn locals_and_thread_locals_are_as_they_were() {
    start();
    const ROUNDS: u64 = 3;
    let count = scaled(1_000, 20_000);
    let gates: Vec<_> = (0..ROUNDS).map(|_| chan::bounded::<()>(0)).collect();
    let receivers: Arc<Vec<_>> = Arc::new(gates.iter().map(|(_, rx)| rx.clone()).collect());
    let arrived = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = (0..count as u64)
        .map(|number| {
            let (receivers, arrived) = (receivers.clone(), arrived.clone());
            let depth = DEPTHS[number as usize % DEPTHS.len()];
            gort::Builder::new()
                .stack_size(1 << 20)
                .go(move || {
                    OWN.with_borrow_mut(|own| own.push(number));
                    // SAFETY: errno of this goroutine.
                    unsafe { *libc::__errno_location() = number as i32 };
                    for (round, gate) in receivers.iter().enumerate() {
                        let frames = park_deep(number, depth, &|| {
                            arrived.fetch_add(1, Ordering::Relaxed);
                            assert!(gate.recv().is_err());
                        });
                        assert_eq!(frames, u64::from(depth) + 1);
                        OWN.with_borrow_mut(|own| own.push(number + round as u64));
                    }
                    // SAFETY: as above.
                    assert_eq!(unsafe { *libc::__errno_location() }, number as i32);
                    let own = OWN.take();
                    assert_eq!(own, [number, number, number + 1, number + 2]);
                })
                .unwrap()
        })
        .collect();
    // Those that have gone deep stay as they are: in debug builds more of them.
    let least = count / 2;
    for (round, (gate, _)) in gates.into_iter().enumerate() {
        eventually("all are parked", || {
            arrived.load(Ordering::Relaxed) == (round + 1) * count
        });
        until_away(least);
        drop(gate);
    }
    for one in all {
        one.join().unwrap();
    }
}

/// Others write to what lies on the stack of a goroutine that is parked: threads of a scope of std's.
#[test]
fn no_write_of_others_is_lost() {
    let can_hibernate = start();
    const WRITERS: usize = 8;
    /// So often the keeper is to come in between.
    const TIMES: u64 = 50;
    let least = Instant::now() + Duration::from_secs(if is_long() { 120 } else { 1 });
    let before = hibernate::report().times;
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = is_over.clone();
    let lends = gort::go(move || {
        let mut counters = [[0_u64; 200]; WRITERS];
        let (tell, told) = chan::unbounded();
        let counts = thread::scope(|threads| {
            for (number, counter) in counters.iter_mut().enumerate() {
                let (tell, ends) = (tell.clone(), &ends);
                threads.spawn(move || {
                    let count = write_until(counter, ends, number as u64 + 1);
                    tell.send((number, count)).unwrap();
                });
            }
            // Parked as other goroutines are.
            (0..WRITERS)
                .map(|_| told.recv().unwrap())
                .collect::<Vec<_>>()
        });
        for (number, count) in counts {
            assert!(count > 0);
            assert_eq!(counters[number], [count; 200]);
        }
    });
    eventually_within(Duration::from_secs(240), "the keeper comes often", || {
        // Not only once a second, as sysmon asks while nobody runs.
        hibernate::ask();
        Instant::now() >= least && (!can_hibernate || hibernate::report().times - before > TIMES)
    });
    is_over.store(true, Ordering::Relaxed);
    lends.join().unwrap();
}

/// Then others may hand it to system calls, which would fail: half of a socket's bytes go to the lender's stack.
#[test]
fn who_has_lent_its_stack_by_a_scope_does_not_hibernate() {
    start();
    let (beside, parked) = chan::bounded::<()>(0);
    let (tell, told) = chan::bounded(1);
    let other = gort::go(move || {
        let local = std::hint::black_box(0_u8);
        tell.send(&raw const local as usize).unwrap();
        parked.recv().unwrap_err();
    });
    let other_address = told.recv().unwrap();
    let lends = gort::go(move || {
        let (mut reader, writer) = gort::io::pipe().unwrap();
        let mut buf = [0_u8; 6_000];
        let address = buf.as_ptr() as usize;
        gort::scope(|s| {
            let buf = &mut buf;
            let reads = s.go(move || std::io::Read::read_exact(&mut reader, buf));
            s.go(move || {
                until_is_away(other_address);
                // Both were parked when the keeper looked; twice, as one look may take the second only.
                drop(beside);
                let first = hibernate::report().looks;
                eventually("the keeper looks", || {
                    !hibernate::is_started() || hibernate::report().looks > first + 2
                });
                assert!(!hibernate::is_away(address));
                std::io::Write::write_all(&mut &writer, &[7; 6_000]).unwrap();
            });
            reads.join().unwrap().unwrap();
        });
        assert!(buf.iter().all(|byte| *byte == 7));
    });
    lends.join().unwrap();
    other.join().unwrap();
}

/// Counts all up together, with pauses in between; says how far.
fn write_until(counters: &mut [u64; 200], is_over: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) || count == 0 {
        for _ in 0..random.below(50) + 1 {
            count += 1;
            for counter in &mut *counters {
                // Read, then written: neither may find a page that is not whole.
                *counter = std::hint::black_box(*counter) + 1;
            }
        }
        // waits: the keeper comes in between
        sleep(Duration::from_micros(random.below(3_000)));
    }
    count
}

/// They are woken, run and parked again at the moment at which the keeper looks.
#[test]
fn wakers_and_the_keeper_meet() {
    start();
    let until = Instant::now() + Duration::from_secs(if is_long() { 120 } else { 3 });
    let is_over = Arc::new(AtomicBool::new(false));
    let rings: Vec<_> = (0..50)
        .map(|ring: u64| {
            let is_over = is_over.clone();
            let (tx, rx) = chan::bounded::<u64>(0);
            let (back_tx, back_rx) = chan::bounded::<u64>(0);
            let echo = gort::go(move || {
                let mut local = [ring; 30];
                while let Ok(value) = rx.recv() {
                    for word in &mut local {
                        *word = std::hint::black_box(*word) + value;
                    }
                    back_tx.send(local[7]).unwrap();
                }
                local
            });
            let asker = gort::go(move || {
                let mut random = Random::new(ring + 1);
                let mut sum = ring;
                while !is_over.load(Ordering::Relaxed) {
                    let value = random.below(1 << 20);
                    tx.send(value).unwrap();
                    sum += value;
                    assert_eq!(back_rx.recv(), Ok(sum));
                    // waits: for about as long as it takes to be put away
                    sleep(Duration::from_micros(random.below(30_000)));
                }
                sum
            });
            (echo, asker)
        })
        .collect();
    // waits: the test's length
    sleep(until - Instant::now());
    is_over.store(true, Ordering::Relaxed);
    for (echo, asker) in rings {
        let sum = asker.join().unwrap();
        assert_eq!(echo.join().unwrap(), [sum; 30]);
    }
}

/// Less than half of what a parked goroutine takes otherwise, and less than Go's.
#[test]
fn memory_is_given_back() {
    alone("memory_is_given_back", || {
        if !start() {
            return;
        }
        let count = scaled(10_000, 200_000);
        let (gate, parked) = chan::bounded::<()>(0);
        let before = resident_bytes();
        let all: Vec<_> = (0..count)
            .map(|_| {
                let parked = parked.clone();
                let small = gort::Builder::new().stack_size(64 << 10);
                small.go(move || parked.recv().is_err()).unwrap()
            })
            .collect();
        until_away(count);
        let each = (resident_bytes() - before) / count;
        // Frames are larger without optimization.
        let limit = if cfg!(debug_assertions) { 3_500 } else { 2_000 };
        assert!(each < limit, "{each} bytes, {:?}", metrics());
        drop(gate);
        assert!(all.into_iter().all(|one| one.join().unwrap()));
        assert_eq!(metrics().hibernating, 0);
    });
}

/// Resident memory and page tables.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines = status.lines();
    let kilobytes = lines
        .filter(|line| line.starts_with("VmRSS:") || line.starts_with("VmPTE:"))
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .map(|number| number.parse::<usize>().unwrap());
    kilobytes.sum::<usize>() * 1024
}

#[test]
fn those_that_hibernate_are_shown_and_go_on_so() {
    start();
    let (gate, parked) = chan::bounded::<()>(0);
    let (tell, told) = chan::bounded(1);
    let looks = gort::go(move || {
        let one = gort::go(move || {
            let local = std::hint::black_box(0_u8);
            tell.send(&raw const local as usize).unwrap();
            park_deep(1, 5, &|| assert!(parked.recv().is_err()))
        });
        let (id, address) = (gort::current().id(), told.recv().unwrap());
        until_is_away(address);
        let created = format!("in goroutine {id}\n");
        let stacks = gort::runtime::stacks();
        let its = stacks
            .split("\n\n")
            .find(|stack| format!("{stack}\n").contains(&created))
            .unwrap_or_else(|| panic!("none created {created}: {stacks}"));
        assert!(its.matches("park_deep").count() >= 2, "{its}");
        let all = gort::debug::goroutines();
        assert!(all.iter().any(|one| one.created_by == Some(id)));
        assert_eq!(hibernate::is_away(address), hibernate::is_started());
        drop(gate);
        assert_eq!(one.join().unwrap(), 6);
    });
    looks.join().unwrap();
}

/// What another goroutine has lent is read and written in the child of a fork, which has no other thread.
#[test]
fn the_child_of_a_fork_finds_what_was_lent() {
    start();
    let lends = gort::go(|| {
        let mut lent = std::hint::black_box([0x55_u8; 300]);
        let (tell, told) = chan::bounded(0);
        thread::scope(|threads| {
            // By value: what lies on the stack of who lends would be touched by who asks.
            let address = lent.as_ptr() as usize;
            let lent = &mut lent;
            threads.spawn(move || {
                fork_again_and_again(address, lent);
                tell.send(()).unwrap();
            });
            // Parked as other goroutines are.
            told.recv().unwrap();
        });
        lent
    });
    assert_eq!(lends.join().unwrap(), [0x55 + 20; 300]);
}

fn fork_again_and_again(address: usize, lent: &mut [u8; 300]) {
    for round in 0..20 {
        until_is_away(address);
        // SAFETY: the child only reads and writes memory, and exits.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let is_right = lent.iter().all(|byte| *byte == 0x55 + round);
            lent.fill(7);
            let is_written = std::hint::black_box(&lent)[299] == 7;
            // SAFETY: takes any status.
            unsafe { libc::_exit(if is_right && is_written { 42 } else { 1 }) };
        }
        assert_eq!(exit_code(pid), 42, "round {round}");
        lent.fill(0x55 + round + 1);
    }
}

fn exit_code(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for our own child, and writes its status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "status {status:#x}");
    libc::WEXITSTATUS(status)
}

/// A thread touches what parked goroutines have lent, and nobody runs: sysmon sleeps, and asks nobody to look again.
#[test]
fn what_is_touched_while_nobody_runs_is_put_away_again() {
    alone(
        "what_is_touched_while_nobody_runs_is_put_away_again",
        || {
            if !start() {
                return;
            }
            let (gate, parked) = chan::bounded::<()>(0);
            let (tell, told) = chan::unbounded();
            let all: Vec<_> = (0..2_000_u64)
                .map(|number| {
                    let (tell, parked) = (tell.clone(), parked.clone());
                    gort::go(move || {
                        let local = std::hint::black_box(number);
                        tell.send(&raw const local as usize).unwrap();
                        assert!(parked.recv().is_err());
                    })
                })
                .collect();
            let addresses: Vec<_> = all.iter().map(|_| told.recv().unwrap()).collect();
            let touch = |address: usize| {
                // SAFETY: a local of a goroutine that is parked until the gate is closed.
                let number = unsafe { (address as *const u64).read_volatile() };
                assert!(number < all.len() as u64);
            };
            until_away(all.len());
            for _ in 0..20 {
                addresses.iter().copied().for_each(touch);
                // As soon as the first is away, while the keeper is at the others.
                for &address in &addresses[..10] {
                    until_is_away(address);
                    touch(address);
                }
                until_away(all.len());
            }
            drop(gate);
            all.into_iter().for_each(|one| one.join().unwrap());
        },
    );
}

/// Forks fall in between, again and again.
#[test]
fn forks_and_the_keeper_meet() {
    start();
    let lent: Vec<_> = (0..scaled(200, 2_000)).collect();
    let (gate, parked) = chan::bounded::<()>(0);
    let (parked, addresses) = (&parked, &Mutex::new(Vec::new()));
    gort::scope(|s| {
        let (tell, told) = chan::unbounded();
        for &number in &lent {
            let tell = tell.clone();
            s.go(move || {
                let local = std::hint::black_box([number; 50]);
                tell.send(&raw const local as usize).unwrap();
                assert!(parked.recv().is_err());
                assert_eq!(std::hint::black_box(local), [number; 50]);
            });
        }
        *addresses.lock().unwrap() = lent
            .iter()
            .map(|_| told.recv().unwrap())
            .collect::<Vec<_>>();
        // Each goroutine tells where its local is before it parks, in whatever order: what is there says whose it is.
        let wakes = s.go(move || {
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                for address in addresses.lock().unwrap().clone() {
                    // SAFETY: a local of a goroutine that is parked until the gate is closed.
                    let local = unsafe { (address as *const [usize; 50]).read_volatile() };
                    assert_eq!(local, [local[0]; 50]);
                    gort::yield_now();
                }
            }
        });
        let mut forks = 0;
        let addresses = addresses.lock().unwrap().clone();
        while !wakes.is_finished() {
            // SAFETY: as in the test before.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let is_right = addresses.iter().all(|&address| {
                    // SAFETY: as above.
                    let local = unsafe { (address as *const [usize; 50]).read_volatile() };
                    local == [local[0]; 50]
                });
                // SAFETY: takes any status.
                unsafe { libc::_exit(if is_right { 42 } else { 1 }) };
            }
            assert_eq!(exit_code(pid), 42, "fork {forks}");
            forks += 1;
        }
        assert!(forks > 0);
        drop(gate);
    });
}

/// Waits until what lies there is put away.
fn until_is_away(address: usize) {
    if hibernate::is_started() {
        eventually("it hibernates", || hibernate::is_away(address));
    }
}
