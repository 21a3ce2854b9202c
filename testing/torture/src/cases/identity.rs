//! Who am I: the thread that a goroutine is to std and to libc.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::drive::{has_own_blocks, many, park, parks_and_moves, scaled};

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
