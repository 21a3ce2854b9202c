//! The load on a server: a goroutine per connection, one message or request in flight on each.
//!
//! To an echo server, every message is made of the numbers of its connection and its round, and its echo is compared
//! byte for byte: an echo that is late, short, long or another connection's is found. After the last
//! round trip a connection says that it sends no more, and the server must end it without another
//! byte. Of an HTTP server, every answer must have the status and the length of body that were expected; a
//! connection that the server closes after an answer, as it may, is made anew.
//!
//! Connections are made first, a limited number at a time, so that they do not overflow the server's
//! queue; the clock starts when all have come or failed.
//!
//! Elsewhere: options and the table (`load`), reading answers (`http`), the same load on a server of our own (`tour::echo`).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gort::chan::{self, Receiver, RecvTimeoutError, Sender};
use gort::net::TcpStream;
use gort::sync::{Mutex, Semaphore};
use hdrhistogram::Histogram;

use crate::http::AnswerReader;
use crate::number::{grouped, time};
use crate::progress::Progress;
use crate::{Failure, limits};

/// Connections made at the same time: well below the usual queue of a listener (4096).
const CONNECTING_MAX: u64 = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that has not answered so long after the end has lost the message.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Histograms that the connections share: enough that two cores seldom meet at one.
const SHARDS: u64 = 16;
/// Above this, a latency counts as this: an hour.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) conns: u64,
    pub(crate) exchange: Exchange,
    pub(crate) duration: Duration,
}

/// What goes to and fro.
#[derive(Clone, Debug)]
pub(crate) enum Exchange {
    Echo {
        message_bytes: usize,
    },
    Http {
        request: Vec<u8>,
        expected: Expected,
    },
}

/// What each answer of an HTTP server must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
}

impl Exchange {
    /// The word for what comes back.
    fn answer(&self) -> &'static str {
        match self {
            Exchange::Echo { .. } => "echo",
            Exchange::Http { .. } => "answer",
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) round_trips: u64,
    pub(crate) elapsed: Duration,
    /// Nanoseconds of a round trip.
    pub(crate) latencies: Histogram<u64>,
    /// How often each thing went wrong.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Outcome {
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.round_trips as f64 / self.elapsed.as_secs_f64()
    }
}

/// Tries one connection, for an error that says what to do.
pub(crate) fn probe(addresses: &[SocketAddr]) -> Result<SocketAddr, Failure> {
    let mut last = None;
    for &address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Ok(address),
            Err(err) => last = Some((address, err)),
        }
    }
    let (address, err) = last.ok_or_else(|| Failure::failed("no address to connect to"))?;
    let advice = match err.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!(
                "connection refused: nothing listens there; an echo server is started with `gort echo --addr {address}`"
            )
        }
        io::ErrorKind::TimedOut => {
            "no answer: is the address right, and no firewall between?".to_owned()
        }
        _ => err.to_string(),
    };
    Err(Failure::failed(format!(
        "cannot connect to {address}: {advice}"
    )))
}

/// Asks an HTTP server once, for what all answers are to be like.
pub(crate) fn probe_http(address: SocketAddr, request: &[u8]) -> Result<Expected, Failure> {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_deadline(Some(Instant::now() + ANSWER_TIMEOUT))?;
        stream.write_all(request)?;
        AnswerReader::new(stream).next()
    };
    match ask() {
        Ok(answer) => Ok(Expected {
            status: answer.status,
            body_bytes: answer.body_bytes,
        }),
        Err(err) => Err(Failure::failed(format!(
            "the first answer of {address}: {}",
            explain_round_trip("answer", &err)
        ))),
    }
}

/// Runs the load to its end.
///
/// Fails if there cannot be so many goroutines: then all are called off, and end without a message.
pub(crate) fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let (arrived, all_arrived) = chan::bounded(0);
    let (finished, all_finished) = chan::bounded(0);
    let (start, started) = chan::bounded(0);
    let shared = Arc::new(Shared::new(plan.clone()));
    for index in 0..plan.conns {
        let shared = Arc::clone(&shared);
        let (arrived, finished, started) = (arrived.clone(), finished.clone(), started.clone());
        let connection = gort::Builder::new().go(move || {
            shared.one_connection(index, arrived, &started);
            drop(finished);
        });
        // The start is dropped with the end not set: that calls the others off.
        connection.map_err(|err| limits::too_few_goroutines(plan.conns, index, &err))?;
    }
    drop((arrived, finished));

    let mut connecting = Progress::new("connecting", plan.conns);
    watch(&all_arrived, connecting.period(), || {
        connecting.set(shared.arrived.load(Relaxed), "");
    });
    let failed = shared.error_count();
    connecting.finish(&if failed == 0 {
        String::new()
    } else {
        format!("({} failed)", grouped(failed))
    });

    let began = Instant::now();
    shared
        .end
        .set(began + plan.duration)
        .expect("it is set here only");
    drop(start);
    let mut loading = Progress::new("loading", plan.duration.as_millis() as u64);
    watch(&all_finished, loading.period(), || {
        let elapsed = began.elapsed();
        let rate = shared.round_trips() as f64 / elapsed.as_secs_f64();
        loading.set(
            elapsed.as_millis() as u64,
            &format!("{} req/s", grouped(rate as u64)),
        );
    });
    let elapsed = began.elapsed();
    let outcome = shared.outcome(elapsed);
    loading.finish(&format!("{} req/s", grouped(outcome.per_second() as u64)));
    Ok(outcome)
}

/// Calls `show` now and then until every sender of `ended` is gone.
fn watch(ended: &Receiver<()>, period: Duration, mut show: impl FnMut()) {
    while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
        show();
    }
}

/// What all connections have in common.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    connecting: Semaphore,
    arrived: AtomicU64,
    /// When to stop; set before the start. Not set, the load is called off.
    end: OnceLock<Instant>,
    shards: Vec<Shard>,
    errors: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug)]
struct Shard {
    round_trips: AtomicU64,
    latencies: Mutex<Histogram<u64>>,
}

impl Shared {
    fn new(plan: Plan) -> Shared {
        let shards = (0..SHARDS.min(plan.conns)).map(|_| Shard::new()).collect();
        Shared {
            plan,
            connecting: Semaphore::new(CONNECTING_MAX),
            arrived: AtomicU64::new(0),
            end: OnceLock::new(),
            shards,
            errors: Mutex::new(BTreeMap::new()),
        }
    }

    /// The life of one connection.
    fn one_connection(&self, index: u64, arrived: Sender<()>, started: &Receiver<()>) {
        let stream = {
            let _permit = self.connecting.acquire(1);
            TcpStream::connect_timeout(&self.plan.address, CONNECT_TIMEOUT)
        };
        self.arrived.fetch_add(1, Relaxed);
        drop(arrived);
        let stream = match stream {
            Ok(stream) => stream,
            Err(err) => return self.count_error(explain_connect(&err)),
        };
        // Nothing is ever sent: the close is the start.
        let _closed = started.recv();
        if self.end.get().is_none() {
            return;
        }
        if let Err(err) = self.round_trips_on(stream, index) {
            self.count_error(explain_round_trip(self.plan.exchange.answer(), &err));
        }
    }

    fn round_trips_on(&self, stream: TcpStream, index: u64) -> io::Result<()> {
        let shard = &self.shards[(index % SHARDS) as usize];
        self.prepare(&stream)?;
        match &self.plan.exchange {
            Exchange::Echo { message_bytes } => self.echoes(stream, index, *message_bytes, shard),
            Exchange::Http { request, expected } => self.requests(stream, request, expected, shard),
        }
    }

    fn end(&self) -> Instant {
        *self
            .end
            .get()
            .expect("a connection that was called off does not ask")
    }

    fn prepare(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_deadline(Some(self.end() + ANSWER_TIMEOUT))
    }

    fn requests(
        &self,
        stream: TcpStream,
        request: &[u8],
        expected: &Expected,
        shard: &Shard,
    ) -> io::Result<()> {
        let mut reader = AnswerReader::new(stream);
        loop {
            let sent_at = Instant::now();
            if sent_at >= self.end() {
                return Ok(());
            }
            reader.stream().write_all(request)?;
            let answer = reader.next()?;
            let latency = sent_at.elapsed();
            let found = Expected {
                status: answer.status,
                body_bytes: answer.body_bytes,
            };
            if found != *expected {
                let what = format!(
                    "an answer with status {} and {} bytes instead of {} and {}",
                    found.status, found.body_bytes, expected.status, expected.body_bytes
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            shard.record(latency);
            if answer.closes {
                let stream = TcpStream::connect_timeout(&self.plan.address, CONNECT_TIMEOUT)?;
                self.prepare(&stream)?;
                reader = AnswerReader::new(stream);
            }
        }
    }

    fn echoes(
        &self,
        mut stream: TcpStream,
        index: u64,
        message_bytes: usize,
        shard: &Shard,
    ) -> io::Result<()> {
        let end = self.end();
        let mut message = vec![0; message_bytes];
        let mut answer = vec![0; message_bytes];
        for round in 0.. {
            fill(&mut message, index, round);
            let sent_at = Instant::now();
            if sent_at >= end {
                break;
            }
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
            let latency = sent_at.elapsed();
            if answer != message {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "wrong bytes in an echo",
                ));
            }
            shard.record(latency);
        }
        stream.shutdown(Shutdown::Write)?;
        match stream.read(&mut answer)? {
            0 => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "bytes that nobody sent",
            )),
        }
    }

    fn round_trips(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.round_trips.load(Relaxed))
            .sum()
    }

    fn count_error(&self, what: String) {
        *self.errors.lock().entry(what).or_default() += 1;
    }

    fn error_count(&self) -> u64 {
        self.errors.lock().values().sum()
    }

    fn outcome(&self, elapsed: Duration) -> Outcome {
        let mut latencies = new_histogram();
        for shard in &self.shards {
            latencies
                .add(&*shard.latencies.lock())
                .expect("all shards have the same bounds");
        }
        Outcome {
            round_trips: self.round_trips(),
            elapsed,
            latencies,
            errors: self.errors.lock().clone(),
        }
    }
}

impl Shard {
    fn new() -> Shard {
        Shard {
            round_trips: AtomicU64::new(0),
            latencies: Mutex::new(new_histogram()),
        }
    }

    fn record(&self, latency: Duration) {
        self.round_trips.fetch_add(1, Relaxed);
        self.latencies
            .lock()
            .saturating_record(latency.as_nanos() as u64);
    }
}

/// Three digits: a machine that is not idle repeats no more.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are in order")
}

/// The message of a round: the SplitMix64 sequence that begins at the connection and the round.
fn fill(message: &mut [u8], index: u64, round: u64) {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = (index << 40) ^ round;
    for chunk in message.chunks_mut(8) {
        state = state.wrapping_add(GOLDEN);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

fn explain_connect(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "connect: no local port is left for this address (net.ipv4.ip_local_port_range)"
                .to_owned()
        }
        io::ErrorKind::TimedOut => format!(
            "connect: no answer in {}",
            time(CONNECT_TIMEOUT.as_nanos() as f64)
        ),
        _ => format!("connect: {err}"),
    }
}

fn explain_round_trip(answer: &str, err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::UnexpectedEof => {
            format!("closed by the server before the {answer} was whole")
        }
        io::ErrorKind::TimedOut => format!(
            "no {answer} until {} after the end",
            time(ANSWER_TIMEOUT.as_nanos() as f64)
        ),
        _ => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_differ_between_connections_and_rounds() {
        let message = |index, round| {
            let mut message = vec![0; 64];
            fill(&mut message, index, round);
            message
        };
        assert_eq!(message(3, 5), message(3, 5));
        assert_ne!(message(3, 5), message(3, 6));
        assert_ne!(message(3, 5), message(4, 5));
    }

    #[test]
    fn a_message_may_have_any_length() {
        let mut long = vec![0; 64];
        fill(&mut long, 1, 1);
        for len in [1, 7, 8, 9, 63] {
            let mut short = vec![0; len];
            fill(&mut short, 1, 1);
            assert_eq!(short, long[..len]);
        }
    }

    /// Runs the load of 4 connections against a server of one goroutine per connection that does
    /// `serve` with it.
    fn errors_against(serve: fn(TcpStream) -> io::Result<()>) -> Vec<String> {
        errors_of(UNTIL_AN_ERROR, Exchange::Echo { message_bytes: 100 }, serve)
    }

    /// For servers that make no mistake before the end.
    const SHORT: Duration = Duration::from_millis(50);
    /// For others: the first ends a connection.
    const UNTIL_AN_ERROR: Duration = Duration::from_secs(60);

    fn errors_of(
        duration: Duration,
        exchange: Exchange,
        serve: fn(TcpStream) -> io::Result<()>,
    ) -> Vec<String> {
        gort::run(|| {
            let listener = gort::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("bound");
            let accepting = listener.try_clone().expect("a second handle");
            let server = gort::go(move || {
                for stream in accepting.incoming().flatten() {
                    gort::go(move || serve(stream));
                }
            });
            let plan = Plan {
                address,
                conns: 4,
                exchange,
                duration,
            };
            let outcome = run(&plan).expect("4 goroutines fit");
            listener.close().expect("close");
            server.join().expect("no panic inside");
            assert_eq!(outcome.error_count(), outcome.errors.values().sum::<u64>());
            outcome.errors.into_keys().collect()
        })
    }

    #[test]
    fn an_honest_echo_has_no_errors() {
        let errors = errors_of(
            SHORT,
            Exchange::Echo { message_bytes: 100 },
            |mut stream| {
                let mut buffer = [0; 33];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return Ok(()),
                        len => stream.write_all(&buffer[..len])?,
                    }
                }
            },
        );
        assert_eq!(errors, [] as [String; 0]);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let errors = errors_against(|mut stream| {
            let mut buffer = [0; 100];
            stream.read_exact(&mut buffer)?;
            buffer[99] ^= 1;
            stream.write_all(&buffer)
        });
        assert_eq!(errors, ["wrong bytes in an echo"]);
    }

    #[test]
    fn a_short_echo_is_found() {
        let errors = errors_against(|mut stream| {
            let mut buffer = [0; 100];
            stream.read_exact(&mut buffer)?;
            stream.write_all(&buffer[..99])
        });
        assert_eq!(errors, ["closed by the server before the echo was whole"]);
    }

    #[test]
    fn a_byte_too_many_is_found() {
        // It comes at the end.
        let errors = errors_of(
            SHORT,
            Exchange::Echo { message_bytes: 100 },
            |mut stream| {
                let mut buffer = [0; 100];
                loop {
                    match stream.read(&mut buffer)? {
                        0 => return stream.write_all(b"!"),
                        len => stream.write_all(&buffer[..len])?,
                    }
                }
            },
        );
        assert_eq!(errors, ["bytes that nobody sent"]);
    }

    /// Answers the requests of a connection with `answers`, each once and the last for ever; 0 is the end.
    fn serve_http(mut stream: TcpStream, answers: &[&str]) -> io::Result<()> {
        let mut request = [0; 4];
        for i in 0.. {
            match stream.read(&mut request)? {
                0 => return Ok(()),
                4 => match answers.get(i).or(answers.last()) {
                    Some(answer) => stream.write_all(answer.as_bytes())?,
                    None => return Ok(()),
                },
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    /// The mode and the limit are the process's, so it runs once more, alone.
    #[test]
    fn connections_that_get_no_thread_are_a_failure_that_names_the_number_that_fits() {
        const CHILD: &str = "GORT_CLI_TEST_FEW_THREADS";
        if std::env::var_os(CHILD).is_some() {
            return load_with_few_threads();
        }
        let output = std::process::Command::new(std::env::current_exe().expect("a test has a file"))
            .args(["--exact", "--nocapture"])
            .arg("client::tests::connections_that_get_no_thread_are_a_failure_that_names_the_number_that_fits")
            .env(CHILD, "1")
            .env("GORT_TLS", "thread")
            .output()
            .expect("the test runs once more");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{out}{err}");
        assert!(out.contains("1 passed"), "{out}{err}");
    }

    fn load_with_few_threads() {
        // Its threads are not goroutines', so they are not counted.
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut plan = Plan {
            address: server.local_addr().expect("bound"),
            conns: 200,
            exchange: Exchange::Echo { message_bytes: 100 },
            duration: Duration::from_millis(50),
        };
        std::thread::spawn(move || {
            for stream in server.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        gort::run(|| {
            let goroutines = gort::runtime::num_goroutine();
            // A hundred are kept from goroutines.
            gort_core::runtime::set_thread_limit(100 + 80);
            let Err(Failure::Failed(why)) = run(&plan) else {
                panic!("200 connections fit into 80 threads");
            };
            let (_, advice) = why.split_once("use --conns ").expect("a number that fits");
            plan.conns = advice
                .split(',')
                .next()
                .and_then(|number| number.parse().ok())
                .expect("a number");
            assert!((20..80).contains(&plan.conns), "{why}");
            assert!(why.contains("gort doctor"), "{why}");
            let deadline = Instant::now() + Duration::from_secs(60);
            while gort::runtime::num_goroutine() > goroutines {
                assert!(Instant::now() < deadline, "they do not end");
                // waits: for those that were called off to end.
                gort::time::sleep(Duration::from_millis(1));
            }
            let outcome = run(&plan).expect("so many fit");
            assert_eq!(outcome.errors, BTreeMap::new());
            assert!(outcome.round_trips > 0);
        });
    }

    fn http() -> Exchange {
        Exchange::Http {
            // What a request looks like is nothing to these servers.
            request: b"GET!".to_vec(),
            expected: Expected {
                status: 200,
                body_bytes: 2,
            },
        }
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn an_honest_http_server_has_no_errors_even_if_it_closes() {
        let errors = errors_of(SHORT, http(), |stream| serve_http(stream, &[GOOD]));
        assert_eq!(errors, [] as [String; 0]);
        let errors = errors_of(SHORT, http(), |mut stream| {
            let last = GOOD.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
            stream.read_exact(&mut [0; 4])?;
            stream.write_all(GOOD.as_bytes())?;
            stream.read_exact(&mut [0; 4])?;
            stream.write_all(last.as_bytes())
        });
        assert_eq!(errors, [] as [String; 0]);
    }

    #[test]
    fn answers_that_are_others_are_found() {
        let errors = errors_of(UNTIL_AN_ERROR, http(), |stream| {
            let other = "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno";
            serve_http(stream, &[GOOD, GOOD, other])
        });
        let expected = "an answer with status 503 and 2 bytes instead of 200 and 2";
        assert_eq!(errors, [expected]);
        let errors = errors_of(UNTIL_AN_ERROR, http(), |stream| {
            let longer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok!";
            serve_http(stream, &[GOOD, longer])
        });
        let expected = "an answer with status 200 and 3 bytes instead of 200 and 2";
        assert_eq!(errors, [expected]);
        let errors = errors_of(UNTIL_AN_ERROR, http(), |mut stream| {
            stream.read_exact(&mut [0; 4])?;
            stream.write_all(&GOOD.as_bytes()[..GOOD.len() - 1])
        });
        assert_eq!(errors, ["closed by the server before the answer was whole"]);
    }
}
