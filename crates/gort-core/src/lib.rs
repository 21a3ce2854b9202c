//! The scheduler of gort: goroutines (G), the threads that run them (M) and the right to run (P).
//!
//! `pub` for the other crates of gort only; nothing here is a stable interface.
//!
//! From the ground up: `os` (kernel facilities, no policy), `clock`, `wait_reason`, `lock`,
//! `thread_state` (the only thread-local), `g` (a goroutine: descriptor, entry, join), `timer` and
//! `netpoll` (sources of work: they return goroutines and never schedule them), `sched` (P, M,
//! `find_work`, `park`, `ready`), `halt` (all stop when the process ends), `cancel` and `poll_fd` (waits that can be called off, and for descriptors), `trace` and `symbol` (stacks and their names), `snapshot` (a read-only
//! view), `dump` (the same as text), `stall` (who keeps others waiting), `report` (panics, SIGQUIT), `sysmon`, `runtime` (start, configuration). `ARCHITECTURE.md` has
//! the protocols.
//!
//! The way of a goroutine: [`sched::spawn`] takes a stack and a G and queues it; an M that holds a
//! P finds it (`sched::find_work`), switches to its stack, and `g::entry` runs the closure. It stops
//! only in `sched::park`, is woken only by [`sched::ready`], and ends in `g::entry` again, on its own
//! stack, before the next context takes the stack away.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "gort runs on Linux: x86_64-unknown-linux-gnu (own TLS), other Linux targets in thread mode"
);

#[macro_use]
pub mod fatal;
pub mod os;

mod atomic;
pub mod clock;
pub mod fork;
pub mod inside;
pub mod light_lock;
mod limits;
pub mod lock;
mod reporter;
mod settings;
mod thread_state;
pub mod wait_reason;

pub mod g;
pub mod netpoll;
pub mod timer;

pub mod sched;

#[doc(hidden)]
pub mod audit;
pub mod cancel;
pub mod on_thread;
pub mod poll_fd;

pub mod deadlock;
pub mod dump;
mod halt;
pub mod hang;
pub mod hibernate;
pub mod notify;
pub mod overflow;
pub mod preempt;
mod report;
pub mod runtime;
pub mod snapshot;
pub mod stall;
pub mod symbol;
mod sysmon;
pub mod trace;
