//! The kernel gives no memory for the next descriptors: starting a goroutine is an error, and those
//! that are there go on.

use std::io;

use gort::chan::{self, Receiver, Sender};
use gort::sync::WaitGroup;

/// Goroutines for whose descriptors there is room: a chunk holds 4,096.
const PARKED: usize = 4_000;
/// Goroutines that are tried then.
const MORE: usize = 1_000;
/// Another class than that of the others.
const STACK_OF_MORE: usize = 64 << 10;

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

/// Goroutines that wait until all are told to end.
struct Waiting {
    stop: Sender<()>,
    stopped: Receiver<()>,
    group: WaitGroup,
}

impl Waiting {
    fn new() -> Waiting {
        let (stop, stopped) = chan::bounded(0);
        let group = WaitGroup::new();
        Waiting {
            stop,
            stopped,
            group,
        }
    }

    fn start(&self, stack_size: usize) -> io::Result<()> {
        let (stopped, group) = (self.stopped.clone(), self.group.clone());
        group.add(1);
        let body = move || {
            let _ = stopped.recv();
            group.done();
        };
        let started = gort::Builder::new().stack_size(stack_size).go(body);
        if started.is_err() {
            self.group.done();
        }
        started.map(drop)
    }

    fn end(self) {
        drop(self.stop);
        self.group.wait();
    }
}

fn main() {
    gort::run(|| {
        // Their stacks are there from now on, so that those are not what there is no room for.
        let before = Waiting::new();
        for _ in 0..MORE {
            before.start(STACK_OF_MORE).unwrap();
        }
        before.end();
        let waiting = Waiting::new();
        for _ in 0..PARKED {
            waiting.start(128 << 10).unwrap();
        }
        // Less than the next chunk of descriptors, more than malloc needs.
        limit_address_space(address_space() + (400 << 10));
        let start = || waiting.start(STACK_OF_MORE);
        let refused = (0..MORE).find_map(|number| Some((number, start().err()?)));
        limit_address_space(libc::RLIM_INFINITY);
        let (more, error) = refused.expect("the limit is met");
        println!("after more: {}", more < 200);
        println!("kind: {:?}", error.kind());
        eprintln!("{error}");
        // As before, once there is memory.
        for _ in 0..200 {
            start().unwrap();
        }
        waiting.end();
        println!("all have ended");
    });
}
