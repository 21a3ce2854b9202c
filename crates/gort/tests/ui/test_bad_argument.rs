//! An unknown or senseless argument of `#[gort::test]` is told the ones there are.

#[gort::test(threads = 4)]
fn unknown() {}

#[gort::test(timeout = "soon")]
fn senseless() {}

fn main() {}
