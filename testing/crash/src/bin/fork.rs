//! What a child of `fork` does without `exec`: the argument says which call.
//!
//! Whatever becomes of the child, the parent goes on, and ends with the child's status: its signal
//! plus 128, or its code.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gort::debug::GoroutineInfo;
use gort::net::{TcpListener, TcpStream};

/// Runs `child` in a child process, which exits with 7 if it returns.
fn in_child(child: impl FnOnce()) -> i32 {
    // SAFETY: the child does what this program is about; the parent waits for it.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            child();
            libc::_exit(7);
        }
        assert!(pid > 0, "no fork");
        let mut status = 0;
        assert_eq!(gort::blocking(|| libc::waitpid(pid, &mut status, 0)), pid);
        if libc::WIFSIGNALED(status) {
            128 + libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        }
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + black_box(&frame)[7]
}

/// The child of a goroutine whose turn is over, or taken away, makes calls that need nobody. What `passes_time` does
/// has sysmon see to that, for another waits for the turn.
fn after_its_turn(passes_time: fn()) -> i32 {
    let (tx, rx) = gort::chan::bounded(1);
    let is_over = AtomicBool::new(false);
    gort::scope(|s| {
        s.go(|| {
            while !is_over.load(Ordering::Relaxed) {
                gort::yield_now();
            }
        });
        passes_time();
        let status = in_child(|| {
            tx.try_send(1).unwrap();
            assert_eq!(rx.try_recv(), Ok(1));
        });
        is_over.store(true, Ordering::Relaxed);
        status
    })
}

/// A socket that the child drops, as it would at the end of a function. The parent's must go on to wake
/// who waits for it: both are registered with the one poller, as the same descriptor.
fn with_dropped_socket() -> i32 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut peer = listener.accept().unwrap().0;
    let mut socket = Some(socket);
    let status = in_child(|| drop(socket.take()));
    let mut socket = socket.unwrap();
    let reader = gort::go(move || socket.read(&mut [0]));
    let id = reader.goroutine().id();
    let waits = |info: GoroutineInfo| info.id == id && info.wait_reason.is_some();
    while !gort::debug::goroutines().into_iter().any(waits) {
        gort::yield_now();
    }
    peer.write_all(b"x").unwrap();
    let read = reader.join_timeout(Duration::from_secs(10));
    assert_eq!(read.expect("it is woken").unwrap().unwrap(), 1);
    status
}

/// A lock that another goroutine holds at the fork.
fn with_held_lock() -> i32 {
    let lock = gort::sync::Mutex::new(());
    let (held, is_held) = gort::chan::bounded(0);
    let (done, is_done) = gort::chan::bounded::<()>(0);
    gort::scope(|s| {
        s.go(|| {
            let _guard = lock.lock();
            held.send(()).unwrap();
            // Until the sender is gone.
            let _ = is_done.recv();
        });
        is_held.recv().unwrap();
        let status = in_child(|| drop(lock.lock()));
        drop(done);
        status
    })
}

fn main() {
    let way = std::env::args().nth(1).unwrap_or_default();
    // Who computes is not stopped then: what has come of its turn is for its next call.
    let config = gort::Config::new().preempt(way != "turn is over");
    let config = if way.starts_with("turn") {
        config.procs(1)
    } else {
        config
    };
    let status = config.run(|| {
        // The parent is as busy as a parent can be.
        let (tx, rx) = gort::chan::bounded::<u32>(1);
        let ticker = gort::time::Ticker::new(Duration::from_millis(1));
        ticker.chan().recv().unwrap();
        let status = match way.as_str() {
            "nothing" => in_child(|| ()),
            "go" => in_child(|| drop(gort::go(|| ()))),
            "receive" => in_child(|| _ = rx.recv()),
            // waits: no: nobody is there to wake the child
            "sleep" => in_child(|| gort::time::sleep(Duration::from_secs(100))),
            "yield" => in_child(|| {
                for _ in 0..1000 {
                    gort::yield_now();
                }
            }),
            "overflow" => in_child(|| _ = recurse(0)),
            "lock" => with_held_lock(),
            "socket" => with_dropped_socket(),
            "blocking" => in_child(|| {
                for _ in 0..100 {
                    gort::blocking(|| gort::blocking(|| ()));
                }
            }),
            "turn is over" => after_its_turn(|| {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(60) {
                    std::hint::spin_loop();
                }
            }),
            // waits: the thread's sleep is what has the turn taken
            "turn is taken" => after_its_turn(|| std::thread::sleep(Duration::from_millis(60))),
            "return" => {
                // The child of a goroutine returns from it: nobody is there to take over.
                let handle = gort::go(|| {
                    // SAFETY: what becomes of the child is what this program is about.
                    let pid = unsafe { libc::fork() };
                    assert!(pid >= 0, "no fork");
                    pid
                });
                let pid = handle.join().unwrap();
                let mut status = 0;
                // SAFETY: waits for our child.
                gort::blocking(|| unsafe { libc::waitpid(pid, &mut status, 0) });
                128 + libc::WTERMSIG(status)
            }
            "plain_thread" => {
                std::thread::scope(|s| s.spawn(|| in_child(|| _ = rx.recv())).join().unwrap())
            }
            "command" => {
                let mut command = Command::new("true");
                i32::from(!command.status().unwrap().success())
            }
            "pre_exec" => {
                let mut command = Command::new("sh");
                command.args(["-c", "exit 5"]);
                // SAFETY: the hook makes one async-signal-safe call.
                unsafe {
                    command.pre_exec(|| {
                        libc::umask(0o77);
                        Ok(())
                    })
                };
                command.status().unwrap().code().unwrap()
            }
            other => panic!("no such way: {other:?}"),
        };
        // The parent is none the worse for it.
        gort::go(move || tx.send(1).unwrap()).join().unwrap();
        assert_eq!(rx.recv(), Ok(1));
        // waits: that a sleep ends is the point
        gort::time::sleep(Duration::from_millis(1));
        status
    });
    std::process::exit(status.unwrap());
}
