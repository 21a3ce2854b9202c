//! The server: accepts, and answers what `request` reads.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream};
use gort::sync::Semaphore;

pub(crate) use crate::request::Limits;
use crate::request::{Refusal, Request, Requests};

/// Answers that wait for others of a pipeline are sent when they are so many bytes.
const OUTPUT_BYTES: usize = 64 << 10;
/// How much, and for how long, a peer may go on sending after the last answer before it is cut off: that
/// is lost if the connection is closed while there is something to read.
const LAST_BYTES: usize = 256 << 10;
const LAST_TIME: Duration = Duration::from_secs(1);

/// What the handler answers.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    status: u16,
    body: Vec<u8>,
    is_text: bool,
    /// The methods that would have done.
    allow: Option<&'static str>,
}

impl Response {
    pub(crate) fn new(status: u16, body: Vec<u8>) -> Response {
        Response {
            status,
            body,
            is_text: false,
            allow: None,
        }
    }

    pub(crate) fn text(status: u16, text: &str) -> Response {
        Response {
            status,
            body: text.into(),
            is_text: true,
            allow: None,
        }
    }

    /// The answer to a method that is not among `allow`.
    pub(crate) fn not_allowed(allow: &'static str) -> Response {
        Response {
            allow: Some(allow),
            ..Response::text(405, "method not allowed\n")
        }
    }

    fn write(&self, output: &mut Vec<u8>, keeps_alive: bool, has_body: bool) {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            417 => "Expectation Failed",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            505 => "HTTP Version Not Supported",
            _ => "",
        };
        let kind = if self.is_text {
            "text/plain"
        } else {
            "application/octet-stream"
        };
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        let (status, len) = (self.status, self.body.len());
        write!(
            output,
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\
             Connection: {connection}\r\n"
        )
        .expect("memory takes it");
        if let Some(allow) = self.allow {
            write!(output, "Allow: {allow}\r\n").expect("memory takes it");
        }
        output.extend_from_slice(b"\r\n");
        if has_body {
            output.extend_from_slice(&self.body);
        }
    }
}

/// A server that has not begun.
#[derive(Debug)]
pub(crate) struct Server<H> {
    listener: TcpListener,
    limits: Limits,
    handler: Arc<H>,
    free: Arc<Semaphore>,
}

impl<H: Fn(&Request) -> Response + Send + Sync + 'static> Server<H> {
    pub(crate) fn new(listener: TcpListener, limits: Limits, handler: H) -> Server<H> {
        Server {
            listener,
            limits,
            handler: Arc::new(handler),
            free: Arc::new(Semaphore::new(limits.connections)),
        }
    }

    /// Accepts until the listener is closed, and then waits until the last connection has ended.
    pub(crate) fn serve(&self) -> io::Result<()> {
        for stream in self.listener.incoming() {
            let stream = stream?;
            let (limits, handler) = (self.limits, Arc::clone(&self.handler));
            self.free.acquire(1).forget();
            let free = Arc::clone(&self.free);
            gort::go(move || {
                // Also after a panic.
                gort::defer! { free.add_permits(1) }
                // How a connection ends is its peer's affair.
                let _ = Connection::new(&stream, limits).run(&*handler);
            });
        }
        let _all = self.free.acquire(self.limits.connections);
        Ok(())
    }
}

/// One connection: its requests, and the answers that have not been sent yet.
struct Connection<'a> {
    stream: &'a TcpStream,
    limits: Limits,
    output: RefCell<Vec<u8>>,
}

impl Connection<'_> {
    fn new(stream: &TcpStream, limits: Limits) -> Connection<'_> {
        Connection {
            stream,
            limits,
            output: RefCell::new(Vec::new()),
        }
    }

    fn run(&self, handler: &impl Fn(&Request) -> Response) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut requests = Requests::new(self.stream, self.limits);
        loop {
            let next = requests.next(|expects_continue| {
                if expects_continue {
                    let text = b"HTTP/1.1 100 Continue\r\n\r\n";
                    self.output.borrow_mut().extend_from_slice(text);
                }
                self.flush()
            });
            let request = match next {
                Ok(request) => request,
                Err(Refusal::Gone) => return Ok(()),
                Err(Refusal::Bad(status, why)) => return self.refuse(status, why),
            };
            let answer = panic::catch_unwind(AssertUnwindSafe(|| handler(&request)));
            let keeps_alive = request.keeps_alive && answer.is_ok();
            let answer =
                answer.unwrap_or_else(|_| Response::text(500, "the server has a problem\n"));
            let has_body = request.method != "HEAD";
            answer.write(&mut self.output.borrow_mut(), keeps_alive, has_body);
            if !keeps_alive {
                return self.end();
            }
            if self.output.borrow().len() >= OUTPUT_BYTES {
                self.flush()?;
            }
        }
    }

    /// Sends the answers. A peer that does not take them in time is given up.
    fn flush(&self) -> io::Result<()> {
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.limits.answer;
        self.stream.set_write_deadline(Some(deadline))?;
        let mut stream = self.stream;
        stream.write_all(&output)?;
        output.clear();
        Ok(())
    }

    /// Says what was wrong, and ends the connection.
    fn refuse(&self, status: u16, why: &str) -> io::Result<()> {
        let answer = Response::text(status, &format!("{why}\n"));
        answer.write(&mut self.output.borrow_mut(), false, true);
        self.end()
    }

    /// Sends the answers, and ends the connection when the peer has heard them.
    fn end(&self) -> io::Result<()> {
        self.flush()?;
        self.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LAST_TIME;
        self.stream.set_read_deadline(Some(deadline))?;
        let mut rest = self.stream.take(LAST_BYTES as u64);
        io::copy(&mut rest, &mut io::sink()).map(drop)
    }
}
