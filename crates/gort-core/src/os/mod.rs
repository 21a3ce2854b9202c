//! Kernel facilities, one file each; no policy.

pub mod cgroup;
pub mod epoll;
pub mod futex;
pub mod membarrier;
pub mod probe;
pub mod process;
pub mod signal;
pub mod socket;
pub mod thread;
