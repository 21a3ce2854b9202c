//! Every guard and handle, forgotten: what it stood for stays as it is, and nothing worse comes of it.

use std::mem::forget;
use std::os::unix::fs::OpenOptionsExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

use gort::chan::{self, Select, TryRecvError, TrySendError};
use gort::context;
use gort::sync::{
    ErrGroup, LazyLock, Map, Mutex, MutexGuard, OnceLock, Pool, RwLock, RwLockReadGuard,
    RwLockWriteGuard, Semaphore, SingleFlight, WaitGroup, mpsc,
};
use gort::time::{self, Ticker, Timer};

use super::Needs::{Deadline, Nothing, Start};
use super::{Call, act, call, prepared, short};

const LONG: Duration = Duration::from_secs(3600);

pub(super) fn calls() -> Vec<Call> {
    let mut all = goroutines();
    all.extend(channels());
    all.extend(locks());
    all.extend(timers_and_sockets());
    all
}

fn goroutines() -> Vec<Call> {
    vec![
        call(
            "forget a JoinHandle, of one that runs and of one that has ended",
            "forget(JoinHandle)",
            Start,
            || {
                let (ran, has_run) = chan::bounded(2);
                let other = ran.clone();
                forget(gort::go(move || ran.send(()).unwrap()));
                has_run.recv().unwrap();
                let handle = gort::go(move || other.send(()).unwrap());
                has_run.recv().unwrap();
                while !handle.is_finished() {
                    gort::yield_now();
                }
                forget(handle);
            },
        ),
        call(
            "forget a JoinHandle that was awaited",
            "forget(JoinHandle)",
            Start,
            || {
                let (go_on, may_go_on) = chan::bounded::<()>(0);
                let mut handle = Box::pin(gort::go(move || _ = may_go_on.recv()));
                let mut cx = Context::from_waker(Waker::noop());
                assert!(handle.as_mut().poll(&mut cx).is_pending());
                forget(handle);
                drop(go_on);
            },
        ),
        call("forget a JoinError", "forget(JoinError)", Start, || {
            forget(gort::go(|| panic!("on purpose")).join().unwrap_err());
        }),
        call(
            "forget a ScopedJoinHandle",
            "forget(ScopedJoinHandle)",
            Start,
            || {
                // The scope waits all the same, and what only the handle knew is not told.
                let mut number = 6;
                gort::scope(|s| {
                    forget(s.go(|| {
                        gort::yield_now();
                        number += 1;
                    }));
                    let panics = s.go(|| panic!("on purpose"));
                    while !panics.is_finished() {
                        gort::yield_now();
                    }
                    forget(panics);
                });
                assert_eq!(number, 7);
            },
        ),
        call(
            "forget a ScopedJoinHandle with a result",
            "forget(ScopedJoinHandle)",
            Start,
            || {
                // Nobody may drop it when what it borrows is gone: nobody does.
                struct Counts<'a>(&'a AtomicU32);
                impl Drop for Counts<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_add(1, Relaxed);
                    }
                }
                let drops = AtomicU32::new(0);
                gort::scope(|s| {
                    let drops = &drops;
                    forget(s.go(move || Counts(drops)));
                });
                assert_eq!(drops.into_inner(), 0);
            },
        ),
        call(
            "forget an OsThreadGuard, of a goroutine that ends",
            "forget(OsThreadGuard)",
            Start,
            || {
                let forgets = gort::go(|| forget(gort::lock_os_thread()));
                forgets.join().unwrap();
                assert_eq!(gort::go(|| 7).join().unwrap(), 7);
            },
        ),
        call(
            "forget an OsThreadGuard",
            "forget(OsThreadGuard)",
            Nothing,
            || {
                forget(gort::lock_os_thread());
            },
        ),
    ]
}

fn channels() -> Vec<Call> {
    vec![
        call("forget a Sender", "forget(chan::Sender)", Nothing, || {
            let (s, r) = chan::bounded::<u32>(1);
            forget(s);
            assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
        }),
        call(
            "forget a Receiver",
            "forget(chan::Receiver)",
            Nothing,
            || {
                let (s, r) = chan::bounded(1);
                forget(r);
                s.try_send(7).unwrap();
                assert_eq!(s.try_send(8), Err(TrySendError::Full(8)));
            },
        ),
        call(
            "forget an iterator",
            "forget(chan::IntoIter)",
            Nothing,
            || {
                let (s, r) = chan::bounded(2);
                s.send(7).unwrap();
                forget(r.into_iter());
                s.send(8).unwrap();
            },
        ),
        call(
            "forget a RecvFuture that waits",
            "forget(chan::RecvFuture)",
            Nothing,
            || {
                // It stays in the line, and takes the next value with it.
                let (s, r) = chan::bounded(0);
                let mut future = Box::pin(r.recv_async());
                assert!(poll(future.as_mut()));
                forget(future);
                s.try_send(7).unwrap();
                assert_eq!(s.try_send(8), Err(TrySendError::Full(8)));
                drop((s, r));
            },
        ),
        call(
            "forget a RecvFuture, then the channel",
            "forget(chan::RecvFuture)",
            Nothing,
            || {
                let (s, r) = chan::bounded::<u32>(0);
                let mut future = Box::pin(r.recv_async());
                assert!(poll(future.as_mut()));
                forget(future);
                drop(r);
                drop(s);
            },
        ),
        call(
            "forget a SendFuture that waits",
            "forget(chan::SendFuture)",
            Nothing,
            || {
                let (s, r) = chan::bounded(0);
                let mut future = Box::pin(s.send_async(7));
                assert!(poll(future.as_mut()));
                forget(future);
                assert_eq!(r.try_recv(), Ok(7));
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
                let mut future = Box::pin(s.send_async(8));
                assert!(poll(future.as_mut()));
                forget(future);
                drop((s, r));
            },
        ),
        call(
            "forget a SelectFuture that waits, then its Select",
            "forget(chan::SelectFuture) forget(chan::Select)",
            Nothing,
            || {
                let (s, r) = chan::bounded(0);
                let (t, q) = chan::bounded::<u32>(0);
                let mut select = Select::new();
                select.recv(&r);
                select.send(&t);
                let mut future = Box::pin(select.select_async());
                assert!(poll(future.as_mut()));
                forget(future);
                select.remove(0);
                select.recv(&q);
                drop(select);
                // Whoever comes may find it in the line.
                let _ = s.try_send(7);
                let _ = q.try_recv();
                drop((s, r));
                drop((t, q));
                forget(Select::new());
            },
        ),
        call(
            "forget a SelectedOperation",
            "forget(chan::SelectedOperation)",
            Nothing,
            || {
                // The value it had received is lost; the place it was promised stays taken.
                let (s, r) = chan::bounded(1);
                s.send(7).unwrap();
                let mut select = Select::new();
                select.recv(&r);
                forget(select.select());
                assert_eq!(r.try_recv(), Err(TryRecvError::Empty));
                let mut select = Select::new();
                select.send(&s);
                forget(select.select());
                let _ = s.try_send(8);
                let _ = r.try_recv();
            },
        ),
        call(
            "forget a SelectedOperation that a receiver waits for",
            "forget(chan::SelectedOperation)",
            Nothing,
            || {
                // The receiver waits on for the value it was promised; others are served.
                let (s, r) = chan::bounded::<u32>(0);
                let mut promised = Box::pin(r.recv_async());
                assert!(poll(promised.as_mut()));
                let mut select = Select::new();
                select.send(&s);
                forget(select.select());
                assert!(poll(promised.as_mut()));
                let mut other = Box::pin(r.recv_async());
                assert!(poll(other.as_mut()));
                s.try_send(7).unwrap();
                assert_eq!(gort::block_on(other), Ok(7));
                s.close();
                assert!(poll(promised.as_mut()));
            },
        ),
        call(
            "forget ends of mpsc",
            "forget(sync::mpsc::Sender) forget(sync::mpsc::SyncSender) \
             forget(sync::mpsc::Receiver) \
             forget(sync::mpsc::IntoIter)",
            Nothing,
            || {
                let (s, r) = mpsc::channel::<u32>();
                forget(s);
                forget(r.into_iter());
                let (s, r) = mpsc::sync_channel(1);
                forget(r);
                s.try_send(7).unwrap();
                forget(s);
            },
        ),
    ]
}

fn locks() -> Vec<Call> {
    vec![
        call(
            "forget guards of a Mutex",
            "forget(sync::MutexGuard) forget(sync::MappedMutexGuard) forget(sync::ArcMutexGuard)",
            Nothing,
            || {
                let lock = Mutex::new(7);
                forget(lock.lock());
                assert!(lock.try_lock().is_none());
                let lock = Mutex::new(7);
                forget(MutexGuard::map(lock.lock(), |value| value));
                assert!(lock.try_lock().is_none());
                let lock = Arc::new(Mutex::new(7));
                forget(lock.lock_arc());
                assert!(lock.try_lock().is_none());
            },
        ),
        call(
            "forget a guard, and wait for its lock",
            "forget(sync::MutexGuard)",
            Deadline,
            || {
                let lock = Mutex::new(7);
                forget(lock.lock());
                assert!(lock.try_lock_for(short()).is_none());
                assert_eq!(lock.into_inner(), 7);
            },
        ),
        call(
            "forget guards of an RwLock",
            "forget(sync::RwLockReadGuard) forget(sync::RwLockWriteGuard) \
             forget(sync::MappedRwLockReadGuard) forget(sync::MappedRwLockWriteGuard) \
             forget(sync::ArcRwLockReadGuard) forget(sync::ArcRwLockWriteGuard) \
             forget(sync::RwLockUpgradableReadGuard) forget(sync::ArcRwLockUpgradableReadGuard)",
            Nothing,
            || {
                let lock = RwLock::new(7);
                forget(lock.read());
                assert!(lock.try_write().is_none());
                forget(RwLockReadGuard::map(lock.read(), |value| value));
                assert_eq!(*lock.read(), 7);
                let lock = RwLock::new(7);
                forget(lock.write());
                assert!(lock.try_read().is_none());
                let lock = RwLock::new(7);
                forget(RwLockWriteGuard::map(lock.write(), |value| value));
                assert!(lock.try_read().is_none());
                let lock = Arc::new(RwLock::new(7));
                forget(lock.read_arc());
                assert!(lock.try_write().is_none());
                let lock = Arc::new(RwLock::new(7));
                forget(lock.write_arc());
                assert!(lock.try_read().is_none());
                let lock = RwLock::new(7);
                forget(lock.upgradable_read());
                assert!(lock.try_write().is_none() && lock.try_upgradable_read().is_none());
                assert_eq!(*lock.read(), 7);
                let lock = Arc::new(RwLock::new(7));
                forget(lock.upgradable_read_arc());
                assert!(lock.try_write().is_none() && lock.try_upgradable_read().is_none());
            },
        ),
        call(
            "forget a Permit",
            "forget(sync::Permit) sync::Permit::forget",
            Nothing,
            || {
                let semaphore = Semaphore::new(3);
                forget(semaphore.acquire(1));
                semaphore.acquire(1).forget();
                assert_eq!(semaphore.available_permits(), 1);
            },
        ),
        call(
            "forget what is shared",
            "forget(sync::Map) forget(sync::Pool) forget(sync::PoolGuard) \
             forget(sync::SingleFlight) forget(sync::ErrGroup)",
            Nothing,
            || {
                let map: Map<u32, String> = [(7, "seven".to_owned())].into_iter().collect();
                let pool = Pool::new(|| vec![7]);
                forget(pool.get());
                assert!(pool.try_get().is_none());
                let flights = SingleFlight::new();
                flights.run(7, || vec![7]);
                forget((map, pool, flights, ErrGroup::<u32>::new()));
            },
        ),
        call(
            "forget an ErrGroup with a member",
            "forget(sync::ErrGroup)",
            Start,
            || {
                let (s, r) = chan::bounded(1);
                let group = ErrGroup::<()>::new();
                group.go(move || {
                    s.send(7).unwrap();
                    Err(())
                });
                forget(group);
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call(
            "forget contexts and their ends",
            "forget(context::Context) forget(context::Cancel) forget(context::CancelCause)",
            Nothing,
            || {
                let (parent, cancel) = context::background().with_cancel();
                let (child, cancel_child) = parent.with_cancel_cause();
                forget((cancel_child, child.clone()));
                forget(child.with_value(7));
                assert_eq!(child.err(), None);
                cancel.cancel();
                assert!(child.err().is_some());
                let (ctx, cancel) = context::background().with_cancel();
                forget(cancel);
                assert_eq!(ctx.err(), None);
            },
        ),
        call(
            "forget a StopFunc",
            "forget(context::StopFunc)",
            Start,
            || {
                let (s, r) = chan::bounded(1);
                let (ctx, cancel) = context::background().with_cancel();
                forget(ctx.after_func(move || s.send(7).unwrap()));
                drop(cancel);
                assert_eq!(r.recv(), Ok(7));
            },
        ),
        call(
            "forget a WaitGroup",
            "forget(sync::WaitGroup)",
            Nothing,
            || {
                let group = WaitGroup::new();
                group.add(1);
                forget(group.clone());
                group.done();
                group.wait();
            },
        ),
        call(
            "forget what was made once",
            "forget(sync::OnceLock) forget(sync::LazyLock)",
            Nothing,
            || {
                let (cell, lazy) = (OnceLock::new(), LazyLock::new(|| vec![7]));
                cell.set(vec![7]).unwrap();
                assert_eq!(lazy.len(), 1);
                forget((cell, lazy));
            },
        ),
    ]
}

fn timers_and_sockets() -> Vec<Call> {
    vec![
        call("forget a Timer", "forget(time::Timer)", Start, || {
            let timer = Timer::new(short());
            let fires = timer.chan().clone();
            forget(timer);
            fires.recv().unwrap();
            let (s, r) = chan::bounded(1);
            forget(time::after_func(short(), move || s.send(7).unwrap()));
            assert_eq!(r.recv(), Ok(7));
            forget(Timer::new(LONG));
        }),
        call("forget a Ticker", "forget(time::Ticker)", Start, || {
            let ticker = Ticker::new(short());
            let ticks = ticker.chan().clone();
            forget(ticker);
            ticks.recv().unwrap();
            ticks.recv().unwrap();
        }),
        call(
            "forget a timeout that waits",
            "time::timeout",
            Start,
            || {
                let mut future = Box::pin(time::timeout(LONG, std::future::pending::<()>()));
                assert!(poll(future.as_mut()));
                forget(future);
            },
        ),
        prepared(
            "forget a File and a ReadDir",
            "forget(fs::File) forget(fs::ReadDir) forget(fs::DirEntry) \
             forget(fs::TryLockError)",
            Nothing,
            || {
                super::system::use_places();
                act(|| {
                    forget(gort::fs::File::open("/dev/null").unwrap());
                    // Opened for its name only, which the kernel does not lock.
                    let mut options = gort::fs::OpenOptions::new();
                    options.read(true).custom_flags(libc::O_PATH);
                    let unlocked = options.open("/dev/null").unwrap();
                    forget(unlocked.try_lock().unwrap_err());
                    forget(unlocked);
                    let mut entries = gort::fs::read_dir("/proc/self").unwrap();
                    forget(entries.next());
                    forget(entries);
                })
            },
        ),
        call(
            "forget a Child",
            "forget(process::Child) forget(process::Command)",
            Nothing,
            || {
                let mut command = gort::process::Command::new("true");
                let child = command.spawn().unwrap();
                let pid = child.id();
                forget((command, child));
                // Ours to wait for, as with std's.
                let pid = pid.try_into().unwrap();
                // SAFETY: waits for our child; asks for no status.
                assert_eq!(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }, pid);
            },
        ),
        call(
            "forget handles of the module thread",
            "forget(thread::JoinHandle) forget(thread::ScopedJoinHandle) forget(thread::Thread)",
            Start,
            || {
                let (s, r) = chan::bounded(2);
                let other = s.clone();
                forget(gort::thread::spawn(move || s.send(1).unwrap()));
                gort::thread::scope(|scope| {
                    let handle = scope.spawn(|| other.send(2).unwrap());
                    forget(handle.thread().clone());
                    forget(handle);
                });
                assert_eq!(r.recv().unwrap() + r.recv().unwrap(), 3);
            },
        ),
        call(
            "forget a subscription to signals",
            "signal::notify",
            Start,
            || {
                forget(gort::signal::notify(&[gort::signal::Signal::SIGWINCH]));
                gort::signal::reset(&[gort::signal::Signal::SIGWINCH]);
            },
        ),
        call(
            "forget pipes and other sockets",
            "forget(io::PipeReader) forget(io::PipeWriter) forget(net::Pipe) \
             forget(net::UdpSocket) forget(net::unix::UnixStream) \
             forget(net::unix::UnixDatagram) forget(net::unix::UnixListener) \
             forget(net::IntoIncoming)",
            Start,
            || {
                forget(gort::io::pipe().unwrap());
                let (a, b) = gort::net::pipe();
                forget(a);
                b.set_deadline(Some(std::time::Instant::now())).unwrap();
                std::io::Read::read(&mut &b, &mut [0]).unwrap_err();
                forget(gort::net::UdpSocket::bind("127.0.0.1:0").unwrap());
                forget(gort::net::unix::UnixStream::pair().unwrap());
                forget(gort::net::unix::UnixDatagram::pair().unwrap());
                let path = super::system::new_path();
                forget(gort::net::unix::UnixListener::bind(&path).unwrap());
                std::fs::remove_file(path).unwrap();
                let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
                forget(listener.into_incoming());
            },
        ),
        prepared(
            "forget sockets",
            "forget(net::TcpListener) forget(net::TcpStream)",
            Nothing,
            || {
                let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let (a, b) = super::net::pair();
                act(move || {
                    forget((listener, a));
                    // The other end of a connection that nobody closes.
                    b.set_deadline(Some(std::time::Instant::now())).unwrap();
                    std::io::Read::read(&mut &b, &mut [0]).unwrap_err();
                })
            },
        ),
    ]
}

/// Polls once, for nobody. True if it is pending.
fn poll<F: Future>(future: Pin<&mut F>) -> bool {
    super::chan::poll(future).is_pending()
}
