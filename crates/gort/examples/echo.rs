//! The echo service: a goroutine for each connection reads once, writes that back, and closes.
//!
//! ```text
//! cargo run --example echo                     # a hundred clients of its own
//! cargo run --example echo -- 127.0.0.1:2333   # serves until it is ended
//! ```
//!
//! In Go a client that sends nothing and closes its side is logged as `read socket error: EOF`, and a closed
//! listener makes accept fail with "use of closed network connection".
//!
//! Here the end of the stream is a read of zero bytes, as in std, and the rest is the same.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use gort::net::{TcpListener, TcpStream};
use gort::sync::WaitGroup;

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buf = [0; 1024];
    let length = stream.read(&mut buf)?;
    if length == 0 {
        println!("the client sent nothing");
    }
    stream.write_all(&buf[..length])
}

/// Serves until the listener is closed, and then until the last client has its answer.
fn serve(listener: &TcpListener) -> io::Error {
    let clients = WaitGroup::new();
    let error = loop {
        match listener.accept() {
            Ok((stream, _)) => clients.go(move || {
                if let Err(error) = echo(stream) {
                    eprintln!("a client is gone: {error}");
                }
            }),
            Err(error) => break error,
        }
    };
    clients.wait();
    error
}

/// What comes back for `text`.
fn ask(addr: SocketAddr, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[gort::main]
fn main() -> io::Result<()> {
    if let Some(addr) = std::env::args().nth(1) {
        return Err(serve(&TcpListener::bind(addr)?));
    }
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
    let addr = listener.local_addr()?;
    let server = gort::go({
        let listener = Arc::clone(&listener);
        move || serve(&listener)
    });
    let clients: Vec<_> = (0..100)
        .map(|_| gort::go(move || ask(addr, "ping")))
        .collect();
    let answers = clients.into_iter().map(|client| client.join());
    let echoed = answers.filter(|answer| matches!(answer, Ok(Ok(text)) if text == "ping"));
    println!("{} of 100 echoed", echoed.count());
    assert_eq!(ask(addr, "")?, "");
    listener.close()?;
    println!("server: {}", server.join().expect("it does not panic"));
    Ok(())
}
