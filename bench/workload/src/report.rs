//! The result of one run, and the line that says it.
//!
//! One flat JSON object: `{"peer":..,"workload":..,"procs":..,"n":..,"ops":..,"ns_per_op":..,
//! "checked":true,..}`. Written by hand, since numbers and ASCII texts are all there is, and the Go
//! twin writes the same.

use std::fmt::Write;
use std::time::Duration;

/// What a twin made of a workload.
#[derive(Debug)]
pub enum Outcome {
    /// It did the work and the checks held.
    Measured(Measured),
    /// The runtime has nothing to do it with; the text says what is missing.
    Unsupported(&'static str),
}

/// The numbers of one run.
#[derive(Debug)]
pub struct Measured {
    ops: u64,
    ns_per_op: f64,
    extra: Vec<(&'static str, f64)>,
    note: Option<&'static str>,
}

impl Measured {
    /// `ops` operations that took `elapsed` in all.
    pub fn new(ops: u64, elapsed: Duration) -> Measured {
        assert!(ops > 0, "no operations to report");
        Measured {
            ops,
            ns_per_op: elapsed.as_nanos() as f64 / ops as f64,
            extra: Vec::new(),
            note: None,
        }
    }

    /// The three numbers of [`Workload::Parked`](crate::Workload::Parked) for `n` goroutines.
    pub fn parked(n: u64, create: Duration, wake: Duration, bytes: u64) -> Measured {
        Measured::new(n, create)
            .with("wake_ns", wake.as_nanos() as f64 / n as f64)
            .with("bytes_each", bytes as f64 / n as f64)
    }

    /// Adds a second number to the line. One that is infinite stands there as `"never"`.
    pub fn with(mut self, name: &'static str, value: f64) -> Measured {
        self.extra.push((name, value));
        self
    }

    /// Says in what this twin differs from the workload's description; shown under the table.
    pub fn note(mut self, note: &'static str) -> Measured {
        self.note = Some(note);
        self
    }
}

impl From<Measured> for Outcome {
    fn from(measured: Measured) -> Outcome {
        Outcome::Measured(measured)
    }
}

/// The line for standard output.
pub(crate) fn json_line(
    peer: &str,
    workload: &str,
    procs: usize,
    n: u64,
    outcome: &Outcome,
) -> String {
    let mut line = format!(r#"{{"peer":"{peer}","workload":"{workload}","procs":{procs},"n":{n}"#);
    // Writing to a `String` cannot fail.
    match outcome {
        Outcome::Measured(measured) => {
            let _ = write!(
                line,
                r#","ops":{},"ns_per_op":{:.3}"#,
                measured.ops, measured.ns_per_op
            );
            for (name, value) in &measured.extra {
                let _ = match value.is_finite() {
                    true => write!(line, r#","{name}":{value:.3}"#),
                    false => write!(line, r#","{name}":"never""#),
                };
            }
            line.push_str(r#","checked":true"#);
            if let Some(note) = measured.note {
                let _ = write!(line, r#","note":"{note}""#);
            }
        }
        Outcome::Unsupported(why) => {
            let _ = write!(line, r#","unsupported":"{why}""#);
        }
    }
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_extra_numbers_and_the_note() {
        let outcome = Measured::new(4, Duration::from_nanos(10))
            .with("cpu", 1.0)
            .with("tick", f64::INFINITY)
            .note("so")
            .into();
        assert_eq!(
            json_line("p", "w", 2, 8, &outcome),
            r#"{"peer":"p","workload":"w","procs":2,"n":8,"ops":4,"ns_per_op":2.500,"cpu":1.000,"tick":"never","checked":true,"note":"so"}"#
        );
    }

    #[test]
    fn an_unsupported_workload_says_why_and_claims_no_check() {
        let line = json_line("p", "w", 1, 1, &Outcome::Unsupported("no select"));
        assert_eq!(
            line,
            r#"{"peer":"p","workload":"w","procs":1,"n":1,"unsupported":"no select"}"#
        );
    }
}
