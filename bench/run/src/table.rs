//! The table: medians, spread, ratios, and what to know about a cell.

use std::fmt::Write;

use gort_bench_workload::{GRACE, Workload};

use crate::options::Options;
use crate::peer::Peer;
use crate::round::{Cell, Results};

/// One row: a number that a workload gives, and what to call it.
struct Row {
    workload: Workload,
    field: &'static str,
    label: String,
}

/// All tables as Markdown, one per number of procs, then notes, failures and every single value.
pub(crate) fn render(options: &Options, results: &Results) -> String {
    let rows: Vec<Row> = options
        .workloads
        .iter()
        .flat_map(|workload| rows(*workload))
        .collect();
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "Median of {} rounds, ± half the distance between the quartiles; in brackets the ratio to {}: above 1 means slower (or more bytes); \
         never: not within {} s of when it was due.\n\
         What a row means: `cargo run -p gort-bench-run -- --list`.",
        options.rounds,
        options.peers[0].name(),
        GRACE.as_secs(),
    );
    for &procs in &options.procs {
        let _ = writeln!(text, "\n## GOMAXPROCS {procs}\n");
        let mut lines = vec![heading(&options.peers)];
        lines.extend(
            rows.iter()
                .map(|row| line(row, procs, &options.peers, results)),
        );
        write_aligned(&mut text, &lines);
    }
    write_notes(&mut text, options, results);
    write_values(&mut text, options, &rows, results);
    text
}

fn rows(workload: Workload) -> Vec<Row> {
    let row = |field, suffix: &str| Row {
        workload,
        field,
        label: format!("{}{suffix}", workload.name()),
    };
    match workload {
        Workload::Parked => vec![
            row("ns_per_op", " create, ns"),
            row("wake_ns", " wake, ns"),
            row("bytes_each", " bytes"),
        ],
        Workload::Echo64 | Workload::Echo1000 => vec![
            row("ns_per_op", " wall, ns"),
            row("cpu_ns_per_op", " server CPU, ns"),
            row("p99_us", " p99, µs"),
        ],
        Workload::Hog => {
            let mut rows = ticker(&row);
            rows.push(row("slowest_hog_percent", " slowest loop, % of the mean"));
            rows
        }
        Workload::HogRest => {
            let mut rows = ticker(&row);
            rows.extend([
                row("ping_pong_gap_ms", " ping-pong, longest gap, ms"),
                row("ping_pongs", " ping-pong, round trips"),
                row("echo_gap_ms", " echo, longest gap, ms"),
                row("echoes", " echo, round trips"),
            ]);
            rows
        }
        Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => {
            let mut rows = ticker(&row);
            rows.extend([
                row("overlap", " at once, of 64"),
                row("wall_ms", " all done, ms"),
            ]);
            rows
        }
        _ => vec![row("ns_per_op", ", ns")],
    }
}

/// The rows of a ticker's lateness.
fn ticker(row: &impl Fn(&'static str, &str) -> Row) -> Vec<Row> {
    vec![
        row("p50_us", " tick p50, µs"),
        row("p99_us", " tick p99, µs"),
        row("max_us", " tick max, µs"),
        row("served", " ticks in time"),
        row("seen", " ticks seen"),
    ]
}

fn heading(peers: &[Peer]) -> Vec<String> {
    let names = peers.iter().map(|peer| peer.name().to_owned());
    std::iter::once("workload".to_owned())
        .chain(names)
        .collect()
}

fn line(row: &Row, procs: usize, peers: &[Peer], results: &Results) -> Vec<String> {
    let values = |peer| {
        let cell = Cell {
            peer,
            workload: row.workload,
            procs,
        };
        results.values(cell, row.field)
    };
    let base = median(&values(peers[0]));
    let mut line = vec![row.label.clone()];
    for &peer in peers {
        let values = values(peer);
        let Some(middle) = median(&values) else {
            line.push("–".to_owned());
            continue;
        };
        let mut text = number(middle);
        let spread = spread(&values) / middle * 100.0;
        if spread.is_finite() {
            let _ = write!(text, " ±{spread:.0}%");
        }
        if let Some(base) = base.filter(|_| peer != peers[0]) {
            let ratio = middle / base;
            if ratio.is_finite() {
                let _ = write!(text, " ({ratio:.2})");
            }
        }
        line.push(text);
    }
    line
}

fn write_aligned(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines[0].len();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(text, "| {cell:width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(columns - 1));
        }
    }
}

fn write_notes(text: &mut String, options: &Options, results: &Results) {
    let mut notes: Vec<String> = Vec::new();
    for &workload in &options.workloads {
        for &peer in &options.peers {
            for &procs in &options.procs {
                let cell = Cell {
                    peer,
                    workload,
                    procs,
                };
                for field in ["note", "unsupported"] {
                    let Some(said) = results.text(cell, field) else {
                        continue;
                    };
                    let note = format!("{}: {said}", workload.name());
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
            }
        }
    }
    for (cell, why) in results.failures() {
        notes.push(format!(
            "**failed**: {} of {} with {} procs: {why}",
            cell.workload.name(),
            cell.peer.name(),
            cell.procs
        ));
    }
    if !notes.is_empty() {
        let _ = writeln!(text, "\n## Notes\n");
        for note in notes {
            let _ = writeln!(text, "- {note}");
        }
    }
}

fn write_values(text: &mut String, options: &Options, rows: &[Row], results: &Results) {
    let _ = writeln!(text, "\n## Every value\n\n```");
    for row in rows {
        for &procs in &options.procs {
            for &peer in &options.peers {
                let cell = Cell {
                    peer,
                    workload: row.workload,
                    procs,
                };
                let values = results.values(cell, row.field);
                if !values.is_empty() {
                    let listed: Vec<String> = values.iter().map(|value| number(*value)).collect();
                    let _ = writeln!(
                        text,
                        "{}, procs {procs}, {}: {}",
                        row.label,
                        peer.name(),
                        listed.join(" ")
                    );
                }
            }
        }
    }
    let _ = writeln!(text, "```");
}

/// Three digits or more: what the rounds repeat at best.
fn number(value: f64) -> String {
    match value {
        _ if value.is_infinite() => "never".to_owned(),
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn median(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| quantile(values, 0.5))
}

/// Half the distance between the quartiles.
fn spread(values: &[f64]) -> f64 {
    (quantile(values, 0.75) - quantile(values, 0.25)) / 2.0
}

/// The quantile of values that are not empty, interpolated between neighbours.
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = at * (sorted.len() - 1) as f64;
    let below = sorted[position.floor() as usize];
    let above = sorted[position.ceil() as usize];
    // Not by arithmetic where it is exact: what never happened is infinite.
    match position.fract() {
        0.0 => below,
        _ if above.is_infinite() => above,
        part => below + (above - below) * part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated_and_ignore_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(spread(&[1.0, 2.0, 3.0, 4.0, 5.0]), 1.0);
    }

    #[test]
    fn what_never_happened_has_no_spread() {
        let never = f64::INFINITY;
        assert_eq!(median(&[never, never, 1.0]), Some(never));
        assert_eq!(median(&[1.0, never]), Some(never));
        assert_eq!(median(&[1.0, 1.0, never]), Some(1.0));
        assert_eq!(number(never), "never");
        assert!(!spread(&[never, never]).is_finite());
    }

    #[test]
    fn a_table_has_ratios_notes_failures_and_gaps() {
        let options = Options {
            workloads: vec![Workload::PingPong],
            peers: vec![Peer::Gort, Peer::Go, Peer::Std],
            procs: vec![1],
            rounds: 2,
            n: None,
            what: "x".into(),
            writes_file: false,
        };
        let cell = |peer| Cell {
            peer,
            workload: Workload::PingPong,
            procs: 1,
        };
        let line = |text: &str| match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(line)) => Ok(line),
            other => panic!("{other:?}"),
        };
        let mut results = Results::default();
        results.push(cell(Peer::Gort), line(r#"{"ns_per_op": 100}"#));
        results.push(
            cell(Peer::Go),
            line(r#"{"ns_per_op": 140, "note": "go: so"}"#),
        );
        results.push(cell(Peer::Gort), line(r#"{"ns_per_op": 100}"#));
        results.push(cell(Peer::Go), line(r#"{"ns_per_op": 160}"#));
        results.push(cell(Peer::Std), Err("signal 11".into()));
        let text = render(&options, &results);
        assert!(
            text.contains("| ping_pong, ns | 100 ±0% | 150 ±3% (1.50) |   – |"),
            "{text}"
        );
        assert!(text.contains("- ping_pong: go: so"), "{text}");
        assert!(
            text.contains("- **failed**: ping_pong of std with 1 procs: signal 11"),
            "{text}"
        );
        assert!(text.contains("procs 1, go: 140 160"), "{text}");
    }
}
