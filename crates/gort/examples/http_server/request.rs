//! Reading requests: within limits of size and time, and their bodies.
//!
//! What the heads mean is in `head.rs`.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use gort::net::TcpStream;

use crate::head::{self, Body};

/// What a peer may send, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a request's first line and headers.
    pub(crate) head_bytes: usize,
    /// Bytes of a body.
    pub(crate) body_bytes: usize,
    /// From one request to the next, on a connection that is kept.
    pub(crate) idle: Duration,
    /// From a request's first byte to its last.
    pub(crate) request: Duration,
    /// For each answer to be taken.
    pub(crate) answer: Duration,
    /// Connections at the same time; more wait in the kernel's queue.
    pub(crate) connections: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes: 16 << 10,
            body_bytes: 1 << 20,
            idle: Duration::from_secs(60),
            request: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            connections: 10_000,
        }
    }
}

/// A whole request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// A path, perhaps with a query; or `*`, if the method is OPTIONS.
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    /// Whether the connection is to go on after it.
    pub(crate) keeps_alive: bool,
}

/// Why there is no request.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is wrong; the peer is told this status, and why.
    Bad(u16, &'static str),
    /// The peer has gone, or has nothing to say.
    Gone,
}

/// The requests of one connection, one after the other.
#[derive(Debug)]
pub(crate) struct Requests<'a> {
    stream: &'a TcpStream,
    limits: Limits,
    /// Bytes that have come and belong to no request yet.
    buffer: Vec<u8>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(stream: &'a TcpStream, limits: Limits) -> Requests<'a> {
        Requests {
            stream,
            limits,
            buffer: Vec::new(),
        }
    }

    /// The next request. `before_wait` is called before it waits for the peer: with `true` if that
    /// expects to be told to continue.
    pub(crate) fn next(
        &mut self,
        mut before_wait: impl FnMut(bool) -> io::Result<()>,
    ) -> Result<Request, Refusal> {
        if self.buffer.is_empty() {
            before_wait(false).map_err(|_| Refusal::Gone)?;
            self.set_deadline(self.limits.idle)?;
            match self.fill() {
                Ok(()) => {}
                // Nothing was asked, so nothing is answered.
                Err(_) => return Err(Refusal::Gone),
            }
        }
        self.set_deadline(self.limits.request)?;
        let mut head = loop {
            if let Some((head, len)) = head::parse(&self.buffer, &self.limits)? {
                self.buffer.drain(..len);
                break head;
            }
            before_wait(false).map_err(|_| Refusal::Gone)?;
            self.fill()?;
        };
        if head.body != Body::Length(0) {
            let expects = head.expects_continue && self.buffer.is_empty();
            before_wait(expects).map_err(|_| Refusal::Gone)?;
        }
        head.request.body = match head.body {
            Body::Length(len) => self.take(len)?,
            Body::Chunked => self.take_chunks()?,
        };
        Ok(head.request)
    }

    fn set_deadline(&self, length: Duration) -> Result<(), Refusal> {
        self.stream
            .set_read_deadline(Some(Instant::now() + length))
            .map_err(|_| Refusal::Gone)
    }

    /// Waits for more bytes.
    fn fill(&mut self) -> Result<(), Refusal> {
        let mut bytes = [0; 4096];
        match (&*self.stream).read(&mut bytes) {
            Ok(0) => Err(Refusal::Bad(400, "the request is not whole")),
            Ok(len) => {
                self.buffer.extend_from_slice(&bytes[..len]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Refusal::Bad(408, "the request took too long"))
            }
            Err(_) => Err(Refusal::Gone),
        }
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>, Refusal> {
        while self.buffer.len() < len {
            self.fill()?;
        }
        Ok(self.buffer.drain(..len).collect())
    }

    /// A body in chunks, up to and including its trailers, which are skipped.
    fn take_chunks(&mut self) -> Result<Vec<u8>, Refusal> {
        const BAD: Refusal = Refusal::Bad(400, "a chunk is malformed");
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let size = line.split(|byte| *byte == b';').next();
            let size = str::from_utf8(size.unwrap_or_default()).map_err(|_| BAD)?;
            // Before the extensions there may be spaces.
            let size = size.trim_end_matches([' ', '\t']);
            // `from_str_radix` would take a sign.
            if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(BAD);
            }
            let size = usize::from_str_radix(size, 16).unwrap_or(usize::MAX);
            if size > self.limits.body_bytes - body.len() {
                return Err(Refusal::Bad(413, "the body is too large"));
            }
            if size == 0 {
                break;
            }
            body.append(&mut self.take(size)?);
            if !self.take_line()?.is_empty() {
                return Err(BAD);
            }
        }
        loop {
            if let Some(len) = head::trailers_len(&self.buffer, &self.limits)? {
                self.buffer.drain(..len);
                return Ok(body);
            }
            self.fill()?;
        }
    }

    /// A line without its end, which must be CR LF.
    fn take_line(&mut self) -> Result<Vec<u8>, Refusal> {
        const BAD: Refusal = Refusal::Bad(400, "a line is malformed");
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.truncate(line.strip_suffix(b"\r\n").ok_or(BAD)?.len());
                let is_text = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
                return if line.iter().all(is_text) {
                    Ok(line)
                } else {
                    Err(BAD)
                };
            }
            if self.buffer.len() >= self.limits.head_bytes {
                return Err(Refusal::Bad(431, "a line is too long"));
            }
            self.fill()?;
        }
    }
}
