//! Goroutines with a thread of their own come up against a limit: the runtime's, made so small that the system's is
//! not reached before it, where the runtime could not make threads for itself. Alone in its binary: nobody else could
//! make a thread meanwhile.

use std::time::{Duration, Instant};

/// In place of 10,000.
const THREADS: u32 = 200;

#[test]
fn own_threads_run_out_with_an_error_and_come_back() {
    gort_core::runtime::set_thread_limit(THREADS);
    let own_thread = || gort::Builder::new().own_thread().stack_size(64 << 10);
    let (tx, rx) = gort::chan::bounded::<()>(0);
    let mut handles = Vec::new();
    let error = loop {
        assert!(handles.len() < THREADS as usize, "there is a limit");
        let rx = rx.clone();
        match own_thread().go(move || rx.recv().is_err()) {
            Ok(handle) => handles.push(handle),
            Err(error) => break error,
        }
    };
    assert!(
        error.to_string().starts_with("no thread for a goroutine"),
        "{error}"
    );
    assert_eq!(gort::runtime::num_goroutine(), handles.len());
    drop(tx);
    for handle in handles {
        assert!(handle.join().expect("it ends"));
    }
    assert_eq!(gort::runtime::num_goroutine(), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    let again = loop {
        // The ended ones' threads are a moment behind.
        match own_thread().go(|| 7) {
            Ok(handle) => break handle,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    assert_eq!(again.join().expect("it ends"), 7);
}
