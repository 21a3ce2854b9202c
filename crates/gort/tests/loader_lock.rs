//! Goroutines are started without the lock that the loader's list has for all threads (`tls::own::loaded` in
//! `gort-arch`): asking for the list is counted here, by a function before libc's own.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

type Visit = unsafe extern "C" fn(*mut libc::dl_phdr_info, libc::size_t, *mut c_void) -> c_int;
type Iterate = unsafe extern "C" fn(Option<Visit>, *mut c_void) -> c_int;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it does what libc's does, and counts.
#[unsafe(no_mangle)]
unsafe extern "C" fn dl_iterate_phdr(visit: Option<Visit>, data: *mut c_void) -> c_int {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: a terminated name; libc has this function, of this type.
    let next = unsafe {
        let next = libc::dlsym(libc::RTLD_NEXT, c"dl_iterate_phdr".as_ptr());
        assert!(!next.is_null());
        std::mem::transmute::<*mut c_void, Iterate>(next)
    };
    // SAFETY: as our caller promises.
    unsafe { next(visit, data) }
}

const GOROUTINES: usize = 1000;

/// How often the list was asked for while so many goroutines were started.
fn asked_by_spawns() -> usize {
    let before = CALLS.load(Ordering::Relaxed);
    for i in 0..GOROUTINES {
        assert_eq!(gort::go(move || i).join().unwrap(), i);
    }
    CALLS.load(Ordering::Relaxed) - before
}

#[test]
fn the_loader_is_asked_while_something_was_loaded_late_and_else_not() {
    gort::run(|| {
        if gort::runtime::metrics().tls_mode != gort::runtime::TlsMode::Own {
            return;
        }
        // The first ones take stacks that were never used, which asks too.
        asked_by_spawns();
        let asked = asked_by_spawns();
        assert!(asked < GOROUTINES / 10, "{asked} times");

        // SAFETY: one of libc's, of which nothing is left but the name.
        let late = unsafe { libc::dlopen(c"libutil.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!late.is_null());
        let asked = asked_by_spawns();
        assert!(asked >= GOROUTINES, "{asked} times");

        // SAFETY: the handle is ours, and given back once.
        assert_eq!(unsafe { libc::dlclose(late) }, 0);
        let asked = asked_by_spawns();
        assert!(asked < GOROUTINES / 10, "{asked} times");
    });
}
