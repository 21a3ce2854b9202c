//! Connections opened, used and dropped mid-write, by both sides, with deadlines and closing from
//! elsewhere. What arrives must be a prefix of what was sent.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream};
use gort_test_support::Random;

use crate::progress;

pub(super) fn round(random: &mut Random) -> u64 {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"));
    let addr = listener
        .local_addr()
        .expect("a bound listener has an address");
    let server = {
        let (listener, mut random) = (Arc::clone(&listener), random.fork());
        gort::go(move || {
            let mut handles = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let random = random.fork();
                handles.push(gort::go(move || echo(stream, random)));
            }
            for handle in handles {
                handle.join().unwrap();
            }
        })
    };
    let clients: Vec<_> = (0..1 + random.below(40))
        .map(|_| {
            let random = random.fork();
            gort::go(move || client(addr, random))
        })
        .collect();
    let count = clients.len() as u64;
    for handle in clients {
        handle.join().unwrap();
    }
    listener.close().expect("the first close");
    server.join().unwrap();
    count
}

fn echo(mut stream: TcpStream, mut random: Random) {
    let mut buffer = vec![0; 1 + random.below(4000) as usize];
    loop {
        if random.below(50) == 0 {
            // Gone in the middle.
            return;
        }
        let Ok(n) = stream.read(&mut buffer) else {
            return;
        };
        if n == 0 || stream.write_all(&buffer[..n]).is_err() {
            return;
        }
        progress();
    }
}

fn client(addr: std::net::SocketAddr, mut random: Random) {
    let Ok(stream) = TcpStream::connect(addr) else {
        return;
    };
    let stream = Arc::new(stream);
    let total = random.below(200_000);
    let writer = {
        let (stream, mut random) = (Arc::clone(&stream), random.fork());
        gort::go(move || {
            let mut at = 0u64;
            while at < total {
                let len = (1 + random.below(5000)).min(total - at);
                let bytes: Vec<u8> = (at..at + len).map(pattern).collect();
                if (&*stream).write_all(&bytes).is_err() {
                    return;
                }
                at += len;
            }
            // The peer may be gone already.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        })
    };
    let give_up = (random.below(4) == 0).then(|| random.below(total.max(1)));
    if random.below(8) == 0 {
        let deadline = Instant::now() + Duration::from_micros(random.below(5000));
        stream
            .set_deadline(Some(deadline))
            .expect("an open stream takes a deadline");
    }
    let mut seen = 0u64;
    let mut buffer = [0; 3000];
    while let Ok(n) = (&*stream).read(&mut buffer) {
        if n == 0 {
            break;
        }
        for byte in &buffer[..n] {
            assert_eq!(
                *byte,
                pattern(seen),
                "byte {seen} of {total} is not what was sent"
            );
            seen += 1;
        }
        progress();
        if give_up.is_some_and(|at| seen > at) {
            break;
        }
    }
    assert!(seen <= total);
    // Wakes the writer if it is parked.
    let _ = stream.close();
    writer.join().unwrap();
}

fn pattern(index: u64) -> u8 {
    (index.wrapping_mul(0x9E37_79B9) >> 13) as u8
}
