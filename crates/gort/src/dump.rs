//! Goroutines as text, in the form of Go's dumps: `gort_core::dump`, which the runtime's own reports
//! need too.

#![forbid(unsafe_code)]

pub(crate) use gort_core::dump::{all, of_group};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gort_core::snapshot;
    use gort_core::wait_reason::WaitReason;

    #[test]
    fn s040_dg04_a_wait_of_minutes_is_shown_in_minutes() {
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
            let text = gort_core::dump::text(std::slice::from_ref(&goroutine));
            let line = text.lines().next().unwrap();
            assert!(line.ends_with(shown), "{line}");
        }
        goroutine.locked_to_thread = true;
        let text = gort_core::dump::text(std::slice::from_ref(&goroutine));
        assert!(
            text.contains(", 180 minutes, locked to thread]:"),
            "as Go writes it: {text}"
        );
    }
}
