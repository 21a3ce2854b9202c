//! Signals that arrive on a goroutine's thread: the handler runs on the goroutine's thread-locals.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::drive::{many, park, scaled};

thread_local! {
    /// The goroutine's number plus one; 0 on threads.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    /// Signals that the handler saw on this goroutine.
    static HITS: Cell<usize> = const { Cell::new(0) };
}

/// Signals handled, on goroutines or not.
static HANDLED: AtomicUsize = AtomicUsize::new(0);
/// Signals handled on a goroutine whose number is another than the runtime says.
static WRONG: AtomicUsize = AtomicUsize::new(0);

/// Async-signal-safe: reads and writes words.
extern "C" fn handle(_signal: c_int) {
    // SAFETY: the address of this thread's errno.
    let errno = unsafe { *libc::__errno_location() };
    HANDLED.fetch_add(1, Relaxed);
    HITS.set(HITS.get() + 1);
    let number = NUMBER.get();
    if number != 0 && gort::try_current().is_none() {
        WRONG.fetch_add(1, Relaxed);
    }
    // SAFETY: refused by the kernel; the errno is then put back.
    unsafe {
        libc::close(-1);
        *libc::__errno_location() = errno;
    }
}

fn install_handler() {
    // SAFETY: the handler has the type of one without SA_SIGINFO, and is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    HANDLED.store(0, Relaxed);
}

pub(super) fn a_handler_sees_its_goroutine() {
    install_handler();
    many(scaled(2_000), |i| {
        NUMBER.set(i + 1);
        for round in 0..5 {
            park();
            // Both send to the calling thread, and return after the handler.
            // SAFETY: the handler is installed.
            unsafe {
                assert_eq!(libc::raise(libc::SIGUSR1), 0);
                assert_eq!(HITS.get(), 2 * round + 1);
                assert_eq!(libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1), 0);
            }
            assert_eq!(HITS.get(), 2 * round + 2);
            assert_eq!(NUMBER.get(), i + 1);
        }
        NUMBER.set(0);
    });
    assert_eq!(WRONG.load(Relaxed), 0);
    assert!(HANDLED.load(Relaxed) >= scaled(2_000) * 10);
}

/// The kernel's ids of all threads of this process.
fn all_threads() -> Vec<i32> {
    std::fs::read_dir("/proc/self/task")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

pub(super) fn a_storm_of_signals_does_no_harm() {
    install_handler();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: no preconditions.
            let (process, me) = unsafe { (libc::getpid(), libc::gettid()) };
            while !is_over.load(Relaxed) {
                for thread in all_threads() {
                    if thread != me {
                        // A thread that has ended meanwhile is an error that does not matter.
                        // SAFETY: the handler is installed.
                        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
                    }
                }
            }
        });
        many(scaled(2_000), |i| {
            NUMBER.set(i + 1);
            for round in 0..200 {
                // SAFETY: refused by the kernel.
                unsafe { libc::close(-1) };
                let bytes = std::hint::black_box(vec![round as u8; 100]);
                park();
                assert_eq!(NUMBER.get(), i + 1);
                assert!(bytes.iter().all(|byte| *byte == round as u8));
            }
            // From here on it ends, and is nobody's any more.
            NUMBER.set(0);
        });
        is_over.store(true, Relaxed);
    });
    assert_eq!(WRONG.load(Relaxed), 0);
    assert!(HANDLED.load(Relaxed) > 0);
    println!("{} signals were handled", HANDLED.load(Relaxed));
}
