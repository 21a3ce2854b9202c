//! Pitfalls 11 to 15: `defer` and variables.

use std::cell::Cell;
use std::time::{Duration, Instant};

use gort::sync::WaitGroup;

const JOB: Duration = Duration::from_millis(200);

/// In Go the arguments of a deferred call are evaluated at the `defer`, and a job of a second seems to take
/// 200 ns. Here a deferred block is a block: all in it is evaluated when it runs.
pub(crate) fn arguments_of_defer() {
    let start = Instant::now();
    let at_once = start.elapsed();
    gort::defer! {
        println!("evaluated before the job: {}", at_once < JOB);
        println!("evaluated after the job: {}", start.elapsed() >= JOB);
    }
    gort::time::sleep(JOB);
}

/// The same in both: the result was taken before the deferred change.
pub(crate) fn defer_after_the_result() {
    fn result(i: &Cell<i32>) -> i32 {
        gort::defer! { i.set(i.get() + 1); }
        i.get()
    }
    let i = Cell::new(1);
    let j = result(&i);
    println!("i: {}, j: {j}", i.get());
}

/// In Go a deferred function changes a named result: 2. Here results have no names, and what was taken
/// stays: 1.
pub(crate) fn defer_changes_the_result() {
    fn result() -> i32 {
        let i = Cell::new(0);
        gort::defer! { i.set(i.get() + 1); }
        i.set(1);
        i.get()
    }
    println!("{}", result());
}

/// Up to Go 1.21 all three print 3. Here each goroutine moves its own copy in; to borrow does not compile.
pub(crate) fn shared_loop_variable() {
    let group = WaitGroup::new();
    for i in 0..3 {
        group.go(move || println!("{i}"));
    }
    group.wait();
}

/// The same in both: what is declared in a block ends with it. Clippy's `shadow_unrelated` finds it.
pub(crate) fn shadowing() {
    let x = 1;
    {
        let (x, y) = (2, 3);
        println!("Inner: {x} {y}");
    }
    println!("Outer: {x}");
}
