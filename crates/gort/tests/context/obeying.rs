//! The current context: what obeys it, what does not, and forms that take one.

use std::io::{self, ErrorKind, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gort::chan;
use gort::context::{Context, ContextError, RecvCtxError, SendCtxError, background};
use gort::net::{Pipe, TcpListener, TcpStream, lookup_host};
use gort::sync::Semaphore;
use gort::time::sleep;
use gort_test_support::{SOON, eventually};

const HOUR: Duration = Duration::from_secs(3600);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

#[track_caller]
fn assert_ended<T: std::fmt::Debug>(result: io::Result<T>, error: ContextError) {
    let failure = result.unwrap_err();
    let kind = match error {
        ContextError::Canceled => ErrorKind::Other,
        ContextError::DeadlineExceeded => ErrorKind::TimedOut,
    };
    assert_eq!(failure.kind(), kind);
    let inner = failure.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(inner, Some(&error), "{failure:?}");
}

/// Waits until the goroutine is parked for `reason`.
#[track_caller]
fn until_parked(handle: &gort::JoinHandle<impl Send>, reason: &str) {
    let id = handle.goroutine().id();
    eventually("it is parked", || {
        let all = gort::debug::goroutines();
        all.iter()
            .any(|g| g.id == id && format!("{:?}", g.wait_reason).contains(reason))
    });
}

#[gort::test]
fn a_cancel_ends_the_calls_that_wait() {
    let (mut client, server) = pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (ctx, cancel) = background().with_cancel();
    let under = |f: Box<dyn FnOnce() -> io::Result<usize> + Send>| {
        gort::Builder::new().context(&ctx).go(f).unwrap()
    };
    let mut reader = server.try_clone().unwrap();
    let reading = under(Box::new(move || reader.read(&mut [0; 8])));
    let mut writer = server.try_clone().unwrap();
    let writing = under(Box::new(move || {
        // More than the buffers hold; the count tells how far it came, and the next call why.
        let count = writer.write(&vec![0; 64 << 20])?;
        assert!(count < 64 << 20);
        writer.write(&[0])
    }));
    let accepting = under(Box::new(move || listener.accept().map(|_| 0)));
    for handle in [&reading, &writing, &accepting] {
        until_parked(handle, "IoWait");
    }
    // One who waits in line for the reader's turn.
    let mut second = server.try_clone().unwrap();
    let in_line = under(Box::new(move || second.read(&mut [0; 8])));
    until_parked(&in_line, "IoWait");
    // And one behind it, who has no context.
    let mut third = server.try_clone().unwrap();
    let free = gort::go(move || third.read(&mut [0; 8]));
    until_parked(&free, "IoWait");

    cancel.cancel();
    for handle in [reading, writing, accepting, in_line] {
        assert_ended(handle.join().unwrap(), ContextError::Canceled);
    }
    client.write_all(b"go on").unwrap();
    assert_eq!(free.join().unwrap().unwrap(), 5);
}

#[gort::test]
fn a_deadline_ends_a_read_and_the_socket_goes_on() {
    let (mut client, mut server) = pair();
    let start = Instant::now();
    let (ctx, _cancel) = background().with_timeout(Duration::from_millis(5));
    assert_ended(
        ctx.enter(|| server.read(&mut [0])),
        ContextError::DeadlineExceeded,
    );
    assert!(start.elapsed() >= Duration::from_millis(5));
    // What begins under it fails as well, though there be data.
    client.write_all(b"x").unwrap();
    assert_ended(
        ctx.enter(|| server.read(&mut [0])),
        ContextError::DeadlineExceeded,
    );
    assert_eq!(server.read(&mut [0]).unwrap(), 1);
}

/// A reader, a writer that has been read in part, and one behind it: each with the context and without.
#[gort::test]
fn a_cancel_ends_the_waits_of_a_pipe_in_memory() {
    let (mut ours, theirs) = gort::net::pipe();
    let theirs = Arc::new(theirs);
    let (ctx, cancel) = background().with_cancel();
    let start = |under: bool, call: fn(&Pipe) -> io::Result<usize>| {
        let theirs = Arc::clone(&theirs);
        let ctx = if under { ctx.clone() } else { background() };
        let handle = gort::Builder::new().context(&ctx).go(move || call(&theirs));
        let handle = handle.unwrap();
        until_parked(&handle, "CondWait");
        handle
    };
    let read = |mut pipe: &Pipe| pipe.read(&mut [0; 4]);
    let write = |mut pipe: &Pipe| pipe.write(b"12345");
    let reading = start(true, read);
    let free_reading = start(false, read);
    let writing = start(true, write);
    let in_line = start(true, write);
    let free_writing = start(false, write);
    assert_eq!(ours.read(&mut [0; 2]).unwrap(), 2);

    cancel.cancel();
    assert_ended(reading.join().unwrap(), ContextError::Canceled);
    // As with a socket: the count tells how far it came.
    assert_eq!(writing.join().unwrap().unwrap(), 2);
    assert_ended(in_line.join().unwrap(), ContextError::Canceled);
    let mut rest = [0; 5];
    ours.read_exact(&mut rest).unwrap();
    assert_eq!(
        (&rest, free_writing.join().unwrap().unwrap()),
        (b"12345", 5)
    );
    assert_eq!(ours.write(b"go").unwrap(), 2);
    assert_eq!(free_reading.join().unwrap().unwrap(), 2);
    // What begins under it fails as well.
    assert_ended(ctx.enter(|| read(&theirs)), ContextError::Canceled);
    assert_ended(ctx.enter(|| write(&theirs)), ContextError::Canceled);
}

#[gort::test]
fn a_deadline_ends_a_read_of_a_pipe_in_memory() {
    let (mut ours, mut theirs) = gort::net::pipe();
    let start = Instant::now();
    let (ctx, _cancel) = background().with_timeout(Duration::from_millis(5));
    let result = ctx.enter(|| ours.read(&mut [0]));
    assert_ended(result, ContextError::DeadlineExceeded);
    assert!(start.elapsed() >= Duration::from_millis(5));
    // The earlier one wins.
    let (ctx, _cancel) = background().with_timeout(HOUR);
    let deadline = Instant::now() + Duration::from_millis(5);
    theirs.set_deadline(Some(deadline)).unwrap();
    let error = ctx.enter(|| theirs.write(b"x")).unwrap_err();
    assert_eq!(error.to_string(), "i/o timeout");
}

#[gort::test]
fn connecting_and_looking_up_obey_a_context_that_is_done() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (ctx, cancel) = background().with_cancel();
    cancel.cancel();
    ctx.enter(|| {
        assert_ended(TcpStream::connect(addr), ContextError::Canceled);
        assert_ended(
            TcpStream::connect_timeout(&addr, HOUR),
            ContextError::Canceled,
        );
        assert_ended(lookup_host("localhost:80"), ContextError::Canceled);
    });
    assert!(TcpStream::connect(addr).is_ok());
}

#[gort::test]
fn a_sleep_returns_early() {
    let (ctx, cancel) = background().with_cancel();
    let start = Instant::now();
    let sleeper = gort::Builder::new().context(&ctx).go(|| {
        // waits: until the cancel.
        sleep(HOUR);
        // waits: not at all any more.
        sleep(HOUR);
    });
    let sleeper = sleeper.unwrap();
    until_parked(&sleeper, "Sleep");
    cancel.cancel();
    sleeper.join().unwrap();
    assert!(start.elapsed() < SOON);
    let (ctx, _cancel) = background().with_timeout(HOUR);
    let start = Instant::now();
    // waits: its time, under a context that goes on.
    ctx.enter(|| sleep(Duration::from_millis(3)));
    assert!(start.elapsed() >= Duration::from_millis(3));
}

#[test]
fn plain_threads_obey_a_context_too() {
    let (client, server) = pair();
    let (ctx, cancel) = background().with_cancel();
    let (ready_tx, ready_rx) = std::sync::mpsc::channel();
    let threads: Vec<_> = [true, false]
        .map(|reads| {
            let (ctx, mut server) = (ctx.clone(), server.try_clone().unwrap());
            let ready = ready_tx.clone();
            thread::spawn(move || {
                ctx.enter(|| {
                    ready.send(()).unwrap();
                    match reads {
                        true => server.read(&mut [0]).map(|_| ()),
                        false => {
                            // waits: until the cancel.
                            sleep(HOUR);
                            Ok(())
                        }
                    }
                })
            })
        })
        .into();
    for _ in 0..2 {
        ready_rx.recv().unwrap();
    }
    cancel.cancel();
    let mut results = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_ended(results.next().unwrap(), ContextError::Canceled);
    assert!(results.next().unwrap().is_ok());
    drop(client);
}

/// A context that is done, and whether it is the current one.
fn is_current(ctx: &Context) -> bool {
    assert!(ctx.err().is_some());
    lookup_host("127.0.0.1:1").is_err()
}

#[gort::test]
fn what_was_current_comes_back() {
    let (done, cancel) = background().with_cancel();
    cancel.cancel();
    let (live, _cancel) = background().with_cancel();
    assert!(!is_current(&done));
    done.enter(|| {
        assert!(is_current(&done));
        live.enter(|| assert!(!is_current(&done)));
        assert!(is_current(&done));
        background().enter(|| assert!(!is_current(&done)));
        done.without_cancel().enter(|| assert!(!is_current(&done)));
        done.with_value(1).enter(|| assert!(is_current(&done)));
        let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
            live.enter(|| panic::resume_unwind(Box::new("unwinds")))
        }));
        assert!(unwound.is_err());
        assert!(is_current(&done));
    });
    assert!(!is_current(&done));
}

#[gort::test]
fn a_new_goroutine_has_none_but_the_builders() {
    let (done, cancel) = background().with_cancel();
    cancel.cancel();
    let (outer, inner) = (done.clone(), done.clone());
    done.enter(|| {
        assert!(!gort::go(move || is_current(&outer)).join().unwrap());
        let builder = gort::Builder::new().context(&done);
        assert!(
            builder
                .go(move || is_current(&inner))
                .unwrap()
                .join()
                .unwrap()
        );
        gort::scope(|s| {
            let builder = gort::Builder::new().context(&done);
            let scoped = builder.go_scoped(s, || is_current(&done)).unwrap();
            assert!(scoped.join().unwrap());
        });
    });
}

#[gort::test]
fn locks_joins_and_channels_do_not_obey_it() {
    let (done, cancel) = background().with_cancel();
    cancel.cancel();
    let (tx, rx) = chan::bounded(0);
    let sender = gort::go(move || tx.send(7));
    done.enter(|| {
        assert_eq!(rx.recv(), Ok(7));
        sender.join().unwrap().unwrap();
        drop(gort::sync::Mutex::new(()).lock());
    });
}

#[gort::test]
fn recv_ctx_and_send_ctx_tell_why() {
    let (ctx, cancel) = background().with_cancel();
    let (tx, rx) = chan::bounded(1);
    assert_eq!(tx.send_ctx(&ctx, 1), Ok(()));
    let sending = gort::go({
        let (tx, ctx) = (tx.clone(), ctx.clone());
        move || tx.send_ctx(&ctx, 2)
    });
    until_parked(&sending, "Select");
    let (never_tx, never_rx) = chan::nil::<u8>();
    let receiving = gort::go({
        let ctx = ctx.clone();
        move || never_rx.recv_ctx(&ctx)
    });
    until_parked(&receiving, "Select");
    cancel.cancel();
    assert_eq!(
        sending.join().unwrap(),
        Err(SendCtxError::Context(2, ContextError::Canceled))
    );
    assert_eq!(
        receiving.join().unwrap(),
        Err(RecvCtxError::Context(ContextError::Canceled))
    );
    // The end comes first, though there is a value and room.
    assert_eq!(rx.recv_ctx(&ctx).unwrap_err().context(), ctx.err());
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(tx.send_ctx(&ctx, 3).unwrap_err().into_inner(), 3);
    assert!(never_tx.send_ctx(&ctx, 4).is_err());

    let (live, _cancel) = background().with_cancel();
    drop(tx);
    assert_eq!(rx.recv_ctx(&live), Err(RecvCtxError::Disconnected));
    let (tx, rx) = chan::bounded(0);
    drop(rx);
    assert_eq!(tx.send_ctx(&live, 5), Err(SendCtxError::Disconnected(5)));
    assert_eq!(
        tx.send_ctx(&background(), 6).unwrap_err().to_string(),
        "sending on a disconnected channel"
    );
}

#[gort::test]
fn who_gives_up_a_semaphore_lets_those_behind_move_up() {
    static SLOTS: Semaphore = Semaphore::new(2);
    let (ctx, cancel) = background().with_cancel();
    let one = SLOTS.acquire_ctx(&ctx, 1).unwrap();
    let greedy = gort::go({
        let ctx = ctx.clone();
        move || SLOTS.acquire_ctx(&ctx, 2).map(|permit| permit.count())
    });
    until_parked(&greedy, "SemAcquire");
    let modest = gort::go(|| SLOTS.acquire(1).count());
    until_parked(&modest, "SemAcquire");
    cancel.cancel();
    assert_eq!(greedy.join().unwrap(), Err(ContextError::Canceled));
    assert_eq!(modest.join().unwrap(), 1);
    assert!(SLOTS.acquire_ctx(&ctx, 1).is_err(), "though one is free");
    drop(one);
    assert_eq!(SLOTS.available_permits(), 2);
}

/// Cancels, deadlines, data and permits at once: every wait ends, once, and nothing is lost.
#[gort::test]
fn races_between_cancels_and_what_is_waited_for_lose_nothing() {
    const ROUNDS: usize = 300;
    let (mut client, server) = pair();
    let sent = Arc::new(AtomicUsize::new(0));
    let received = Arc::new(AtomicUsize::new(0));
    let semaphore = Arc::new(Semaphore::new(1));
    let taken = Arc::new(Mutex::new(0));
    for round in 0..ROUNDS {
        let (ctx, cancel) = match round % 3 {
            0 => background().with_timeout(Duration::from_micros(round as u64)),
            _ => background().with_cancel(),
        };
        let reading = gort::Builder::new().context(&ctx).go({
            let (mut server, received) = (server.try_clone().unwrap(), Arc::clone(&received));
            move || match server.read(&mut [0; 16]) {
                Ok(count) => {
                    received.fetch_add(count, Ordering::Relaxed);
                }
                Err(error) => assert!(error.get_ref().unwrap().is::<ContextError>()),
            }
        });
        let acquiring: Vec<_> = (0..3)
            .map(|_| {
                let (ctx, semaphore) = (ctx.clone(), Arc::clone(&semaphore));
                let taken = Arc::clone(&taken);
                gort::go(move || {
                    if let Ok(_permit) = semaphore.acquire_ctx(&ctx, 1) {
                        let mut taken = taken.try_lock().expect("one at a time");
                        gort::yield_now();
                        *taken += 1;
                    }
                })
            })
            .collect();
        if round % 2 == 0 {
            client.write_all(b"x").unwrap();
            sent.fetch_add(1, Ordering::Relaxed);
        }
        cancel.cancel();
        reading.unwrap().join().unwrap();
        for handle in acquiring {
            handle.join().unwrap();
        }
    }
    drop(client);
    let mut rest = Vec::new();
    let mut server = server;
    server.read_to_end(&mut rest).unwrap();
    let received = received.load(Ordering::Relaxed) + rest.len();
    assert_eq!(received, sent.load(Ordering::Relaxed));
    assert_eq!(semaphore.available_permits(), 1);
}
