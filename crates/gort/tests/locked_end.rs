//! Goroutines that end locked to their thread, at moments at which they lose their P. A program of its own: it has a
//! handler for a signal. It meets that moment seldom; a pause there makes it certain.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use gort_test_support::{Random, scaled};

/// The thread of the goroutine that is about to end.
static ENDING: AtomicI32 = AtomicI32::new(0);

/// So long that sysmon sees the thread asleep, and takes its P for who computes.
extern "C" fn sleep_for_3_ms(_: libc::c_int) {
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: 3_000_000,
    };
    // SAFETY: reads the time; async-signal-safe.
    unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
}

fn install() {
    let handler: extern "C" fn(libc::c_int) = sleep_for_3_ms;
    // SAFETY: all zero is a valid `sigaction`; the handler calls nothing that a handler may not.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        let result = libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
        assert_eq!(result, 0);
    }
}

/// Sends the signal to the thread of each that is about to end, a little later each time.
fn send_until(is_over: &AtomicBool) {
    let mut random = Random::new(1);
    let process = std::process::id() as libc::pid_t;
    while !is_over.load(Ordering::Relaxed) {
        let tid = ENDING.swap(0, Ordering::Relaxed);
        if tid == 0 {
            std::hint::spin_loop();
            continue;
        }
        for _ in 0..random.below(3_000) {
            std::hint::spin_loop();
        }
        // SAFETY: takes no pointers. The thread may have ended.
        unsafe { libc::syscall(libc::SYS_tgkill, process, tid, libc::SIGUSR2) };
    }
}

#[gort::test(procs = 1, timeout = "100s")]
fn a_goroutine_that_ends_locked_and_loses_its_p_there_ends_with_its_thread() {
    install();
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| send_until(&is_over));
        gort::scope(|s| {
            s.go(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            for _ in 0..scaled(100, 5_000) {
                gort::scope(|s| {
                    s.go(|| {
                        std::mem::forget(gort::lock_os_thread());
                        // SAFETY: takes nothing.
                        ENDING.store(unsafe { libc::gettid() }, Ordering::Relaxed);
                    });
                });
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}
