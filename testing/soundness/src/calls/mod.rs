//! The table of calls, by the module of the crate `gort` that they belong to.
//!
//! A call asserts that what it calls does its work, with objects of its own, so that calls can be made one
//! after another, in any order and place. What must be there beforehand (a lock that is held, a channel with
//! a partner) is prepared elsewhere: on a goroutine, before the place is entered.
//!
//! What is forgotten (`mem::forget`) is a call like the others; it covers `forget(TYPE)`.

mod chan;
mod context;
mod debug;
mod fds;
mod forgotten;
mod go;
mod io;
mod net;
mod runtime;
mod select;
mod shared;
mod sync;
mod system;
mod thread;
mod time;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::{Expected, Place};

/// A call that is ready to be made.
pub type Act = Box<dyn FnOnce() + Send>;

/// A line of the table.
pub struct Call {
    /// What is called, and how; unique.
    pub name: &'static str,
    covers: &'static str,
    needs: Needs,
    exceptions: fn(Place) -> Option<Expected>,
    body: Body,
}

enum Body {
    Plain(fn()),
    Prepared(fn() -> Act),
}

/// What a call needs of the scheduler, which is not there after a `fork`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Nothing: it works in a child too.
    Nothing,
    /// It starts a goroutine or a timer.
    Start,
    /// It waits.
    Wait,
    /// It waits with a deadline: for a goroutine there is a timer, a plain thread just sleeps.
    Deadline,
}

impl Call {
    /// The public items that are called, by their paths in the crate.
    pub fn covers(&self) -> impl Iterator<Item = &'static str> {
        self.covers.split_whitespace()
    }

    /// Makes what the call needs.
    pub fn prepare(&self) -> Act {
        match self.body {
            Body::Plain(f) => Box::new(f),
            Body::Prepared(prepare) => prepare(),
        }
    }

    /// What the call must do in a place.
    pub fn expected(&self, place: Place) -> Expected {
        if let Some(expected) = (self.exceptions)(place) {
            return expected;
        }
        let needs = match self.needs {
            Needs::Deadline if place.is_plain_thread() => Needs::Wait,
            Needs::Deadline => Needs::Start,
            needs => needs,
        };
        match needs {
            _ if !place.is_forked() => Expected::Works,
            Needs::Start => Expected::Ends(
                libc::SIGABRT,
                "gort: fatal: a goroutine or timer was started after fork without exec",
            ),
            Needs::Wait => Expected::Ends(
                libc::SIGABRT,
                "gort: fatal: a wait began after fork without exec",
            ),
            _ => Expected::Works,
        }
    }

    /// Not everywhere as its needs say.
    fn except(mut self, exceptions: fn(Place) -> Option<Expected>) -> Call {
        self.exceptions = exceptions;
        self
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The whole table.
pub fn all() -> Vec<Call> {
    [
        go::calls(),
        runtime::calls(),
        chan::calls(),
        select::calls(),
        sync::calls(),
        shared::calls(),
        context::calls(),
        time::calls(),
        net::calls(),
        fds::calls(),
        io::calls(),
        system::calls(),
        thread::calls(),
        debug::calls(),
        forgotten::calls(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A call that needs nothing beforehand.
fn call(name: &'static str, covers: &'static str, needs: Needs, body: fn()) -> Call {
    Call {
        name,
        covers,
        needs,
        exceptions: |_| None,
        body: Body::Plain(body),
    }
}

/// A call for which something is prepared.
fn prepared(name: &'static str, covers: &'static str, needs: Needs, prepare: fn() -> Act) -> Call {
    Call {
        body: Body::Prepared(prepare),
        ..call(name, covers, needs, || ())
    }
}

/// What a caller of `prepared` gives.
fn act(f: impl FnOnce() + Send + 'static) -> Act {
    Box::new(f)
}

/// Panics in every place, but where nothing may panic.
fn panics_with(place: Place, message: &'static str) -> Option<Expected> {
    Some(match place {
        // std ends the process, as its hook has panicked.
        Place::PanicHook => Expected::Ends(
            libc::SIGABRT,
            "thread panicked while processing panic. aborting.",
        ),
        _ => Expected::Panics(message),
    })
}

/// Set in the child of a `fork`.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Says that this is the child of a `fork`.
pub(crate) fn set_child() {
    IS_CHILD.store(true, Relaxed);
}

/// A time that is soon over; but in the child of a `fork`, which must not wait at all, never so soon that
/// there is nothing to wait for.
fn short() -> Duration {
    match IS_CHILD.load(Relaxed) {
        false => Duration::from_millis(1),
        true => Duration::from_secs(3600),
    }
}

/// Does `f` on another goroutine, when the caller has most likely begun to wait for it. If it has not, then
/// its call finds everything ready; both must work.
fn soon(f: impl FnOnce() + Send + 'static) {
    partner(f).begin();
}

/// A goroutine that does `f` soon after the act has told it to. In the child of a `fork` it never does.
fn partner(f: impl FnOnce() + Send + 'static) -> Partner {
    let (begin, begins) = gort::chan::bounded(1);
    drop(gort::go(move || {
        // Else the act was never made.
        if begins.recv().is_ok() {
            for _ in 0..20 {
                gort::yield_now();
            }
            f();
        }
    }));
    Partner(begin)
}

struct Partner(gort::chan::Sender<()>);

impl Partner {
    fn begin(self) {
        self.0.send(()).expect("the partner waits for it");
    }
}
