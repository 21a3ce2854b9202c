//! Protocols written against `std::io::{Read, Write}` by people who have not heard of goroutines, over
//! `gort::net`: TLS (`rustls`), WebSockets (`tungstenite`), and a database's message protocol as its
//! drivers write it, generic over the stream.
//!
//! Each conversation has many at a time, on the goroutines of one runtime; `#[gort::test]` finds those
//! that are left. Elsewhere: HTTP (`crates/gort/tests/http`), stacks and thread-locals of `rustls`
//! (`testing/torture`).

mod messages;
mod tls;
mod websocket;

use gort::net::{TcpListener, TcpStream};

/// Runs `serve` for each of `count` connections and `call` at their other ends.
fn converse<T: Send + 'static>(
    count: usize,
    serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static,
    call: impl Fn(TcpStream, usize) -> T + Send + Sync + Clone + 'static,
) -> Vec<T> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let accepting = listener.try_clone().unwrap();
    let server = gort::go(move || {
        let handlers: Vec<_> = accepting
            .incoming()
            .map(|stream| {
                let (stream, serve) = (stream.unwrap(), serve.clone());
                gort::go(move || serve(stream))
            })
            .collect();
        for handler in handlers {
            handler.join().unwrap();
        }
    });
    let clients: Vec<_> = (0..count)
        .map(|i| {
            let call = call.clone();
            gort::go(move || call(TcpStream::connect(addr).unwrap(), i))
        })
        .collect();
    let results = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    listener.close().unwrap();
    server.join().unwrap();
    results
}

/// Bytes that are no pattern, different for each `seed`.
fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    (0..len)
        .map(|_| {
            // xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
