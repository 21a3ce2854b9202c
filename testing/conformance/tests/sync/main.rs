//! Locks, conditions, wait groups, onces, semaphores.

mod cond;
mod happens_before;
mod map;
mod mutex;
mod once;
mod pool;
mod rw_lock;
mod semaphore;
mod wait_group;
