//! S89: the goroutines of a connection, and the body of a response that holds it.

use std::io::{BufRead, BufReader, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use gort::chan::{self, Receiver, Sender};
use gort::net::{TcpListener, TcpStream};
use gort::runtime::num_goroutine;

use crate::support::{alone, listen, run, until};

/// How often a body is had.
const TIMES: usize = 10;

/// A client's: one goroutine writes the requests, another reads the responses, until this is dropped.
struct Connection {
    stream: Arc<TcpStream>,
    requests: Sender<&'static [u8]>,
    responses: Receiver<String>,
}

impl Connection {
    fn open(addr: SocketAddr) -> Connection {
        let stream = Arc::new(TcpStream::connect(addr).unwrap());
        let (requests, to_write) = chan::bounded(0);
        let (to_caller, responses) = chan::bounded(0);
        let writer = Arc::clone(&stream);
        gort::go(move || {
            for request in to_write {
                if (&*writer).write_all(request).is_err() {
                    return;
                }
            }
        });
        let reader = Arc::clone(&stream);
        gort::go(move || {
            // Until the end of the stream, or until nobody wants them any more.
            for line in BufReader::new(&*reader).lines().map_while(Result::ok) {
                if to_caller.send(line).is_err() {
                    return;
                }
            }
        });
        Connection {
            stream,
            requests,
            responses,
        }
    }

    /// Asks, and gives the body, which nobody has read.
    fn get(addr: SocketAddr) -> Connection {
        let connection = Connection::open(addr);
        connection.requests.send(b"GET\n").unwrap();
        connection
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stream.shutdown(Shutdown::Both).unwrap();
    }
}

/// Answers each line with one, until the end of the connection.
fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        gort::go(move || {
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                // The client may have gone.
                let _ = writeln!(&stream, "answer to {line}");
            }
        });
    }
}

#[test]
fn s089_a_connections_goroutines_end_when_it_is_dropped() {
    let name = "body::s089_a_connections_goroutines_end_when_it_is_dropped";
    alone(name, || {
        run(|| {
            let listener = listen();
            let addr = listener.local_addr().unwrap();
            gort::go(move || serve(listener));
            let until_left = |count: usize| {
                until(format_args!("{count} goroutines beside the server"), || {
                    num_goroutine() == 2 + count
                });
            };
            // Read, or not.
            for _ in 0..TIMES {
                let body = Connection::get(addr);
                assert_eq!(body.responses.recv().unwrap(), "answer to GET");
            }
            until_left(0);
            for _ in 0..TIMES {
                drop(Connection::get(addr));
            }
            until_left(0);
            // Go's leak needs somebody who forgets it: two of the client and one of the server each.
            for _ in 0..TIMES {
                mem::forget(Connection::get(addr));
            }
            until_left(3 * TIMES);
            // The servers wait for more, the readers for somebody to take the answer.
            until("all wait", || {
                gort_core::netpoll::waiters() as usize == 1 + TIMES
            });
            assert_eq!(num_goroutine(), 2 + 3 * TIMES);
        });
    });
}
