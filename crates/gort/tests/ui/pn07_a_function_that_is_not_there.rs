//! Go's "go of nil func value" is an `Option`, and that cannot be started.

fn main() {
    let function: Option<fn()> = None;
    gort::go(function);
}
