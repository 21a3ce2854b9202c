//! Structures that two threads race on. `pub` for the other crates of gort only.
//!
//! Everything here is generic over what it holds and takes its atomics from `facade`, so that
//! loom can run all of it: there is no assembly, no system call, no thread-local and no static in
//! this crate. What the structures mean to a goroutine is decided above, in `gort-core`.
//!
//! | file         | what it is                                             | who races               |
//! |--------------|--------------------------------------------------------|-------------------------|
//! | `list`       | FIFO with the link in the item                         | nobody: caller's lock   |
//! | `local`      | run queue of one P                                     | its owner and thieves   |
//! | `status`     | what one goroutine is doing; park and ready            | the parker and wakers   |
//! | `claim`      | which of several wakers wins                           | the wakers              |
//! | `wait_list`  | waiters of one channel or lock, removable in O(1)      | nobody: caller's lock   |
//! | `timer_heap` | timers of one P, removable in O(log n)                 | nobody: caller's lock   |
//! | `poll_slot`  | one direction of one file descriptor                   | the waiter and pollers  |
//! | `idle`       | when a submitter must wake another M                   | submitters and spinners |
//! | `gate`       | when a P can be taken from an M that is not looking    | the M and sysmon        |
//! | `sleep_word` | whether a parked stack's memory is put away            | its keeper and who touches it |
//! | `wake_word`  | which call of a future's waker readies its goroutine   | the poll and callers    |
//!
//! Checked by unit tests in each file, and by the loom models in `tests/`, which `ci/loom.sh` runs
//! together with deliberately broken variants (`cfg(gort_fault = "…")`) that loom must reject.

pub mod claim;
mod facade;
pub mod gate;
pub mod idle;
pub mod list;
pub mod local;
pub mod poll_slot;
pub mod sleep_word;
pub mod status;
pub mod timer_heap;
pub mod wait_list;
pub mod wake_word;

#[cfg(all(test, not(loom)))]
mod random;
