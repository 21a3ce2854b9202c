//! std's shapes over goroutines.

use std::time::Instant;

use gort::thread;

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::{Call, act, call, partner, prepared, short};
use crate::{Expected, Place};

pub(super) fn calls() -> Vec<Call> {
    vec![
        call(
            "thread::spawn",
            "thread::spawn thread::JoinHandle::join thread::JoinHandle::thread \
             thread::JoinHandle::is_finished",
            Start,
            || {
                let handle = thread::spawn(|| 7);
                let _ = (handle.is_finished(), handle.thread().id());
                assert_eq!(handle.join().unwrap(), 7);
                thread::spawn(|| panic!("on purpose")).join().unwrap_err();
            },
        ),
        call(
            "thread::Builder",
            "thread::Builder::new thread::Builder::name thread::Builder::stack_size \
             thread::Builder::spawn thread::Builder::spawn_scoped thread::Thread::name",
            Start,
            || {
                let builder = || {
                    thread::Builder::new()
                        .name("a".to_owned())
                        .stack_size(1 << 20)
                };
                let name = || thread::current().name().map(str::to_owned);
                let handle = builder().spawn(name).unwrap();
                assert_eq!(handle.join().unwrap().as_deref(), Some("a"));
                thread::scope(|s| drop(builder().spawn_scoped(s, || ()).unwrap()));
            },
        ),
        call(
            "thread::scope",
            "thread::scope thread::Scope::spawn thread::ScopedJoinHandle::join \
             thread::ScopedJoinHandle::thread thread::ScopedJoinHandle::is_finished",
            Start,
            || {
                let mut number = 6;
                thread::scope(|s| {
                    let handle = s.spawn(|| number += 1);
                    let _ = (handle.is_finished(), handle.thread().id());
                    handle.join().unwrap();
                });
                assert_eq!(number, 7);
            },
        ),
        call(
            "thread::current",
            "thread::current thread::Thread::id thread::available_parallelism",
            Nothing,
            || {
                assert!(thread::current().id() == thread::current().id());
                let _ = thread::current().name();
            },
        )
        .except(as_std),
        call(
            "thread::available_parallelism",
            "thread::available_parallelism",
            Start,
            || {
                thread::available_parallelism().unwrap();
            },
        ),
        call(
            "thread::park, with a token",
            "thread::park thread::Thread::unpark",
            Nothing,
            || {
                thread::current().unpark();
                thread::park();
            },
        )
        .except(as_std),
        prepared(
            "thread::park, waiting",
            "thread::park thread::Thread::unpark",
            Wait,
            || {
                let (tell, told) = gort::chan::bounded(1);
                let partner = partner(move || {
                    if let Ok(thread) = told.recv() {
                        thread::Thread::unpark(&thread);
                    }
                });
                act(move || {
                    tell.send(thread::current()).unwrap();
                    partner.begin();
                    thread::park();
                })
            },
        )
        .except(as_std),
        call(
            "thread::park_timeout",
            "thread::park_timeout",
            Deadline,
            || {
                thread::park_timeout(short());
            },
        )
        .except(as_std),
        call("thread::sleep", "thread::sleep", Deadline, || {
            // waits: that it does is what is looked at
            thread::sleep(short());
        }),
        call(
            "thread::sleep_until",
            "thread::sleep_until",
            Deadline,
            || {
                thread::sleep_until(Instant::now() + short());
            },
        ),
        call("thread::yield_now", "thread::yield_now", Nothing, || {
            for _ in 0..100 {
                thread::yield_now();
            }
        })
        .except(super::go::yields),
    ]
}

/// It asks std for the name of a plain thread, the first time.
pub(super) fn as_std(place: Place) -> Option<Expected> {
    (place == Place::KeyOfThread).then_some(Expected::WorksOrPanics(
        "use of std::thread::current() is not possible after the thread's local data has been",
    ))
}
