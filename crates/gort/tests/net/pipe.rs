//! Several goroutines at one end of a pipe in memory.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::net::pipe;
use gort_test_support::{eventually_parked, go_named};

/// With one P nobody comes between a call's end and the next call of the same goroutine.
#[gort::test(procs = 1)]
fn a_writer_has_its_turn_beside_one_that_writes_all_the_time() {
    let (one, other) = pipe();
    let one = Arc::new(one);
    let is_over = Arc::new(AtomicBool::new(false));
    let first = gort::go({
        let (one, is_over) = (Arc::clone(&one), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::Relaxed) {
                (&*one).write_all(b"first").unwrap();
            }
        }
    });
    let second = gort::go({
        let is_over = Arc::clone(&is_over);
        move || {
            for _ in 0..10 {
                (&*one).write_all(b"other").unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        }
    });
    let reader = gort::go(move || {
        let (mut firsts, mut others) = (0, 0);
        let mut word = [0; 5];
        while (&other).read_exact(&mut word).is_ok() {
            match &word {
                // Since the other has begun.
                b"first" => firsts += u32::from(others != 0),
                b"other" => others += 1,
                torn => panic!("{torn:?}"),
            }
        }
        (firsts, others)
    });
    second.join().unwrap();
    first.join().unwrap();
    let (firsts, others) = reader.join().unwrap();
    assert_eq!(others, 10);
    assert!(firsts < 100, "{firsts} turns beside nine of the other's");
}

#[gort::test(procs = 1)]
fn a_reader_has_its_turn_beside_one_that_reads_all_the_time() {
    let (one, other) = pipe();
    let other = Arc::new(other);
    let is_over = Arc::new(AtomicBool::new(false));
    let first = gort::go({
        let (other, is_over) = (Arc::clone(&other), Arc::clone(&is_over));
        move || {
            while !is_over.load(Ordering::Relaxed) && (&*other).read(&mut [0; 8]).unwrap() != 0 {}
        }
    });
    let second = gort::go(move || {
        for _ in 0..10 {
            assert_eq!((&*other).read(&mut [0; 8]).unwrap(), 5);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    while !second.is_finished() {
        (&one).write_all(b"words").unwrap();
    }
    drop(one);
    first.join().unwrap();
    second.join().unwrap();
}

/// Who gives up leaves the line: those behind it go on.
#[gort::test]
fn one_that_gives_up_holds_nobody_up() {
    let (one, other) = pipe();
    let one = Arc::new(one);
    let write = |name: &str, byte: u8| {
        let one = Arc::clone(&one);
        go_named(name, move || (&*one).write(&[byte]))
    };
    let first = write("first", 1);
    eventually_parked("first", "sync.Cond.Wait");
    let second = write("second", 2);
    eventually_parked("second", "sync.Cond.Wait");
    one.set_write_deadline(Some(Instant::now())).unwrap();
    for writer in [first, second] {
        let error = writer.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
    one.set_write_deadline(Some(Instant::now() + Duration::from_secs(600)))
        .unwrap();
    let third = write("third", 3);
    let mut byte = [0];
    (&other).read_exact(&mut byte).unwrap();
    assert_eq!(byte, [3]);
    assert_eq!(third.join().unwrap().unwrap(), 1);
}
