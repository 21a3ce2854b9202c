//! Channels: making them, sending, receiving, in blocking and in async form.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use gort::chan::{
    self, RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

use super::Needs::{Deadline, Nothing, Start, Wait};
use super::{Call, act, call, panics_with, partner, prepared, short, soon};

pub(super) fn calls() -> Vec<Call> {
    let mut all = making();
    all.extend(sending());
    all.extend(receiving());
    all.extend(futures());
    all.extend(errors());
    all
}

fn making() -> Vec<Call> {
    vec![
        call(
            "chan::bounded",
            "chan::bounded chan::Sender::try_send chan::Receiver::try_recv \
             chan::Sender:Drop chan::Receiver:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                s.try_send(7).unwrap();
                assert_eq!(s.try_send(8), Err(TrySendError::Full(8)));
                assert_eq!(r.try_recv(), Ok(7));
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
                drop(s);
                assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
            },
        ),
        call("chan::bounded, too large", "chan::bounded", Nothing, || {
            chan::bounded::<u64>(usize::MAX);
        })
        .except(|place| panics_with(place, "makechan: size out of range")),
        call("chan::unbounded", "chan::unbounded", Nothing, || {
            let (s, r) = chan::unbounded();
            for i in 0..1000 {
                s.send(i).unwrap();
            }
            assert_eq!(r.try_iter().sum::<i32>(), 499_500);
        }),
        call("chan::never", "chan::never", Nothing, || {
            assert_eq!(chan::never::<u32>().try_recv(), Err(TryRecvError::Empty));
        }),
        call("chan::never, for a while", "chan::never", Deadline, || {
            let never = chan::never::<u32>();
            assert_eq!(never.recv_timeout(short()), Err(RecvTimeoutError::Timeout));
        }),
        call("chan::nil", "chan::nil", Nothing, || {
            let (s, r) = chan::nil::<u32>();
            assert_eq!(s.try_send(7), Err(TrySendError::Full(7)));
            assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
            assert!(!s.close() && !r.close());
        }),
        call("chan::nil, for a while", "chan::nil", Deadline, || {
            let (s, _r) = chan::nil::<u32>();
            assert_eq!(
                s.send_timeout(7, short()),
                Err(SendTimeoutError::Timeout(7))
            );
        }),
        call("chan::after", "chan::after", Start, || {
            chan::after(short()).recv().unwrap();
        }),
        call("chan::at", "chan::at", Start, || {
            let when = Instant::now() + short();
            assert_eq!(chan::at(when).recv(), Ok(when));
        }),
        call("chan::tick", "chan::tick", Start, || {
            let ticks = chan::tick(short());
            assert!(ticks.recv().unwrap() < ticks.recv().unwrap());
        }),
    ]
}

fn sending() -> Vec<Call> {
    vec![
        call(
            "Sender::send, with room",
            "chan::Sender::send",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                s.send(7).unwrap();
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        prepared("Sender::send, waiting", "chan::Sender::send", Wait, || {
            let (s, r) = chan::bounded(0);
            let partner = partner(move || _ = r.recv());
            act(move || {
                partner.begin();
                s.send(7).unwrap();
            })
        }),
        call(
            "Sender::send, closed",
            "chan::Sender::send chan::Sender::close",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                assert!(s.close() && !s.close() && !r.close());
                assert_eq!(s.send(7), Err(SendError(7)));
                assert_eq!(s.try_send(7), Err(TrySendError::Disconnected(7)));
                assert_eq!(r.recv(), Err(RecvError));
            },
        ),
        call(
            "Sender::send_timeout",
            "chan::Sender::send_timeout chan::Sender::send_deadline",
            Deadline,
            || {
                let (s, _r) = chan::bounded(0);
                assert_eq!(
                    s.send_timeout(7, short()),
                    Err(SendTimeoutError::Timeout(7))
                );
                let deadline = Instant::now() + short();
                assert_eq!(
                    s.send_deadline(7, deadline),
                    Err(SendTimeoutError::Timeout(7))
                );
            },
        ),
        call(
            "Sender, asked",
            "chan::Sender::is_empty chan::Sender::is_full chan::Sender::len \
             chan::Sender::capacity chan::Sender::same_channel chan::Sender:Clone",
            Nothing,
            || {
                let (s, _r) = chan::bounded(2);
                s.send(7).unwrap();
                assert!(!s.is_empty() && !s.is_full());
                assert_eq!((s.len(), s.capacity()), (1, Some(2)));
                assert!(s.same_channel(&s.clone()));
            },
        ),
        call(
            "Sender, the last dropped beside one who waits",
            "chan::Sender:Drop",
            Start,
            || {
                let (s, r) = chan::bounded::<u32>(0);
                let waits = gort::go(move || r.recv());
                soon(move || drop(s));
                assert_eq!(waits.join().unwrap(), Err(RecvError));
            },
        ),
    ]
}

fn receiving() -> Vec<Call> {
    vec![
        prepared(
            "Receiver::recv, waiting",
            "chan::Receiver::recv",
            Wait,
            || {
                let (s, r) = chan::bounded(0);
                let partner = partner(move || _ = s.send(7));
                act(move || {
                    partner.begin();
                    assert_eq!(r.recv(), Ok(7));
                })
            },
        ),
        call(
            "Receiver::recv_timeout",
            "chan::Receiver::recv_timeout chan::Receiver::recv_deadline",
            Deadline,
            || {
                let (_s, r) = chan::bounded::<u32>(0);
                assert_eq!(r.recv_timeout(short()), Err(RecvTimeoutError::Timeout));
                let deadline = Instant::now() + short();
                assert_eq!(r.recv_deadline(deadline), Err(RecvTimeoutError::Timeout));
            },
        ),
        call(
            "Receiver, asked",
            "chan::Receiver::is_empty chan::Receiver::is_full chan::Receiver::len \
             chan::Receiver::capacity chan::Receiver::same_channel chan::Receiver::close \
             chan::Receiver:Clone",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                assert!(r.is_empty() && !r.is_full());
                s.send(7).unwrap();
                assert_eq!((r.len(), r.capacity()), (1, Some(1)));
                assert!(r.same_channel(&r.clone()));
                assert!(r.close());
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call(
            "Receiver::iter",
            "chan::Receiver::iter chan::Receiver::try_iter chan::Receiver:IntoIterator \
             chan::&Receiver:IntoIterator chan::Iter:Iterator chan::TryIter:Iterator \
             chan::IntoIter:Iterator",
            Nothing,
            || {
                let (s, r) = chan::unbounded();
                (0..6).for_each(|i| s.send(i).unwrap());
                assert!(r.try_iter().take(2).eq([0, 1]));
                drop(s);
                assert!(r.iter().take(1).eq([2]));
                assert!((&r).into_iter().take(1).eq([3]));
                assert!(r.into_iter().eq([4, 5]));
            },
        ),
        call(
            "Receiver, the last dropped with values",
            "chan::Receiver:Drop",
            Nothing,
            || {
                let value = std::sync::Arc::new(());
                let (s, r) = chan::bounded(2);
                s.send(value.clone()).unwrap();
                drop(r);
                assert_eq!(std::sync::Arc::strong_count(&value), 1);
                s.send(value).unwrap_err();
            },
        ),
    ]
}

fn futures() -> Vec<Call> {
    vec![
        call(
            "recv_async",
            "chan::Receiver::recv_async chan::RecvFuture:Future chan::RecvFuture:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                let mut future = pin!(r.recv_async());
                assert!(poll(future.as_mut()).is_pending());
                s.send(7).unwrap();
                assert_eq!(poll(future.as_mut()), Poll::Ready(Ok(7)));
            },
        ),
        call(
            "send_async",
            "chan::Sender::send_async chan::SendFuture:Future chan::SendFuture:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(0);
                let mut future = pin!(s.send_async(7));
                assert!(poll(future.as_mut()).is_pending());
                assert_eq!(r.recv(), Ok(7));
                assert_eq!(poll(future.as_mut()), Poll::Ready(Ok(())));
            },
        ),
        call(
            "recv_async, dropped with a value",
            "chan::RecvFuture:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                {
                    let mut future = pin!(r.recv_async());
                    assert!(poll(future.as_mut()).is_pending());
                    s.send(7).unwrap();
                }
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call(
            "send_async, dropped while it waits",
            "chan::SendFuture:Drop",
            Nothing,
            || {
                let (s, r) = chan::bounded(0);
                {
                    let mut future = pin!(s.send_async(7));
                    assert!(poll(future.as_mut()).is_pending());
                }
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
            },
        ),
        call(
            "recv_async, awaited",
            "chan::Receiver::recv_async",
            Start,
            || {
                let (s, r) = chan::bounded(0);
                soon(move || s.send(7).unwrap());
                assert_eq!(gort::block_on(r.recv_async()), Ok(7));
            },
        ),
        call(
            "send_async, awaited",
            "chan::Sender::send_async",
            Start,
            || {
                let (s, r) = chan::bounded(0);
                soon(move || assert_eq!(r.recv(), Ok(7)));
                gort::block_on(s.send_async(7)).unwrap();
            },
        ),
        call(
            "recv_async, asked again",
            "chan::RecvFuture:Future",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                s.send(7).unwrap();
                let mut future = pin!(r.recv_async());
                assert!(poll(future.as_mut()).is_ready());
                let _ = poll(future.as_mut());
            },
        )
        .except(|place| panics_with(place, "`RecvFuture` polled after completion")),
        call(
            "send_async, asked again",
            "chan::SendFuture:Future",
            Nothing,
            || {
                let (s, _r) = chan::bounded(1);
                let mut future = pin!(s.send_async(7));
                assert!(poll(future.as_mut()).is_ready());
                let _ = poll(future.as_mut());
            },
        )
        .except(|place| panics_with(place, "`SendFuture` polled after completion")),
    ]
}

fn errors() -> Vec<Call> {
    vec![call(
        "the channels' errors, asked",
        "chan::SendError::into_inner chan::TrySendError::into_inner chan::TrySendError::is_full \
         chan::TrySendError::is_disconnected chan::SendTimeoutError::into_inner \
         chan::SendTimeoutError::is_timeout chan::SendTimeoutError::is_disconnected \
         chan::TryRecvError::is_empty chan::TryRecvError::is_disconnected \
         chan::RecvTimeoutError::is_timeout chan::RecvTimeoutError::is_disconnected",
        Nothing,
        || {
            assert_eq!(SendError(7).into_inner(), 7);
            let full = TrySendError::Full(7);
            assert!(full.is_full() && !full.is_disconnected());
            assert_eq!(full.into_inner(), 7);
            let timeout = SendTimeoutError::Timeout(7);
            assert!(timeout.is_timeout() && !timeout.is_disconnected());
            assert_eq!(timeout.into_inner(), 7);
            let empty = TryRecvError::Empty;
            assert!(empty.is_empty() && !empty.is_disconnected());
            let timeout = RecvTimeoutError::Timeout;
            assert!(timeout.is_timeout() && !timeout.is_disconnected());
        },
    )]
}

/// Polls once, for nobody.
pub(super) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
