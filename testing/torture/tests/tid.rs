//! The other choice of the thread id in a goroutine's control block: that of the OS thread it runs on.
//!
//! It is worse. What is gained, priority inheritance for locks not held across a park, is checked here;
//! so is what is lost, so that the reason for the choice stays true.

#![cfg(all(
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

use std::process::Command;

use gort_torture::cases::CASES;
use gort_torture::child;

const VARIABLES: [(&str, &str); 5] = [
    ("GORT_TLS", "own"),
    ("GORT_TLS_TID", "thread"),
    ("GORT_SHAKE_MIGRATE", "1"),
    ("GORT_PROCS", "4"),
    ("TORTURE_SECONDS", "30"),
];

/// Cases in which C asks for the owner of a lock.
const ASK_FOR_THE_OWNER: [&str; 5] = [
    "a_recursive_mutex_has_one_owner",
    "a_c11_mutex_has_one_owner",
    "a_checked_mutex_knows_its_owner",
    "a_rwlock_knows_its_writer",
    "robust_mutexes_work",
];

fn torture() -> Command {
    Command::new(env!("CARGO_BIN_EXE_torture"))
}

#[test]
fn whoever_does_not_ask_for_a_lock_s_owner_passes() {
    for case in CASES {
        if !ASK_FOR_THE_OWNER.contains(&case.name) {
            child::run(torture(), &[case.name], &VARIABLES);
        }
    }
}

#[test]
fn priority_inheritance_works() {
    let case = "priority_inheritance_works_or_is_refused";
    let text = child::run(torture(), &[case], &VARIABLES);
    assert!(!text.contains("is refused"), "{text}");
}

#[test]
fn locks_that_know_their_owner_are_wrong() {
    for case in ASK_FOR_THE_OWNER {
        // It passes if no goroutine has changed its thread, or shared one, at the wrong moment.
        let fails = || {
            // A wrong owner may also wait for itself.
            let output = torture()
                .arg(case)
                .envs(VARIABLES)
                .env("TORTURE_SECONDS", "3")
                .output()
                .unwrap();
            print!("{}", String::from_utf8_lossy(&output.stdout));
            !output.status.success()
        };
        assert!((0..20).any(|_| fails()), "{case} is right");
    }
}
