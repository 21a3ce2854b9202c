//! What contexts allocate, and that they give it back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use gort::context::background;

const HOUR: Duration = Duration::from_secs(3600);

/// The system's allocator; counts what each thread does.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: all calls are passed on to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + 1);
        // SAFETY: the caller's word is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - 1);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations `f` makes, and how many of them stay.
fn allocations(f: impl FnOnce()) -> (usize, isize) {
    let (count, live) = (ALLOCATIONS.get(), LIVE.get());
    f();
    (ALLOCATIONS.get() - count, LIVE.get() - live)
}

/// What the module's documentation says.
#[test]
fn a_context_is_one_allocation_and_one_with_a_timer_two() {
    let (parent, _cancel) = background().with_timeout(HOUR);
    // The first one makes what there is one of: the runtime, this thread's part in it.
    drop(parent.with_timeout(HOUR / 2));
    assert_eq!(allocations(|| drop(background().clone())), (0, 0));
    assert_eq!(allocations(|| drop(parent.with_cancel())), (1, 0));
    assert_eq!(allocations(|| drop(parent.without_cancel())), (1, 0));
    assert_eq!(allocations(|| drop(parent.with_value(7))), (2, 0));
    assert_eq!(allocations(|| drop(parent.with_timeout(HOUR / 2))), (2, 0));
    let later = || drop(parent.with_timeout(2 * HOUR));
    assert_eq!(allocations(later), (1, 0));
    let with_done = || {
        let (ctx, cancel) = parent.with_cancel();
        assert!(ctx.done().is_empty());
        cancel.cancel();
    };
    assert_eq!(allocations(with_done), (2, 0));
}

#[test]
fn a_million_children_leave_nothing_behind() {
    let (parent, _cancel) = background().with_cancel();
    drop(parent.with_timeout(HOUR));
    let (_, live) = allocations(|| {
        for i in 0..1_000_000 {
            let (ctx, cancel) = parent.with_cancel();
            match i % 4 {
                0 => cancel.cancel(),
                1 => drop(ctx.with_timeout(HOUR)),
                2 => drop(ctx.after_func(|| {}).stop()),
                _ => {}
            }
        }
    });
    assert_eq!(live, 0);
}
