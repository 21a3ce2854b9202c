//! What is legal but seldom done: threads locked by one goroutine after the other, handles used after
//! their end, GOMAXPROCS lowered under load.

fn tid() -> i64 {
    let link = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
    let name = link.file_name().expect("it ends in a number");
    name.to_str()
        .and_then(|t| t.parse().ok())
        .expect("it ends in a number")
}

/// A goroutine that lets go of its thread and goes on to the next goroutine without the system stack
/// leaves that one free to lock the same thread, while the M is still in the loop for the first.
#[test]
fn a_thread_passes_from_one_locked_goroutine_to_the_next() {
    gort::run(|| {
        let handles: Vec<_> = (0..8)
            .map(|_| {
                gort::go(|| {
                    for _ in 0..200 {
                        let guard = gort::lock_os_thread();
                        let before = tid();
                        gort::yield_now();
                        gort::yield_now();
                        assert_eq!(tid(), before, "locked, and moved");
                        drop(guard);
                        gort::yield_now();
                    }
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
    });
}
