//! Who am I: the thread that a goroutine is to std and to libc.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::sync::Mutex;

use gort_torture_dep as dep;

use super::Expected;
use crate::drive::{has_own_blocks, many, park, parks_and_moves, scaled, thread_id};

pub(super) fn a_thread_id_is_stable_and_unique() {
    let ids = Mutex::new(HashSet::new());
    let handles = Mutex::new(HashSet::new());
    let count = scaled(10_000);
    let all_are_here = gort::sync::Barrier::new(count);
    many(count, |_| {
        let id = std::thread::current().id();
        // SAFETY: no preconditions.
        let handle = unsafe { libc::pthread_self() };
        for _ in 0..5 {
            park();
            assert_eq!(std::thread::current().id(), id);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_self() }, handle);
        }
        ids.lock().unwrap().insert(id);
        handles.lock().unwrap().insert(handle);
        // libc's handles are those of living threads.
        all_are_here.wait();
    });
    assert_eq!(ids.into_inner().unwrap().len(), count);
    assert_eq!(handles.into_inner().unwrap().len(), count);
}

/// If they do not, the suite tests nothing: this is about the suite, not about gort.
pub(super) fn goroutines_change_their_thread() {
    many(scaled(1_000), |_| (0..50).for_each(|_| park()));
    let (parks, share) = parks_and_moves();
    let migrates = std::env::var("GORT_SHAKE_MIGRATE").is_ok_and(|value| value != "0");
    assert!(parks >= scaled(1_000) * 50);
    if !has_own_blocks() {
        assert_eq!(share, 0.0, "in thread mode a goroutine is a thread");
    } else if migrates && gort::runtime::gomaxprocs() > 1 {
        assert!(share > 0.5, "only {share} of the parks changed the thread");
    }
}

pub(super) fn settings_of_the_thread_can_be_read() {
    many(scaled(1_000), |_| {
        park();
        // SAFETY: plain use of the C library; all pointers are to locals.
        unsafe {
            let me = libc::pthread_self();
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let bytes = size_of_val(&set);
            assert_eq!(libc::pthread_getaffinity_np(me, bytes, &mut set), 0);
            assert!(libc::CPU_COUNT(&set) > 0);
            let (mut policy, mut parameters) = (-1, std::mem::zeroed());
            assert_eq!(
                libc::pthread_getschedparam(me, &mut policy, &mut parameters),
                0
            );
            assert!(libc::sched_getcpu() >= 0);
            park();
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_getattr_np(me, &mut attributes), 0);
            let (mut low, mut stack_bytes) = (std::ptr::null_mut(), 0);
            assert_eq!(
                libc::pthread_attr_getstack(&attributes, &mut low, &mut stack_bytes),
                0
            );
            libc::pthread_attr_destroy(&mut attributes);
            let here = (&raw const policy) as usize;
            assert!((low as usize..low as usize + stack_bytes).contains(&here));
            assert_eq!(i64::from(libc::gettid()), libc::syscall(libc::SYS_gettid));
        }
        assert!(std::thread::available_parallelism().is_ok());
    });
}

pub(super) fn a_locked_goroutine_stays_on_its_thread() {
    many(scaled(500), |i| {
        let seen = dep::bump_around(&mut park);
        assert_eq!((seen.before, seen.after), (0, 2));
        let is_locked = i % 2 == 0;
        if is_locked {
            let outer = gort::lock_os_thread();
            let thread = thread_id();
            for _ in 0..5 {
                let inner = gort::lock_os_thread();
                park();
                assert_eq!(thread_id(), thread);
                drop(inner);
                park();
                assert_eq!(thread_id(), thread);
            }
            drop(outer);
        }
        // The same thread-locals, whoever runs them; freed from its thread it may go on elsewhere.
        let seen = dep::bump_around(&mut park);
        assert_eq!((seen.before, seen.after, seen.stayed), (2, 4, true));
    });
    // A goroutine with a thread of its own, among others that have none.
    many(scaled(200), |_| {
        let owner = gort::Builder::new().own_thread().go(|| {
            let thread = thread_id();
            for round in 0..5 {
                let seen = dep::bump_around(&mut park);
                assert_eq!(
                    (seen.before, seen.after, seen.stayed),
                    (2 * round, 2 * round + 2, true)
                );
                assert_eq!(thread_id(), thread);
            }
        });
        park();
        owner.expect("a thread can be had").join().unwrap();
    });
}

pub(super) fn blocking_calls_keep_what_is_the_goroutines() {
    many(scaled(500), |_| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        for round in 0..5 {
            let seen = dep::bump_around(&mut || {
                let mut writer = writer.try_clone().unwrap();
                let thread = std::thread::spawn(move || writer.write_all(&[round]).unwrap());
                let mut byte = [0];
                gort::blocking(|| reader.read_exact(&mut byte)).unwrap();
                park();
                assert_eq!(byte, [round]);
                thread.join().unwrap();
            });
            assert!(seen.stayed && seen.after == seen.before + 2);
            let end = std::panic::catch_unwind(|| {
                gort::blocking(|| std::panic::panic_any(Expected(usize::from(round))))
            });
            let payload = end.expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&Expected(round.into())));
            assert!(!std::thread::panicking());
            park();
        }
    });
}
