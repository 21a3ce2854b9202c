//! mimalloc on the threads' own thread-locals.

#[global_allocator]
static ALLOCATOR: gort::alloc::OnThread<mimalloc::MiMalloc> =
    gort::alloc::OnThread::new(mimalloc::MiMalloc);

fn main() {
    gort_alloc_test::run();
}
