//! S8, SY01.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gort::sync::{Mutex, Semaphore};
use gort_conformance::support::{eventually_parked, go_named};

#[gort::test]
fn s008_sy01_a_semaphore_of_one_excludes_and_keeps_its_value() {
    let semaphore = Semaphore::new(1);
    let inside = AtomicU32::new(0);
    gort::scope(|s| {
        for _ in 0..10 {
            s.go(|| {
                for _ in 0..1000 {
                    let _permit = semaphore.acquire(1);
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(semaphore.available_permits(), 1);
}

#[gort::test]
fn s008_a_semaphore_serves_in_order() {
    let semaphore = Arc::new(Semaphore::new(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let permit = semaphore.acquire(1);
    let waiters: Vec<_> = (0..10)
        .map(|i| {
            let (semaphore, order) = (semaphore.clone(), order.clone());
            let name = format!("acquirer-{i}");
            let waiter = go_named(&name, move || {
                let _permit = semaphore.acquire(1);
                order.lock().push(i);
            });
            eventually_parked(&name, "semacquire");
            waiter
        })
        .collect();
    drop(permit);
    waiters
        .into_iter()
        .for_each(|waiter| waiter.join().unwrap());
    assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
}
