//! An echo server and its load in one process: a goroutine per connection on both sides.

use std::io;
use std::time::{Duration, Instant};

use crate::client::{self, Exchange, Plan};
use crate::number::{grouped, time};
use crate::server::EchoServer;
use crate::tour::report::Report;
use crate::{Failure, limits};

const MESSAGE_BYTES: usize = 64;
/// For the goroutines of closed connections to end.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(10);

pub(crate) fn visit(
    wanted: u64,
    duration: Duration,
    open_files: u64,
    report: &mut Report,
) -> Result<(), Failure> {
    // Both ends of a connection are ours.
    let conns = wanted
        .min(limits::connections_that_fit(open_files, 2))
        .max(1);
    let goroutines_before = gort::runtime::num_goroutine();
    let server = EchoServer::bind("127.0.0.1:0")?;
    let address = server.local_addr();
    let counters = server.counters();
    let failed = |err: io::Error| Failure::failed(format!("the echo server of the tour: {err}"));
    let closer = server.listener().map_err(failed)?;
    let serving = gort::go(move || server.serve());

    let outcome = client::run(&Plan {
        address,
        conns,
        exchange: Exchange::Echo {
            message_bytes: MESSAGE_BYTES,
        },
        duration,
    });

    closer.close().map_err(failed)?;
    let has_served = matches!(serving.join(), Ok(Ok(())));
    let outcome = outcome?;
    let goroutines_left = wait_for_the_rest(goroutines_before);

    let scaled = match conns == wanted {
        true => String::new(),
        false => format!(" (not {}: the limit on open files)", grouped(wanted)),
    };
    report.section(format!(
        "Echo server under its own load, {} connections{scaled}",
        grouped(conns)
    ));
    report.row(
        "round trips per second",
        grouped(outcome.per_second() as u64),
    );
    report.row(
        "median latency",
        time(outcome.latencies.value_at_quantile(0.5) as f64),
    );
    report.row(
        "99th percentile",
        time(outcome.latencies.value_at_quantile(0.99) as f64),
    );
    let errors: Vec<String> = outcome
        .errors
        .iter()
        .map(|(what, count)| format!("{count} × {what}"))
        .collect();
    report.check(
        outcome.round_trips > 0 && errors.is_empty(),
        match errors.is_empty() {
            true => format!(
                "{} echoes came back, every byte the right one",
                grouped(outcome.round_trips)
            ),
            false => format!("echoes were lost: {}", errors.join(", ")),
        },
    );
    report.check(
        has_served && goroutines_left == 0 && counters.open() == 0,
        format!(
            "the server has stopped: {goroutines_left} goroutines and {} connections are left",
            counters.open()
        ),
    );
    Ok(())
}

/// Waits until there are as many goroutines as `before`; how many more there still are.
fn wait_for_the_rest(before: usize) -> usize {
    let deadline = Instant::now() + SETTLE_TIME_MAX;
    loop {
        let left = gort::runtime::num_goroutine().saturating_sub(before);
        if left == 0 || Instant::now() >= deadline {
            return left;
        }
        gort::time::sleep(Duration::from_millis(1));
    }
}
