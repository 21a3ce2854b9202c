//! std's threads, made and waited for by goroutines, and std's blocking calls.

#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::drive::{many, park, scaled};

pub(super) fn threads_are_spawned_and_joined() {
    many(scaled(300), |i| {
        park();
        let thread = thread::spawn(move || i * 2);
        park();
        assert_eq!(thread.join().unwrap(), i * 2);
        park();
        let named = thread::Builder::new()
            .name(format!("named-{i}"))
            .spawn(|| thread::current().name().map(str::to_owned))
            .unwrap();
        park();
        assert_eq!(named.join().unwrap(), Some(format!("named-{i}")));
    });
}

pub(super) fn threads_borrow_in_a_scope() {
    many(scaled(300), |i| {
        let numbers = [i, i + 1, i + 2];
        park();
        let (sum, len) = thread::scope(|scope| {
            let sum = scope.spawn(|| numbers.iter().sum::<usize>());
            park();
            let len = scope.spawn(|| numbers.len());
            park();
            (sum.join().unwrap(), len.join().unwrap())
        });
        assert_eq!((sum, len), (3 * i + 3, 3));
    });
}

pub(super) fn a_goroutine_parks_as_a_thread() {
    many(scaled(200), |_| {
        let me = thread::current();
        // The token that came first is kept.
        me.unpark();
        park();
        thread::park();
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let waker = thread::spawn({
            let flag = flag.clone();
            move || {
                flag.store(true, std::sync::atomic::Ordering::Release);
                me.unpark();
            }
        });
        park();
        while !flag.load(std::sync::atomic::Ordering::Acquire) {
            thread::park();
        }
        waker.join().unwrap();
        park();
        thread::park_timeout(std::time::Duration::from_micros(10));
    });
}

pub(super) fn lines_are_printed() {
    many(scaled(500), |i| {
        park();
        println!("a line of goroutine {i}");
        eprintln!("a line of goroutine {i}, for errors");
        // The lock is reentrant: it knows its owner. Not held across a park, as others wait for it.
        let mut out = std::io::stdout().lock();
        writeln!(out, "one under the lock").unwrap();
        println!("one more under the same lock");
        drop(out);
        park();
    });
}

pub(super) fn files_and_sockets_of_std_work() {
    let folder = std::env::temp_dir().join(format!("gort-torture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    many(scaled(500), |i| {
        let path = folder.join(i.to_string());
        std::fs::write(&path, i.to_string()).unwrap();
        park();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), i.to_string());
        std::fs::remove_file(&path).unwrap();
        let error = std::fs::File::open(&path).unwrap_err();
        park();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    });
    std::fs::remove_dir(&folder).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = scaled(200);
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(count) {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 16];
            let len = stream.read(&mut bytes).unwrap();
            stream.write_all(&bytes[..len]).unwrap();
        }
    });
    many(count, |i| {
        park();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Written at once: the server takes one connection after the other.
        stream.write_all(format!("hello {i}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        park();
        assert_eq!(answer, format!("hello {i}"));
    });
    server.join().unwrap();
}
