//! `gort::chan` as its users see it, where it goes beyond what Go and crossbeam-channel have tests for:
//! futures, promises to send, closing, the channels of the clock, and all of these mixed.

mod closing;
mod futures;
mod mixed;
mod promises;
mod timed;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use gort_test_support::Wakes;

/// Panics when it is woken, as a broken executor might.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

/// Polls once, with a waker that panics.
fn poll_to_panic<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::new(Panics));
    future.as_mut().poll(&mut Context::from_waker(&waker))
}

/// Polls once; `wakes` is woken for it.
fn poll<F: Future>(future: &mut Pin<Box<F>>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(wakes));
    future.as_mut().poll(&mut Context::from_waker(&waker))
}
