//! What the system may refuse: each fallback is taken, and works.
//!
//! The parts that need another build or packages are in `ci/fallbacks.sh`.

#![cfg(all(
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

use std::path::Path;
use std::process::Command;

use gort_torture::child::{SAMPLE, part_of_n, run};

fn torture() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_torture"));
    program.env("TORTURE_N", part_of_n(5));
    program
}

/// The program, with system calls refused.
fn without(calls: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_torture-deny"));
    program.args([calls, env!("CARGO_BIN_EXE_torture")]);
    program.env("TORTURE_N", part_of_n(5));
    program
}

/// How often the runtime said that it started in thread mode, and why.
fn notices(text: &str) -> usize {
    text.matches("gort: each goroutine has an OS thread of its own: ")
        .count()
}

const MIGRATE: [(&str, &str); 2] = [("GORT_SHAKE_MIGRATE", "1"), ("GORT_PROCS", "4")];

#[test]
fn thread_mode_says_who_chose_it() {
    let text = run(torture(), &SAMPLE, &[("GORT_TLS", "thread")]);
    assert!(text.starts_with("thread: GORT_TLS=thread"), "{text}");
    assert_eq!(notices(&text), 0, "it was asked for:\n{text}");
}

/// More room for thread-locals than gort believes in: a C library that is not as expected.
const TUNED: (&str, &str) = ("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=2000000");

#[test]
fn where_own_blocks_cannot_be_had_one_line_says_why() {
    for wish in ["auto", "own"] {
        let text = run(torture(), &SAMPLE, &[TUNED, ("GORT_TLS", wish)]);
        let reason = "static thread-locals of 2";
        assert!(text.starts_with(&format!("thread: {reason}")), "{text}");
        let line = format!("\ngort: each goroutine has an OS thread of its own: {reason}");
        assert!(text.contains(&line), "{text}");
        assert_eq!(notices(&text), 1, "{text}");
    }
}

#[test]
fn who_asked_for_thread_mode_is_not_told_of_it() {
    let text = run(torture(), &SAMPLE, &[TUNED, ("GORT_TLS", "thread")]);
    assert!(text.starts_with("thread: GORT_TLS=thread"), "{text}");
    assert_eq!(notices(&text), 0, "{text}");
}

#[test]
fn without_fsgsbase_the_system_call_sets_the_base() {
    let mut program = torture();
    program.env("GORT_FSGSBASE", "0");
    let text = run(program, &SAMPLE, &MIGRATE);
    assert!(text.contains("arch_prctl (no FSGSBASE)"), "{text}");
    assert_eq!(notices(&text), 0, "{text}");
}

#[test]
fn without_guard_install_guards_are_mappings() {
    let text = run(without("guard_install"), &SAMPLE, &MIGRATE);
    assert!(text.starts_with("own: "), "{text}");
    assert!(text.contains("guards: Some(Protect)"), "{text}");
}

#[test]
fn without_membarrier_and_userfaultfd_all_works() {
    let text = run(without("membarrier,userfaultfd"), &SAMPLE, &MIGRATE);
    assert!(text.starts_with("own: "), "{text}");
}

/// The line that says why stacks are not put away.
const KEEPS: &str = "gort: parked stacks keep their memory, ";

#[test]
fn with_hibernation_all_works() {
    let hibernates = [MIGRATE[0], MIGRATE[1], ("GORT_HIBERNATE", "10ms")];
    let text = run(torture(), &SAMPLE, &hibernates);
    assert!(text.starts_with("own: "), "{text}");
    if let Some(line) = text.lines().find(|line| line.contains(KEEPS)) {
        println!("skipped: {line}");
    }
}

#[test]
fn where_stacks_cannot_be_put_away_one_line_says_why() {
    let asked = ("GORT_HIBERNATE", "10ms");
    for (program, why) in [
        (without("userfaultfd"), "the kernel gives no userfaultfd"),
        (torture(), "goroutines have threads"),
    ] {
        let mode = if why.contains("threads") {
            "thread"
        } else {
            "own"
        };
        let text = run(program, &SAMPLE, &[asked, ("GORT_TLS", mode)]);
        assert!(text.starts_with(mode), "{text}");
        assert_eq!(text.matches(KEEPS).count(), 1, "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn without_pidfds_children_are_waited_for_by_threads() {
    let cases = ["children_of_gort_are_waited_for"];
    for variables in [&MIGRATE[..], &[("GORT_PROCS", "1")]] {
        run(without("pidfd_open"), &cases, variables);
    }
}

#[test]
fn with_everything_refused_all_works() {
    let mut program = without("membarrier,userfaultfd,guard_install");
    program.env("GORT_FSGSBASE", "0");
    let text = run(program, &SAMPLE, &MIGRATE);
    assert!(text.starts_with("own: "), "{text}");
}

#[test]
fn in_thread_mode_refusals_do_not_matter() {
    let program = without("membarrier,userfaultfd,guard_install");
    let text = run(program, &SAMPLE, &[("GORT_TLS", "thread")]);
    assert!(text.starts_with("thread: "), "{text}");
}

#[test]
fn a_preloaded_jemalloc_is_lived_with() {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let found = folders
        .map(|folder| format!("{folder}/libjemalloc.so.2"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(library) = found else {
        return println!("skipped: no libjemalloc.so.2 here (Debian: libjemalloc2)");
    };
    let mut program = torture();
    program.env("LD_PRELOAD", library);
    let text = run(program, &SAMPLE, &MIGRATE);
    assert!(text.starts_with("own: "), "{text}");
}

#[test]
fn a_block_with_room_for_nothing_takes_no_late_library() {
    // The case whose library needs room at a fixed offset must end with a text, not with a crash.
    let output = torture()
        .arg("late_thread_locals_at_fixed_offsets_reach_all")
        .env("GORT_TLS_SURPLUS", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("GORT_TLS_SURPLUS"), "{text}");
}
