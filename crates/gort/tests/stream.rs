//! Feature `futures`: the ends of a channel as `Stream` and `Sink`, in order, fused, and undone when they
//! are dropped early.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use gort::chan::{self, RecvStream, SendError, SendSink, TryRecvError};
use gort_test_support::{Dropped, Wakes};

/// Polls for a value; `wakes` is woken for it.
fn next<T>(stream: &mut RecvStream<T>, wakes: &Arc<Wakes>) -> Poll<Option<T>> {
    let waker = Waker::from(Arc::clone(wakes));
    Pin::new(stream).poll_next(&mut Context::from_waker(&waker))
}

#[derive(Clone, Copy)]
enum Ask {
    Ready,
    Flush,
    Close,
}

/// Asks the sink for something; `wakes` is woken for it.
fn ask<T>(sink: &mut SendSink<T>, what: Ask, wakes: &Arc<Wakes>) -> Poll<Result<(), SendError<T>>> {
    let waker = Waker::from(Arc::clone(wakes));
    let mut context = Context::from_waker(&waker);
    let sink = Pin::new(sink);
    match what {
        Ask::Ready => sink.poll_ready(&mut context),
        Ask::Flush => sink.poll_flush(&mut context),
        Ask::Close => sink.poll_close(&mut context),
    }
}

#[gort::test]
fn a_stream_has_the_values_and_ends_for_ever() {
    for capacity in [Some(0), Some(2), None] {
        let (s, r) = capacity.map_or_else(chan::unbounded, chan::bounded);
        let sender = gort::go(move || (0..100).for_each(|i| s.send(i).unwrap()));
        let mut stream = r.into_stream();
        let mut values = Vec::new();
        gort::block_on(async {
            while let Some(value) =
                std::future::poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await
            {
                values.push(value);
            }
        });
        sender.join().unwrap();
        assert!(values.into_iter().eq(0..100));
        assert!(stream.is_terminated());
        assert_eq!(stream.size_hint(), (0, Some(0)));
        assert_eq!(next(&mut stream, &Arc::default()), Poll::Ready(None));
    }
}

#[gort::test]
fn a_stream_is_woken_once_for_each_value_and_may_be_moved_meanwhile() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut stream = r.into_stream();
    for i in 0..3 {
        assert_eq!(next(&mut stream, &wakes), Poll::Pending);
        assert_eq!(next(&mut stream, &wakes), Poll::Pending);
        let mut moved = Box::new(stream);
        s.try_send(i).expect("the stream waits for it");
        assert_eq!(wakes.count(), i + 1);
        assert_eq!(next(&mut moved, &wakes), Poll::Ready(Some(i)));
        stream = *moved;
    }
    assert!(!stream.is_terminated());
}

#[gort::test]
fn a_stream_that_is_dropped_loses_no_value() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(2);
    // Before its first poll, while it waits, and with a value that it was handed.
    drop(r.clone().into_stream());
    let mut waiting = r.clone().into_stream();
    assert_eq!(next(&mut waiting, &wakes), Poll::Pending);
    drop(waiting);
    let mut handed = r.clone().into_stream();
    assert_eq!(next(&mut handed, &wakes), Poll::Pending);
    s.send(1).unwrap();
    s.send(2).unwrap();
    assert_eq!(wakes.count(), 1);
    drop(handed);
    assert_eq!(r.try_iter().collect::<Vec<_>>(), [1, 2]);
}

#[gort::test]
fn a_nil_stream_and_a_nil_sink_wait_for_ever() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::nil::<i32>();
    let (mut sink, mut stream) = (s.into_sink(), r.into_stream());
    assert_eq!(next(&mut stream, &wakes), Poll::Pending);
    assert_eq!(ask(&mut sink, Ask::Ready, &wakes), Poll::Ready(Ok(())));
    Pin::new(&mut sink).start_send(1).unwrap();
    assert_eq!(ask(&mut sink, Ask::Ready, &wakes), Poll::Pending);
    assert_eq!(ask(&mut sink, Ask::Close, &wakes), Poll::Pending);
    assert_eq!(wakes.count(), 0);
}

#[gort::test]
fn a_sink_sends_in_order_and_is_ready_when_the_value_before_is_sent() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(1);
    let mut sink = s.into_sink();
    for i in 0..2 {
        assert_eq!(ask(&mut sink, Ask::Ready, &wakes), Poll::Ready(Ok(())));
        Pin::new(&mut sink).start_send(i).unwrap();
    }
    assert_eq!(ask(&mut sink, Ask::Ready, &wakes), Poll::Pending);
    assert_eq!(ask(&mut sink, Ask::Flush, &wakes), Poll::Pending);
    assert_eq!((r.try_recv(), wakes.count()), (Ok(0), 1));
    assert_eq!(ask(&mut sink, Ask::Flush, &wakes), Poll::Ready(Ok(())));
    assert_eq!(r.try_recv(), Ok(1));
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
}

#[gort::test]
fn closing_a_sink_sends_what_is_in_it_and_drops_the_sender() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut sink = s.into_sink();
    Pin::new(&mut sink).start_send(1).unwrap();
    assert_eq!(ask(&mut sink, Ask::Close, &wakes), Poll::Pending);
    assert_eq!(r.recv(), Ok(1));
    assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(ask(&mut sink, Ask::Close, &wakes), Poll::Ready(Ok(())));
    assert_eq!(r.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(ask(&mut sink, Ask::Close, &wakes), Poll::Ready(Ok(())));
    assert_eq!(Pin::new(&mut sink).start_send(2), Err(SendError(2)));
}

#[gort::test]
fn a_sink_without_receivers_gives_the_value_back() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut sink = s.into_sink();
    Pin::new(&mut sink).start_send(1).unwrap();
    assert_eq!(ask(&mut sink, Ask::Flush, &wakes), Poll::Pending);
    drop(r);
    assert_eq!(wakes.count(), 1);
    assert_eq!(
        ask(&mut sink, Ask::Ready, &wakes),
        Poll::Ready(Err(SendError(1)))
    );
    Pin::new(&mut sink).start_send(2).unwrap();
    assert_eq!(
        ask(&mut sink, Ask::Flush, &wakes),
        Poll::Ready(Err(SendError(2)))
    );
}

#[gort::test]
fn a_sink_that_is_dropped_drops_its_value_once() {
    let wakes = Arc::<Wakes>::default();
    let drops = Arc::new(AtomicUsize::new(0));
    let (s, r) = chan::bounded(0);
    for polls in 0..2 {
        let mut sink = s.clone().into_sink();
        Pin::new(&mut sink)
            .start_send(Dropped(Arc::clone(&drops)))
            .unwrap();
        for _ in 0..polls {
            assert!(ask(&mut sink, Ask::Flush, &wakes).is_pending());
        }
        drop(sink);
        assert_eq!(drops.load(Ordering::SeqCst), polls + 1);
        assert_eq!(r.try_recv().err(), Some(TryRecvError::Empty));
    }
    // A receiver has it: it is not the sink's to drop.
    let mut sink = s.into_sink();
    Pin::new(&mut sink)
        .start_send(Dropped(Arc::clone(&drops)))
        .unwrap();
    assert!(ask(&mut sink, Ask::Flush, &wakes).is_pending());
    let received = r.try_recv().expect("the sink waits with a value");
    drop(sink);
    assert_eq!(drops.load(Ordering::SeqCst), 2);
    drop(received);
    assert_eq!(drops.load(Ordering::SeqCst), 3);
}

#[gort::test]
fn a_stream_or_sink_that_is_forgotten_harms_nobody() {
    let wakes = Arc::<Wakes>::default();
    let (s, r) = chan::bounded(0);
    let mut stream = r.clone().into_stream();
    assert_eq!(next(&mut stream, &wakes), Poll::Pending);
    std::mem::forget(stream);
    assert_eq!(s.try_send(1), Ok(()), "its waiter is still queued");
    let mut sink = s.clone().into_sink();
    Pin::new(&mut sink).start_send(2).unwrap();
    assert_eq!(ask(&mut sink, Ask::Flush, &wakes), Poll::Pending);
    std::mem::forget(sink);
    assert_eq!(r.try_recv(), Ok(2));
}
