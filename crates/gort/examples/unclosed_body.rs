//! A response whose body nobody reads or closes, of an HTTP client that keeps its connections.
//!
//! ```text
//! cargo run --example unclosed_body
//! ```
//!
//! In Go each response that is neither read to its end nor closed keeps its connection, with two goroutines of
//! the client and one of the server: ten of them take the count from 2 to 32.
//!
//! Here the body owns the connection. Reading it to its end gives the connection back for the next request,
//! and dropping it closes the connection, which ends all three goroutines. It takes a `mem::forget`, or a
//! place that keeps bodies, to leak as Go does. To use the body of a failed request does not compile
//! (`tests/ui/s090_the_body_of_a_failed_request.rs`).

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use gort::chan::{self, Receiver, Sender};
use gort::net::{TcpListener, TcpStream};
use gort::runtime::num_goroutine;
use gort::sync::Mutex;
use gort::time::{Duration, sleep};

/// A goroutine writes the requests, another reads the responses, until this is dropped.
struct Connection {
    stream: Arc<TcpStream>,
    requests: Sender<&'static str>,
    /// Lines of bodies, each followed by `None`.
    lines: Receiver<Option<String>>,
}

impl Connection {
    fn open(addr: SocketAddr) -> io::Result<Connection> {
        let stream = Arc::new(TcpStream::connect(addr)?);
        let (requests, to_write) = chan::bounded::<&str>(0);
        let (to_caller, lines) = chan::bounded(0);
        let (writer, reader) = (Arc::clone(&stream), Arc::clone(&stream));
        gort::go(move || to_write.iter().try_for_each(|path| ask(&writer, path)));
        gort::go(move || read_responses(BufReader::new(&*reader), &to_caller));
        Ok(Connection {
            stream,
            requests,
            lines,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other side may have done it before.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn ask(mut stream: &TcpStream, path: &str) -> io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Ends with the connection, or when nobody takes the lines any more.
fn read_responses(input: impl BufRead, to_caller: &Sender<Option<String>>) -> Option<()> {
    let mut input = input.lines().map_while(Result::ok);
    loop {
        let head: Vec<_> = input.by_ref().take_while(|line| !line.is_empty()).collect();
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut left: usize = length?.parse().ok()?;
        while left > 0 {
            let line = input.next()?;
            left = left.checked_sub(line.len() + 1)?;
            to_caller.send(Some(line)).ok()?;
        }
        to_caller.send(None).ok()?;
    }
}

/// Connections that wait for the next request.
type Idle = Arc<Mutex<Vec<Connection>>>;

struct Body {
    connection: Connection,
    idle: Idle,
}

impl Body {
    fn read(self) -> String {
        let lines = self.connection.lines.iter().map_while(|line| line);
        let text = lines.collect();
        self.idle.lock().push(self.connection);
        text
    }
}

fn get(addr: SocketAddr, idle: &Idle) -> io::Result<Body> {
    let kept = idle.lock().pop();
    let connection = kept.map_or_else(|| Connection::open(addr), Ok)?;
    let sent = connection.requests.send("/");
    sent.map_err(|_| io::ErrorKind::NotConnected)?;
    let idle = Arc::clone(idle);
    Ok(Body { connection, idle })
}

/// Answers each request on the connection, until its end.
fn serve(stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello\nworld\n")?;
        }
    }
    Ok(())
}

/// Waits until there are so many goroutines besides main and the one that accepts.
fn until_left(count: usize) -> usize {
    while num_goroutine() != 2 + count {
        sleep(Duration::from_millis(1));
    }
    count
}

#[gort::main]
fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    gort::go(move || {
        for stream in listener.incoming() {
            let stream = stream?;
            gort::go(move || serve(stream));
        }
        io::Result::Ok(())
    });
    let idle = Idle::default();
    for _ in 0..10 {
        assert_eq!(get(addr, &idle)?.read(), "helloworld");
    }
    println!("read: {} left, for the next request", until_left(3));
    idle.lock().clear();
    println!("connection closed: {} left", until_left(0));
    for _ in 0..10 {
        drop(get(addr, &idle)?);
    }
    println!("dropped: {} left", until_left(0));
    for _ in 0..10 {
        mem::forget(get(addr, &idle)?);
    }
    println!("forgotten: {} left", until_left(30));
    Ok(())
}
