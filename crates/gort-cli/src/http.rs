//! HTTP/1.1 as a client that loads a server needs it: one request, and the status and length of answers.
//!
//! Bodies are counted and thrown away. An answer that does not say how long it is, or says so in a way
//! that cannot be right, is an error: whoever loads a server wants to know.

use std::io::{self, BufRead, BufReader, Read};

use crate::{Failure, address};

/// A head that is longer belongs to no server one would load.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes taken by one read.
const READ_BYTES: usize = 16 << 10;
/// Each ends the host of a URL.
const HOST_ENDS: [char; 3] = ['/', '?', '#'];

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Url {
    /// `host:port`, to connect to.
    pub(crate) address: String,
    host: String,
    path: String,
}

impl Url {
    /// Parses `http://HOST[:PORT][/PATH][?QUERY]`; the scheme may be missing. A fragment is the reader's own
    /// affair, and is not sent.
    pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
        let usage = |why: &str| Failure::Usage(format!("--http {text}: {why}"));
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            // Else it is part of the path or the query.
            Some((scheme, _)) if !scheme.contains(HOST_ENDS) => {
                return Err(usage(&format!(
                    "{scheme} is not spoken here; write http://…"
                )));
            }
            _ => text,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find(HOST_ENDS).unwrap_or(rest.len()));
        // A colon inside brackets is the address's own.
        let colon = host
            .rfind(':')
            .filter(|&colon| Some(colon) > host.rfind(']'));
        let is_nameless = host.is_empty() || colon == Some(0);
        if is_nameless || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(usage("write http://HOST[:PORT][/PATH]"));
        }
        let address = match colon {
            Some(colon) => {
                address::check_port(&host[colon + 1..]).map_err(usage)?;
                host.to_owned()
            }
            None => format!("{host}:80"),
        };
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Url {
            address,
            host: host.to_owned(),
            path,
        })
    }

    /// The request for it, on a connection that is to go on.
    pub(crate) fn request(&self) -> Vec<u8> {
        let Url { host, path, .. } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: gort-load\r\n\r\n").into_bytes()
    }
}

/// What is looked at in an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// The server ends the connection after it.
    pub(crate) closes: bool,
}

/// How an answer says where its body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Bytes(u64),
    Chunks,
    UntilTheEnd,
}

/// Reads the answers of one connection.
#[derive(Debug)]
pub(crate) struct AnswerReader<R> {
    reader: BufReader<R>,
}

impl<R: Read> AnswerReader<R> {
    pub(crate) fn new(stream: R) -> AnswerReader<R> {
        AnswerReader {
            reader: BufReader::with_capacity(READ_BYTES, stream),
        }
    }

    /// What it reads from.
    pub(crate) fn stream(&mut self) -> &mut R {
        self.reader.get_mut()
    }

    /// The next answer, whose body is read to its end.
    pub(crate) fn next(&mut self) -> io::Result<Answer> {
        loop {
            let (mut answer, body) = self.head()?;
            answer.body_bytes = match body {
                Body::Bytes(len) => self.skip(len)?,
                Body::Chunks => self.skip_chunks()?,
                Body::UntilTheEnd => io::copy(&mut self.reader, &mut io::sink())?,
            };
            // An answer below 200 announces another.
            if answer.status >= 200 {
                if !answer.closes && !self.reader.buffer().is_empty() {
                    return Err(wrong("bytes after the end of an answer"));
                }
                return Ok(answer);
            }
        }
    }

    fn head(&mut self) -> io::Result<(Answer, Body)> {
        let first = self.line()?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok());
        let Some(status @ 100..=999) = status else {
            return Err(wrong("not an HTTP/1 answer"));
        };
        let mut closes = first.starts_with("HTTP/1.0");
        let (mut len, mut is_chunked) = (None, false);
        let mut head_bytes = first.len();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            head_bytes += line.len();
            if head_bytes > HEAD_BYTES_MAX {
                return Err(wrong("a head of more than 64 KiB"));
            }
            let (name, value) = line
                .split_once(':')
                .ok_or(wrong("a header without a colon"))?;
            let value = value.trim().to_ascii_lowercase();
            match &*name.to_ascii_lowercase() {
                "content-length" => {
                    let bytes = value
                        .parse()
                        .map_err(|_| wrong("a length that is no number"))?;
                    if len
                        .replace(bytes)
                        .is_some_and(|before: u64| before != bytes)
                    {
                        return Err(wrong("two lengths in one answer"));
                    }
                }
                "transfer-encoding" => is_chunked = value.ends_with("chunked"),
                "connection" => {
                    for option in value.split(',').map(str::trim) {
                        match option {
                            "close" => closes = true,
                            "keep-alive" => closes = false,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let body = match (status, is_chunked, len) {
            (100..=199 | 204 | 304, _, _) => Body::Bytes(0),
            (_, true, _) => Body::Chunks,
            (_, false, Some(len)) => Body::Bytes(len),
            (_, false, None) => Body::UntilTheEnd,
        };
        let answer = Answer {
            status,
            body_bytes: 0,
            closes: closes || body == Body::UntilTheEnd,
        };
        Ok((answer, body))
    }

    fn skip_chunks(&mut self) -> io::Result<u64> {
        let mut total = 0;
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|_| wrong("a chunk without a size"))?;
            if size == 0 {
                break;
            }
            total += self.skip(size)?;
            if !self.line()?.is_empty() {
                return Err(wrong("a chunk that is longer than it says"));
            }
        }
        while !self.line()?.is_empty() {}
        Ok(total)
    }

    fn skip(&mut self, len: u64) -> io::Result<u64> {
        let skipped = io::copy(&mut self.reader.by_ref().take(len), &mut io::sink())?;
        if skipped < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(len)
    }

    /// The next line, without its end.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut limited = self.reader.by_ref().take(HEAD_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(match line.len() + 1 < HEAD_BYTES_MAX {
                true => io::ErrorKind::UnexpectedEof.into(),
                false => wrong("a line of more than 64 KiB"),
            });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes out one by one: every place where a read may end is tried.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(1);
            self.0.read(&mut buf[..len])
        }
    }

    fn first(text: &str) -> Result<(u16, u64, bool), String> {
        let slow = AnswerReader::new(Trickle(text.as_bytes())).next();
        let fast = AnswerReader::new(text.as_bytes()).next();
        let seen = |answer: io::Result<Answer>| match answer {
            Ok(answer) => Ok((answer.status, answer.body_bytes, answer.closes)),
            Err(error) => Err(error.to_string()),
        };
        let (slow, fast) = (seen(slow), seen(fast));
        if !text.ends_with("extra") {
            assert_eq!(slow, fast);
        }
        fast
    }

    #[test]
    fn answers_are_read_to_their_ends() {
        for (text, expected) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                (200, 5, false),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n",
                (200, 0, true),
            ),
            (
                "HTTP/1.1 404 Not Found\nContent-Length: 1\n\nx",
                (404, 1, false),
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, 0, false)),
            ("HTTP/1.0 200 OK\r\n\r\nto the end", (200, 10, true)),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
                (200, 1, false),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxy",
                (200, 2, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n1F;x=y\r\n0123456789012345678901234567890\r\n0\r\nTrailer: z\r\n\r\n",
                (200, 34, false),
            ),
        ] {
            assert_eq!(first(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn answers_that_make_no_sense_are_errors() {
        let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
        for (text, why) in [
            ("SSH-2.0-OpenSSH\r\n".into(), "not an HTTP/1 answer"),
            (head("Content-Length: x\r\n"), "a length that is no number"),
            (
                head("Content-Length: 1\r\nContent-Length: 2\r\n"),
                "two lengths in one answer",
            ),
            (head("no colon\r\n"), "a header without a colon"),
            (
                head("Content-Length: 1\r\n") + "xextra",
                "bytes after the end of an answer",
            ),
            (
                head("Transfer-Encoding: chunked\r\n") + "?\r\n",
                "a chunk without a size",
            ),
            (
                head("Transfer-Encoding: chunked\r\n") + "1\r\nxy\r\n",
                "a chunk that is longer than it says",
            ),
            (
                head(&format!("X: {}\r\n", "y".repeat(70_000))),
                "a line of more than 64 KiB",
            ),
            (
                head(&"X: yyyyyyyyy\r\n".repeat(6_000)),
                "a head of more than 64 KiB",
            ),
            (
                head("Content-Length: 9\r\n") + "short",
                "unexpected end of file",
            ),
        ] {
            assert_eq!(
                first(&text),
                Err(why.to_owned()),
                "{}",
                &text[..text.len().min(99)]
            );
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let parts = |text| {
            let url = Url::parse(text).expect("valid");
            (url.address, url.host, url.path)
        };
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("http://x"), owned("x:80", "x", "/"));
        assert_eq!(parts("x:81/a?b:c"), owned("x:81", "x:81", "/a?b:c"));
        assert_eq!(parts("http://[::1]/"), owned("[::1]:80", "[::1]", "/"));
        assert_eq!(
            parts("http://[::1]:8080"),
            owned("[::1]:8080", "[::1]:8080", "/")
        );
        for text in ["https://x/", "http:///x", "", "x y", ":80", "?x"] {
            assert!(matches!(Url::parse(text), Err(Failure::Usage(_))), "{text}");
        }
    }

    #[test]
    fn a_host_ends_at_a_question_mark_or_a_hash_too() {
        for (text, address, path) in [
            ("http://h?x=1", "h:80", "/?x=1"),
            ("h:81?x=/y", "h:81", "/?x=/y"),
            ("http://h#top", "h:80", "/"),
            ("http://h/a?b#/c?d", "h:80", "/a?b"),
            ("http://[::1]?x", "[::1]:80", "/?x"),
            ("h/?next=https://other/", "h:80", "/?next=https://other/"),
        ] {
            let url = Url::parse(text).expect("valid");
            assert_eq!((&*url.address, &*url.path), (address, path), "{text}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_named() {
        for text in ["http://h:99999/", "http://h:/", "h:http", "[::1]:?x"] {
            let Err(Failure::Usage(why)) = Url::parse(text) else {
                panic!("{text:?} was accepted");
            };
            assert!(why.contains("port"), "{why}");
        }
    }
}
