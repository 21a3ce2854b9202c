//! D9: programs whose goroutines all wait for each other, and programs that only seem so.

use gort_crash::{Ended, in_both_modes};

const ALL_ASLEEP: &str = "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine ";

/// It died of deadlock, and the report says where `program` waits for what.
#[track_caller]
fn assert_deadlock(ended: &Ended, program: &str, reasons: &[&str]) {
    ended.assert_status(2);
    ended.assert_says(ALL_ASLEEP);
    for reason in reasons {
        let is_shown = ["", ", locked to thread"]
            .iter()
            .any(|thread| ended.stderr.contains(&format!(" [{reason}{thread}]:\n")));
        assert!(is_shown, "nobody waits for {reason}: {ended}");
    }
    ended.assert_says(&format!("src/bin/{program}.rs:"));
    assert_eq!(ended.stdout, "", "{ended}");
}

in_both_modes! {
    fn pn01_nil_channels(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_nil_channel")).run();
        let reasons = ["chan receive (nil chan)", "chan send (nil chan)"];
        assert_deadlock(&ended, "deadlock_nil_channel", &reasons);
    }

    fn pn01_a_select_without_arms(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_empty_select")).run();
        assert_deadlock(&ended, "deadlock_empty_select", &["select (no cases)"]);
    }

    fn a_mutex_locked_twice(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_mutex_twice")).run();
        assert_deadlock(&ended, "deadlock_mutex_twice", &["sync.Mutex.Lock"]);
        ended.assert_says("waiting in a circle:\n\tgoroutine 1 waits at ");
        ended.assert_says(", which it has itself locked\n");
    }

    fn two_mutexes_in_opposite_order(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_lock_order")).run();
        assert_deadlock(&ended, "deadlock_lock_order", &["sync.Mutex.Lock", "join"]);
        let circle = ended.stderr.split("waiting in a circle:\n").nth(1).unwrap_or_default();
        let who: Vec<&str> = circle.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
        let holders: Vec<&str> = circle.lines().filter_map(|line| line.rsplit(' ').nth(2)).collect();
        assert_eq!(who.len(), 2, "{ended}");
        assert_eq!([who[1], who[0]], *holders, "they wait for each other: {ended}");
        assert!(!who.contains(&"1"), "main waits beside the circle: {ended}");
    }

    fn a_guard_that_was_forgotten(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_forgotten_guard")).run();
        assert_deadlock(&ended, "deadlock_forgotten_guard", &["sync.Mutex.Lock"]);
        ended.assert_says("a lock left locked:\n\tgoroutine 1 waits at ");
        ended.assert_says(", which has ended, had locked\n");
    }

    fn s120_d13_a_lock_read_twice_while_a_writer_waits(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_rw_recursion")).run();
        let (first, second) = ("deadlock_rw_recursion.rs:11:22", "deadlock_rw_recursion.rs:20:23");
        if cfg!(debug_assertions) {
            ended.assert_status(101);
            ended.assert_says("sync: RWMutex read-locked twice by one goroutine, while a writer waits");
        } else {
            let reasons = ["sync.RWMutex.RLock", "sync.RWMutex.Lock"];
            assert_deadlock(&ended, "deadlock_rw_recursion", &reasons);
            ended.assert_says("waiting in a circle:\n");
            ended.assert_says("which goroutine 1 has been the last to lock for reading at ");
        }
        ended.assert_says(first);
        ended.assert_says(second);
    }

    fn d13_a_lock_read_twice_by_one_whose_guard_may_be_gone(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_rw_doubtful")).run();
        let reasons = ["sync.RWMutex.RLock", "sync.RWMutex.Lock"];
        assert_deadlock(&ended, "deadlock_rw_doubtful", &reasons);
        if cfg!(debug_assertions) {
            ended.assert_says("gort: sync: RWMutex read-locked twice by one goroutine, while a writer waits: first at ");
            ended.assert_says("deadlock_rw_doubtful.rs:11:22, again at ");
            ended.assert_says("deadlock_rw_doubtful.rs:25:23; it waits for ever, unless another has its first guard");
        }
    }

    fn a_wait_group_that_waits_for_more_than_there_are(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_wait_group")).run();
        assert_deadlock(&ended, "deadlock_wait_group", &["sync.WaitGroup.Wait"]);
    }

    fn a_lost_notification(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_cond")).run();
        assert_deadlock(&ended, "deadlock_cond", &["sync.Cond.Wait"]);
    }

    fn async_goroutines(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_async")).run();
        assert_deadlock(&ended, "deadlock_async", &["await", "chan receive", "join"]);
    }

    fn pn01_main_alone(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_main_alone")).run();
        assert_deadlock(&ended, "deadlock_main_alone", &["chan receive"]);
    }

    fn pn03_goexit_in_main_and_the_others_hang(program) {
        let ended = program(env!("CARGO_BIN_EXE_goexit_in_main_others_hang")).run();
        assert_deadlock(&ended, "goexit_in_main_others_hang", &["chan receive"]);
        ended.assert_silent_about("goroutine 1 ");
    }

    fn a_thread_that_ends_leaves_a_deadlock(program) {
        for before in ["nothing", "locked", "looks", "looks", "looks"] {
            let ended = program(env!("CARGO_BIN_EXE_deadlock_after_thread")).arg(before).run();
            ended.assert_status(2);
            ended.assert_says(ALL_ASLEEP);
            ended.assert_prints("the thread ends");
        }
    }

    fn a_report_may_be_all(program) {
        let hangs = program(env!("CARGO_BIN_EXE_deadlock_policy")).arg("report");
        let ended = hangs.run_until_it_says(ALL_ASLEEP, libc::SIGALRM);
        ended.assert_signal(libc::SIGALRM);
        assert_eq!(ended.stderr.matches(ALL_ASLEEP).count(), 1, "{ended}");
    }

    fn nobody_looks_if_told_so(program) {
        let ended = program(env!("CARGO_BIN_EXE_deadlock_policy")).arg("off").run();
        ended.assert_signal(libc::SIGALRM);
        assert_eq!(ended.stderr, "", "{ended}");
    }

    fn an_implicit_runtime_never_ends_the_process(program) {
        let ended = program(env!("CARGO_BIN_EXE_implicit_runtime")).run();
        ended.assert_signal(libc::SIGALRM);
        assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""), "{ended}");
    }

    fn an_implicit_runtime_leaves_sigquit_alone(program) {
        let ended = program(env!("CARGO_BIN_EXE_implicit_runtime")).arg("quit").run();
        ended.assert_signal(libc::SIGQUIT);
        assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""), "{ended}");
    }

    fn an_implicit_runtime_leaves_signals_to_the_handlers_that_were_there(program) {
        for (way, status) in [("fault", 42), ("fault goroutine", 42), ("urgent", 43)] {
            let ended = program(env!("CARGO_BIN_EXE_implicit_runtime")).arg(way).run();
            ended.assert_status(status);
            assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""), "{way}: {ended}");
        }
    }

    fn d9_there_is_no_alarm_while_somebody_can_be_woken(program) {
        for waker in [
            "timer", "after_func", "thread", "thread_after_locked", "blocking", "sleeping", "socket", "signal", "child", "run",
        ] {
            let ended = program(env!("CARGO_BIN_EXE_alive")).arg(waker).run();
            assert!(ended.status.success(), "{waker}: {ended}");
            assert_eq!((&*ended.stdout, &*ended.stderr), ("woken\n", ""), "{waker}: {ended}");
        }
    }

    fn d9_there_is_no_alarm_in_a_storm(program) {
        for procs in [1, 2, 4] {
            let storm = program(env!("CARGO_BIN_EXE_alive_storm")).arg("1").arg("200");
            let ended = storm.var("GORT_PROCS", procs).run();
            assert!(ended.status.success(), "{procs}: {ended}");
            assert_eq!(ended.stderr, "", "{procs}: {ended}");
            let looks = ended.stdout.split_whitespace().nth(2).and_then(|n| n.parse::<u64>().ok());
            assert!(looks.is_some_and(|looks| looks >= 200), "{procs}: {ended}");
        }
    }
}
