//! `Barrier`.

use std::panic::{RefUnwindSafe, UnwindSafe};

use gort::sync::Barrier;
use gort::sync::mpsc::{TryRecvError, channel};
use gort_test_support::eventually_parked;

/// `test_barrier`: nobody passes before the last has come, and one of them leads.
#[gort::test(procs = 4)]
fn all_wait_for_the_last_and_one_leads() {
    const SIZE: usize = 10;
    let barrier = Barrier::new(SIZE);
    let (tx, rx) = channel();
    gort::scope(|s| {
        for i in 1..SIZE {
            let (tx, barrier) = (tx.clone(), &barrier);
            let name = format!("at-barrier-{i}");
            let builder = gort::Builder::new().name(&*name);
            let waiter = builder.go_scoped(s, move || tx.send(barrier.wait().is_leader()).unwrap());
            drop(waiter.expect("a stack can be had"));
            eventually_parked(&name, "sync.Barrier.Wait");
        }
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        let own = barrier.wait().is_leader();
        let leaders = (1..SIZE).filter(|_| rx.recv().unwrap()).count();
        assert_eq!(leaders + usize::from(own), 1);
    });
}

/// `check_barrier_is_ref_unwind_safe`
#[test]
fn a_barrier_may_be_seen_after_a_panic() {
    fn assert_safe<T: UnwindSafe + RefUnwindSafe + Send + Sync>() {}
    assert_safe::<Barrier>();
}
