//! [`StopFunc`]: a function that runs when a context is done, unless it is stopped before.

use std::fmt;
use std::panic::Location;

use gort_core::lock::Mutex;
use gort_core::sched::{self, SpawnOptions};
use gort_core::{fatal, g, runtime};

use super::node::NodeRef;
use super::scope::{Tail, Verdict};

/// The function, until somebody takes it to run it or to drop it.
pub(super) struct FuncCell(Mutex<Option<Func>>);

struct Func {
    run: Box<dyn FnOnce() + Send>,
    /// Of whoever registered it: its goroutine counts as started there.
    group: u32,
    created_at: &'static Location<'static>,
}

impl FuncCell {
    #[track_caller]
    pub(super) fn new(f: impl FnOnce() + Send + 'static) -> FuncCell {
        FuncCell(Mutex::new(Some(Func {
            run: Box::new(f),
            group: g::current_goroutine().map_or(0, |creator| creator.group()),
            created_at: Location::caller(),
        })))
    }

    fn take(&self) -> Option<Func> {
        self.0.lock().take()
    }

    /// Runs the function in a goroutine of its own, unless it is gone.
    pub(super) fn start(&self) {
        let Some(Func {
            run,
            group,
            created_at,
        }) = self.take()
        else {
            return;
        };
        runtime::ensure_started();
        let options = SpawnOptions {
            group: Some(group),
            location: created_at,
            ..SpawnOptions::new()
        };
        if let Err(error) = sched::spawn(run, options)
            && !runtime::is_shut()
        {
            // Nobody is there to be told, and a program that does not hear of a cancel is broken.
            fatal!("no goroutine for a context's function: {error}");
        }
    }
}

/// Stops the function of [`Context::after_func`](super::Context::after_func) from being run.
///
/// Dropping it changes nothing: the function runs when the context is done.
///
/// # Examples
///
/// ```
/// let (ctx, cancel) = gort::context::background().with_cancel();
/// let (tx, rx) = gort::chan::bounded(1);
/// drop(ctx.after_func(move || tx.send("it is over").unwrap()));
/// cancel.cancel();
/// assert_eq!(rx.recv(), Ok("it is over"));
/// ```
pub struct StopFunc {
    pub(super) node: NodeRef,
}

impl StopFunc {
    /// Stops the function from being run. True if that was in time: it will not run, and is dropped.
    /// False if it has been started, or was stopped before.
    ///
    /// Does not wait for a function that runs; if you need to know when it has ended, let it say so.
    ///
    /// # Examples
    ///
    /// ```
    /// let (ctx, cancel) = gort::context::background().with_cancel();
    /// let stop = ctx.after_func(|| unreachable!("it was stopped"));
    /// assert!(stop.stop());
    /// assert!(!stop.stop());
    /// cancel.cancel();
    /// ```
    pub fn stop(&self) -> bool {
        let Tail::Func(func) = &self.node.scope().tail else {
            unreachable!("made with a function");
        };
        let taken = func.take();
        // Takes it off its parent's list. The function is gone, so none is started.
        self.node.end(Verdict::canceled());
        taken.is_some()
    }
}

impl fmt::Debug for StopFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopFunc").finish_non_exhaustive()
    }
}
