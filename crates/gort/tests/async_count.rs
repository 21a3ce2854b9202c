//! Async goroutines are counted. In a process of its own, where nothing else comes and goes.

use gort::chan;
use gort::runtime::num_goroutine;

#[test]
fn async_goroutines_are_counted_from_start_to_end_and_their_carriers_are_not() {
    assert_eq!(num_goroutine(), 0);
    let (tx, rx) = chan::bounded::<()>(0);
    let handles: Vec<_> = (0..100)
        .map(|n| {
            let rx = rx.clone();
            gort::go_async(async move {
                if n % 2 == 0 {
                    // Parks with a carrier's stack.
                    rx.recv()
                } else {
                    rx.recv_async().await
                }
            })
        })
        .collect();
    assert_eq!(num_goroutine(), 100);
    drop(tx);
    for handle in handles {
        assert!(handle.join().unwrap().is_err());
    }
    assert_eq!(num_goroutine(), 0);
}
