//! The head of a request: what it asks for, what it says about the rest, and what is wrong with it.
//!
//! The rules are those of RFC 9112 where they protect: what somebody in between may read in another way, and so
//! see other requests than we do, is refused. `httparse` takes the fields apart; what they mean is here.

use crate::request::{Limits, Refusal, Request};

/// Headers that a request may have, and trailers.
const FIELDS_MAX: usize = 64;

/// What the head says about the rest.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) request: Request,
    pub(crate) body: Body,
    pub(crate) expects_continue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    Length(usize),
    Chunked,
}

/// The head at the start of `bytes`, and how long it is; `None` if it is not all there.
pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Head, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let is_too_large = bytes.len() >= limits.head_bytes;
    let len = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) if !is_too_large => return Ok(None),
        Ok(httparse::Status::Complete(len)) if len <= limits.head_bytes => len,
        Ok(_) => return Err(too_large(bytes, limits)),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::Bad(431, "too many headers"));
        }
        Err(httparse::Error::Version) => match first_line(bytes) {
            (_, false) if !is_too_large => return Ok(None),
            (line, _) if ends_with_version(line) => {
                return Err(Refusal::Bad(505, "HTTP/1.0 or 1.1, please"));
            }
            _ => return Err(Refusal::Bad(400, "the first line is malformed")),
        },
        Err(_) => return Err(Refusal::Bad(400, "the head is malformed")),
    };
    let (method, path) = (
        parsed.method.unwrap_or_default(),
        parsed.path.unwrap_or_default(),
    );
    let is_1_1 = parsed.version == Some(1);
    let fields = Fields::read(parsed.headers, is_1_1, limits)?;
    let head = Head {
        request: Request {
            method: method.to_owned(),
            target: target(method, path)?,
            body: Vec::new(),
            keeps_alive: !fields.closes && (is_1_1 || fields.keeps_alive),
        },
        body: fields.body()?,
        expects_continue: is_1_1 && fields.expects_continue,
    };
    Ok(Some((head, len)))
}

/// How long the trailers at the start of `bytes` are, with the empty line at their end; `None` if they are
/// not all there.
pub(crate) fn trailers_len(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Partial) if bytes.len() < limits.head_bytes => Ok(None),
        Ok(httparse::Status::Complete((len, _))) if len <= limits.head_bytes => Ok(Some(len)),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            Err(Refusal::Bad(431, "the trailers are too large"))
        }
        Err(_) => Err(Refusal::Bad(400, "a trailer is malformed")),
    }
}

/// Which part of the head is too large.
fn too_large(bytes: &[u8], limits: &Limits) -> Refusal {
    match first_line(bytes) {
        (line, is_whole) if line.is_empty() || (is_whole && line.len() < limits.head_bytes) => {
            Refusal::Bad(431, "the head is too large")
        }
        (line, _) if line.contains(&b' ') => Refusal::Bad(414, "the target is too long"),
        _ => Refusal::Bad(501, "no method is that long"),
    }
}

/// The first line, without its end and the empty lines before it; and whether it is whole.
fn first_line(bytes: &[u8]) -> (&[u8], bool) {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = bytes.iter().position(|byte| !is_end(byte));
    let line = &bytes[start.unwrap_or(bytes.len())..];
    match line.iter().position(is_end) {
        Some(len) => (&line[..len], true),
        None => (line, false),
    }
}

/// Whether it is a first line of HTTP, of some version.
fn ends_with_version(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match words[..] {
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// The target from its first slash on: clients may name the host before it.
fn target(method: &str, text: &str) -> Result<String, Refusal> {
    const SCHEME: &str = "http://";
    if method == "CONNECT" {
        return Err(Refusal::Bad(501, "no tunnels here"));
    }
    if text.starts_with('/') || (text == "*" && method == "OPTIONS") {
        return Ok(text.to_owned());
    }
    if text
        .get(..SCHEME.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    {
        let rest = &text[SCHEME.len()..];
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !host.is_empty() && is_host(host.as_bytes()) {
            let slash = if path.starts_with('/') { "" } else { "/" };
            return Ok(format!("{slash}{path}"));
        }
    }
    Err(Refusal::Bad(400, "the target is malformed"))
}

/// Whether a host consists of these characters, perhaps with a port.
fn is_host(text: &[u8]) -> bool {
    let is_in_host =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte);
    text.iter().all(is_in_host)
}

/// What the headers say that the server heeds.
#[derive(Debug, Default)]
struct Fields {
    length: Option<usize>,
    /// The transfer codings, if any are named.
    codings: Option<Vec<Vec<u8>>>,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

impl Fields {
    fn read(
        headers: &[httparse::Header<'_>],
        is_1_1: bool,
        limits: &Limits,
    ) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        let mut has_host = false;
        for header in headers {
            // Spaces and tabs; other white space does not come through the parser, or is of Unicode and part of the value.
            let value = header.value.trim_ascii();
            match &*header.name.to_ascii_lowercase() {
                "host" if has_host => return Err(Refusal::Bad(400, "one host, please")),
                "host" if !is_host(value) => {
                    return Err(Refusal::Bad(400, "the host is malformed"));
                }
                "host" => has_host = true,
                "connection" => {
                    fields.closes |= list(value).any(|option| option == b"close");
                    fields.keeps_alive |= list(value).any(|option| option == b"keep-alive");
                }
                "content-length" if fields.length.is_some() => {
                    return Err(Refusal::Bad(400, "one length, please"));
                }
                "content-length" => fields.length = Some(parse_length(value, limits)?),
                "transfer-encoding" if !is_1_1 => {
                    return Err(Refusal::Bad(400, "HTTP/1.0 has no transfer codings"));
                }
                "transfer-encoding" => {
                    fields.codings.get_or_insert_default().extend(list(value));
                }
                "expect" if value.eq_ignore_ascii_case(b"100-continue") => {
                    fields.expects_continue = true;
                }
                "expect" => return Err(Refusal::Bad(417, "100-continue, and nothing else")),
                _ => {}
            }
        }
        if is_1_1 && !has_host {
            return Err(Refusal::Bad(400, "a host, please"));
        }
        Ok(fields)
    }

    fn body(&self) -> Result<Body, Refusal> {
        let Some(codings) = &self.codings else {
            return Ok(Body::Length(self.length.unwrap_or(0)));
        };
        if self.length.is_some() {
            return Err(Refusal::Bad(400, "one length, please"));
        }
        match codings.split_last() {
            Some((last, others)) if last == b"chunked" => match others {
                [] => Ok(Body::Chunked),
                others if others.contains(last) => Err(Refusal::Bad(400, "chunked once, please")),
                _ => Err(Refusal::Bad(501, "chunked, and no other coding")),
            },
            _ => Err(Refusal::Bad(400, "the end of the body cannot be found")),
        }
    }
}

/// The elements of a list, in small letters.
fn list(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements
        .filter(|element| !element.is_empty())
        .map(<[u8]>::to_ascii_lowercase)
}

fn parse_length(text: &[u8], limits: &Limits) -> Result<usize, Refusal> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Bad(400, "the length is no number"));
    }
    let digits = str::from_utf8(text).expect("digits are text");
    match digits.parse() {
        Ok(len) if len <= limits.body_bytes => Ok(len),
        // Digits that are no `usize` are too many.
        _ => Err(Refusal::Bad(413, "the body is too large")),
    }
}
