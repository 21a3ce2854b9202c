//! What only the inside shows: the lists of children, the timers, the memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn child_count(ctx: &Context) -> usize {
    ctx.nearest().unwrap().scope().child_count()
}

fn has_timer(ctx: &Context) -> bool {
    match &ctx.nearest().unwrap().scope().tail {
        Tail::Alarm(alarm) => alarm.is_armed(),
        _ => false,
    }
}

#[test]
fn cx03_a_parents_end_ends_every_kind_of_child() {
    let (parent, cancel) = background().with_cancel();
    let (child, _cancel_child) = parent.with_cancel();
    let value = parent.with_value(1);
    let (timed, _cancel_timed) = value.with_timeout(HOUR);
    let (tx, rx) = chan::bounded(1);
    let _stop = parent.after_func(move || tx.send(()).unwrap());
    assert_eq!(child_count(&parent), 3);

    cancel.cancel();
    assert_eq!(child_count(&parent), 0);
    for ctx in [&parent, &child, &value, &timed] {
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
        assert!(ctx.done().try_recv().unwrap_err().is_disconnected());
    }
    assert!(!has_timer(&timed));
    assert_eq!(rx.recv(), Ok(()));

    // Born ended.
    let (late, _cancel_late) = value.with_timeout(HOUR);
    assert_eq!(late.err(), Some(ContextError::Canceled));
    assert!(!has_timer(&late));
    assert_eq!(child_count(&parent), 0);
}

#[test]
fn cx04_a_childs_end_leaves_the_parent() {
    let (parent, _cancel) = background().with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let (sibling, _cancel_sibling) = parent.with_cancel();
    assert_eq!(child_count(&parent), 2);
    cancel_child.cancel();
    assert_eq!(child.err(), Some(ContextError::Canceled));
    assert_eq!((parent.err(), sibling.err()), (None, None));
    assert_eq!(child_count(&parent), 1);
}

#[test]
fn cx05_cancel_removes_a_child_from_its_parent() {
    let (parent, _cancel) = background().with_cancel();
    assert_eq!(child_count(&parent), 0);
    let (_ctx, cancel) = parent.with_cancel();
    assert_eq!(child_count(&parent), 1);
    cancel.cancel();
    assert_eq!(child_count(&parent), 0);

    let (ctx, cancel) = parent.with_timeout(HOUR);
    assert_eq!(child_count(&parent), 1);
    assert!(has_timer(&ctx));
    cancel.cancel();
    assert_eq!(child_count(&parent), 0);
    assert!(!has_timer(&ctx));

    let stop = parent.after_func(|| panic!("it was stopped"));
    assert_eq!(child_count(&parent), 1);
    assert!(stop.stop());
    assert_eq!(child_count(&parent), 0);
}

#[test]
fn cx08_a_cancelled_timeout_leaves_no_timer() {
    let (ctx, cancel) = background().with_timeout(HOUR);
    assert!(has_timer(&ctx));
    cancel.cancel();
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert!(!has_timer(&ctx));
}

#[test]
fn an_earlier_deadline_of_the_parent_needs_no_second_timer() {
    let (parent, _cancel) = background().with_timeout(HOUR);
    let (later, _cancel_later) = parent.with_timeout(2 * HOUR);
    assert!(!has_timer(&later));
    assert_eq!(later.deadline(), parent.deadline());
    assert_eq!(child_count(&parent), 1);
    let (earlier, _cancel_earlier) = parent.with_timeout(HOUR / 2);
    assert!(has_timer(&earlier));
}

#[test]
fn a_dropped_child_leaves_its_parents_list() {
    let (parent, cancel) = background().with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let value = child.with_value("kept");
    drop((child, cancel_child));
    // Its handle is gone, so it has ended.
    assert_eq!(value.err(), Some(ContextError::Canceled));
    assert_eq!(child_count(&parent), 0);
    let (ctx, _cancel_ctx) = parent.with_cancel();
    drop((parent, cancel));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

#[test]
fn cx20_contexts_in_a_loop_leave_nothing_behind() {
    let (parent, _cancel) = background().with_cancel();
    for i in 0..100_000 {
        let (ctx, cancel) = parent.with_timeout(HOUR);
        assert_eq!(child_count(&parent), 1);
        cancel.cancel();
        assert!(!has_timer(&ctx));
        if i % 2 == 0 {
            // Or by the drop of everything.
            let _dropped = parent.with_timeout(HOUR);
        }
        assert_eq!(child_count(&parent), 0);
    }
}

/// On a thread with a small stack, so that a recursion is seen.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(f).unwrap().join().unwrap();
}

#[test]
fn a_deep_chain_ends_and_is_dropped_without_recursion() {
    on_a_small_stack(|| {
        let (root, cancel) = background().with_cancel();
        let mut leaf = root.clone();
        let mut handles = Vec::new();
        for depth in 0..100_000 {
            let (child, handle) = leaf.with_cancel();
            handles.push(handle);
            leaf = child.with_value(depth);
        }
        assert_eq!(*leaf.value::<i32>().unwrap(), 99_999);
        cancel.cancel();
        assert_eq!(leaf.err(), Some(ContextError::Canceled));
        assert_eq!(child_count(&root), 0);
        drop((root, cancel));
        assert_eq!(format!("{leaf:?}").matches("WithCancel").count(), 100_001);
        drop(handles);
        drop(leaf);
    });
}

#[test]
fn values_and_functions_are_dropped_without_a_lock() {
    /// Uses its context when it is dropped.
    struct Asks(Context, Arc<AtomicUsize>);
    impl Drop for Asks {
        fn drop(&mut self) {
            drop(self.0.with_cancel());
            self.1
                .fetch_add(1 + child_count(&self.0), Ordering::Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let (parent, cancel) = background().with_cancel();
    let asks = || Asks(parent.clone(), Arc::clone(&drops));
    let (child, _cancel_child) = parent.with_value(asks()).with_cancel();
    let asked = asks();
    let stop = child.after_func(move || drop(asked));
    assert!(stop.stop());
    // The child was on the list.
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    drop((child, _cancel_child, stop));
    // It was not any more.
    assert_eq!(drops.load(Ordering::Relaxed), 3);
    cancel.cancel();
}
