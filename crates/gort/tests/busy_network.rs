//! A P that the network never leaves without work, beside others whose goroutines compute: what waits on those has its
//! turn all the same. A program of its own: it has no preemption, so that nothing else helps.

use std::hint::spin_loop;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gort::net::UnixStream;
use gort::runtime::TlsMode;
use gort::time::after_func;
use gort_test_support::alone;

/// Ends a test that hangs, with all goroutines.
const LIMIT: Duration = Duration::from_secs(20);

/// Goroutines that wait behind each that computes: more than a theft of half a queue takes at once.
const WAITING: u64 = 100;

/// Messages after which the two that talk are taken to go on with it.
const MESSAGES: u64 = 10;

/// And after which who waits on another P has had its turn. With the network first it is 19,000 for
/// a timer and 150,000 and more for the others, as luck has it.
const MEANWHILE_MAX: u64 = 5_000;

/// Each is by itself.
const ROUNDS: usize = 5;

/// What has happened, and when, counted in messages.
#[derive(Default)]
struct Events {
    messages: AtomicU64,
    computing: AtomicU64,
    /// When the last of those that compute had queued what is to be served.
    begun_at: AtomicU64,
    served: AtomicU64,
    served_at: AtomicU64,
    /// How many of those that compute are through.
    done: AtomicU64,
    is_over: AtomicBool,
}

impl Events {
    fn now(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    fn serve(&self) {
        self.served_at.fetch_max(self.now(), Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Release);
    }

    /// A message goes to and fro, so that each look at the network finds who it has come to.
    fn talk(&self, mut stream: UnixStream) {
        let mut message = [0; 1];
        let is_over = || self.is_over.load(Ordering::Relaxed);
        while !is_over() {
            let sent = stream.write_all(&message);
            let came = sent.and_then(|()| stream.read_exact(&mut message));
            // Whoever comes to know first leaves the other alone.
            assert!(came.is_ok() || is_over(), "{came:?}");
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Computes, as one of `count`, until `wanted` have been served of what `begin` queues on each P.
    fn compute(&self, count: u64, begin: impl Fn(), wanted: u64) {
        let deadline = Instant::now() + LIMIT;
        let compute_until = |is_so: &dyn Fn() -> bool| {
            while !is_so() && Instant::now() < deadline {
                spin_loop();
            }
        };
        self.computing.fetch_add(1, Ordering::Relaxed);
        compute_until(&|| self.computing.load(Ordering::Relaxed) == count);
        // As none of us leaves its P meanwhile, both that talk are on the last one.
        let first = self.now();
        compute_until(&|| self.now() >= first + MESSAGES);
        begin();
        self.begun_at.fetch_max(self.now(), Ordering::Relaxed);
        let are_served = || self.served.load(Ordering::Acquire) == wanted;
        compute_until(&are_served);
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == count {
            self.is_over.store(true, Ordering::Relaxed);
        }
        assert!(are_served(), "{}", gort::runtime::stacks());
    }
}

/// On all Ps but one a goroutine computes until what `begin` has queued there is served, `each` on each P, while the
/// last P always has a message to read.
fn compute_beside_a_busy_network(each: u64, begin: fn(&Arc<Events>)) {
    let events = Arc::new(Events::default());
    let (one, other) = UnixStream::pair().unwrap();
    let count = gort::runtime::gomaxprocs() as u64 - 1;
    gort::scope(|s| {
        s.go(|| events.talk(one));
        s.go(|| events.talk(other));
        for _ in 0..count {
            s.go(|| events.compute(count, || begin(&events), count * each));
        }
    });
    let [begun_at, served_at] =
        [&events.begun_at, &events.served_at].map(|at| at.load(Ordering::Relaxed));
    let meanwhile = served_at.saturating_sub(begun_at);
    assert!(meanwhile <= MEANWHILE_MAX, "after {meanwhile} messages");
}

/// As a process of its own, since there the runtime starts with `config`.
fn on_four_ps_and_on_two(name: &str, config: gort::Config, main: fn()) {
    alone(name, || {
        config.preempt(false).start().unwrap();
        for procs in [4, 2].repeat(ROUNDS) {
            gort::runtime::set_gomaxprocs(procs);
            gort::run(main);
        }
    });
}

fn in_thread_mode() -> gort::Config {
    gort::Config::new().tls(TlsMode::Thread)
}

fn goroutines_are_served() {
    compute_beside_a_busy_network(WAITING, |events| {
        for _ in 0..WAITING {
            let events = Arc::clone(events);
            gort::go(move || events.serve());
        }
    });
}

fn timers_are_served() {
    compute_beside_a_busy_network(1, |events| {
        let events = Arc::clone(events);
        after_func(Duration::from_millis(1), move || events.serve()).detach();
    });
}

#[test]
fn those_who_wait_behind_one_that_computes_run() {
    let name = "those_who_wait_behind_one_that_computes_run";
    on_four_ps_and_on_two(name, gort::Config::new(), goroutines_are_served);
}

#[test]
fn those_who_wait_behind_one_that_computes_run_in_thread_mode() {
    let name = "those_who_wait_behind_one_that_computes_run_in_thread_mode";
    on_four_ps_and_on_two(name, in_thread_mode(), goroutines_are_served);
}

#[test]
fn the_timers_of_a_p_that_computes_fire() {
    let name = "the_timers_of_a_p_that_computes_fire";
    on_four_ps_and_on_two(name, gort::Config::new(), timers_are_served);
}

#[test]
fn the_timers_of_a_p_that_computes_fire_in_thread_mode() {
    let name = "the_timers_of_a_p_that_computes_fire_in_thread_mode";
    on_four_ps_and_on_two(name, in_thread_mode(), timers_are_served);
}
