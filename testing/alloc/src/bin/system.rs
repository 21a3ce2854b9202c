//! libc's malloc, which needs no wrapper.

#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;

fn main() {
    gort_alloc_test::run();
}
