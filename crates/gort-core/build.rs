//! Only here because `links` asks for a build script: a process has one runtime, so cargo must
//! refuse two versions of this crate.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
