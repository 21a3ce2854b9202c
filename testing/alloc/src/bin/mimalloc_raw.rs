//! mimalloc on the goroutines' thread-locals.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    gort_alloc_test::run();
}
