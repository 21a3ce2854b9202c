//! How a call ended, and the line of text by which one process tells another.

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use crate::Expected;
use crate::calls::Act;

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It returned, and had done what it should.
    Worked,
    /// It panicked; the message.
    Panicked(String),
    /// It unwound as `goexit` does.
    Exited,
    /// The process ended, by this signal or with this status, having written this.
    Ended(i32, String),
}

impl Outcome {
    /// Makes a call.
    pub fn of(act: Act) -> Outcome {
        match panic::catch_unwind(AssertUnwindSafe(act)) {
            Ok(()) => Outcome::Worked,
            Err(payload) if gort_core::sched::exiting(&*payload) => Outcome::Exited,
            Err(payload) => Outcome::Panicked(message(&*payload).to_owned()),
        }
    }
}

impl Outcome {
    /// From the line that [`Display`](fmt::Display) writes.
    pub fn parse(line: &str) -> Option<Outcome> {
        if let Some(message) = line.strip_prefix("panicked: ") {
            return Some(Outcome::Panicked(message.to_owned()));
        }
        if let Some(ended) = line.strip_prefix("ended: ") {
            let (status, text) = ended.split_once(": ")?;
            return Some(Outcome::Ended(status.parse().ok()?, text.to_owned()));
        }
        match line {
            "worked" => Some(Outcome::Worked),
            "exited" => Some(Outcome::Exited),
            _ => None,
        }
    }

    /// Whether it is what was expected.
    pub fn is(&self, expected: Expected) -> bool {
        match (self, expected) {
            (Outcome::Worked, Expected::WorksOrPanics(_)) => true,
            (Outcome::Panicked(message), Expected::WorksOrPanics(part)) => message.contains(part),
            (Outcome::Worked, Expected::Works) | (Outcome::Exited, Expected::Exits) => true,
            (Outcome::Panicked(message), Expected::Panics(part)) => message.contains(part),
            (Outcome::Ended(status, text), Expected::Ends(expected, part)) => {
                *status == expected && text.contains(part)
            }
            _ => false,
        }
    }
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// One line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Worked => f.write_str("worked"),
            Outcome::Panicked(message) => write!(f, "panicked: {}", one_line(message)),
            Outcome::Exited => f.write_str("exited"),
            Outcome::Ended(status, text) => write!(f, "ended: {status}: {}", one_line(text)),
        }
    }
}

/// The lines of a text, in one.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', " / ")
}
