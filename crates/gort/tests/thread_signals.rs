//! Signal masks and alternate stacks, which the kernel keeps per thread, are a goroutine's own.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Does `how` with SIGUSR2; `SIG_BLOCK` and `SIG_UNBLOCK`.
fn set_mask(how: i32) {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` writes the set that the others read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR2);
        assert_eq!(libc::pthread_sigmask(how, set.as_ptr(), ptr::null_mut()), 0);
    }
}

fn is_blocked() -> bool {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: writes the set that is read next.
    unsafe {
        assert_eq!(
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr()),
            0
        );
        libc::sigismember(set.as_ptr(), libc::SIGUSR2) == 1
    }
}

fn alternate_stack() -> usize {
    let mut stack = MaybeUninit::zeroed();
    // SAFETY: writes the structure that is read next.
    unsafe {
        assert_eq!(libc::sigaltstack(ptr::null(), stack.as_mut_ptr()), 0);
        stack.assume_init().ss_sp as usize
    }
}

fn set_alternate_stack(memory: &mut [u8]) {
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory stays until the goroutine's end, where it is not set any more.
    assert_eq!(unsafe { libc::sigaltstack(&stack, ptr::null_mut()) }, 0);
}

/// Runs `f` while others, which look at what they find, come and go on all threads.
fn beside_others(is_fine: impl Fn() -> bool + Sync, f: impl FnOnce()) {
    let done = AtomicBool::new(false);
    gort::scope(|s| {
        let (done, is_fine) = (&done, &is_fine);
        let others: Vec<_> = (0..4)
            .map(|_| {
                s.go(move || {
                    while !done.load(Ordering::Relaxed) {
                        assert!(is_fine(), "another goroutine's");
                        gort::yield_now();
                    }
                })
            })
            .collect();
        f();
        done.store(true, Ordering::Relaxed);
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

fn is_locked(id: u64) -> bool {
    gort_core::snapshot::goroutines()
        .iter()
        .any(|g| g.id == id && g.locked_to_thread)
}

#[test]
fn a_mask_is_the_goroutines_as_long_as_it_differs() {
    beside_others(
        || !is_blocked(),
        || {
            let own = gort::go(|| {
                let id = gort::current().id().as_u64();
                let was_locked = is_locked(id);
                set_mask(libc::SIG_BLOCK);
                for _ in 0..200 {
                    gort::yield_now();
                    assert!(is_blocked());
                }
                assert!(is_locked(id));
                set_mask(libc::SIG_UNBLOCK);
                assert_eq!(is_locked(id), was_locked);
                // A lock of its own outlives the mask's.
                let lock = gort::lock_os_thread();
                set_mask(libc::SIG_BLOCK);
                set_mask(libc::SIG_UNBLOCK);
                assert!(is_locked(id));
                set_mask(libc::SIG_BLOCK);
                drop(lock);
                assert!(is_locked(id));
                // Ends with it.
            });
            own.join().unwrap();
        },
    );
    beside_others(
        || !is_blocked(),
        || (0..200).for_each(|_| gort::yield_now()),
    );
}

/// Its P is taken while it sleeps in libc, and nobody has one to spare: the next real call of the runtime
/// makes it wait. By then the change must be known, or the wait ends on another thread.
#[test]
fn a_change_after_a_lost_p_is_on_the_right_thread() {
    beside_others(
        || !is_blocked(),
        || {
            let own = gort::go(|| {
                let id = gort::current().id().as_u64();
                let was_locked = is_locked(id);
                for _ in 0..10 {
                    sleep_in_libc();
                    set_mask(libc::SIG_BLOCK);
                    assert!(is_blocked(), "lost at once");
                    gort::yield_now();
                    assert!(is_blocked(), "lost at a switch");
                    assert!(is_locked(id));
                    sleep_in_libc();
                    set_mask(libc::SIG_UNBLOCK);
                    assert!(!is_blocked());
                    gort::yield_now();
                    assert!(!is_blocked());
                    assert_eq!(is_locked(id), was_locked);
                }
            });
            own.join().unwrap();
        },
    );
}

/// Long enough for sysmon to take the P.
fn sleep_in_libc() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 30_000_000,
    };
    // SAFETY: reads `time`.
    unsafe { libc::nanosleep(&time, ptr::null_mut()) };
}

#[test]
fn an_alternate_stack_is_the_goroutines_alone() {
    let mut memory = vec![0; 256 << 10];
    let range = memory.as_ptr_range();
    let (low, high) = (range.start as usize, range.end as usize);
    let is_own = move |stack: usize| (low..high).contains(&stack);
    beside_others(
        || !is_own(alternate_stack()),
        || {
            gort::scope(|s| {
                s.go(|| {
                    set_alternate_stack(&mut memory);
                    for _ in 0..200 {
                        gort::yield_now();
                        assert!(is_own(alternate_stack()));
                    }
                });
            });
        },
    );
    beside_others(
        || !is_own(alternate_stack()),
        || (0..200).for_each(|_| gort::yield_now()),
    );
}

/// As with a thread: whoever frees the stack in a destructor finds it out of use.
#[test]
fn a_thread_locals_destructor_may_free_the_alternate_stack() {
    struct Freed(std::cell::RefCell<Vec<u8>>);
    impl Drop for Freed {
        fn drop(&mut self) {
            let range = self.0.borrow().as_ptr_range();
            let stack = alternate_stack() as *const u8;
            FREED_IN_USE.store(range.contains(&stack), Ordering::Relaxed);
        }
    }
    static FREED_IN_USE: AtomicBool = AtomicBool::new(false);
    thread_local! {
        static FREED: Freed = const { Freed(std::cell::RefCell::new(Vec::new())) };
    }
    let own = gort::go(|| {
        FREED.with(|freed| {
            let mut memory = freed.0.borrow_mut();
            memory.resize(256 << 10, 0);
            set_alternate_stack(&mut memory);
        });
        gort::yield_now();
    });
    own.join().unwrap();
    assert!(!FREED_IN_USE.load(Ordering::Relaxed));
}
