//! Panics: the count of them, the payload in flight, and the frames below.

#![forbid(unsafe_code)]

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use super::Expected;
use crate::drive::{many, park, scaled};

/// Parks in its drop, and says whether a panic was in flight all the time.
struct ParksOnDrop<'a> {
    panicking: &'a Cell<u32>,
}

impl Drop for ParksOnDrop<'_> {
    fn drop(&mut self) {
        for _ in 0..5 {
            assert!(std::thread::panicking());
            park();
        }
        // A panic caught while another is in flight.
        let inner = catch_unwind(|| {
            park();
            panic_any(Expected(1));
        });
        assert!(inner.is_err() && std::thread::panicking());
        self.panicking.set(self.panicking.get() + 1);
    }
}

pub(super) fn a_drop_parks_while_it_unwinds() {
    many(scaled(10_000), |i| {
        for _ in 0..3 {
            assert!(!std::thread::panicking());
            let panicking = Cell::new(0);
            if i % 2 == 0 {
                let end = catch_unwind(AssertUnwindSafe(|| {
                    let _outer = ParksOnDrop {
                        panicking: &panicking,
                    };
                    let _inner = ParksOnDrop {
                        panicking: &panicking,
                    };
                    park();
                    panic_any(Expected(i));
                }));
                let payload = end.expect_err("it panics");
                assert_eq!(payload.downcast_ref(), Some(&Expected(i)));
                assert_eq!(panicking.get(), 2);
            } else {
                park();
            }
            assert!(!std::thread::panicking());
        }
    });
}

pub(super) fn a_panic_stays_in_its_goroutine() {
    let count = scaled(10_000);
    gort::scope(|scope| {
        let handles: Vec<_> = (0..count)
            .map(|i| {
                scope.go(move || {
                    park();
                    if i % 3 == 0 {
                        panic_any(Expected(i));
                    }
                    park();
                    assert!(!std::thread::panicking());
                    i
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            match handle.join() {
                Ok(value) => assert_eq!(value, i),
                Err(error) => {
                    let payload = error.into_panic();
                    assert_eq!(payload.downcast_ref(), Some(&Expected(i)));
                    assert_eq!(i % 3, 0);
                }
            }
        }
    });
}

#[inline(never)]
fn a_frame_with_a_name() -> String {
    park();
    std::hint::black_box(Backtrace::force_capture().to_string())
}

pub(super) fn a_backtrace_ends_at_the_base() {
    // Once with names, on goroutines that have just changed their thread.
    many(scaled(50), |_| {
        park();
        let text = a_frame_with_a_name();
        assert!(text.contains("a_frame_with_a_name"), "{text}");
        let frames = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("at "))
            .count();
        assert!((4..100).contains(&frames), "{text}");
    });
}
