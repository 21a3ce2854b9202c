//! The kernel gives no memory for the next descriptors: starting a goroutine is an error, and those
//! that are there go on.

/// Goroutines for whose descriptors there is room: a chunk holds 4,096.
const PARKED: usize = 4_000;

/// Bytes of address space in use.
fn address_space() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
    pages * 4096
}

fn limit_address_space(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads one `rlimit`.
    let error = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(error, 0, "the limit cannot be set");
}

fn main() {
    gort::run(|| {
        let (stop, stopped) = gort::chan::bounded::<()>(0);
        let waiting = gort::sync::WaitGroup::new();
        let start = || {
            let (stopped, done) = (stopped.clone(), waiting.clone());
            waiting.add(1);
            let body = move || {
                let _ = stopped.recv();
                done.done();
            };
            let started = gort::Builder::new().stack_size(64 << 10).go(body);
            if started.is_err() {
                waiting.done();
            }
            started.map(drop)
        };
        for _ in 0..PARKED {
            start().unwrap();
        }
        // Less than the next chunk of descriptors, more than malloc needs.
        limit_address_space(address_space() + (400 << 10));
        let refused = (0..1_000).find_map(|number| Some((number, start().err()?)));
        limit_address_space(libc::RLIM_INFINITY);
        let (more, error) = refused.expect("the limit is met");
        println!("after more: {}", more < 200);
        println!("kind: {:?}", error.kind());
        eprintln!("{error}");
        // As before, once there is memory.
        for _ in 0..200 {
            start().unwrap();
        }
        drop(stop);
        waiting.wait();
        println!("all have ended");
    });
}
