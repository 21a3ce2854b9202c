//! The load of the echo workloads: one thread, epoll, every byte checked.
//!
//! `bench-load --addr A --conns C --n N` opens C connections, sends one message of 64 bytes on each
//! and checks its echo, prints `ready`, and waits for a line on standard input. Then it does N round
//! trips in all, one message in flight per connection, and prints four numbers: round trips,
//! nanoseconds in all, median and 99th percentile of a round trip in nanoseconds.
//!
//! No byte of a message repeats the same byte of the one before or of the neighbour connection, so
//! an echo that is late or went to the wrong connection does not pass for the right one.
//!
//! One thread on purpose: the same load for every twin, at most one core. It costs about what the
//! cheapest server costs, so it can be the bottleneck; the twins' own CPU time shows then.

#![forbid(unsafe_code)]

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;

type Error = Box<dyn std::error::Error>;

const MESSAGE_BYTES: usize = 64;
/// Events fetched by one poll: enough to keep 1,000 connections from costing a poll each.
const EVENTS_MAX: usize = 256;
/// A server that is silent for so long has lost a message.
const SILENCE_MAX: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("bench-load: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let (addr, conns, n) = parse_args()?;
    use_all_cores()?;
    let mut load = Load::connect(addr, conns)?;
    load.round_trips(conns as u64)?;
    load.latencies.reset();

    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;

    let start = Instant::now();
    load.round_trips(n)?;
    let elapsed = start.elapsed();
    println!(
        "{} {} {} {}",
        load.latencies.len(),
        elapsed.as_nanos(),
        load.latencies.value_at_quantile(0.5),
        load.latencies.value_at_quantile(0.99),
    );
    Ok(())
}

fn parse_args() -> Result<(SocketAddr, usize, u64), Error> {
    let mut addr = None;
    let mut conns = None;
    let mut n = None;
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--addr" => addr = Some(value.parse()?),
            "--conns" => conns = Some(value.parse()?),
            "--n" => n = Some(value.parse()?),
            _ => return Err(format!("unknown option: {flag}").into()),
        }
    }
    match (addr, conns, n) {
        (Some(addr), Some(conns), Some(n)) if conns > 0 => Ok((addr, conns, n)),
        _ => Err("usage: bench-load --addr A --conns C --n N".into()),
    }
}

/// A twin on plain threads has confined itself to some cores; that is not meant for us.
fn use_all_cores() -> Result<(), Error> {
    let mut all = rustix::thread::CpuSet::new();
    for core in 0..rustix::thread::CpuSet::MAX_CPU {
        all.set(core);
    }
    Ok(rustix::thread::sched_setaffinity(None, &all)?)
}

/// All connections, and the poll they are registered with.
struct Load {
    poll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    latencies: Histogram<u64>,
}

impl Load {
    fn connect(addr: SocketAddr, conns: usize) -> Result<Load, Error> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(conns);
        for index in 0..conns {
            let socket = TcpStream::connect(addr)
                .map_err(|err| format!("connection {index} of {conns} to {addr}: {err}"))?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let tag = epoll::EventData::new_u64(index as u64);
            epoll::add(&poll, &socket, tag, epoll::EventFlags::IN)?;
            connections.push(Connection::new(socket, index));
        }
        // Three digits are far below what a machine that is not idle repeats.
        let latencies = Histogram::new(3)?;
        Ok(Load {
            poll,
            connections,
            latencies,
        })
    }

    /// Does `n` round trips, spread over the connections as they come back.
    fn round_trips(&mut self, n: u64) -> Result<(), Error> {
        let mut to_send = n;
        let mut in_flight: u64 = 0;
        for connection in &mut self.connections {
            if to_send == 0 {
                break;
            }
            connection.send()?;
            to_send -= 1;
            in_flight += 1;
        }
        let silence = SILENCE_MAX.try_into()?;
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while in_flight > 0 {
            events.clear();
            epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&silence),
            )?;
            if events.is_empty() {
                return Err(format!("{in_flight} messages were not echoed").into());
            }
            for event in &events {
                let connection = &mut self.connections[event.data.u64() as usize];
                let Some(latency) = connection.receive()? else {
                    continue;
                };
                self.latencies.record(latency.as_nanos() as u64)?;
                if to_send > 0 {
                    connection.send()?;
                    to_send -= 1;
                } else {
                    in_flight -= 1;
                }
            }
        }
        Ok(())
    }
}

/// One connection with at most one message in flight.
struct Connection {
    socket: TcpStream,
    index: usize,
    message: [u8; MESSAGE_BYTES],
    received: usize,
    round: u64,
    sent_at: Instant,
}

impl Connection {
    fn new(socket: TcpStream, index: usize) -> Connection {
        Connection {
            socket,
            index,
            message: [0; MESSAGE_BYTES],
            received: MESSAGE_BYTES,
            round: 0,
            sent_at: Instant::now(),
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        assert_eq!(
            self.received, MESSAGE_BYTES,
            "one message in flight per connection"
        );
        self.round += 1;
        let first = self.index as u64 * 31 + self.round * 7;
        for (position, byte) in self.message.iter_mut().enumerate() {
            *byte = (first + position as u64) as u8;
        }
        self.received = 0;
        self.sent_at = Instant::now();
        // The socket's buffer is empty, since the last message has come back: 64 bytes always fit.
        self.socket.write_all(&self.message)?;
        Ok(())
    }

    /// Takes what has arrived; the time of the round trip once the message is back whole.
    fn receive(&mut self) -> Result<Option<Duration>, Error> {
        let mut buffer = [0; MESSAGE_BYTES];
        // One byte more than expected would be seen by the next comparison, or by the last read.
        let missing = MESSAGE_BYTES - self.received;
        if missing == 0 {
            return Err(format!("connection {}: data that nobody asked for", self.index).into());
        }
        let len = match self.socket.read(&mut buffer[..missing]) {
            Ok(0) => return Err(format!("connection {}: closed by the server", self.index).into()),
            Ok(len) => len,
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(err) => return Err(format!("connection {}: {err}", self.index).into()),
        };
        let expected = &self.message[self.received..self.received + len];
        if buffer[..len] != *expected {
            return Err(format!(
                "connection {}: wrong bytes in round {}",
                self.index, self.round
            )
            .into());
        }
        self.received += len;
        Ok((self.received == MESSAGE_BYTES).then(|| self.sent_at.elapsed()))
    }
}
