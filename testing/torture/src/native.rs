//! The C side of the suite, and how its checks answer.

use std::ffi::{c_int, c_long};

/// A function that parks the goroutine.
pub(crate) type ParkFn = extern "C" fn();

/// [`crate::drive::park`] for C.
pub(crate) extern "C" fn park() {
    crate::drive::park();
}

unsafe extern "C" {
    pub(crate) fn torture_errno(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_thread_variables(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_strtok(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_ctype(park: ParkFn) -> c_int;
    pub(crate) fn torture_locale(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_strerror(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_dlerror(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_longjmp(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_stream_open() -> c_int;
    pub(crate) fn torture_stream_lines() -> c_long;
    pub(crate) fn torture_stdio(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_qsort(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_child_threads() -> c_int;
    pub(crate) fn torture_locks_init() -> c_int;
    pub(crate) fn torture_recursive(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_c11_recursive(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_checked(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_rwlock(park: ParkFn, id: c_int) -> c_int;
    pub(crate) fn torture_inheriting_init() -> c_int;
    pub(crate) fn torture_inheriting(park: Option<ParkFn>, rounds: c_int) -> c_int;
    pub(crate) fn torture_inheriting_count() -> c_long;
    pub(crate) fn torture_inheriting_held(park: ParkFn) -> c_int;
    pub(crate) fn torture_robust(park: Option<ParkFn>, rounds: c_int) -> c_int;
    pub(crate) fn torture_robust_held(park: ParkFn) -> c_int;
    pub(crate) fn torture_robust_count() -> c_long;
    pub(crate) fn torture_semaphore(park: ParkFn) -> c_int;
}

/// Fails with the line of the check in C that failed.
#[track_caller]
pub(crate) fn assert_passed(line: c_int) {
    assert_eq!(line, 0, "the check in this line of the C file failed");
}
