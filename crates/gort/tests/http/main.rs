//! The example `http_server`, loaded and mistreated: keep-alive, pipelines, limits, malformed requests,
//! peers that are slow, half-open or gone. Whatever comes, each connection ends, and leaves nothing: after each
//! case the server's goroutines and the process's sockets are counted. So one runs at a time.

#[path = "../../examples/http_server/head.rs"]
mod head;
#[path = "../../examples/http_server/request.rs"]
mod request;
#[path = "../../examples/http_server/server.rs"]
mod server;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use gort::JoinHandle;
use gort::net::{TcpListener, TcpStream};
use gort::sync::{Mutex, MutexGuard};

use request::{Limits, Request};
use server::{Response, Server};

/// A server that runs; it must have ended, with all its connections, when the test is over.
struct Running {
    listener: TcpListener,
    addr: SocketAddr,
    server: JoinHandle<io::Result<()>>,
    before: Before,
}

/// What there was before a server, and is to be there after it.
#[must_use = "it is to be compared with what there is after"]
struct Before {
    sockets: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Before {
    fn now() -> Before {
        static ALONE: Mutex<()> = Mutex::new(());
        Before {
            _alone: ALONE.lock(),
            sockets: sockets(),
        }
    }

    /// Returns when what there was is all that there is: connections let the server go on a little before their end.
    #[track_caller]
    fn assert_nothing_left(self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while sockets() != self.sockets || goroutines_of_servers() != 0 {
            assert!(
                Instant::now() < deadline,
                "{} sockets instead of {}:\n{}",
                sockets(),
                self.sockets,
                gort::debug::stacks()
            );
            gort::time::sleep(Duration::from_millis(1)); // waits: looks again, until the deadline
        }
    }
}

/// The sockets of the process. The runtime and the test harness have none; of other descriptors they have, now and then.
fn sockets() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let is_socket = |name: &std::path::PathBuf| name.to_string_lossy().starts_with("socket:");
    all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(is_socket)
        .count()
}

fn goroutines_of_servers() -> usize {
    let all = gort::debug::goroutines().into_iter();
    all.filter(|it| it.created_at.file().ends_with("http_server/server.rs"))
        .count()
}

fn answer(request: &Request) -> Response {
    match (&*request.method, &*request.target) {
        (_, "/panic") => panic!("the handler has a problem"),
        (_, "/large") => Response::new(200, vec![b'x'; 16 << 20]),
        ("DELETE", _) => Response::not_allowed("GET, POST"),
        ("POST", _) => Response::new(200, request.body.clone()),
        (_, target) => Response::text(200, target),
    }
}

impl Running {
    fn start(limits: Limits) -> Running {
        let before = Before::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server::new(listener.try_clone().unwrap(), limits, answer);
        Running {
            listener,
            addr,
            server: gort::go(move || server.serve()),
            before,
        }
    }

    #[track_caller]
    fn stop_after(self, client: Client) {
        drop(client);
        self.stop();
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        stream.set_deadline(Some(limit)).unwrap();
        Client(BufReader::new(stream))
    }

    /// For a test whose clients are gone.
    #[track_caller]
    fn stop(self) {
        self.end().assert_nothing_left();
    }

    /// Returns when the last connection has ended.
    fn end(self) -> Before {
        self.listener.close().unwrap();
        self.server.join().unwrap().unwrap();
        self.before
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.get_ref().write_all(text.as_ref()).unwrap();
    }

    fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }

    /// The status and the body of an answer. `HEAD` has no body, whatever its length says.
    fn answer(&mut self, has_body: bool) -> (u16, String) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).expect("a status").parse().unwrap();
        let mut len = 0;
        loop {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "no whole head");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                len = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; if has_body { len } else { 0 }];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    /// The server has nothing more to say.
    fn assert_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

#[gort::test]
fn a_connection_serves_many_requests() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    for i in 0..100 {
        client.get(&format!("/{i}"));
        assert_eq!(client.answer(true), (200, format!("/{i}")));
    }
    client.send("HEAD /there HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer(false).0, 200);
    client.send("GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer(true), (200, "/last".into()));
    client.assert_end();
    drop(client);
    // The old version closes, unless it asks for more.
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer(true).1, "/1");
    client.send("GET /2 HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer(true).1, "/2");
    client.assert_end();
    server.stop_after(client);
}

#[gort::test]
fn close_wins_over_keep_alive() {
    let server = Running::start(Limits::default());
    for options in [
        "Connection: close, keep-alive\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{options}\r\n"));
        assert_eq!(client.answer(true).0, 200);
        client.assert_end();
    }
    server.stop();
}

#[gort::test]
fn a_target_may_name_the_host() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    for (target, expected) in [
        ("http://x/1", "/1"),
        ("HTTP://[::1]:80/2?a=/b", "/2?a=/b"),
        ("http://x", "/"),
        ("http://x?3", "/?3"),
    ] {
        client.get(target);
        assert_eq!(client.answer(true), (200, expected.into()), "{target}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.answer(true), (200, "*".into()));
    server.stop_after(client);
}

#[gort::test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    client.send("DELETE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut text = String::new();
    client.0.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 405 "), "{text}");
    assert!(text.contains("\r\nAllow: GET, POST\r\n"), "{text}");
    server.stop_after(client);
}

#[gort::test]
fn headers_and_trailers_need_not_be_utf_8() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    client.send(b"GET /1 HTTP/1.1\r\nHost: x\r\nName: \xe9\r\n\r\n");
    assert_eq!(client.answer(true), (200, "/1".into()));
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n");
    client.send(b"1 ;name=\"\xe9\"\r\nx\r\n0\r\nName: \xe9\r\n\r\n");
    assert_eq!(client.answer(true), (200, "x".into()));
    server.stop_after(client);
}

#[gort::test]
fn a_pipeline_is_answered_in_order() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    let requests: String = (0..500)
        .map(|i| match i % 3 {
            0 => format!("GET /{i} HTTP/1.1\r\nHost: x\r\n\r\n"),
            1 => format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{i:04}"),
            _ => format!(
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2;name=value\r\n{:02}\r\n2\r\n{:02}\r\n0\r\nTrailer: x\r\n\r\n",
                i / 100,
                i % 100
            ),
        })
        .collect();
    client.send(requests);
    for i in 0..500 {
        let expected = if i % 3 == 0 {
            format!("/{i}")
        } else {
            format!("{i:04}")
        };
        assert_eq!(client.answer(true), (200, expected));
    }
    server.stop_after(client);
}

#[gort::test]
fn a_request_may_come_byte_by_byte() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    client.0.get_ref().set_nodelay(true).unwrap();
    for text in [
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        for byte in text.bytes() {
            client.send([byte]);
            gort::yield_now();
        }
        assert_eq!(client.answer(true), (200, "hello".into()));
    }
    server.stop_after(client);
}

#[gort::test]
fn a_client_that_waits_is_told_to_continue() {
    let server = Running::start(Limits::default());
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer(true), (100, String::new()));
    client.send("hello");
    assert_eq!(client.answer(true), (200, "hello".into()));
    server.stop_after(client);
}

#[gort::test]
fn bad_requests_get_a_clear_refusal() {
    let limits = Limits {
        head_bytes: 4_000,
        body_bytes: 1_000,
        ..Limits::default()
    };
    let server = Running::start(limits);
    let head = |headers: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let chunks = |body: &str| head("Transfer-Encoding: chunked\r\n") + body;
    let cases: Vec<(u16, String)> = vec![
        (400, "\x16\x03\x01\x02 hello\r\n\r\n".into()),
        (400, "GET\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost x\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into()),
        (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into()),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into()),
        (400, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET a HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (400, "GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".into()),
        (501, "x".repeat(4_000)),
        (414, format!("GET /{} HTTP/1.1\r\n", "x".repeat(4_000))),
        (414, format!("GET /{}", "x".repeat(4_000))),
        (431, "\r\n".repeat(4_000)),
        (431, head(&format!("X: {}\r\n", "x".repeat(3_990)))),
        (431, head(&"X: y\r\n".repeat(64))),
        (400, head("Content-Length: -1\r\n")),
        (400, head("Content-Length: +1\r\n")),
        (400, head("Content-Length: x\r\n")),
        (400, head("Content-Length: 1\r\nContent-Length: 2\r\n")),
        (
            400,
            head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        ),
        // Spaces of Unicode are none of HTTP's: who reads it otherwise sees another request.
        (400, head("Content-Length: \u{2003}1\r\n")),
        (400, head("Transfer-Encoding: \u{a0}chunked\r\n")),
        (413, head("Content-Length: 1001\r\n")),
        (
            413,
            head(&format!("Content-Length: {}\r\n", "9".repeat(100))),
        ),
        (501, head("Transfer-Encoding: gzip, chunked\r\n")),
        (400, head("Transfer-Encoding: gzip\r\n")),
        (400, head("Transfer-Encoding: chunked, gzip\r\n")),
        (400, head("Transfer-Encoding:\r\n")),
        (
            400,
            head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            400,
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
        (417, head("Expect: miracles\r\n")),
        (400, chunks("x\r\n")),
        (400, chunks("+1\r\nx\r\n")),
        (400, chunks(" 1\r\nx\r\n")),
        (400, chunks("1\u{2003}\r\nx\r\n")),
        (400, chunks("1;a\0b\r\nx\r\n")),
        (400, chunks("1;a\rb\r\nx\r\n")),
        (400, chunks("1\nx\r\n")),
        (400, chunks("1\r\nxy\r\n0\r\n\r\n")),
        (413, chunks("3e9\r\n")),
        (413, chunks("ffffffffffffffffffff\r\n")),
        (431, chunks(&"0".repeat(4_001))),
        (400, chunks("0\r\nno trailer\r\n\r\n")),
        (400, chunks("0\r\nX : y\r\n\r\n")),
        (400, chunks("0\r\nX: \0\r\n\r\n")),
        (431, chunks(&format!("0\r\n{}", "X: y\r\n".repeat(65)))),
        (431, chunks(&format!("0\r\nX: {}", "x".repeat(4_000)))),
    ];
    for (status, text) in cases {
        let mut client = server.connect();
        client.send(&text);
        let (got, why) = client.answer(true);
        assert_eq!(got, status, "{text:?}: {why}");
        assert!(why.ends_with('\n') && why.len() > 5);
        client.assert_end();
    }
    // What was right before it is answered before it.
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n");
    assert_eq!(client.answer(true), (200, "/1".into()));
    assert_eq!(client.answer(true).0, 400);
    client.assert_end();
    server.stop_after(client);
}

#[gort::test]
fn a_refusal_reaches_a_client_that_goes_on_sending() {
    let limits = Limits {
        body_bytes: 1_000,
        ..Limits::default()
    };
    let server = Running::start(limits);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.answer(true).0, 413);
    client.assert_end();
    server.stop_after(client);
}

#[gort::test]
fn a_panic_in_the_handler_ends_its_connection_alone() {
    let server = Running::start(Limits::default());
    let (mut one, mut other) = (server.connect(), server.connect());
    other.get("/before");
    assert_eq!(other.answer(true).1, "/before");
    one.get("/panic");
    assert_eq!(one.answer(true).0, 500);
    one.assert_end();
    other.get("/after");
    assert_eq!(other.answer(true).1, "/after");
    drop((one, other));
    server.stop();
}

#[gort::test]
fn peers_that_are_too_slow_are_ended() {
    let short = Duration::from_millis(50);
    // Only one thing is to come in time at each server: on a busy machine the others might not.
    let server = Running::start(Limits {
        idle: short,
        ..Limits::default()
    });
    // Says nothing: nothing is said to it.
    server.connect().assert_end();
    server.stop();
    let server = Running::start(Limits {
        request: short,
        answer: Duration::from_secs(60),
        ..Limits::default()
    });
    // Stops in the head, in the body, in a chunk.
    for text in [
        "GET / HTTP/1.1\r\nHo",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    ] {
        let mut client = server.connect();
        client.send(text);
        assert_eq!(client.answer(true).0, 408);
        client.assert_end();
    }
    // A byte now and then does not help: the whole request has one deadline.
    let mut client = server.connect();
    client.send("GET /");
    let trickle = client.0.get_ref().try_clone().unwrap();
    let trickle = gort::go(move || {
        let mut stream = &trickle;
        while stream.write_all(b"x").is_ok() {
            gort::time::sleep(Duration::from_millis(1)); // waits: it is the slow peer
        }
    });
    assert_eq!(client.answer(true).0, 408);
    drop(client);
    trickle.join().unwrap();
    server.stop();
    let server = Running::start(Limits {
        request: Duration::from_secs(60),
        answer: short,
        ..Limits::default()
    });
    // Does not read its answer, which is more than the buffers on the way hold.
    let mut client = server.connect();
    client.get("/large");
    client.0.fill_buf().unwrap();
    // Ended although the client is still there.
    let before = server.end();
    drop(client);
    before.assert_nothing_left();
}

#[gort::test]
fn half_open_peers_are_answered_and_ended() {
    let server = Running::start(Limits::default());
    for (text, statuses) in [
        ("", &[][..]),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[200]),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /", &[200, 400]),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1",
            &[400],
        ),
    ] {
        let mut client = server.connect();
        client.send(text);
        client.0.get_ref().shutdown(Shutdown::Write).unwrap();
        for status in statuses {
            assert_eq!(client.answer(true).0, *status);
        }
        client.assert_end();
    }
    // Gone with an answer on the way, and with a reset.
    let mut client = server.connect();
    client.get("/large");
    client.0.fill_buf().unwrap();
    client.0.get_ref().set_linger(Some(Duration::ZERO)).unwrap();
    server.stop_after(client);
}

#[gort::test]
fn no_more_connections_than_allowed() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let server = Running::start(limits);
    let mut served = [server.connect(), server.connect()];
    for client in &mut served {
        client.get("/");
        client.answer(true);
    }
    // It stands in the kernel's queue until one of the others goes.
    let mut waiting = server.connect();
    waiting.get("/waited");
    let soon = Instant::now() + Duration::from_millis(50);
    waiting.0.get_ref().set_read_deadline(Some(soon)).unwrap();
    assert!(waiting.0.fill_buf().is_err());
    waiting.0.get_ref().set_read_deadline(None).unwrap();
    drop(served);
    assert_eq!(waiting.answer(true).1, "/waited");
    server.stop_after(waiting);
}

#[gort::test]
fn many_clients_at_once() {
    let server = Running::start(Limits::default());
    let clients: Vec<_> = (0..100)
        .map(|i| {
            let mut client = server.connect();
            gort::go(move || {
                for round in 0..50 {
                    let target = format!("/{i}/{round}");
                    client.get(&target);
                    assert_eq!(client.answer(true), (200, target));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    server.stop();
}

/// Those that behave are served as if they were alone.
#[gort::test]
fn many_clients_beside_bad_ones() {
    let limits = Limits {
        body_bytes: 1_000,
        ..Limits::default()
    };
    let server = Running::start(limits);
    let bad = [
        // Malformed; oversized; ends in the middle of a request, by half and whole.
        "nonsense\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHo".into(),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1".into(),
        // Reads nothing of what it gets.
        "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".into(),
    ];
    let bad = (0..60).map(|i| {
        let (mut client, text) = (server.connect(), bad[i % bad.len()].clone());
        gort::go(move || {
            client.send(text);
            match i % 3 {
                0 => drop(client),
                1 => {
                    client.0.get_ref().shutdown(Shutdown::Write).unwrap();
                    // Until the server has ended it, or given up.
                    let _ = io::copy(&mut client.0, &mut io::sink());
                }
                _ => gort::time::sleep(Duration::from_millis(200)), // waits: it is the slow peer
            }
        })
    });
    let bad: Vec<_> = bad.collect();
    let good = (0..60).map(|i| {
        let mut client = server.connect();
        gort::go(move || {
            for round in 0..20 {
                let target = format!("/{i}/{round}");
                client.get(&target);
                assert_eq!(client.answer(true), (200, target));
            }
        })
    });
    let good: Vec<_> = good.collect();
    for client in good.into_iter().chain(bad) {
        client.join().unwrap();
    }
    server.stop();
}
