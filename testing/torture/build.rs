//! Compiles the C side of the suite: into the program what parks, and as libraries what is loaded late.

use std::path::{Path, PathBuf};

/// How many copies of the library with dynamic thread-locals there are; each is a module of its own.
const LATE_COUNT: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=csrc");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    cc::Build::new()
        .files(["csrc/state.c", "csrc/locks.c"])
        .flag_if_supported("-fstack-protector-all")
        .extra_warnings(true)
        .compile("torture_c");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    // A static program loads none, and the flags for it make none.
    if !features.split(',').any(|feature| feature == "crt-static") {
        for i in 0..LATE_COUNT {
            let name = format!("late_dynamic_{i}.so");
            library("csrc/late_dynamic.c", &out.join(name));
        }
        library("csrc/late_initial.c", &out.join("late_initial.so"));
    }
    println!("cargo::rustc-env=TORTURE_LIBRARIES={}", out.display());
    println!("cargo::rustc-env=TORTURE_LATE_COUNT={LATE_COUNT}");
}

fn library(source: &str, library: &Path) {
    let status = cc::Build::new()
        .pic(true)
        .get_compiler()
        .to_command()
        .args(["-shared", "-o"])
        .arg(library)
        .arg(source)
        .status()
        .expect("the C compiler can be started");
    assert!(status.success(), "{source} does not compile");
}
