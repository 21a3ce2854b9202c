//! The spans that a goroutine has entered and not left.
//!
//! One stack for all registries, in a thread-local: with thread-locals of its own that is one for each
//! goroutine, and in thread mode a goroutine is a thread. It takes memory with the first span entered.

use std::cell::RefCell;

use tracing_core::span::Id;

#[derive(Clone, Copy)]
struct Entered {
    registry: u64,
    span: u64,
    /// It is further down as well.
    is_again: bool,
}

thread_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// Puts a span on top. Where thread-locals are gone already, nothing is entered.
#[inline]
pub(super) fn push(registry: u64, span: &Id) {
    let span = span.into_u64();
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let is_again = entered
            .iter()
            .any(|entry| entry.span == span && entry.registry == registry);
        entered.push(Entered {
            registry,
            span,
            is_again,
        });
    });
}

/// Takes away the uppermost entry of a span, wherever it is.
#[inline]
pub(super) fn pop(registry: u64, span: &Id) {
    let span = span.into_u64();
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        let at = entered
            .iter()
            .rposition(|entry| entry.span == span && entry.registry == registry);
        if let Some(at) = at {
            entered.remove(at);
        }
    });
}

/// The uppermost span that is not entered again: as the stock registry has it.
#[inline]
pub(super) fn current(registry: u64) -> Option<Id> {
    let current = ENTERED.try_with(|entered| {
        let entered = entered.borrow();
        let mut own = entered.iter().rev();
        own.find(|entry| entry.registry == registry && !entry.is_again)
            .map(|entry| Id::from_u64(entry.span))
    });
    current.ok().flatten()
}
