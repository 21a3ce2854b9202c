//! CX18, CX19.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gort::chan;
use gort::context::{Cancel, Context, ContextError, background};
use gort::sync::Mutex;
use gort_conformance::support::{SOON, assert_not_for_a_while, eventually};

use super::{HOUR, assert_ended};

#[gort::test]
fn cx18_functions_run_after_the_end() {
    let (tx, rx) = chan::unbounded();
    let says = |what: &'static str| {
        let tx = tx.clone();
        move || tx.send(what).unwrap()
    };
    // After a cancel, and not before.
    let (ctx, cancel) = background().with_cancel();
    let stop = ctx.with_value(1).after_func(says("cancelled"));
    assert_not_for_a_while("it runs", || !rx.is_empty());
    cancel.cancel();
    assert_eq!(rx.recv_timeout(SOON), Ok("cancelled"));
    assert!(!stop.stop(), "it has been started");
    // At once.
    drop(ctx.after_func(says("at once")));
    assert_eq!(rx.recv_timeout(SOON), Ok("at once"));
    // After a timeout; the handle need not be kept.
    let (ctx, _cancel) = background().with_timeout(Duration::from_millis(1));
    drop(ctx.after_func(says("timed out")));
    assert_eq!(rx.recv_timeout(SOON), Ok("timed out"));

    // In a goroutine of its own: the cancel does not wait for it, though it waits for us.
    let (ctx, cancel) = background().with_cancel();
    let (go_on_tx, go_on_rx) = chan::bounded::<()>(0);
    let after = says("went on");
    let _stop = ctx.after_func(move || {
        go_on_rx.recv().unwrap();
        after();
    });
    cancel.cancel();
    go_on_tx.send(()).unwrap();
    assert_eq!(rx.recv_timeout(SOON), Ok("went on"));

    // Stopped before: true, and it is dropped without having run; then false.
    let (ctx, cancel) = background().with_cancel();
    let dropped = Arc::new(());
    let stop = ctx.after_func({
        let (held, says) = (Arc::clone(&dropped), says("never"));
        move || {
            drop(held);
            says();
        }
    });
    assert_eq!(Arc::strong_count(&dropped), 2);
    assert!(stop.stop());
    assert_eq!(Arc::strong_count(&dropped), 1);
    assert!(!stop.stop());
    cancel.cancel();
    assert!(!stop.stop());
    assert_not_for_a_while("a stopped function runs", || !rx.is_empty());

    // Where there is no end.
    let stop = background().after_func(says("never"));
    assert!(stop.stop());
    assert!(!stop.stop());
}

/// Either it is run, or `stop` says that it kept it from that.
#[gort::test]
fn cx18_a_stop_and_a_cancel_at_once_agree() {
    let runs = Arc::new(AtomicUsize::new(0));
    let mut stopped = 0;
    const ROUNDS: usize = 500;
    for _ in 0..ROUNDS {
        let (ctx, cancel) = background().with_cancel();
        let stop = ctx.after_func({
            let runs = Arc::clone(&runs);
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
            }
        });
        let canceller = gort::go(move || cancel.cancel());
        stopped += usize::from(stop.stop());
        canceller.join().unwrap();
    }
    let ended = || runs.load(Ordering::Relaxed) + stopped;
    eventually("all others ran", || ended() >= ROUNDS);
    // And none of those that were stopped.
    assert_not_for_a_while("a stopped function runs", || ended() > ROUNDS);
}

/// What is called at an end.
type Func = Box<dyn FnOnce() + Send>;

/// Somebody else's way to end things: functions that it calls when it ends.
#[derive(Default)]
struct Foreign {
    funcs: Mutex<Vec<(u64, Func)>>,
    next: AtomicUsize,
}

impl Foreign {
    fn register(&self, f: impl FnOnce() + Send + 'static) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) as u64;
        self.funcs.lock().push((id, Box::new(f)));
        id
    }

    fn unregister(&self, id: u64) {
        let mut funcs = self.funcs.lock();
        let found = funcs.iter().position(|(other, _)| *other == id);
        let func = found.map(|index| funcs.swap_remove(index));
        drop(funcs);
        drop(func);
    }

    fn end(&self) {
        let funcs = std::mem::take(&mut *self.funcs.lock());
        for (_, func) in funcs {
            func();
        }
    }

    /// A context that ends with it; no goroutine waits for either.
    fn with_cancel(self: &Arc<Self>) -> (Context, Cancel) {
        let (ctx, cancel) = background().with_cancel();
        let other = cancel.clone();
        let id = self.register(move || other.cancel());
        let foreign = Arc::clone(self);
        drop(ctx.after_func(move || foreign.unregister(id)));
        (ctx, cancel)
    }

    fn registered(&self) -> usize {
        self.funcs.lock().len()
    }
}

#[gort::test]
fn cx19_a_foreign_context_registers_and_unregisters() {
    let foreign = Arc::new(Foreign::default());
    let (first, cancel_first) = foreign.with_cancel();
    let (second, _cancel_second) = foreign.with_cancel();
    let (below, _cancel_below) = second.with_timeout(HOUR);
    assert_eq!(foreign.registered(), 2);
    cancel_first.cancel();
    assert_ended(&first, ContextError::Canceled);
    eventually("it is unregistered", || foreign.registered() == 1);
    assert_eq!(second.err(), None);
    foreign.end();
    assert_ended(&second, ContextError::Canceled);
    assert_ended(&below, ContextError::Canceled);
    assert_eq!(foreign.registered(), 0);
}
