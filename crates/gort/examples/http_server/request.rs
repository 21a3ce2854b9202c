//! Reading requests: head, body, and what is wrong with them.
//!
//! The rules are those of RFC 9112 where they protect: a length that is given twice or in two ways is
//! refused, for somebody in between may read it the other way.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use gort::net::TcpStream;

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

/// Headers that a request may have.
const HEADERS_MAX: usize = 64;

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

/// What the head says about the rest.
#[derive(Debug)]
struct Head {
    request: Request,
    body: Body,
    expects_continue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Length(usize),
    Chunked,
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
            if let Some((head, len)) = parse_head(&self.buffer, &self.limits)? {
                self.buffer.drain(..len);
                break head;
            }
            if self.buffer.len() >= self.limits.head_bytes {
                return Err(Refusal::Bad(431, "the head is too large"));
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
            let size = line.split(';').next().unwrap_or_default().trim();
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
        for _ in 0..HEADERS_MAX {
            if self.take_line()?.is_empty() {
                return Ok(body);
            }
        }
        Err(Refusal::Bad(431, "too many trailers"))
    }

    /// A line without its end, which must be CR LF.
    fn take_line(&mut self) -> Result<String, Refusal> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return line
                    .strip_suffix(b"\r\n")
                    .and_then(|line| String::from_utf8(line.to_vec()).ok())
                    .ok_or(Refusal::Bad(400, "a line is malformed"));
            }
            if self.buffer.len() >= self.limits.head_bytes {
                return Err(Refusal::Bad(431, "a line is too long"));
            }
            self.fill()?;
        }
    }
}

/// The head at the start of `bytes`, and how long it is; `None` if it is not all there.
fn parse_head(bytes: &[u8], limits: &Limits) -> Result<Option<(Head, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let len = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(len)) if len > limits.head_bytes => {
            return Err(Refusal::Bad(431, "the head is too large"));
        }
        Ok(httparse::Status::Complete(len)) => len,
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::Bad(431, "too many headers"));
        }
        Err(httparse::Error::Version) => return Err(Refusal::Bad(505, "HTTP/1.0 or 1.1, please")),
        Err(_) => return Err(Refusal::Bad(400, "the head is malformed")),
    };
    let is_1_1 = parsed.version == Some(1);
    let mut head = Head {
        request: Request {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            body: Vec::new(),
            keeps_alive: is_1_1,
        },
        body: Body::Length(0),
        expects_continue: false,
    };
    let (mut hosts, mut lengths, mut is_chunked) = (0, 0, false);
    for header in parsed.headers.iter() {
        let value = str::from_utf8(header.value)
            .map_err(|_| Refusal::Bad(400, "a header is not text"))?
            .trim();
        match &*header.name.to_ascii_lowercase() {
            "host" => hosts += 1,
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        head.request.keeps_alive = false;
                    } else if option.eq_ignore_ascii_case("keep-alive") {
                        head.request.keeps_alive = true;
                    }
                }
            }
            "content-length" => {
                lengths += 1;
                head.body = Body::Length(parse_length(value, limits)?);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !is_chunked => {
                is_chunked = true;
            }
            "transfer-encoding" => return Err(Refusal::Bad(501, "chunked, and no other coding")),
            "expect" if value.eq_ignore_ascii_case("100-continue") => {
                head.expects_continue = is_1_1;
            }
            "expect" => return Err(Refusal::Bad(417, "100-continue, and nothing else")),
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && is_1_1) {
        return Err(Refusal::Bad(400, "one host, please"));
    }
    if lengths > 1 || (lengths == 1 && is_chunked) {
        return Err(Refusal::Bad(400, "one length, please"));
    }
    if is_chunked {
        head.body = Body::Chunked;
    }
    Ok(Some((head, len)))
}

fn parse_length(text: &str, limits: &Limits) -> Result<usize, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Bad(400, "the length is no number"));
    }
    match text.parse() {
        Ok(len) if len <= limits.body_bytes => Ok(len),
        // Digits that are no `usize` are too many.
        _ => Err(Refusal::Bad(413, "the body is too large")),
    }
}
