//! What the tests of Rust's standard library check of `std::sync`, checked of `gort::sync` inside
//! goroutines. Each test names in its first line those of `library/std/tests/sync` that it stands for
//! (Rust 1.95's); the code is ours.
//!
//! Not here, for they cannot be or need not be:
//! * everything about poison: nothing is poisoned here (D6), but `LazyLock`;
//! * `Once::{call_once_force, wait, wait_force}`: a `Once` is done after a panic too (D12), so there is no
//!   state to force; to wait, call it with nothing to do;
//! * `get_cloned`, `set`, `replace`, `with_mut`, `get_or_try_init`, `send_timeout`: not stable in std;
//! * `test_read_guard_covariance` and its mapped twin: `lock_api`'s guards hold their lock, which is invariant;
//! * `dropck` of `OnceLock`: only std may say that a destructor does not look at what it drops;
//! * `LazyCell`: it is not shared, and std's is as good in a goroutine.

mod barrier;
mod condvar;
mod mpsc;
mod mutex;
mod once;
mod rw_lock;

/// What counts how often it is dropped.
struct CountsDrops<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for CountsDrops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}
