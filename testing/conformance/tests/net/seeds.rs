//! S147 to S159: the epoll instance, what it watches, and who is woken.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gort::net::{TcpListener, TcpStream};

use gort_conformance::look::has_own_stacks;
use gort_test_support::{eventually_parked_or_over, go_named};

use crate::support::{
    after_ms, alone, assert_closed, assert_timeout, count_descriptors, has_room_for, listen, pair,
    run, scaled, status, until, until_parked, watched,
};

#[test]
fn s147_every_descriptor_is_registered_once_and_leaves_when_closed() {
    alone(
        "seeds::s147_every_descriptor_is_registered_once_and_leaves_when_closed",
        || {
            run(|| {
                let listeners: Vec<_> = (0..5).map(|_| listen()).collect();
                let numbers: Vec<_> = listeners
                    .iter()
                    .map(|listener| listener.as_raw_fd())
                    .collect();
                let of_ours = || {
                    watched()
                        .iter()
                        .filter(|(fd, _)| numbers.contains(fd))
                        .count()
                };
                assert_eq!(of_ours(), 5);
                // The poller's own event counter is the sixth.
                assert_eq!(watched().len(), 6);
                listeners[0].close().unwrap();
                assert_eq!(of_ours(), 4);
                drop(listeners);
                assert_eq!(watched().len(), 1);
            });
        },
    );
}

#[test]
fn s148_one_epoll_instance_made_at_first_use() {
    alone("seeds::s148_one_epoll_instance_made_at_first_use", || {
        // The process may have inherited some.
        let epolls = count_descriptors("[eventpoll]");
        let counters = count_descriptors("[eventfd]");
        run(move || {
            assert_eq!(
                count_descriptors("[eventpoll]"),
                epolls,
                "none before the first use"
            );
            let connections: Vec<_> = (0..20).map(|_| pair()).collect();
            assert_eq!(count_descriptors("[eventpoll]"), epolls + 1);
            assert_eq!(count_descriptors("[eventfd]"), counters + 1);
            drop(connections);
            let _other = listen();
            assert_eq!(count_descriptors("[eventpoll]"), epolls + 1);
        });
    });
}

/// The echo server of the article: what it is sent first, up to 1024 bytes, goes back.
fn echo_once(mut stream: TcpStream) -> io::Result<usize> {
    let mut buf = [0; 1024];
    let count = stream.read(&mut buf)?;
    stream.write_all(&buf[..count])?;
    Ok(count)
}

#[test]
fn s149_echo_server_answers_and_closes() {
    run(|| {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let server = gort::go(move || echo_once(listener.accept().unwrap().0).unwrap());
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ping");
        assert_eq!(server.join().unwrap(), 4);
    });
}

#[test]
fn s149_half_close_is_the_end_of_the_stream_on_both_sides() {
    run(|| {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let server = gort::go(move || echo_once(listener.accept().unwrap().0).unwrap());
        let mut client = TcpStream::connect(addr).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.join().unwrap(), 0);
        assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    });
}

#[test]
fn s149_closed_listener_ends_accept() {
    run(|| {
        let listener = Arc::new(listen());
        let acceptor = gort::go({
            let listener = Arc::clone(&listener);
            move || listener.accept().map(drop)
        });
        until_parked(&acceptor);
        listener.close().unwrap();
        assert_closed(acceptor.join().unwrap());
        assert_closed(listener.accept());
    });
}

#[test]
fn s149_thousand_clients_at_once_and_nothing_is_left() {
    alone(
        "seeds::s149_thousand_clients_at_once_and_nothing_is_left",
        || {
            const CLIENTS: usize = 1000;
            if !has_room_for(2 * CLIENTS) {
                return;
            }
            run(|| {
                let goroutines = gort::runtime::num_goroutine();
                let listener = Arc::new(listen());
                let addr = listener.local_addr().unwrap();
                let server = gort::go({
                    let listener = Arc::clone(&listener);
                    move || {
                        for stream in listener.incoming() {
                            let stream = stream.unwrap();
                            gort::go(move || echo_once(stream).unwrap());
                        }
                    }
                });
                let sockets = count_descriptors("socket:");
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|i| {
                        gort::go(move || {
                            let mut client = TcpStream::connect(addr).unwrap();
                            let question = format!("ping {i}");
                            client.write_all(question.as_bytes()).unwrap();
                            let mut answer = String::new();
                            client.read_to_string(&mut answer).unwrap();
                            assert_eq!(answer, question);
                        })
                    })
                    .collect();
                clients
                    .into_iter()
                    .for_each(|client| client.join().unwrap());
                until("all connections closed", || {
                    count_descriptors("socket:") == sockets
                });
                listener.close().unwrap();
                server.join().unwrap();
                until("all goroutines gone", || {
                    gort::runtime::num_goroutine() == goroutines
                });
                assert_eq!(
                    count_descriptors("socket:"),
                    sockets - 1,
                    "the listener is gone, too"
                );
            });
        },
    );
}

/// Whether the machine has no such addresses.
fn is_no_address(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number.is_some_and(|number| [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT].contains(&number))
}

#[test]
fn s150_listener_and_connection_know_their_addresses() {
    run(|| {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = match TcpListener::bind(host) {
                Err(error) if host.starts_with('[') && is_no_address(&error) => {
                    println!("not shown for {host}: {error}");
                    continue;
                }
                result => result.unwrap(),
            };
            let addr = listener.local_addr().unwrap();
            assert_eq!(addr.is_ipv6(), host.starts_with('['));
            assert_ne!(addr.port(), 0);
            let client = TcpStream::connect(addr).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(client.peer_addr().unwrap(), addr);
            assert_eq!(server.local_addr().unwrap(), addr);
            assert_eq!(server.peer_addr().unwrap(), peer);
            assert_eq!(client.local_addr().unwrap(), peer);
            assert!(format!("{server:?}").contains(&peer.to_string()));
        }
    });
}

#[test]
fn s151_accept_registers_a_nonblocking_close_on_exec_socket() {
    alone(
        "seeds::s151_accept_registers_a_nonblocking_close_on_exec_socket",
        || {
            run(|| {
                let (client, server) = pair();
                for stream in [&client, &server] {
                    let fd = stream.as_raw_fd();
                    let (_, events) = watched()
                        .into_iter()
                        .find(|(number, _)| *number == fd)
                        .unwrap();
                    let (input, output, hung_up, edge) = (0x1, 0x4, 0x2000, 1 << 31);
                    let interest = input | output | hung_up | edge;
                    assert_eq!(events & interest, interest, "{events:#x}");
                    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
                    let flags = info
                        .lines()
                        .find_map(|line| line.strip_prefix("flags:"))
                        .unwrap();
                    let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
                    let (nonblocking, close_on_exec) = (0o4000, 0o2_000_000);
                    assert_eq!(
                        flags & (nonblocking | close_on_exec),
                        nonblocking | close_on_exec
                    );
                }
            });
        },
    );
}

#[test]
fn s152_sockets_come_and_go_under_traffic() {
    run(|| {
        // Each connection carries its own number, back and forth; an event for the wrong one would
        // wake somebody early (harmless) or not at all (a hang), bytes on the wrong one differ.
        let rounds = scaled(5_000, 100_000);
        const WORKERS: usize = 50;
        let listener = Arc::new(listen());
        let addr = listener.local_addr().unwrap();
        let server = gort::go({
            let listener = Arc::clone(&listener);
            move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    gort::go(move || {
                        let mut buf = [0; 8];
                        while stream.read_exact(&mut buf).is_ok() {
                            if stream.write_all(&buf).is_err() {
                                break;
                            }
                        }
                    });
                }
            }
        });
        let next = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let next = Arc::clone(&next);
                gort::go(move || {
                    let mut done = 0;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= rounds {
                            return done;
                        }
                        let mut stream = TcpStream::connect(addr).unwrap();
                        for turn in 0..2u64 {
                            let mut buf = [0; 8];
                            let question = (number as u64) << 1 | turn;
                            stream.write_all(&question.to_ne_bytes()).unwrap();
                            // Some are dropped while the answer is on its way.
                            if turn == 1 && number.is_multiple_of(3) {
                                break;
                            }
                            stream.read_exact(&mut buf).unwrap();
                            assert_eq!(u64::from_ne_bytes(buf), question);
                        }
                        done += 1;
                    }
                })
            })
            .collect();
        let done: usize = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .sum();
        assert_eq!(done, rounds);
        listener.close().unwrap();
        server.join().unwrap();
    });
}

#[test]
fn s153_a_deadline_that_has_been_moved_is_another_round() {
    run(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        // The first may pass before it can be moved, on a busy machine.
        for ms in [50, 500, 5_000, 50_000] {
            let old = Instant::now() + Duration::from_millis(ms);
            client.set_read_deadline(Some(old)).unwrap();
            let name = "s153 reads";
            let reader = go_named(name, {
                let client = Arc::clone(&client);
                move || ((&*client).read(&mut [0]), Instant::now())
            });
            let was_parked = eventually_parked_or_over(name, "IO wait", &reader);
            let later = old + Duration::from_millis(100);
            client.set_read_deadline(Some(later)).unwrap();
            let is_moved_in_time = was_parked && Instant::now() < old;
            let (result, at) = reader.join().unwrap();
            assert_timeout(result);
            if is_moved_in_time {
                assert!(at >= later, "woken for the old deadline");
                return;
            }
        }
        panic!("no deadline could be moved before it passed");
    });
}

#[test]
fn s153_readiness_between_the_look_and_the_park_is_not_lost() {
    run(|| {
        let (mut client, mut server) = pair();
        let rounds = scaled(20_000, 200_000) as u32;
        let other = gort::go(move || {
            let mut buf = [0; 4];
            for _ in 0..rounds {
                server.read_exact(&mut buf).unwrap();
                server.write_all(&buf).unwrap();
            }
        });
        let mut buf = [0; 4];
        for round in 0..rounds {
            client.write_all(&round.to_ne_bytes()).unwrap();
            client.read_exact(&mut buf).unwrap();
            assert_eq!(u32::from_ne_bytes(buf), round);
        }
        other.join().unwrap();
    });
}

#[test]
fn s153_two_readers_queue_instead_of_a_double_wait() {
    run(|| {
        let (client, mut server) = pair();
        let client = Arc::new(client);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let client = Arc::clone(&client);
                let reader = gort::go(move || {
                    let mut buf = [0; 1];
                    (&*client).read_exact(&mut buf).unwrap();
                    buf[0]
                });
                // Only then the next: the order of arrival is what is tested.
                until_parked(&reader);
                reader
            })
            .collect();
        server.write_all(b"ab").unwrap();
        let got: Vec<_> = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect();
        assert_eq!(got, b"ab");
    });
}

#[test]
fn s154_two_hundred_ready_at_once_are_all_served() {
    run(|| {
        let (clients, servers): (Vec<_>, Vec<_>) = (0..200).map(|_| pair()).unzip();
        let readers: Vec<_> = servers
            .into_iter()
            .map(|mut server| {
                gort::go(move || {
                    let mut buf = [0; 1];
                    server.read_exact(&mut buf).unwrap();
                    buf[0]
                })
            })
            .collect();
        readers.iter().for_each(until_parked);
        for (i, mut client) in clients.iter().enumerate() {
            client.write_all(&[i as u8]).unwrap();
        }
        for (i, reader) in readers.into_iter().enumerate() {
            assert_eq!(reader.join().unwrap(), i as u8);
        }
    });
}

#[test]
fn s155_the_network_is_served_while_every_p_is_busy() {
    run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..8)
            .map(|_| {
                let stop = Arc::clone(&stop);
                gort::go(move || {
                    while !stop.load(Ordering::Relaxed) {
                        gort::yield_now();
                    }
                })
            })
            .collect();
        let (mut client, mut server) = pair();
        let echo = gort::go(move || {
            let mut buf = [0; 1];
            while server.read(&mut buf).unwrap() == 1 {
                server.write_all(&buf).unwrap();
            }
        });
        for round in 0..20 {
            let mut buf = [0; 1];
            client.write_all(&[round]).unwrap();
            client.read_exact(&mut buf).unwrap();
            assert_eq!(buf, [round]);
        }
        drop(client);
        echo.join().unwrap();
        stop.store(true, Ordering::Relaxed);
        hogs.into_iter().for_each(|hog| hog.join().unwrap());
    });
}

#[test]
fn s156_a_stalled_writer_parks_and_all_bytes_arrive_in_order() {
    run(|| {
        // More than the buffers of both sockets hold. Each word is its own number.
        const LEN: usize = 32 << 20;
        let mut bytes = Vec::with_capacity(LEN);
        (0..LEN as u64 / 8).for_each(|word| bytes.extend_from_slice(&word.to_ne_bytes()));
        let bytes = Arc::new(bytes);
        let (mut client, mut server) = pair();
        let writer = gort::go({
            let bytes = Arc::clone(&bytes);
            // One call: it returns when the last byte is the kernel's.
            move || client.write(&bytes).unwrap()
        });
        until_parked(&writer);
        let mut buf = vec![0; 100_000];
        let mut position = 0;
        loop {
            let count = server.read(&mut buf).unwrap();
            if count == 0 {
                break;
            }
            let wanted = bytes.get(position..position + count);
            assert!(wanted == Some(&buf[..count]), "at {position} or after");
            position += count;
        }
        assert_eq!(position, LEN);
        assert_eq!(writer.join().unwrap(), LEN);
    });
}

/// Go's program prints to a file of the runtime; ours to a socket, whose other end keeps up. What happens
/// when it does not is S7's.
#[test]
fn s001_d22_printing_goroutines_under_one_wait_group_end() {
    run(|| {
        let count = if has_own_stacks() {
            scaled(20_000, 1_000_000)
        } else {
            1_000
        };
        let (output, mut terminal) = pair();
        let shown = gort::go(move || {
            let mut text = Vec::new();
            terminal.read_to_end(&mut text).unwrap();
            text
        });
        let output = Arc::new(output);
        let group = gort::sync::WaitGroup::new();
        for i in 0..count {
            group.add(1);
            let (group, output) = (group.clone(), Arc::clone(&output));
            gort::go(move || {
                // One byte: the socket may take a part of more, and others write before the rest.
                (&*output).write_all(&[(i % 251) as u8]).unwrap();
                group.done();
            });
        }
        group.wait();
        output.shutdown(Shutdown::Write).unwrap();
        let mut text = shown.join().unwrap();
        let mut printed: Vec<u8> = (0..count).map(|i| (i % 251) as u8).collect();
        text.sort_unstable();
        printed.sort_unstable();
        assert!(text == printed, "{} of {count} bytes", text.len());
    });
}

/// Opens `count` connections, with a goroutine that waits for each.
fn idle_connections(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(TcpStream::connect(addr).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        gort::go(move || server.read(&mut [0; 16]));
    }
    until("all parked", || {
        gort_core::netpoll::waiters() as usize >= count
    });
    clients
}

#[test]
fn s157_idle_connections_cost_no_thread() {
    alone("seeds::s157_idle_connections_cost_no_thread", || {
        let count = scaled(2_000, 9_800);
        if !has_room_for(2 * count) {
            return;
        }
        run(move || {
            let listener = listen();
            let first = idle_connections(&listener, 100);
            let threads = status("Threads");
            let rest = idle_connections(&listener, count - 100);
            // In thread mode each goroutine is a thread, and no other is needed.
            let goroutines_threads = if has_own_stacks() { 0 } else { count - 100 };
            // A few more may have taken over from some that slept in a call for a moment.
            assert!(
                status("Threads") <= threads + goroutines_threads + 16,
                "{threads} -> {}",
                status("Threads")
            );
            assert_eq!(first.len() + rest.len(), count);
        });
    });
}

#[test]
fn s158_memory_grows_linearly_with_connections() {
    alone("seeds::s158_memory_grows_linearly_with_connections", || {
        const STEP: usize = 1_000;
        if !has_room_for(2 * (200 + 3 * STEP)) {
            return;
        }
        run(|| {
            let listener = listen();
            // What is made once (the allocator's arenas, the first slabs) is no connection's.
            let mut clients = vec![idle_connections(&listener, 200)];
            let mut grown = Vec::new();
            for _ in 0..3 {
                let before = status("VmRSS");
                clients.push(idle_connections(&listener, STEP));
                grown.push(status("VmRSS").saturating_sub(before) * 1024 / STEP);
            }
            println!("bytes per idle connection, both ends, by thousands: {grown:?}");
            // A goroutine has a few pages of stack in debug builds; twice that is the bound.
            assert!(grown.iter().all(|bytes| *bytes < 48 << 10), "{grown:?}");
        });
    });
}

#[test]
fn s159_waiting_for_the_network_is_no_deadlock() {
    alone("seeds::s159_waiting_for_the_network_is_no_deadlock", || {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let caller = thread::spawn(move || {
            // waits: for a detector to raise a false alarm, which is no condition we could await.
            thread::sleep(Duration::from_millis(500));
            std::net::TcpStream::connect(addr).map(drop)
        });
        run(move || {
            let acceptor = gort::go(move || listener.accept().map(drop));
            let idle = gort::go({
                let (client, server) = pair();
                move || {
                    client.set_read_deadline(after_ms(300)).unwrap();
                    let result = (&client).read(&mut [0]);
                    drop(server);
                    result
                }
            });
            acceptor.join().unwrap().unwrap();
            assert_eq!(
                idle.join().unwrap().unwrap_err().kind(),
                ErrorKind::TimedOut
            );
        });
        caller.join().unwrap().unwrap();
        until("nobody waits", || gort_core::netpoll::waiters() == 0);
    });
}

#[test]
fn s007_d18_d22_any_number_of_operations_queue_on_one_side() {
    run(|| {
        let writers = scaled(2_000, 1 << 20);
        let (client, server) = pair();
        let client = Arc::new(client);
        // The first write stalls, all others stand behind it.
        let stalled = gort::go({
            let client = Arc::clone(&client);
            move || (&*client).write(&vec![0; 32 << 20])
        });
        until_parked(&stalled);
        let queued: Vec<_> = (0..writers)
            .map(|_| {
                let client = Arc::clone(&client);
                gort::go(move || (&*client).write(&[1; 3]))
            })
            .collect();
        until_parked(queued.last().unwrap());
        let reader = gort::go(move || {
            let mut buf = vec![0; 1 << 20];
            let mut ones = 0;
            loop {
                let count = (&server).read(&mut buf).unwrap();
                if count == 0 {
                    return ones;
                }
                ones += buf[..count].iter().filter(|byte| **byte == 1).count();
            }
        });
        assert_eq!(stalled.join().unwrap().unwrap(), 32 << 20);
        for writer in queued {
            assert_eq!(writer.join().unwrap().unwrap(), 3);
        }
        drop(client);
        assert_eq!(reader.join().unwrap(), 3 * writers);
    });
}

#[test]
fn s007_d18_d22_close_ends_all_that_queue() {
    run(|| {
        let (client, _server) = pair();
        let client = Arc::new(client);
        let readers: Vec<_> = (0..500)
            .map(|_| {
                let client = Arc::clone(&client);
                gort::go(move || (&*client).read(&mut [0; 1]))
            })
            .collect();
        readers.iter().for_each(until_parked);
        client.close().unwrap();
        for reader in readers {
            assert_closed(reader.join().unwrap());
        }
    });
}
