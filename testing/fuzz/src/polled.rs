//! A future that is polled by hand, and whether it was woken since.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gort_test_support::Wakes;

/// The future, with its waker.
pub(crate) struct Polled<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    wakes: Arc<Wakes>,
    /// How many there were at the latest poll.
    wakes_seen: usize,
}

impl<'a, T> Polled<'a, T> {
    pub(crate) fn new(future: Pin<Box<dyn Future<Output = T> + 'a>>) -> Polled<'a, T> {
        Polled {
            future,
            wakes: Arc::default(),
            wakes_seen: 0,
        }
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        self.wakes_seen = self.wakes.count();
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Whether it was woken since the latest poll.
    pub(crate) fn was_woken(&self) -> bool {
        self.wakes.count() > self.wakes_seen
    }
}
