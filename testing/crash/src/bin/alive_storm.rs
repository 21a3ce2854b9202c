//! No deadlock: for some time, all goroutines again and again wait for one last thing that will wake
//! them, while the runtime looks for deadlocks as often as it can.
//!
//! `alive_storm SECONDS LOOKS`: so long, and until it has looked so often, which depends on what else the
//! machine does. Status 2 and a report would be a false alarm. Prints how often it looked.

use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gort::chan;
use gort::net::{TcpListener, TcpStream};
use gort::sync::{Mutex, WaitGroup};
use gort_test_support::Random;

/// Up to `bound` microseconds.
fn micros(random: &mut Random, bound: u64) -> Duration {
    Duration::from_micros(random.below(bound + 1))
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let mut number = |what| numbers.next().map_or(1, |number| number.expect(what));
    let end = Instant::now() + Duration::from_secs(number("seconds"));
    let looks_min = number("looks");
    let mut random = Random::new(1);
    gort_core::deadlock::set_calm(Duration::ZERO);
    let mut rounds = 0u64;
    while Instant::now() < end || gort_core::deadlock::looks() < looks_min {
        // Each round is a `run` of its own: the thread leaves it while all else is parked.
        gort::run(|| round(&mut random));
        rounds += 1;
    }
    println!("{rounds} rounds, {} looks", gort_core::deadlock::looks());
}

fn round(random: &mut Random) {
    match random.below(8) {
        0 => timer(micros(random, 50)),
        1 => after_func(micros(random, 50)),
        2 => os_thread(micros(random, 50)),
        3 => announced_call(micros(random, 50)),
        4 => unannounced_call(micros(random, 50)),
        5 => socket(micros(random, 50)),
        6 => last_of_many(random),
        _ => thread_pool_of_one(random),
    }
}

fn timer(pause: Duration) {
    gort::go(move || gort::time::sleep(pause)).join().unwrap(); // waits: the sleep is what wakes
}

fn after_func(pause: Duration) {
    let (sender, receiver) = chan::bounded(0);
    gort::time::after_func(pause, move || sender.send(()).unwrap()).detach();
    receiver.recv().unwrap();
}

fn os_thread(pause: Duration) {
    let (sender, receiver) = chan::bounded(0);
    // Not joined: the thread may still be there at the next look, or not.
    thread::spawn(move || {
        thread::sleep(pause); // waits: so that all others are parked
        sender.send(()).unwrap();
    });
    receiver.recv().unwrap();
}

fn announced_call(pause: Duration) {
    let mutex = Arc::new(Mutex::new(0));
    let group = WaitGroup::new();
    group.add(1);
    let caller = {
        let (mutex, group) = (Arc::clone(&mutex), group.clone());
        gort::go(move || {
            let mut guard = mutex.lock();
            group.done();
            gort::blocking(|| thread::sleep(pause)); // waits: so that all others are parked
            *guard += 1;
        })
    };
    group.wait();
    *mutex.lock() += 1;
    caller.join().unwrap();
}

fn unannounced_call(pause: Duration) {
    let (sender, receiver) = chan::bounded(1);
    gort::go(move || {
        thread::sleep(pause); // waits: so that all others are parked
        sender.send(()).unwrap();
    });
    receiver.recv().unwrap();
}

fn socket(pause: Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = gort::go(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[7]).unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        byte[0]
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    // Another thread answers, when both goroutines wait.
    let mut answering = stream.try_clone().unwrap();
    gort::blocking(|| thread::sleep(pause)); // waits: so that the client is parked
    answering.write_all(&byte).unwrap();
    assert_eq!(client.join().unwrap(), 7);
}

/// Goroutines that wake each other in a ring, each at another time.
fn last_of_many(random: &mut Random) {
    let (first, mut last) = chan::bounded(0);
    for _ in 0..random.below(8) {
        let (sender, receiver) = chan::bounded(0);
        let before = std::mem::replace(&mut last, receiver);
        let pause = micros(random, 20);
        gort::go(move || {
            let value: u32 = before.recv().unwrap();
            gort::time::sleep(pause); // waits: the sleep is what wakes
            sender.send(value + 1).unwrap();
        });
    }
    gort::go(move || first.send(1).unwrap());
    assert!(last.recv().unwrap() >= 1);
}

/// A thread in a second `run`, whose main goroutine is woken by the first one's.
fn thread_pool_of_one(random: &mut Random) {
    let (sender, receiver) = chan::bounded(0);
    let pause = micros(random, 30);
    let other = thread::spawn(move || gort::run(move || receiver.recv().unwrap()));
    gort::time::sleep(pause); // waits: the sleep is what wakes
    sender.send(5).unwrap();
    assert_eq!(gort::blocking(|| other.join().unwrap()), 5);
}
