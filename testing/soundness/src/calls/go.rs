//! Goroutines: starting them, waiting for them, and what they do about themselves.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::{Call, act, call, panics_with, prepared, short, soon};
use crate::outcome::message;
use crate::{Expected, Place};

const SELF_JOIN: &str = "a goroutine cannot join itself: it would wait for ever";

pub(super) fn calls() -> Vec<Call> {
    let mut all = starting();
    all.extend(joining());
    all.extend(scopes());
    all.extend(about_oneself());
    all
}

fn starting() -> Vec<Call> {
    vec![
        call("go", "go JoinHandle::join", Start, || {
            assert_eq!(gort::go(|| 7).join().unwrap(), 7);
        }),
        call("go_async", "go_async Builder::go_async", Start, || {
            let (s, r) = gort::chan::bounded(0);
            let sends = gort::go_async(async move { s.send_async(7).await });
            let builder = gort::Builder::new().name("async");
            let receives = builder.go_async(async move { r.recv_async().await });
            assert_eq!(receives.unwrap().join().unwrap(), Ok(7));
            sends.join().unwrap().unwrap();
        }),
        call("go, detached", "go", Start, || {
            let (ran, has_run) = gort::chan::bounded(1);
            drop(gort::go(move || ran.send(()).unwrap()));
            has_run.recv().unwrap();
        }),
        call(
            "go, whose closure is dropped by its panic",
            "go",
            Start,
            || {
                struct Tells(gort::chan::Sender<u32>);
                impl Drop for Tells {
                    fn drop(&mut self) {
                        self.0.send(7).unwrap();
                    }
                }
                let (dropped, is_dropped) = gort::chan::bounded(0);
                let tells = Tells(dropped);
                let handle = gort::go(move || {
                    let _tells = tells;
                    panic!("on purpose");
                });
                assert_eq!(is_dropped.recv(), Ok(7));
                assert!(handle.join().unwrap_err().is_panic());
            },
        ),
        call(
            "Builder",
            "Builder::new Builder::name Builder::label Builder::stack_size Builder::go",
            Start,
            || {
                let builder = gort::Builder::new().name("a").label("b", "c");
                let handle = builder
                    .stack_size(1 << 20)
                    .go(|| gort::current().name().unwrap())
                    .unwrap();
                assert_eq!(handle.join().unwrap(), "a");
            },
        ),
        call(
            "Builder, refused",
            "Builder::stack_size Builder::go",
            Start,
            || {
                gort::Builder::new().stack_size(0).go(|| ()).unwrap_err();
            },
        ),
        call("Builder::own_thread", "Builder::own_thread", Start, || {
            let handle = gort::Builder::new().own_thread().go(|| 7).unwrap();
            assert_eq!(handle.join().unwrap(), 7);
        }),
    ]
}

fn joining() -> Vec<Call> {
    vec![
        prepared(
            "JoinHandle::join, waiting",
            "JoinHandle::join",
            Wait,
            || {
                let (go_on, may_go_on) = gort::chan::bounded::<()>(0);
                let handle = gort::go(move || _ = may_go_on.recv());
                act(move || {
                    drop(go_on);
                    handle.join().unwrap();
                })
            },
        ),
        prepared(
            "JoinHandle::join_timeout, in vain",
            "JoinHandle::join_timeout JoinHandle::is_finished",
            Deadline,
            || {
                let (go_on, may_go_on) = gort::chan::bounded::<()>(0);
                let handle = gort::go(move || _ = may_go_on.recv());
                act(move || {
                    let handle = handle.join_timeout(short()).unwrap_err();
                    assert!(!handle.is_finished());
                    drop(go_on);
                    handle.join().unwrap();
                })
            },
        ),
        prepared(
            "JoinHandle::join_timeout, of one that has ended",
            "JoinHandle::join_timeout JoinHandle::is_finished JoinHandle::goroutine",
            Nothing,
            || {
                let handle = ended(|| 7);
                act(move || {
                    assert!(handle.is_finished());
                    assert!(handle.goroutine().id().as_u64() > 0);
                    assert_eq!(handle.join_timeout(short()).unwrap().unwrap(), 7);
                })
            },
        ),
        prepared("JoinHandle as a future", "JoinHandle:Future", Start, || {
            act(|| assert_eq!(gort::block_on(gort::go(|| 7)).unwrap(), 7))
        }),
        prepared(
            "JoinHandle as a future, of one that has ended",
            "JoinHandle:Future",
            Nothing,
            || {
                let handle = ended(|| 7);
                act(move || assert_eq!(gort::block_on(handle).unwrap(), 7))
            },
        ),
        prepared(
            "JoinHandle, asked after it was awaited",
            "JoinHandle:Future JoinHandle::join",
            Nothing,
            || {
                let mut handle = ended(|| 7);
                act(move || {
                    let mut cx = Context::from_waker(Waker::noop());
                    assert!(pin!(&mut handle).poll(&mut cx).is_ready());
                    assert!(handle.is_finished());
                    assert!(handle.goroutine().id().as_u64() > 0);
                    drop(handle.join());
                })
            },
        )
        .except(|place| {
            panics_with(
                place,
                "this join handle was awaited already, and gave its result",
            )
        }),
        prepared("JoinHandle, dropped", "go", Nothing, || {
            let handle = ended(|| vec![7]);
            act(move || drop(handle))
        }),
        prepared(
            "JoinError of a panic",
            "JoinError::is_panic JoinError::into_panic",
            Nothing,
            || {
                let handle = ended(|| panic!("on purpose"));
                act(move || {
                    let error = handle.join().unwrap_err();
                    assert!(error.is_panic());
                    let payload = error.into_panic();
                    assert_eq!(*payload.downcast::<&str>().unwrap(), "on purpose");
                })
            },
        ),
        prepared(
            "JoinError of a goexit, which is no panic",
            "JoinError::is_goexit JoinError::into_panic",
            Nothing,
            || {
                let handle = ended(|| gort::goexit());
                act(move || {
                    let error = handle.join().unwrap_err();
                    assert!(error.is_goexit());
                    error.into_panic();
                })
            },
        )
        .except(|place| panics_with(place, "the goroutine did not panic: it called goexit")),
        call(
            "JoinHandle::join, by itself",
            "JoinHandle::join",
            Start,
            || {
                let message = with_own_handle(|own| drop(own.join()));
                assert_eq!(message.as_deref(), Some(SELF_JOIN));
            },
        ),
        call(
            "JoinHandle::join_timeout, by itself",
            "JoinHandle::join_timeout",
            Start,
            || {
                let message = with_own_handle(|own| drop(own.join_timeout(short())));
                assert_eq!(message.as_deref(), Some(SELF_JOIN));
            },
        ),
        call(
            "JoinHandle::join, by a thread-local's destructor of its own",
            "JoinHandle::join",
            Start,
            || {
                let (tell, told) = gort::chan::bounded(1);
                with_own_handle(move |own| {
                    crate::places::at_end_of_thread(move || {
                        tell.send(message_of(|| drop(own.join()))).unwrap();
                    });
                });
                assert_eq!(told.recv().unwrap().as_deref(), Some(SELF_JOIN));
            },
        ),
        call(
            "JoinHandle, awaited by itself",
            "JoinHandle:Future",
            Start,
            || {
                // It is pending for as long as anybody asks: another task of the same executor may have
                // more to do.
                let message = with_own_handle(|own| {
                    gort::block_on(gort::time::timeout(short(), own)).unwrap_err();
                });
                assert_eq!(message, None);
            },
        ),
    ]
}

fn scopes() -> Vec<Call> {
    vec![
        call(
            "scope",
            "scope Scope::go ScopedJoinHandle::join ScopedJoinHandle::goroutine \
             ScopedJoinHandle::is_finished",
            Start,
            || {
                let mut parts = [1, 2, 3];
                gort::scope(|s| {
                    let [a, rest @ ..] = &mut parts;
                    let handle = s.go(|| *a *= 10);
                    assert!(handle.goroutine().id().as_u64() > 0);
                    let _ = handle.is_finished();
                    handle.join().unwrap();
                    for part in rest {
                        s.go(|| *part *= 10);
                    }
                });
                assert_eq!(parts, [10, 20, 30]);
            },
        ),
        call("scope, empty", "scope", Nothing, || {
            assert_eq!(gort::scope(|_| 7), 7);
        }),
        call("Builder::go_scoped", "Builder::go_scoped", Start, || {
            let mut number = 6;
            gort::scope(|s| {
                let builder = gort::Builder::new().name("scoped");
                builder.go_scoped(s, || number += 1).unwrap();
            });
            assert_eq!(number, 7);
        }),
        call(
            "Builder::go_scoped, refused",
            "Builder::go_scoped",
            Start,
            || {
                gort::scope(|s| {
                    let builder = gort::Builder::new().stack_size(0);
                    builder.go_scoped(s, || ()).unwrap_err();
                });
            },
        ),
        call(
            "scope, one of whose goroutines panics",
            "scope",
            Start,
            || {
                gort::scope(|s| {
                    s.go(|| panic!("on purpose"));
                });
            },
        )
        .except(|place| match place.is_forked() {
            true => None,
            false => panics_with(place, "a scoped goroutine panicked"),
        }),
        call(
            "ScopedJoinHandle::join, by itself",
            "ScopedJoinHandle::join",
            Start,
            || {
                gort::scope(|s| {
                    let (give, take) = gort::chan::bounded(1);
                    let handle = s.go(move || {
                        let own: gort::ScopedJoinHandle<'_, ()> = take.recv().unwrap();
                        let message = message_of(|| drop(own.join()));
                        assert_eq!(message.as_deref(), Some(SELF_JOIN));
                    });
                    give.send(handle).unwrap();
                });
            },
        ),
    ]
}

fn about_oneself() -> Vec<Call> {
    vec![
        call(
            "current",
            "current Goroutine::name Goroutine::labels",
            Nothing,
            || {
                let me = gort::current();
                let _ = (me.id(), me.name(), me.labels());
            },
        )
        .except(|place| {
            place.is_plain_thread().then_some(Expected::Panics(
                "not in a goroutine: this is a plain OS thread",
            ))
        }),
        call(
            "try_current",
            "try_current Goroutine::id GoroutineId::as_u64",
            Nothing,
            || _ = gort::try_current().map(|me| me.id().as_u64()),
        ),
        prepared(
            "Goroutine of one that has ended",
            "Goroutine::name Goroutine::labels",
            Nothing,
            || {
                let builder = gort::Builder::new().name("a").label("b", "c");
                let handle = builder.go(|| ()).unwrap();
                let goroutine = handle.goroutine().clone();
                handle.join().unwrap();
                // Soon after `join` the name goes.
                while goroutine.name().is_some() {
                    gort::yield_now();
                }
                act(move || {
                    assert_eq!(goroutine.name(), None);
                    assert_eq!(goroutine.labels(), []);
                })
            },
        ),
        // What a goroutine of a child does next is to run on; a hundred times it may well stop.
        call("yield_now", "yield_now", Nothing, || {
            for _ in 0..100 {
                gort::yield_now();
            }
        })
        .except(yields),
        call("checkpoint", "checkpoint", Nothing, gort::checkpoint),
        call("goexit", "goexit", Nothing, || gort::goexit()).except(|place| {
            Some(if place.is_plain_thread() {
                Expected::Panics("goexit outside a goroutine: a plain thread ends by returning")
            } else if place.is_unwinding() {
                Expected::Ends(2, "goexit in a destructor that runs because of a panic")
            } else if place.is_ending() {
                Expected::Ends(2, "goexit in a thread-local's destructor")
            } else {
                Expected::Exits
            })
        }),
        call("goexit of another goroutine", "goexit", Start, || {
            let handle = gort::go(|| gort::goexit());
            assert!(handle.join().unwrap_err().is_goexit());
        }),
        call("blocking", "blocking", Nothing, || {
            assert_eq!(gort::blocking(|| 7), 7);
        }),
        call("blocking, nested", "blocking", Nothing, || {
            assert_eq!(gort::blocking(|| gort::blocking(|| 7)), 7);
        }),
        call("blocking, with a wait inside", "blocking", Start, || {
            let value = gort::blocking(|| {
                let (s, r) = gort::chan::bounded(0);
                soon(move || s.send(7).unwrap());
                r.recv()
            });
            assert_eq!(value, Ok(7));
        }),
        call("blocking, which panics", "blocking", Nothing, || {
            gort::blocking(|| panic!("on purpose"));
        })
        .except(|place| panics_with(place, "on purpose")),
        call(
            "lock_os_thread",
            "lock_os_thread OsThreadGuard:Drop",
            Nothing,
            || {
                let outer = gort::lock_os_thread();
                let inner = gort::lock_os_thread();
                drop(outer);
                drop(inner);
            },
        ),
        call(
            "lock_os_thread, with a wait",
            "lock_os_thread",
            Start,
            || {
                let _guard = gort::lock_os_thread();
                let (s, r) = gort::chan::bounded(0);
                soon(move || s.send(7).unwrap());
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call("block_on", "block_on", Nothing, || {
            assert_eq!(gort::block_on(async { 7 }), 7);
        }),
        call("block_on, nested, with a wait", "block_on", Start, || {
            let value = gort::block_on(async {
                let (s, r) = gort::chan::bounded(0);
                soon(move || s.send(7).unwrap());
                gort::block_on(r.recv_async())
            });
            assert_eq!(value, Ok(7));
        }),
        call(
            "block_on, woken by the future itself",
            "block_on",
            Nothing,
            || {
                let mut polls = 0;
                gort::block_on(std::future::poll_fn(|cx| {
                    polls += 1;
                    cx.waker().wake_by_ref();
                    if polls < 3 {
                        Poll::Pending
                    } else {
                        Poll::Ready(())
                    }
                }));
                assert_eq!(polls, 3);
            },
        ),
        call(
            "block_on, of a future that panics",
            "block_on",
            Nothing,
            || {
                gort::block_on(async { panic!("on purpose") });
            },
        )
        .except(|place| panics_with(place, "on purpose")),
        call("defer!", "defer!", Nothing, || {
            let log = std::cell::RefCell::new(Vec::new());
            {
                gort::defer! { log.borrow_mut().push(2) }
                gort::defer! { log.borrow_mut().push(1) }
            }
            assert_eq!(log.into_inner(), [1, 2]);
        }),
    ]
}

/// What a goroutine of a child does next is to run on; but it may stop, too.
pub(super) fn yields(place: Place) -> Option<Expected> {
    match place {
        Place::Forked => Some(Expected::Ends(libc::SIGABRT, "after fork without exec")),
        _ => None,
    }
}

/// The handle of a goroutine that has ended.
fn ended<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> gort::JoinHandle<T> {
    let handle = gort::go(f);
    while !handle.is_finished() {
        gort::yield_now();
    }
    handle
}

/// Has a goroutine do `f` with its own handle; the message, if that panics.
fn with_own_handle(f: impl FnOnce(gort::JoinHandle<()>) + Send + 'static) -> Option<String> {
    let (give, take) = gort::chan::bounded(1);
    let (tell, told) = gort::chan::bounded(1);
    let handle = gort::go(move || {
        let own = take.recv().unwrap();
        tell.send(message_of(|| f(own))).unwrap();
    });
    give.send(handle).unwrap();
    told.recv().unwrap()
}

/// The message, if `f` panics.
fn message_of(f: impl FnOnce()) -> Option<String> {
    let ended = panic::catch_unwind(AssertUnwindSafe(f));
    ended.err().map(|payload| message(&*payload).to_owned())
}
