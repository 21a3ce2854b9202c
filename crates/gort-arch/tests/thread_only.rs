//! Where there are no own blocks, that is said with a reason, and nothing else is attempted.
#![cfg(not(all(
    target_os = "linux",
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
)))]

use gort_arch::stack::{self, Class};
use gort_arch::tls::{self, Mode, Request};

#[test]
fn it_is_thread_mode_whatever_is_asked_for() {
    let support = tls::init(Request::Own);
    assert_eq!(support.mode, Mode::Thread);
    assert!(support.reason.starts_with("thread: "), "{}", support.reason);
    let error = stack::allocate(Class::for_size(1).unwrap()).unwrap_err();
    assert!(error.to_string().contains("thread mode"), "{error}");
    assert_eq!(tls::thread_local_offset(&raw const error as usize), None);
    // SAFETY: on this thread, used by nothing.
    let m = unsafe { tls::ThreadTls::capture() };
    assert_ne!(m.tid(), 0);
}
