//! In Go a data race: the function may run before its timer is assigned.

use gort::time::{Duration, after_func};

fn main() {
    let timer = after_func(Duration::ZERO, move || {
        timer.reset(Duration::from_secs(1));
    });
    timer.stop();
}
