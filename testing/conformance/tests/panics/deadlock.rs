//! PN01, PN02, S98: programs whose goroutines all wait.

use gort_crash::Ended;

use crate::program;

/// It died of deadlock, and said so first.
#[track_caller]
fn assert_deadlock(ended: &Ended) {
    ended.assert_status(2);
    let start = "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine ";
    assert!(ended.stderr.starts_with(start), "{ended}");
    assert_eq!(ended.stdout, "", "{ended}");
}

/// How many goroutines the report shows with that reason. In thread mode all are locked to their threads.
fn shown(ended: &Ended, reason: &str) -> usize {
    let heads = ["", ", locked to thread"].map(|thread| format!(" [{reason}{thread}]:\n"));
    heads
        .iter()
        .map(|head| ended.stderr.matches(head).count())
        .sum()
}

#[test]
fn pn01_a_deadlock_in_main() {
    let ended = program("empty_select").run();
    assert_deadlock(&ended);
    assert_eq!(shown(&ended, "select (no cases)"), 1, "{ended}");
    ended.assert_says("\n\ngoroutine 1 [select (no cases)");
}

#[test]
fn pn01_a_deadlock_in_an_initialiser() {
    let ended = program("initialiser").run();
    assert_deadlock(&ended);
    // Whoever came first runs it, the other one waits for its end.
    assert_eq!(shown(&ended, "select (no cases)"), 1, "{ended}");
    assert_eq!(shown(&ended, "sync.Once.Do"), 1, "{ended}");
    // How much of its path is known depends on the build.
    ended.assert_says("initialiser(...)\n\t");
}

#[test]
fn pn02_a_deadlock_with_main_locked_to_its_thread() {
    let ended = program("locked_main").run();
    assert_deadlock(&ended);
    ended.assert_says("\n\ngoroutine 1 [select (no cases), locked to thread]:\n");
}

#[test]
fn pn02_a_deadlock_with_another_locked_to_its_thread() {
    let ended = program("locked_other").run();
    assert_deadlock(&ended);
    ended.assert_says(" [select (no cases), locked to thread]:\n");
    assert_eq!(shown(&ended, "join"), 1, "{ended}");
}

#[test]
fn s098_nothing_left_that_could_wake_anybody_is_a_deadlock() {
    let ended = program("leaks").run();
    assert_deadlock(&ended);
    for reason in [
        "chan receive (nil chan)",
        "chan send (nil chan)",
        "chan send",
        "chan receive",
        "sync.Mutex.Lock",
        "sync.WaitGroup.Wait",
        "select (no cases)",
    ] {
        assert_eq!(shown(&ended, reason), 1, "{reason}: {ended}");
    }
}
