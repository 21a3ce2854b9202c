//! Each case on goroutines with own thread-local blocks, which change their OS thread at each stop.
//!
//! Where there are such blocks; elsewhere `thread.rs` is all there is.

#![cfg(all(
    target_arch = "x86_64",
    target_env = "gnu",
    not(target_feature = "crt-static")
))]

use gort_torture::child;

macro_rules! tests {
    ($($module:ident :: $name:ident),+ $(,)?) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
        }
    )+};
}
gort_torture::for_each_case!(tests);

/// Four Ps, so that there is another thread to go to, on any machine.
fn run(case: &str) {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_torture"));
    let variables = [
        ("GORT_TLS", "own"),
        ("GORT_SHAKE_MIGRATE", "1"),
        ("GORT_PROCS", "4"),
    ];
    let text = child::run(program, &[case], &variables);
    print!("{text}");
    assert!(text.starts_with("own: "), "this machine has no own blocks");
}
