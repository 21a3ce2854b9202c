//! The same measurements in a program whose allocator is mimalloc, on the threads' own thread-locals.

#![forbid(unsafe_code)]

use gort::alloc::OnThread;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: OnThread<MiMalloc> = OnThread::new(MiMalloc);

fn main() {
    let name = std::env::args()
        .nth(1)
        .expect("the name of a thing, as `touch` gives it");
    let cost = gort::run(|| gort_touch::measure(&name));
    gort_touch::print(cost.expect("a thing of the list"));
}
