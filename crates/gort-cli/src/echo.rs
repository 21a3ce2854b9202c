//! `gort echo`: an echo server, a goroutine per connection.

use std::ffi::OsString;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lexopt::prelude::*;

use crate::number::{bytes, grouped};
use crate::server::{Counters, EchoServer};
use crate::{Failure, complain, limits, print};

const HELP: &str = "\
Serves TCP: sends back what comes, a goroutine per connection. Ctrl-C ends it.

usage: gort echo [--addr HOST:PORT] [--stats]

  --addr A    where to listen; `:2333` means every interface, port 0 any free port
              (default 127.0.0.1:2333)
  --stats     a line on standard error each second";

pub(crate) fn main(words: Vec<OsString>) -> Result<(), Failure> {
    let mut addr = "127.0.0.1:2333".to_owned();
    let mut has_stats = false;
    let mut args = lexopt::Parser::from_args(words);
    while let Some(arg) = args.next()? {
        match arg {
            Long("addr") => addr = args.value()?.string()?,
            Long("stats") => has_stats = true,
            Long("help") | Short('h') => {
                return print(HELP);
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    limits::raise_open_files();
    gort::run(|| serve(&addr, has_stats))
}

fn serve(addr: &str, has_stats: bool) -> Result<(), Failure> {
    let server = EchoServer::bind(addr)?;
    // A script that started us waits for this line.
    print(format_args!("listening on {}", server.local_addr()))?;
    if has_stats {
        let counters = server.counters();
        gort::go(move || print_stats(&counters));
    }
    server
        .serve()
        .map_err(|err| Failure::failed(format!("cannot accept any more: {err}")))
}

fn print_stats(counters: &Counters) {
    let mut echoes_before = 0;
    let mut bytes_before = 0;
    loop {
        gort::time::sleep(Duration::from_secs(1));
        let echoes = counters.echoes.load(Relaxed);
        let bytes_now = counters.bytes.load(Relaxed);
        complain(format_args!(
            "{} open, {} accepted, {} echoes/s, {}/s, {} goroutines",
            grouped(counters.open()),
            grouped(counters.accepted.load(Relaxed)),
            grouped(echoes - echoes_before),
            bytes((bytes_now - bytes_before) as f64),
            grouped(gort::runtime::num_goroutine() as u64),
        ));
        echoes_before = echoes;
        bytes_before = bytes_now;
    }
}
