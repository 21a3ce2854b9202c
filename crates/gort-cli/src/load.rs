//! `gort load`: loads an echo server and checks every byte, or an HTTP server and checks every answer.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use lexopt::prelude::*;
use serde_json::json;

use crate::client::{self, Exchange, Outcome, Plan};
use crate::http::Url;
use crate::number::{grouped, parse, time};
use crate::{Failure, address, limits, print};

const HELP: &str = "\
Loads an echo server, a goroutine per connection, and checks every byte that comes back; or an HTTP
server, and checks the status and the length of every answer.

usage: gort load [--addr HOST:PORT | --http URL] [--conns N] [--secs S] [--size BYTES] [--json]

  --addr A     the server; `:2333` means port 2333 here (default 127.0.0.1:2333)
  --http URL   a page to get over and over, instead; all answers must be as the first, and that a 200
  --conns N    connections, one message or request in flight on each (default 100)
  --secs S     how long, from the moment when all connections are made (default 10)
  --size B     bytes of a message, up to 65536 (default 64)
  --json       the result as one JSON object

The exit status is 1 if a connection failed, a byte was lost or changed, or an answer was another.";

/// The quantiles that are shown, with their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// A message must fit into the buffers of the sockets on its way: it is written whole before its echo
/// is read.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

struct Options {
    target: Target,
    conns: u64,
    secs: u64,
    is_json: bool,
}

#[derive(Debug)]
enum Target {
    Echo { addr: String, message_bytes: usize },
    Http(Url),
}

pub(crate) fn main(words: Vec<OsString>) -> Result<(), Failure> {
    let Some(options) = parse_options(words)? else {
        return print(HELP);
    };
    let wanted = match &options.target {
        Target::Echo { addr, .. } => address::to_dial(addr)?,
        Target::Http(url) => url.address.clone(),
    };
    limits::check_connections(options.conns, limits::raise_open_files())?;
    let outcome = gort::run(|| -> Result<Outcome, Failure> {
        let address = client::probe(&address::resolve(&wanted)?)?;
        let plan = Plan {
            address,
            conns: options.conns,
            exchange: exchange(&options.target, address)?,
            duration: Duration::from_secs(options.secs),
        };
        client::run(&plan)
    })?;
    match options.is_json {
        true => print(as_json(&wanted, &options, &outcome))?,
        false => print(as_table(&wanted, &options, &outcome))?,
    }
    match outcome.error_count() {
        0 if outcome.round_trips == 0 => Err(Failure::failed("no answer came back")),
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{} of {} connections failed",
            grouped(count),
            grouped(options.conns)
        ))),
    }
}

/// What goes to and fro; for an HTTP server, the first answer says what all are to be.
fn exchange(target: &Target, address: SocketAddr) -> Result<Exchange, Failure> {
    match target {
        Target::Echo { message_bytes, .. } => Ok(Exchange::Echo {
            message_bytes: *message_bytes,
        }),
        Target::Http(url) => {
            let request = url.request();
            let expected = client::probe_http(address, &request)?;
            if expected.status != 200 {
                let status = expected.status;
                return Err(Failure::failed(format!(
                    "the first answer of {address} has status {status}; is the path right?"
                )));
            }
            Ok(Exchange::Http { request, expected })
        }
    }
}

fn parse_options(words: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let (mut addr, mut message_bytes, mut url) = (None, None, None);
    let (mut conns, mut secs, mut is_json) = (100, 10, false);
    let mut args = lexopt::Parser::from_args(words);
    while let Some(arg) = args.next()? {
        match arg {
            Long("addr") => addr = Some(args.value()?.string()?),
            Long("http") => url = Some(Url::parse(&args.value()?.string()?)?),
            Long("conns") => conns = parse("--conns", &args.value()?.string()?, 10_000_000)?,
            Long("secs") => secs = parse("--secs", &args.value()?.string()?, 86_400)?,
            Long("size") => {
                let text = args.value()?.string()?;
                message_bytes = Some(parse("--size", &text, MESSAGE_BYTES_MAX)? as usize);
            }
            Long("json") => is_json = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let target = match url {
        Some(_) if addr.is_some() || message_bytes.is_some() => {
            let why = "--http names the server and the answer: --addr and --size are for echoes";
            return Err(Failure::Usage(why.into()));
        }
        Some(url) => Target::Http(url),
        None => Target::Echo {
            addr: addr.unwrap_or("127.0.0.1:2333".into()),
            message_bytes: message_bytes.unwrap_or(64),
        },
    };
    Ok(Some(Options {
        target,
        conns,
        secs,
        is_json,
    }))
}

fn as_table(wanted: &str, options: &Options, outcome: &Outcome) -> String {
    let what = match &options.target {
        Target::Echo { message_bytes, .. } => {
            format!("messages of {} bytes", grouped(*message_bytes as u64))
        }
        Target::Http(_) => "HTTP requests".into(),
    };
    let mut lines = vec![format!(
        "{} connections to {wanted}, {what}, {:.1} s
",
        grouped(options.conns),
        outcome.elapsed.as_secs_f64(),
    )];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<10} {value:>14}"));
    row("requests", grouped(outcome.round_trips));
    row("req/s", grouped(outcome.per_second() as u64));
    for (name, quantile) in QUANTILES {
        row(
            name,
            time(outcome.latencies.value_at_quantile(quantile) as f64),
        );
    }
    row("max", time(outcome.latencies.max() as f64));
    row("errors", grouped(outcome.error_count()));
    for (what, count) in &outcome.errors {
        lines.push(format!("  {:>12} × {what}", grouped(*count)));
    }
    lines.join(
        "
",
    )
}

fn as_json(wanted: &str, options: &Options, outcome: &Outcome) -> serde_json::Value {
    let mut latency = serde_json::Map::new();
    for (name, quantile) in QUANTILES {
        latency.insert(
            name.to_owned(),
            json!(outcome.latencies.value_at_quantile(quantile)),
        );
    }
    latency.insert("max".to_owned(), json!(outcome.latencies.max()));
    json!({
        "addr": wanted,
        "conns": options.conns,
        "message_bytes": match options.target {
            Target::Echo { message_bytes, .. } => Some(message_bytes),
            Target::Http(_) => None,
        },
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "requests": outcome.round_trips,
        "req_per_s": outcome.per_second(),
        "latency_ns": latency,
        "errors": outcome.error_count(),
        "error_kinds": outcome.errors,
    })
}
