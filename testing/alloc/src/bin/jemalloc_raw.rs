//! jemalloc on the goroutines' thread-locals.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    gort_alloc_test::run();
}
