//! A start that fails leaves nothing half done: the next one may succeed. Alone in its binary, as a
//! process starts the runtime once, and the limit counts for all of it.

use gort_core::runtime::{self, Config, ConfigError};
use gort_core::sched::{self, SpawnOptions, join::Outcome};

/// Limits the address space to what is in use now and `more` bytes; returns the old limit.
fn limit_address_space(more: u64) -> libc::rlimit {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages = statm.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    let used = pages.expect("the first number is the size in pages") * 4096;
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one struct.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut old) };
    assert_eq!(read, 0);
    set_limit(&libc::rlimit {
        rlim_cur: used + more,
        ..old
    });
    old
}

fn set_limit(limit: &libc::rlimit) {
    // SAFETY: reads one struct.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, limit) };
    assert_eq!(set, 0);
}

#[test]
fn a_start_that_failed_can_be_repeated() {
    // SAFETY: no other thread of this process reads or writes the environment now. Without the
    // self-check no stack of a former thread is left in libc's cache for the runtime's first ones.
    unsafe { std::env::set_var("GORT_TLS", "thread") };
    let old = limit_address_space(64 << 10);
    let failed = runtime::start(Config {
        procs: Some(4),
        ..Config::default()
    });
    set_limit(&old);
    assert!(matches!(failed, Err(ConfigError::Thread(_))), "{failed:?}");
    assert!(!runtime::is_started());

    let config = Config {
        procs: Some(2),
        ..Config::default()
    };
    runtime::start(config).expect("there is room again");
    assert_eq!(runtime::gomaxprocs(), 2);
    assert_eq!(runtime::report().procs, 2);
    let handle = sched::spawn(|| 7, SpawnOptions::new()).expect("there is room for a thread");
    assert!(matches!(handle.join(), Outcome::Returned(7)));
}
