//! Compiles the C side: code that computes, and malloc with a check in front of it.

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    let environment = std::env::var("CARGO_CFG_TARGET_ENV").unwrap_or_default();
    let mut build = cc::Build::new();
    build.file("csrc/foreign.c").extra_warnings(true);
    // It goes on to glibc's own under their other names.
    if environment == "gnu" {
        build.file("csrc/malloc.c");
    }
    build.compile("preempt_c");
}
