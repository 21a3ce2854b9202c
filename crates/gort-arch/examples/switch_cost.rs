//! What a switch, a block and a slot cost.
//!
//! Counts nanoseconds per operation; median, lowest and highest of seven runs. `switch` is the bare
//! switch there and back, divided by two; `resume` adds what the scheduler does around it (malloc's
//! words there and back). `ring` resumes many slots in turn, so caches and TLB count. What misleads:
//! another process on the machine, and the first run after start.
//!
//! `cargo run --release -p gort-arch --example switch_cost`

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use gort_arch::context;
use gort_arch::stack::{self, Class, Slot};
use gort_arch::tls::{self, Mode, Request, ThreadTls};

/// The thread's side, where a goroutine switches back to.
struct Thread {
    sp: Cell<usize>,
    fs: usize,
}

/// A goroutine that only switches back.
struct Bouncer {
    thread: *const Thread,
    sp: Cell<usize>,
    fs: usize,
}

unsafe extern "C" fn bounce(data: usize, _: usize) -> ! {
    // SAFETY: the bouncer and its thread live as long as the program.
    let (me, thread) = unsafe {
        let me = &*(data as *const Bouncer);
        (me, &*me.thread)
    };
    loop {
        // SAFETY: the thread waits in its own switch.
        unsafe { context::switch(me.sp.as_ptr(), thread.sp.get(), thread.fs, 0) };
    }
}

/// A goroutine that ends at once.
unsafe extern "C" fn end(data: usize, _: usize) -> ! {
    // SAFETY: as in `bounce`; the destructors are the last thing it runs.
    unsafe {
        let me = &*(data as *const Bouncer);
        let thread = &*me.thread;
        tls::run_destructors();
        context::switch_final(thread.sp.get(), thread.fs, 0)
    }
}

fn bouncer(thread: &Thread, slot: Slot) -> Box<Bouncer> {
    let it = Box::new(Bouncer {
        thread,
        sp: Cell::new(0),
        fs: slot.fs(),
    });
    // SAFETY: an idle slot of ours.
    it.sp
        .set(unsafe { context::prepare(slot.top(), bounce, &raw const *it as usize) });
    it
}

fn measure(what: &str, operations: usize, mut f: impl FnMut()) {
    let mut runs: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_nanos() as f64 / operations as f64
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!(
        "{what:<44} {:>8.2} ns   ({:.2} to {:.2})",
        runs[3], runs[0], runs[6]
    );
}

fn main() {
    let support = tls::init(Request::Auto);
    println!("{}", support.reason);
    if support.mode != Mode::Own {
        return;
    }
    // SAFETY: on this thread, used here only.
    let mut m = unsafe { ThreadTls::capture() };
    let thread = Thread {
        sp: Cell::new(0),
        fs: m.fs(),
    };
    let class = Class::for_size(64 << 10).expect("a class");
    let slot = || stack::allocate(class).expect("a slot");

    let one = bouncer(&thread, slot());
    const N: usize = 2_000_000;
    for (what, fs) in [("switch, stack only", 0), ("switch, stack and FS", one.fs)] {
        let back = Thread {
            sp: Cell::new(0),
            fs: if fs == 0 { 0 } else { m.fs() },
        };
        let it = bouncer(&back, slot());
        let fs = if fs == 0 { 0 } else { it.fs };
        measure(what, 2 * N, || {
            for _ in 0..N {
                // SAFETY: the bouncer is suspended, and switches back to us.
                unsafe { context::switch(back.sp.as_ptr(), it.sp.get(), fs, 0) };
            }
        });
    }
    let mut resume = |it: &Bouncer| {
        // SAFETY: the bouncer is suspended, and switches back to us.
        unsafe {
            tls::enter(&mut m, it.fs);
            context::switch(thread.sp.as_ptr(), it.sp.get(), it.fs, 0);
            tls::leave(&mut m, it.fs);
        }
    };
    measure("resume and come back", N, || {
        (0..N).for_each(|_| resume(&one))
    });
    for count in [100, 1_000, 10_000] {
        let ring: Vec<_> = (0..count).map(|_| bouncer(&thread, slot())).collect();
        let rounds = N / count;
        measure(
            &format!("resume and come back, ring of {count}"),
            rounds * count,
            || {
                for _ in 0..rounds {
                    ring.iter().for_each(|it| resume(it));
                }
            },
        );
    }

    const SPAWNS: usize = 500_000;
    measure(
        "slot, context, run, destructors, reset, slot back",
        SPAWNS,
        || {
            for _ in 0..SPAWNS {
                let slot = slot();
                let it = Bouncer {
                    thread: &thread,
                    sp: Cell::new(0),
                    fs: slot.fs(),
                };
                // SAFETY: an idle slot of ours; the goroutine ends before `it` does.
                unsafe {
                    it.sp
                        .set(context::prepare(slot.top(), end, &raw const it as usize));
                    resume(&it);
                    stack::release_batch(&[slot]);
                }
            }
        },
    );
    let used = slot();
    measure("reset of a block", SPAWNS, || {
        // SAFETY: nobody runs on the slot.
        (0..SPAWNS)
            .for_each(|_| unsafe { tls::renew(black_box(used)) }.expect("not the first time"));
    });
    measure("check for loaded libraries", SPAWNS, || {
        (0..SPAWNS).for_each(|_| tls::check_loaded())
    });

    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").expect("/proc");
        text.split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<usize>().ok())
            .expect("pages")
            * 4096
    };
    const FRESH: usize = 100_000;
    let before = resident();
    let start = Instant::now();
    let parked: Vec<_> = (0..FRESH).map(|_| bouncer(&thread, slot())).collect();
    parked.iter().for_each(|it| resume(it));
    let each = start.elapsed().as_nanos() as f64 / FRESH as f64;
    let bytes = (resident() - before) as f64 / FRESH as f64;
    println!(
        "{:<44} {each:>8.0} ns, {bytes:.0} bytes resident",
        "a fresh slot, first run"
    );
}
