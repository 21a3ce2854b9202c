//! Stacks, thread-local blocks and the switch between them. `pub` for the other crates of gort only.
//!
//! To all code that runs on it, a goroutine is a thread: it has a stack ([`stack`]), a block of
//! thread-local storage with a thread control block of libc's own shape ([`tls`]), and the switch
//! ([`context`]) changes the stack pointer and the FS base together. So an address of a
//! thread-local, cached by the compiler across a call that parks, stays right when the goroutine
//! goes on on another OS thread.
//!
//! [`trace`] walks stacks, parked ones too.
//!
//! This is the only crate that knows assembly, stack memory and the insides of libc. It schedules
//! nothing: who runs when is `gort-core`'s.
//!
//! Where own thread-local storage cannot be had (another libc, another CPU, a libc whose insides
//! are not as expected), [`tls::init`] says so with a reason, and the scheduler gives each
//! goroutine an OS thread instead.

#![cfg_attr(
    not(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu",
        not(target_feature = "crt-static"),
        not(gort_tsan)
    )),
    expect(
        dead_code,
        reason = "without own thread-local blocks (see `tls`) there are no slots"
    )
)]

pub mod context;
pub mod guard;
pub mod hibernate;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod interrupted;
mod pool;
pub mod stack;
mod sys;
pub mod tls;
pub mod trace;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod unwind;
