//! Calls that block their thread and cannot be stopped: whoever is in a context stops waiting for them.
//!
//! Without a current context such a call is made in place, its P handed off. With one, a goroutine of the
//! runtime's own makes it and sends the result. A caller whose context ends first is gone by then; the call
//! goes on alone, on the thread that it has in any case, and its result is dropped.
//!
//! Elsewhere: what is called so, the resolver (`net::lookup`) and waiting for a child without its
//! descriptor (`process::child`).
//! Checked by `crates/gort/tests/lookup.rs` and `crates/gort/tests/process`.
#![forbid(unsafe_code)]

use std::io;

use gort_core::sched::{self, SpawnOptions};
use gort_core::{fork, runtime};

use super::RecvCtxError;
use super::current::{self, current};
use crate::chan;

/// What `f` returns, which may block its thread; or the error of the current context, as soon as that is
/// done. Parks meanwhile.
///
/// # Errors
///
/// The current context's; no stack for the goroutine that calls `f`.
#[track_caller]
pub(crate) fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    current::check()?;
    let current = current();
    // In the child of a fork nobody else would run.
    if current.cancellation().is_none() || fork::is_forked() {
        return Ok(sched::blocking(f));
    }
    runtime::ensure_started();
    let (done, result) = chan::bounded(1);
    let options = SpawnOptions {
        name: Some("a call that cannot be stopped".into()),
        system: true,
        group: Some(0),
        ..SpawnOptions::new()
    };
    // Nobody receives it any more: then it is dropped here.
    let call = move || drop(done.send(sched::blocking(f)));
    drop(sched::spawn(call, options)?);
    match result.recv_ctx(&current.to_context()) {
        Ok(value) => Ok(value),
        Err(RecvCtxError::Context(error)) => Err(error.into()),
        Err(RecvCtxError::Disconnected) => Err(io::Error::other("the call has panicked")),
    }
}
