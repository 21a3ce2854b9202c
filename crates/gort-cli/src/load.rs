//! `gort load`: loads an echo server and checks every byte.

use std::ffi::OsString;
use std::time::Duration;

use lexopt::prelude::*;
use serde_json::json;

use crate::client::{self, Outcome, Plan};
use crate::number::{grouped, parse, time};
use crate::{Failure, address, limits, print};

const HELP: &str = "\
Loads an echo server, a goroutine per connection, and checks every byte that comes back.

usage: gort load [--addr HOST:PORT] [--conns N] [--secs S] [--size BYTES] [--json]

  --addr A     the server; `:2333` means port 2333 here (default 127.0.0.1:2333)
  --conns N    connections, one message in flight on each (default 100)
  --secs S     how long, from the moment when all connections are made (default 10)
  --size B     bytes of a message, up to 65536 (default 64)
  --json       the result as one JSON object

The exit status is 1 if a connection failed or a byte was lost or changed.";

/// The quantiles that are shown, with their names.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// A message must fit into the buffers of the sockets on its way: it is written whole before its echo
/// is read.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

struct Options {
    addr: String,
    conns: u64,
    secs: u64,
    message_bytes: usize,
    is_json: bool,
}

pub(crate) fn main(words: Vec<OsString>) -> Result<(), Failure> {
    let Some(options) = parse_options(words)? else {
        return print(HELP);
    };
    let wanted = address::to_dial(&options.addr)?;
    limits::check_connections(options.conns, limits::raise_open_files())?;
    let outcome = gort::run(|| -> Result<Outcome, Failure> {
        let plan = Plan {
            address: client::probe(&address::resolve(&wanted)?)?,
            conns: options.conns,
            message_bytes: options.message_bytes,
            duration: Duration::from_secs(options.secs),
        };
        Ok(client::run(&plan))
    })?;
    match options.is_json {
        true => print(as_json(&wanted, &options, &outcome))?,
        false => print(as_table(&wanted, &options, &outcome))?,
    }
    match outcome.error_count() {
        0 if outcome.round_trips == 0 => Err(Failure::failed("no message came back")),
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{} of {} connections failed",
            grouped(count),
            grouped(options.conns)
        ))),
    }
}

fn parse_options(words: Vec<OsString>) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        addr: "127.0.0.1:2333".into(),
        conns: 100,
        secs: 10,
        message_bytes: 64,
        is_json: false,
    };
    let mut args = lexopt::Parser::from_args(words);
    while let Some(arg) = args.next()? {
        match arg {
            Long("addr") => options.addr = args.value()?.string()?,
            Long("conns") => {
                options.conns = parse("--conns", &args.value()?.string()?, 10_000_000)?
            }
            Long("secs") => options.secs = parse("--secs", &args.value()?.string()?, 86_400)?,
            Long("size") => {
                options.message_bytes =
                    parse("--size", &args.value()?.string()?, MESSAGE_BYTES_MAX)? as usize
            }
            Long("json") => options.is_json = true,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(arg.unexpected().into()),
        }
    }
    Ok(Some(options))
}

fn as_table(wanted: &str, options: &Options, outcome: &Outcome) -> String {
    let mut lines = vec![format!(
        "{} connections to {wanted}, messages of {} bytes, {:.1} s
",
        grouped(options.conns),
        grouped(options.message_bytes as u64),
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
        "message_bytes": options.message_bytes,
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "requests": outcome.round_trips,
        "req_per_s": outcome.per_second(),
        "latency_ns": latency,
        "errors": outcome.error_count(),
        "error_kinds": outcome.errors,
    })
}
