//! Waiting for conditions, and for goroutines to park.

use std::time::{Duration, Instant};

use crate::long::patience;

/// Within this a condition must come true: Go's tests call it "soon".
pub const SOON: Duration = Duration::from_secs(60);

/// Waits until `condition` holds, letting others run meanwhile.
///
/// # Panics
///
/// If it does not come true [soon](SOON). The message names `what` and shows all goroutines.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(patience(SOON), what, condition);
}

/// As [`eventually`], for what takes longer where the machine is slow. The last look comes after the limit, however long
/// nothing ran before.
///
/// # Panics
///
/// If it does not come true within `limit`.
#[track_caller]
pub fn eventually_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    loop {
        let is_last = Instant::now() >= deadline;
        if condition() {
            return;
        }
        assert!(
            !is_last,
            "not within {limit:?}: {what}; goroutines:\n\n{}",
            gort::debug::stacks()
        );
        // waits: between two looks at the condition
        gort::time::sleep(Duration::from_micros(50));
    }
}

/// Waits until a goroutine of that name is parked for that reason.
///
/// # Panics
///
/// If it is not [soon](SOON).
#[track_caller]
pub fn eventually_parked(name: &str, reason: &str) {
    let what = format!("{name:?} is parked in {reason}");
    eventually(&what, || is_parked(name, reason));
}

/// Waits until the goroutine of that name and handle is parked for that reason, or has ended; says whether
/// it was seen parked. For one that may give up before it is looked at.
///
/// # Panics
///
/// If neither comes true [soon](SOON).
#[track_caller]
pub fn eventually_parked_or_over<T>(
    name: &str,
    reason: &str,
    handle: &gort::JoinHandle<T>,
) -> bool {
    let mut was_parked = false;
    let what = format!("{name:?} is parked in {reason}, or over");
    eventually(&what, || {
        was_parked = is_parked(name, reason);
        was_parked || handle.is_finished()
    });
    was_parked
}

/// Whether a goroutine of that name is parked for that reason, in the words of dumps.
pub fn is_parked(name: &str, reason: &str) -> bool {
    gort_core::snapshot::goroutines().iter().any(|goroutine| {
        let found = goroutine.wait_reason;
        goroutine.name.as_deref() == Some(name) && found.is_some_and(|it| it.as_str() == reason)
    })
}

/// Starts a goroutine that [`is_parked`] finds by its name.
///
/// # Panics
///
/// If there is no stack for it.
#[track_caller]
pub fn go_named<T: Send + 'static>(
    name: &str,
    f: impl FnOnce() -> T + Send + 'static,
) -> gort::JoinHandle<T> {
    gort::Builder::new()
        .name(name)
        .go(f)
        .expect("a stack can be had")
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};

    use super::*;

    #[test]
    fn what_does_not_come_true_is_named_with_all_goroutines() {
        let (tx, rx) = gort::chan::bounded::<()>(0);
        let waiter = go_named("waits for the end", move || rx.recv());
        eventually_parked("waits for the end", "chan receive");
        assert!(!is_parked("waits for the end", "chan"));
        assert!(!is_parked("waits", "chan receive"));
        let begin = Instant::now();
        let limit = Duration::from_millis(5);
        let never = || eventually_within(limit, "pigs fly", || false);
        let payload = panic::catch_unwind(AssertUnwindSafe(never)).unwrap_err();
        assert!(begin.elapsed() >= limit);
        let text = payload.downcast_ref::<String>().expect("it has a text");
        assert!(text.starts_with("not within 5ms: pigs fly; "), "{text}");
        assert!(
            text.contains("\"waits for the end\" [chan receive"),
            "{text}"
        );
        drop(tx);
        assert!(waiter.join().unwrap().is_err());
    }

    #[test]
    fn one_that_is_parked_is_told_from_one_that_is_over() {
        let (tx, rx) = gort::chan::bounded::<()>(0);
        let waiter = go_named("parks, then ends", move || rx.recv());
        let was_parked = || eventually_parked_or_over("parks, then ends", "chan receive", &waiter);
        assert!(was_parked());
        drop(tx);
        eventually("it is over", || waiter.is_finished());
        assert!(!was_parked());
    }

    #[test]
    fn a_condition_is_looked_at_until_it_holds_and_no_longer() {
        let mut looks = 0;
        eventually("three looks", || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }
}
