//! The same measurements in a program whose allocator is mimalloc.

#![forbid(unsafe_code)]

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let name = std::env::args()
        .nth(1)
        .expect("the name of a thing, as `touch` gives it");
    let cost = gort::run(|| gort_touch::measure(&name));
    gort_touch::print(cost.expect("a thing of the list"));
}
