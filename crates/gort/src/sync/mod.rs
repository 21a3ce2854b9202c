//! Locks and their relatives. Everything here parks the goroutine, never its thread; called on a
//! plain OS thread it blocks that thread. The two may be mixed on one lock.
//!
//! | type | Go | shape |
//! |---|---|---|
//! | [`Mutex`], [`RwLock`] | `sync.Mutex`, `sync.RWMutex` | `lock_api`'s types; guards are `Send` |
//! | [`Condvar`] | `sync.Cond` | parking_lot's |
//! | [`Once`] | `sync.Once` | std's, done even after a panic |
//! | [`OnceLock`], [`LazyLock`] | `sync.OnceValue` | std's |
//! | [`WaitGroup`] | `sync.WaitGroup` | Go's, with clonable handles |
//! | [`Pool`] | `sync.Pool` | Go's, emptied by the clock |
//! | [`ErrGroup`] | `errgroup.Group` | Go's; hands panics on |
//! | [`SingleFlight`] | `singleflight.Group` | Go's |
//! | [`Semaphore`] | `semaphore.Weighted` | permits that give themselves back |
//! | [`Barrier`] | – | std's |
//! | [`Map`] | `sync.Map` | Go's; values are given out as clones |
//! | [`mpsc`] | – | std's, over [`chan`](crate::chan) |
//!
//! Nothing is poisoned by a panic (except a `LazyLock` whose function panics, as in std). Nothing
//! here obeys a current context; [`Semaphore::acquire_ctx`] takes one.
//!
//! Keep locked sections short; let a guard's scope, or `drop(guard)`, end them. Do not read-lock
//! twice in one goroutine. Add to a wait group before you start what it counts.
//!
//! Inside: each `raw_*` file is one state machine in one atomic word, with its invariants and the
//! proof that no wake-up is lost; `wait_table` holds the queues of all of them; the other files are
//! the public types. [`Map`] locks nothing: a trie of leaves that are replaced, and `hazard`, which keeps
//! alive what is being read. The `raw_*` files, `hazard`, `striped` and those inside `map` name nothing but
//! `super::`, so that `testing/model` can run the same files under loom.

mod barrier;
mod condvar;
mod err_group;
mod hazard;
mod holder;
mod lazy_lock;
mod map;
pub mod mpsc;
mod mutex;
mod once;
mod once_lock;
mod pool;
mod raw_mutex;
mod raw_once;
mod raw_rw_lock;
pub(crate) mod raw_semaphore;
mod raw_wait_group;
mod recursion;
mod rw_lock;
mod semaphore;
mod single_flight;
mod spin;
mod stripe;
pub(crate) mod striped;
mod wait_group;
mod wait_table;

/// std's reference counts and atomic types, which need no goroutines, so that `gort::sync` can stand where
/// `std::sync` stood.
pub use std::sync::{Arc, Weak, atomic};

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use err_group::ErrGroup;
pub use lazy_lock::LazyLock;
pub use map::Map;
pub use mutex::{ArcMutexGuard, MappedMutexGuard, Mutex, MutexGuard};
pub use once::Once;
pub use once_lock::OnceLock;
pub use pool::{Pool, PoolGuard};
pub use raw_mutex::RawMutex;
pub use raw_rw_lock::RawRwLock;
pub use rw_lock::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
pub use semaphore::{Permit, Semaphore};
pub use single_flight::SingleFlight;
pub use wait_group::WaitGroup;

pub(crate) use wait_table::{Blocked, blocked};

use gort_core::wait_reason::WaitReason;
use gort_core::{clock, fatal, fork, g, runtime, sched};
