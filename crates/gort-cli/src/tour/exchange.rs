//! Two goroutines that answer each other, and a thousand that report to one.

use std::time::{Duration, Instant};

use gort::chan;

use crate::number::{grouped, ns_each, time};
use crate::progress::Progress;
use crate::tour::report::Report;

const PING_PONG_TIME: Duration = Duration::from_secs(1);
/// Round trips between two looks at the clock.
const ROUNDS_PER_LOOK: u64 = 10_000;
const PRODUCERS: u64 = 1_000;
const VALUES_EACH: u64 = 1_000;
/// The work queue between the producers and the one consumer.
const FAN_IN_CAPACITY: usize = 128;

pub(crate) fn visit(report: &mut Report) {
    report.section("Channels");
    ping_pong(report);
    fan_in(report);
}

fn ping_pong(report: &mut Report) {
    let (ping, pings) = chan::bounded::<u64>(0);
    let (pong, pongs) = chan::bounded::<u64>(0);
    let echo = gort::go(move || {
        for value in pings {
            if pong.send(value + 1).is_err() {
                return;
            }
        }
    });
    let mut progress = Progress::new("ping-pong", PING_PONG_TIME.as_millis() as u64);
    let start = Instant::now();
    let mut rounds = 0;
    let mut value = 0;
    while start.elapsed() < PING_PONG_TIME {
        for _ in 0..ROUNDS_PER_LOOK {
            ping.send(value).expect("the other side receives");
            value = pongs.recv().expect("the other side answers");
        }
        rounds += ROUNDS_PER_LOOK;
        progress.set(
            start.elapsed().as_millis() as u64,
            &format!("{} rounds", grouped(rounds)),
        );
    }
    let each = ns_each(start.elapsed(), rounds);
    drop(ping);
    let has_ended = echo.join().is_ok();
    progress.finish(&format!("{} rounds", grouped(rounds)));

    report.row("ping-pong, a round trip over two channels", time(each));
    report.check(
        value == rounds && has_ended,
        format!(
            "the ball of the ping-pong counted {} of {} rounds",
            grouped(value),
            grouped(rounds)
        ),
    );
}

fn fan_in(report: &mut Report) {
    let total = PRODUCERS * VALUES_EACH;
    let mut progress = Progress::new("fan-in", total);
    let start = Instant::now();
    let (tx, rx) = chan::bounded::<u64>(FAN_IN_CAPACITY);
    for producer in 0..PRODUCERS {
        let tx = tx.clone();
        gort::go(move || {
            for value in producer * VALUES_EACH..(producer + 1) * VALUES_EACH {
                if tx.send(value).is_err() {
                    return;
                }
            }
        });
    }
    drop(tx);
    let (mut count, mut sum) = (0, 0);
    for value in rx {
        count += 1;
        sum += value;
        if count % (1 << 16) == 0 {
            progress.set(count, &grouped(count));
        }
    }
    let each = ns_each(start.elapsed(), count);
    progress.finish(&grouped(count));

    report.row(
        &format!("fan-in of {} goroutines, a value", grouped(PRODUCERS)),
        time(each),
    );
    report.check(
        count == total && sum == total * (total - 1) / 2,
        format!(
            "{} of {} values came through the fan-in, with the right sum",
            grouped(count),
            grouped(total)
        ),
    );
}
