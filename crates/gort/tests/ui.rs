//! The errors of the compiler that users of gort meet: `tests/ui/NAME.rs` must not compile, and what
//! the compiler says stands in `NAME.stderr`.
//!
//! The texts follow the compiler that the checks run with. After an update of it, or of a macro,
//! `TRYBUILD=overwrite cargo test -p gort --test ui` writes them anew: read the difference.

#[test]
fn errors_help() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
