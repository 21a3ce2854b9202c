//! Goroutines as text, in the form of Go's dumps.

#![forbid(unsafe_code)]

use std::fmt::Write;
use std::time::Duration;

use gort_core::snapshot::{self, Goroutine};

/// All goroutines.
pub(crate) fn all() -> String {
    text(snapshot::goroutines().iter())
}

/// The members of one group (a test's).
pub(crate) fn of_group(group: u32) -> String {
    text(snapshot::goroutines().iter().filter(|g| g.group == group))
}

fn text<'a>(goroutines: impl Iterator<Item = &'a Goroutine>) -> String {
    let mut out = String::new();
    for goroutine in goroutines {
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = describe(&mut out, goroutine);
    }
    out
}

fn describe(out: &mut String, goroutine: &Goroutine) -> std::fmt::Result {
    write!(out, "goroutine {}", goroutine.id)?;
    if let Some(name) = &goroutine.name {
        write!(out, " \"{name}\"")?;
    }
    match goroutine.wait_reason {
        Some(reason) => write!(out, " [{reason}")?,
        None => write!(out, " [{}", goroutine.state)?,
    }
    let waited = goroutine.waited.unwrap_or(Duration::ZERO).as_secs() / 60;
    if waited >= 1 {
        write!(out, ", {waited} minutes")?;
    }
    if goroutine.locked_to_thread {
        out.push_str(", locked to thread");
    }
    out.push_str("]:\n");
    if let Some(at) = goroutine.parked_at {
        writeln!(out, "\tparked at {at}")?;
    }
    if let Some(at) = goroutine.created_at {
        writeln!(out, "\tcreated at {at}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gort_core::snapshot;
    use gort_core::wait_reason::WaitReason;

    #[test]
    fn s040_a_wait_of_minutes_is_shown_in_minutes() {
        let handle = crate::go(|| {
            let id = crate::current().id().as_u64();
            let found = snapshot::goroutines().into_iter().find(|g| g.id == id);
            found.expect("the current goroutine is listed")
        });
        let mut goroutine = handle.join().unwrap();
        goroutine.wait_reason = Some(WaitReason::ChanReceive);
        goroutine.locked_to_thread = false;
        for (seconds, shown) in [
            (0, "[chan receive]:"),
            (59, "[chan receive]:"),
            (60, "[chan receive, 1 minutes]:"),
            (3 * 3600 + 10, "[chan receive, 180 minutes]:"),
        ] {
            goroutine.waited = Some(Duration::from_secs(seconds));
            let text = super::text([&goroutine].into_iter());
            let line = text.lines().next().unwrap();
            assert!(line.ends_with(shown), "{line}");
        }
        goroutine.locked_to_thread = true;
        let text = super::text([&goroutine].into_iter());
        assert!(
            text.contains(", 180 minutes, locked to thread]:"),
            "as Go writes it: {text}"
        );
    }
}
