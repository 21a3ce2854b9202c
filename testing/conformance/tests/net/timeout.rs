//! Deadlines and timeouts: NE07, NE12 to NE17, NE21.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gort::net::TcpStream;

use crate::support::{
    after_ms, alone, assert_closed, assert_timeout, listen, pair, past, run, scaled, sleep, until,
    until_parked,
};

#[test]
fn ne07_a_past_deadline_set_elsewhere_ends_a_parked_read() {
    run(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        let reader = gort::go({
            let client = Arc::clone(&client);
            move || (&*client).read(&mut [0; 1])
        });
        until_parked(&reader);
        client.set_read_deadline(past()).unwrap();
        assert_timeout(reader.join().unwrap());
    });
}

#[test]
fn ne12_accept_obeys_its_deadline() {
    run(|| {
        let listener = listen();
        let _waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_deadline(past()).unwrap();
        assert_timeout(listener.accept());
        assert_timeout(listener.accept());
        listener.set_deadline(None).unwrap();
        listener.accept().unwrap();

        let start = Instant::now();
        listener.set_deadline(after_ms(10)).unwrap();
        assert_timeout(listener.accept());
        assert!(start.elapsed() >= Duration::from_millis(10));
    });
}

#[test]
fn ne12_a_cleared_deadline_does_not_end_accept() {
    run(|| {
        let listener = Arc::new(listen());
        listener.set_deadline(past()).unwrap();
        assert_timeout(listener.accept());
        listener.set_deadline(None).unwrap();
        let acceptor = gort::go({
            let listener = Arc::clone(&listener);
            move || listener.accept().map(drop)
        });
        until_parked(&acceptor);
        // waits: for something that must not happen.
        sleep(Duration::from_millis(100));
        assert!(!acceptor.is_finished());
        listener.close().unwrap();
        assert_closed(acceptor.join().unwrap());
    });
}

#[test]
fn ne13_reads_obey_their_deadline_although_data_is_there() {
    run(|| {
        let (mut client, mut server) = pair();
        server.write_all(b"data").unwrap();
        let mut buf = [0; 2];
        client.set_read_deadline(past()).unwrap();
        for _ in 0..2 {
            assert_timeout(client.read(&mut buf));
        }
        client.set_read_deadline(after_ms(3_600_000)).unwrap();
        assert_eq!(client.read(&mut buf).unwrap(), 2);
        assert_eq!(client.read(&mut buf).unwrap(), 2);
        client.set_read_deadline(after_ms(10)).unwrap();
        for _ in 0..2 {
            assert_timeout(client.read(&mut buf));
        }
    });
}

#[test]
fn ne13_a_deadline_leaves_the_other_direction_alone() {
    run(|| {
        let (mut client, mut server) = pair();
        client.set_read_deadline(past()).unwrap();
        assert_eq!(client.write(b"x").unwrap(), 1);
        assert_timeout(client.read(&mut [0; 1]));
        client.set_read_deadline(None).unwrap();

        client.set_write_deadline(past()).unwrap();
        assert_timeout(client.write(b"x"));
        server.write_all(b"y").unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    });
}

#[test]
fn ne14_writes_obey_their_deadline_although_there_is_room() {
    run(|| {
        let (mut client, server) = pair();
        client.set_write_deadline(past()).unwrap();
        for _ in 0..2 {
            assert_timeout(client.write(b"data"));
        }
        let start = Instant::now();
        client.set_write_deadline(after_ms(10)).unwrap();
        let error = loop {
            match client.write(&[0; 1 << 16]) {
                Ok(count) => assert!(count > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= Duration::from_millis(10));
        drop(server);
    });
}

/// Some timeout of the series must take no longer than a tenth more than asked; none may take less.
fn fluctuation(mut timed_out_after: impl FnMut(Duration)) {
    let series =
        [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096].map(Duration::from_millis);
    for timeout in series {
        let start = Instant::now();
        timed_out_after(timeout);
        let took = start.elapsed();
        assert!(took >= timeout, "{took:?} for {timeout:?}");
        if took <= timeout + timeout / 10 {
            return;
        }
    }
    panic!("every timeout took more than a tenth too long");
}

#[test]
fn ne15_a_read_timeout_takes_as_long_as_asked() {
    run(|| {
        let (mut client, _server) = pair();
        fluctuation(|timeout| {
            client
                .set_read_deadline(Some(Instant::now() + timeout))
                .unwrap();
            assert_timeout(client.read(&mut [0; 1]));
        });
        client.set_read_deadline(None).unwrap();
        fluctuation(|timeout| {
            client.set_read_timeout(Some(timeout)).unwrap();
            assert_eq!(client.read_timeout().unwrap(), Some(timeout));
            assert_timeout(client.read(&mut [0; 1]));
        });
        let listener = listen();
        fluctuation(|timeout| {
            listener
                .set_deadline(Some(Instant::now() + timeout))
                .unwrap();
            assert_timeout(listener.accept());
        });
    });
}

#[test]
fn ne15_a_write_timeout_takes_as_long_as_asked_and_tells_how_far_it_came() {
    run(|| {
        let (mut client, server) = pair();
        let bytes = vec![0; 64 << 20];
        client
            .set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut written = client.write(&bytes).unwrap();
        assert!(0 < written && written < bytes.len(), "{written}");
        client.set_write_timeout(None).unwrap();
        fluctuation(|timeout| {
            client
                .set_write_deadline(Some(Instant::now() + timeout))
                .unwrap();
            // The kernel may find more room as it goes; then the write says how much that was.
            let result = loop {
                match client.write(&bytes) {
                    Ok(count) => written += count,
                    error => break error,
                }
            };
            assert_timeout(result);
        });
        drop(client);
        let mut received = 0;
        let mut buf = vec![0; 1 << 20];
        loop {
            match (&server).read(&mut buf).unwrap() {
                0 => break,
                count => received += count,
            }
        }
        assert_eq!(received, written);
    });
}

#[test]
fn ne16_a_deadline_moved_before_each_operation_disturbs_none() {
    run(|| {
        let (mut client, mut server) = pair();
        let hour = || after_ms(3_600_000);
        let other = gort::go(move || {
            for _ in 0..1000 {
                server.set_deadline(hour()).unwrap();
                server.read_exact(&mut [0; 1]).unwrap();
                server.set_write_deadline(hour()).unwrap();
                server.write_all(&[0; 1]).unwrap();
            }
        });
        for _ in 0..1000 {
            client.set_write_deadline(hour()).unwrap();
            client.write_all(&[0; 1]).unwrap();
            client.set_read_deadline(hour()).unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
        }
        other.join().unwrap();
        // Both sides are still usable.
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn ne17_deadlines_set_by_many_at_once_do_not_hang() {
    run(|| {
        let connections: Arc<Vec<_>> = Arc::new((0..10).map(|_| pair()).collect());
        let start = Instant::now();
        let setters: Vec<_> = (0..8)
            .map(|_| {
                let connections = Arc::clone(&connections);
                gort::go(move || {
                    for step in 0..100 {
                        for (client, _) in connections.iter() {
                            let hours = Duration::from_secs(3_600 * (200 - step));
                            client.set_read_deadline(Some(start + hours)).unwrap();
                            client.set_write_deadline(Some(start + hours)).unwrap();
                        }
                    }
                })
            })
            .collect();
        setters
            .into_iter()
            .for_each(|setter| setter.join().unwrap());
        for (client, server) in connections.iter() {
            (&*server).write_all(b"x").unwrap();
            assert_eq!((&*client).read(&mut [0; 1]).unwrap(), 1);
        }
    });
}

#[test]
fn ne21_an_endless_write_parks_and_times_out() {
    alone("timeout::ne21_an_endless_write_parks_and_times_out", || {
        run(|| {
            let (client, _server) = pair();
            let client = Arc::new(client);
            let writer = gort::go({
                let client = Arc::clone(&client);
                move || {
                    let bytes = vec![0; 1 << 20];
                    loop {
                        if let Err(error) = (&*client).write(&bytes) {
                            return error;
                        }
                    }
                }
            });
            until_parked(&writer);
            // Parked means parked: no processor time goes into asking again and again.
            let before = cpu_ticks();
            let wait = scaled(300, 2_000) as u64;
            // waits: to see that nothing happens meanwhile.
            sleep(Duration::from_millis(wait));
            assert!(!writer.is_finished());
            let spent = cpu_ticks() - before;
            assert!(
                spent <= wait / 10 / 4,
                "{spent} ticks of 10 ms in {wait} ms"
            );
            client.set_write_deadline(after_ms(10)).unwrap();
            assert_eq!(writer.join().unwrap().kind(), ErrorKind::TimedOut);
        });
    });
}

/// User and system time of this process so far, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let rest = text.rsplit(')').next().unwrap();
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
    next() + next()
}

#[test]
fn ne12_deadlines_race_with_their_removal_and_nobody_is_stuck() {
    run(|| {
        let (client, mut server) = pair();
        let client = Arc::new(client);
        for round in 0..scaled(300, 10_000) {
            // The deadline fires at about the moment it is taken away. Either outcome is right; what
            // follows must not be harmed by a late firing.
            client
                .set_read_deadline(Some(Instant::now() + Duration::from_micros(300)))
                .unwrap();
            let reader = gort::go({
                let client = Arc::clone(&client);
                move || (&*client).read(&mut [0; 1])
            });
            let spin = Instant::now();
            let length = Duration::from_micros(200 + round as u64 % 200);
            until("the moment", || spin.elapsed() >= length);
            client.set_read_deadline(None).unwrap();
            server.write_all(b"x").unwrap();
            match reader.join().unwrap() {
                Ok(count) => assert_eq!(count, 1),
                error => {
                    assert_timeout(error);
                    assert_eq!((&*client).read(&mut [0; 1]).unwrap(), 1);
                }
            }
        }
    });
}
