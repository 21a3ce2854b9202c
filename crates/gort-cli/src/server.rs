//! An echo server: a goroutine per connection that sends back what comes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gort::net::{TcpListener, TcpStream};
use gort_core::os::socket;
use rustix::io::Errno;

use crate::{Failure, address, complain};

/// Bytes taken by one read: large enough for bulk, and one page of stack more for a connection.
const BUFFER_BYTES: usize = 4096;

/// A bound echo server.
#[derive(Debug)]
pub(crate) struct EchoServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    counters: Arc<Counters>,
}

/// What the server has done so far; for a look while it runs, so each is right for itself only.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) echoes: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl EchoServer {
    /// Listens on `text`, in the form `host:port` or `:port`; port 0 lets the kernel choose.
    pub(crate) fn bind(text: &str) -> Result<EchoServer, Failure> {
        let wanted = address::to_listen(text)?;
        let addresses = address::resolve(&wanted)?;
        let refused = |err: io::Error| Failure::failed(explain_bind(&wanted, &err));
        let listener = TcpListener::bind(&addresses[..]).map_err(refused)?;
        let local_addr = listener.local_addr().map_err(refused)?;
        Ok(EchoServer {
            listener,
            local_addr,
            counters: Arc::default(),
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// A second handle, to close the server from elsewhere.
    pub(crate) fn listener(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// Accepts until the listener is closed; connections that are open then go on.
    ///
    /// Without a free descriptor, or memory for one, it says so once, waits and goes on: the connections
    /// stand in the kernel's queue meanwhile. Without a goroutine for one, it says so once, closes it and goes on.
    pub(crate) fn serve(&self) -> io::Result<()> {
        let (mut has_complained, mut has_refused) = (false, false);
        loop {
            let mut accepted = self.listener.accept();
            if let Some(lack) = accepted.as_ref().err().and_then(shortage) {
                if !has_complained {
                    let open = self.counters.open();
                    complain(format_args!(
                        "gort: {lack} with {open} connections open; accepting again as they close"
                    ));
                    has_complained = true;
                }
                accepted = self.listener.accept_retrying();
            }
            match accepted {
                Ok((stream, _)) => {
                    if let Err(err) = self.start(stream)
                        && !std::mem::replace(&mut has_refused, true)
                    {
                        let open = self.counters.open();
                        complain(format_args!(
                            "gort: {err}; with {open} connections open, new ones are closed until others end"
                        ));
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(err) => return Err(err),
            }
        }
    }

    fn start(&self, stream: TcpStream) -> io::Result<()> {
        let counters = self.counters();
        counters.accepted.fetch_add(1, Relaxed);
        let started = gort::Builder::new().go(move || {
            // How a connection ends is its client's affair: a reset is as good as a close.
            let _ = echo_until_closed(stream, &counters);
            counters.closed.fetch_add(1, Relaxed);
        });
        if started.is_err() {
            self.counters.closed.fetch_add(1, Relaxed);
        }
        started.map(drop)
    }
}

impl Counters {
    /// Connections open at this moment.
    pub(crate) fn open(&self) -> u64 {
        let closed = self.closed.load(Relaxed);
        self.accepted.load(Relaxed).saturating_sub(closed)
    }
}

fn echo_until_closed(mut stream: TcpStream, counters: &Counters) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..len])?;
        counters.echoes.fetch_add(1, Relaxed);
        counters.bytes.fetch_add(len as u64, Relaxed);
    }
}

/// What is short, if that is why nothing was accepted; `accept_retrying` lives through the same.
fn shortage(err: &io::Error) -> Option<&'static str> {
    socket::is_exhausted(err).then(|| match Errno::from_io_error(err) {
        Some(Errno::MFILE | Errno::NFILE) => "no free descriptor",
        Some(Errno::NOSPC) => "no free place in epoll (fs.epoll.max_user_watches)",
        _ => "no memory for a connection",
    })
}

fn explain_bind(wanted: &str, err: &io::Error) -> String {
    let advice = match err.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; stop the other program, or choose another port (0 for any free one)"
        }
        io::ErrorKind::AddrNotAvailable => "the address is not one of this machine's",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges",
        _ => return format!("cannot listen on {wanted}: {err}"),
    };
    format!("cannot listen on {wanted}: {advice}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_shortage_is_lived_through_whatever_is_short() {
        for (errno, word) in [
            (Errno::MFILE, "descriptor"),
            (Errno::NFILE, "descriptor"),
            (Errno::NOBUFS, "memory"),
            (Errno::NOMEM, "memory"),
            (Errno::NOSPC, "epoll"),
        ] {
            let lack = shortage(&errno.into());
            assert!(
                lack.is_some_and(|lack| lack.contains(word)),
                "{errno:?}: {lack:?}"
            );
        }
        for errno in [Errno::INVAL, Errno::BADF, Errno::NOTCONN] {
            assert_eq!(shortage(&errno.into()), None, "{errno:?}");
        }
    }

    /// The mode and the limit are the process's, so it runs once more, alone.
    #[test]
    fn connections_without_a_thread_are_closed_and_the_others_served() {
        const CHILD: &str = "GORT_CLI_TEST_FEW_THREADS";
        if std::env::var_os(CHILD).is_some() {
            return serve_with_few_threads();
        }
        let output =
            std::process::Command::new(std::env::current_exe().expect("a test has a file"))
                .args(["--exact", "--nocapture"])
                .arg("server::tests::connections_without_a_thread_are_closed_and_the_others_served")
                .env(CHILD, "1")
                .env("GORT_TLS", "thread")
                .output()
                .expect("the test runs once more");
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{out}{err}");
        assert!(out.contains("1 passed"), "{out}{err}");
        let complaints = err.matches("new ones are closed until others end").count();
        assert_eq!(complaints, 1, "{err}");
    }

    fn serve_with_few_threads() {
        // A hundred are kept from goroutines.
        gort::run(|| {
            gort_core::runtime::set_thread_limit(100 + 20);
            let server = EchoServer::bind("127.0.0.1:0").expect("a free port");
            let (address, counters) = (server.local_addr(), server.counters());
            gort::go(move || server.serve());
            gort::blocking(|| {
                let connect = || std::net::TcpStream::connect(address).expect("it listens");
                let is_served = |mut stream: &std::net::TcpStream| {
                    let mut byte = [0];
                    // Whoever is refused may be reset.
                    stream.write_all(b"x").is_ok()
                        && stream.read(&mut byte).is_ok_and(|len| len == 1)
                };
                let streams: Vec<_> = (0..40).map(|_| connect()).collect();
                let served = streams.iter().filter(|stream| is_served(stream)).count();
                assert!((5..40).contains(&served), "{served} of 40");
                drop(streams);
                let deadline = Instant::now() + Duration::from_secs(60);
                // There is room again, once the threads have ended.
                while !is_served(&connect()) {
                    assert!(Instant::now() < deadline, "{counters:?}");
                    // waits: for a thread to end.
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        });
    }
}
