//! The two worlds a case runs in, and what cases share.

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream};

/// How long a case may take before it counts as hung.
const HUNG: Duration = Duration::from_secs(60);

/// What runs a case and its helpers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    Goroutines,
    Threads,
}

/// A goroutine or thread that can be joined.
pub(crate) struct Handle<T>(mpsc::Receiver<T>, World);

impl World {
    pub(crate) fn go<T: Send + 'static>(self, f: impl FnOnce() -> T + Send + 'static) -> Handle<T> {
        let (result, handle) = mpsc::channel();
        // Those whose handle has been dropped have nobody to tell.
        let f = move || drop(result.send(f()));
        match self {
            World::Goroutines => drop(gort::go(f)),
            World::Threads => drop(thread::spawn(f)),
        }
        Handle(handle, self)
    }
}

impl<T> Handle<T> {
    #[track_caller]
    pub(crate) fn join(self) -> T {
        let start = Instant::now();
        loop {
            match self.0.try_recv() {
                Ok(value) => return value,
                Err(mpsc::TryRecvError::Disconnected) => panic!("it has panicked"),
                Err(mpsc::TryRecvError::Empty) => {
                    assert!(start.elapsed() < HUNG, "hung in the world of {:?}", self.1);
                    gort::yield_now();
                    thread::yield_now();
                }
            }
        }
    }
}

/// Runs `case` as a goroutine, and then again on a plain thread.
#[track_caller]
pub(crate) fn in_both_worlds(case: impl Fn(World) + Send + Clone + 'static) {
    for world in [World::Goroutines, World::Threads] {
        let case = case.clone();
        world.go(move || case(world)).join();
    }
}

/// Whether this machine has the IPv6 loopback; if not, says that what needs it is skipped.
pub(crate) fn has_ipv6() -> bool {
    let Err(error) = std::net::UdpSocket::bind("[::1]:0") else {
        return true;
    };
    let missing = [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT];
    let is_missing = error.raw_os_error().is_some_and(|it| missing.contains(&it));
    assert!(is_missing, "{error}");
    println!("skipped: no IPv6 here");
    false
}

/// A connection: the side that connected, and the side that accepted.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

#[track_caller]
pub(crate) fn assert_kind<T: Debug>(result: io::Result<T>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

#[track_caller]
pub(crate) fn assert_closed<T: Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(error.to_string(), "use of closed network connection");
}
