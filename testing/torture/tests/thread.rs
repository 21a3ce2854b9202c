//! Each case in thread mode: a goroutine is an OS thread. Fewer of them.

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

fn run(case: &str) {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_torture"));
    let n = child::part_of_n(5);
    let variables = [
        ("GORT_TLS", "thread"),
        ("GORT_PROCS", "4"),
        ("TORTURE_N", &n),
    ];
    let text = child::run(program, &[case], &variables);
    print!("{text}");
    assert!(text.starts_with("thread: GORT_TLS=thread"), "{text}");
}
