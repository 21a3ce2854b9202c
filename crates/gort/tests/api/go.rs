//! Starting, joining, scopes, panics, goexit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn a_goroutine_returns_its_value() {
    assert_eq!(gort::go(|| 42).join().unwrap(), 42);
    let big = gort::go(|| [7u64; 100]).join().unwrap();
    assert_eq!(big, [7u64; 100]);
}

#[test]
fn goroutines_start_goroutines() {
    let sum = gort::run(|| {
        let handles: Vec<_> = (0..1000u64).map(|i| gort::go(move || i)).collect();
        handles.into_iter().map(|h| h.join().unwrap()).sum::<u64>()
    });
    assert_eq!(sum, 499_500);
}

#[test]
fn a_panic_is_contained_and_told() {
    let error = gort::go(|| -> () { panic!("on purpose: {}", std::process::id()) })
        .join()
        .unwrap_err();
    assert!(error.is_panic());
    let message = format!("on purpose: {}", std::process::id());
    assert_eq!(
        error.to_string(),
        format!("the goroutine panicked: {message}")
    );
    assert_eq!(*error.into_panic().downcast::<String>().unwrap(), message);
}

#[test]
fn s067_goexit_runs_destructors_of_all_frames() {
    static ORDER: AtomicUsize = AtomicUsize::new(0);
    struct Mark(usize);
    impl Drop for Mark {
        fn drop(&mut self) {
            assert_eq!(ORDER.fetch_add(1, Ordering::Relaxed), self.0);
        }
    }
    fn outer() {
        let _mark = Mark(2);
        middle();
    }
    fn middle() {
        let _mark = Mark(1);
        inner();
        ORDER.store(100, Ordering::Relaxed);
    }
    fn inner() {
        let _mark = Mark(0);
        gort::goexit();
    }
    let error = gort::go(outer).join().unwrap_err();
    assert!(error.is_goexit());
    assert_eq!(ORDER.load(Ordering::Relaxed), 3);
}

#[test]
fn a_scope_lends_and_waits() {
    let mut values = vec![0u32; 100];
    gort::scope(|s| {
        for (i, value) in values.iter_mut().enumerate() {
            s.go(move || {
                gort::yield_now();
                *value = i as u32;
            });
        }
    });
    assert!(values.iter().enumerate().all(|(i, v)| *v == i as u32));
}

#[test]
#[should_panic(expected = "a scoped goroutine panicked")]
fn a_scope_tells_of_a_panic_nobody_took() {
    gort::scope(|s| {
        s.go(|| panic!("on purpose"));
    });
}

#[test]
fn join_timeout_gives_the_handle_back() {
    let stop = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&stop);
    let handle = gort::go(move || {
        while seen.load(Ordering::Acquire) == 0 {
            gort::yield_now();
        }
        5
    });
    let handle = handle.join_timeout(Duration::from_millis(20)).unwrap_err();
    assert!(!handle.is_finished());
    stop.store(1, Ordering::Release);
    assert_eq!(handle.join().unwrap(), 5);
}

#[test]
fn joining_from_a_goroutine_parks_it() {
    let sum = gort::run(|| {
        let inner = gort::go(|| {
            for _ in 0..100 {
                gort::yield_now();
            }
            1
        });
        inner.join().unwrap() + 1
    });
    assert_eq!(sum, 2);
}

#[test]
fn dg06_names_and_labels_are_kept_and_labels_inherited() {
    let handle = gort::Builder::new()
        .name("outer")
        .label("tenant", "a")
        .go(|| {
            let inner = gort::go(|| (gort::current().name(), gort::current().labels()));
            (gort::current().name(), inner.join().unwrap())
        })
        .unwrap();
    let (outer, (inner, labels)) = handle.join().unwrap();
    assert_eq!(outer.as_deref(), Some("outer"));
    assert_eq!(inner, None);
    assert_eq!(labels, [("tenant".to_owned(), "a".to_owned())]);
}

#[test]
fn a_goroutine_with_its_own_thread_runs_and_ends() {
    let here = std::thread::current().id();
    let handle = gort::Builder::new()
        .own_thread()
        .go(move || {
            for _ in 0..50 {
                gort::yield_now();
            }
            std::thread::current().id() != here
        })
        .unwrap();
    assert!(handle.join().unwrap());
}

#[test]
fn blocking_lets_others_run() {
    let n = gort::run(|| {
        let handles: Vec<_> = (0..20)
            .map(|i| {
                gort::go(move || {
                    // waits: the call that is announced is the sleep itself.
                    gort::blocking(|| std::thread::sleep(Duration::from_millis(20)));
                    i
                })
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).sum::<i32>()
    });
    assert_eq!(n, 190);
}

#[test]
fn impossible_stack_sizes_are_errors() {
    for bytes in [0, usize::MAX, 2 << 30] {
        let error = gort::Builder::new()
            .stack_size(bytes)
            .go(|| ())
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn thread_locals_are_the_goroutines_own() {
    use std::cell::Cell;
    thread_local!(static N: Cell<u32> = const { Cell::new(0) });
    gort::scope(|s| {
        for _ in 0..200 {
            s.go(|| {
                for i in 0..50 {
                    assert_eq!(N.get(), i);
                    N.set(i + 1);
                    gort::yield_now();
                }
            });
        }
    });
}

#[test]
fn parking_inside_blocking_is_legal() {
    gort::run(|| {
        let (tx, rx) = gort::chan::bounded::<u32>(0);
        let receivers: Vec<_> = (0..8)
            .map(|_| {
                let rx = rx.clone();
                gort::go(move || {
                    gort::blocking(|| {
                        let first = rx.recv().unwrap();
                        gort::yield_now();
                        first + gort::blocking(|| rx.recv().unwrap())
                    })
                })
            })
            .collect();
        for i in 0..16 {
            tx.send(i).unwrap();
        }
        let sum: u32 = receivers.into_iter().map(|h| h.join().unwrap()).sum();
        assert_eq!(sum, 120);
    });
}

/// The scope must not wait for a goroutine that there never was.
#[test]
fn a_scope_ends_when_a_refused_closures_drop_panics() {
    struct PanicsInDrop;
    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let ended = gort::go(|| {
        gort::scope(|s| {
            let value = PanicsInDrop;
            // No goroutine can have such a stack.
            let builder = gort::Builder::new().stack_size(0);
            let _ = builder.go_scoped(s, move || drop(value));
        });
    });
    let ended = ended.join_timeout(Duration::from_secs(10));
    let error = ended.expect("the scope ends").unwrap_err();
    assert_eq!(*error.into_panic().downcast::<&str>().unwrap(), "dropped");
}
