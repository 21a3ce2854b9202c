//! What C keeps per thread; the checks are in `csrc/state.c`.

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::drive::{many, park, scaled};
use crate::native::{self, ParkFn, assert_passed};

/// Runs a check on many goroutines.
fn each(count: usize, check: unsafe extern "C" fn(ParkFn, c_int) -> c_int) {
    many(scaled(count), |i| {
        // SAFETY: the checks of `csrc/` take a function that parks, and any number.
        assert_passed(unsafe { check(native::park, i as c_int) });
    });
}

pub(super) fn errno_is_the_goroutines() {
    each(10_000, native::torture_errno);
    many(scaled(10_000), |_| {
        // SAFETY: refused by the kernel.
        assert_eq!(unsafe { libc::close(-1) }, -1);
        park();
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    });
}

pub(super) fn thread_variables_are_the_goroutines() {
    each(10_000, native::torture_thread_variables);
}

pub(super) fn strtok_goes_on() {
    each(10_000, native::torture_strtok);
}

pub(super) fn ctype_tables_stay() {
    many(scaled(10_000), |_| {
        // SAFETY: as in `each`.
        assert_passed(unsafe { native::torture_ctype(native::park) });
    });
}

pub(super) fn a_locale_is_the_goroutines() {
    each(5_000, native::torture_locale);
}

pub(super) fn strerror_keeps_its_text() {
    each(5_000, native::torture_strerror);
}

pub(super) fn dlerror_keeps_its_text() {
    if cfg!(target_feature = "crt-static") {
        return println!("skipped: a static program loads no libraries");
    }
    each(2_000, native::torture_dlerror);
}

pub(super) fn longjmp_finds_its_way() {
    each(5_000, native::torture_longjmp);
}

pub(super) fn a_stream_is_locked_across_parks() {
    let count = scaled(1_000);
    // SAFETY: no preconditions.
    assert_passed(unsafe { native::torture_stream_open() });
    each(1_000, native::torture_stdio);
    // SAFETY: opened above, and used by nobody any more.
    assert_eq!(unsafe { native::torture_stream_lines() }, count as i64);
}

pub(super) fn qsort_parks_in_its_comparator() {
    each(5_000, native::torture_qsort);
}

static KEYS_DESTROYED: AtomicUsize = AtomicUsize::new(0);

/// The destructor of the keys.
unsafe extern "C" fn destroy_key(value: *mut std::ffi::c_void) {
    park();
    KEYS_DESTROYED.fetch_add(1, Relaxed);
    assert!(!value.is_null());
}

pub(super) fn keys_are_the_goroutines_and_destroyed() {
    // More than the 32 that lie in the thread's descriptor itself.
    const KEYS: usize = 40;
    let mut keys = [0; KEYS];
    for key in &mut keys {
        // SAFETY: `key` is valid for a write; the destructor takes any value but null.
        let error = unsafe { libc::pthread_key_create(key, Some(destroy_key)) };
        assert_eq!(error, 0);
    }
    let count = scaled(2_000);
    for round in 1..=2 {
        many(count, |i| {
            let value = |key: usize| (i * KEYS + key + 1) as *mut std::ffi::c_void;
            for (k, key) in keys.iter().enumerate() {
                // SAFETY: the key exists. The value is never dereferenced.
                unsafe {
                    assert!(libc::pthread_getspecific(*key).is_null());
                    assert_eq!(libc::pthread_setspecific(*key, value(k)), 0);
                }
                if k % 10 == 0 {
                    park();
                }
            }
            for (k, key) in keys.iter().enumerate() {
                // SAFETY: the key exists.
                assert_eq!(unsafe { libc::pthread_getspecific(*key) }, value(k));
            }
        });
        assert_eq!(KEYS_DESTROYED.load(Relaxed), round * count * KEYS);
    }
    for key in keys {
        // SAFETY: nobody uses it any more.
        assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
    }
}
