//! A program with a large thread-local, which libc gives every thread at its start, and gort every goroutine.
//! Each program has one size, so this is a module of several; each runs itself in both modes.
#![allow(dead_code, reason = "each program uses a part of it")]

use std::cell::RefCell;
use std::hint::black_box;
use std::process::Command;
use std::thread::LocalKey;

use gort::runtime::{TlsMode, metrics};

const MARK: &str = "GORT_TEST_CHILD";
/// Not 0, so that a block that was not written shows.
pub(crate) const INITIAL: u8 = 7;
/// Alive at once, so that stacks and blocks are neighbours.
const GOROUTINES: u8 = 24;
const ROUNDS: u32 = 3;

/// Runs the test `name` of this program again with these variables, unless this is that run: says whether it is.
pub(crate) fn is_child(name: &str, environment: &[(&str, &str)]) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("a test has a file"))
        .args(["--exact", "--nocapture", name])
        .env(MARK, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("the test runs once more");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{environment:?}: {}\n{errors}",
        output.status
    );
    false
}

/// Goroutines that ask for 64 KiB and ones that ask for nothing have the stack that is theirs, and their own
/// thread-locals.
pub(crate) fn goroutines_have_their_own<const BYTES: usize>(
    large: &'static LocalKey<RefCell<[u8; BYTES]>>,
    mode: TlsMode,
) {
    gort::run(|| {
        assert_eq!(metrics().tls_mode, mode, "{}", metrics().tls_reason);
        for _ in 0..ROUNDS {
            let small: Vec<_> = (0..GOROUTINES)
                .map(|mark| {
                    let builder = gort::Builder::new().stack_size(64 << 10);
                    let body = move || has_its_own::<BYTES, { 40 << 10 }>(large, mark);
                    builder.go(body).expect("a stack")
                })
                .collect();
            // Where the environment says so, these have asked for 64 KiB too.
            let default: Vec<_> = (0..GOROUTINES)
                .map(|mark| gort::go(move || has_its_own::<BYTES, { 40 << 10 }>(large, mark)))
                .collect();
            for goroutine in small.into_iter().chain(default) {
                goroutine.join().expect("it finds what it looks for");
            }
        }
    });
}

/// Goroutines that ask for nothing have most of the 256 KiB that releases give at least.
pub(crate) fn default_stacks_are_large<const BYTES: usize>(
    large: &'static LocalKey<RefCell<[u8; BYTES]>>,
) {
    gort::run(|| {
        for mark in 0..GOROUTINES {
            gort::go(move || has_its_own::<BYTES, { 150 << 10 }>(large, mark))
                .join()
                .expect("it finds what it looks for");
        }
    });
}

fn has_its_own<const BYTES: usize, const STACK: usize>(
    large: &'static LocalKey<RefCell<[u8; BYTES]>>,
    mark: u8,
) {
    large.with_borrow_mut(|bytes| {
        assert!(bytes.iter().all(|byte| *byte == INITIAL), "a new thread's");
        bytes.fill(mark);
    });
    gort::yield_now();
    use_stack::<STACK>(mark);
    gort::yield_now();
    large.with_borrow(|bytes| assert!(bytes.iter().all(|byte| *byte == mark), "ours"));
}

#[inline(never)]
fn use_stack<const STACK: usize>(mark: u8) {
    let mut frame = [0_u8; STACK];
    black_box(&mut frame).fill(mark);
    assert!(black_box(&frame).iter().all(|byte| *byte == mark));
}
