//! What the stock registry does with more goroutines than it has room for: why there is ours.
//!
//! In a process of its own: the numbers that it gives to threads are the process's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use gort::chan;
use gort::sync::WaitGroup;
use tracing::{Dispatch, dispatcher};

const MARK: &str = "TRACING_STOCK_CHILD";
const GOROUTINES: usize = 6_000;
const ROOM: usize = 4_096;

#[test]
fn the_stock_registry_panics_in_goroutines_beyond_its_room() {
    if std::env::var_os(MARK).is_some() {
        return open_spans();
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "--nocapture"])
        .arg("stock::the_stock_registry_panics_in_goroutines_beyond_its_room")
        .env(MARK, "1")
        .output()
        .expect("the test runs once more");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("Thread count overflowed the configured max count"),
        "{errors}"
    );
}

fn open_spans() {
    gort::run(|| {
        let dispatch = Dispatch::new(tracing_subscriber::registry());
        let (release, released) = chan::bounded::<()>(0);
        let tried = WaitGroup::new();
        tried.add(GOROUTINES as isize);
        let goroutines: Vec<_> = (0..GOROUTINES)
            .map(|_| {
                let (dispatch, released) = (dispatch.clone(), released.clone());
                let tried = tried.clone();
                gort::go(move || {
                    let opened = catch_unwind(AssertUnwindSafe(|| {
                        dispatcher::with_default(&dispatch, || tracing::info_span!("goroutine"))
                    }));
                    tried.done();
                    released.recv().expect_err("nobody sends");
                    opened.is_ok()
                })
            })
            .collect();
        tried.wait();
        drop(release);
        let opened = goroutines
            .into_iter()
            .map(|goroutine| goroutine.join().expect("it catches panics"));
        assert_eq!(opened.filter(|opened| *opened).count(), ROOM);
    });
}
