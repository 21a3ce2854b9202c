//! jemalloc on the threads' own thread-locals.

#[global_allocator]
static ALLOCATOR: gort::alloc::OnThread<tikv_jemallocator::Jemalloc> =
    gort::alloc::OnThread::new(tikv_jemallocator::Jemalloc);

fn main() {
    gort_alloc_test::run();
}
