//! `tungstenite`: an echo over WebSockets, with its handshakes at both ends of a connection.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use gort::net::TcpStream;
use gort::net::unix::UnixStream;
use tungstenite::{Error, Message, WebSocket};

use crate::{converse, noise};

fn echo(stream: impl Read + Write) {
    let mut socket = tungstenite::accept(stream)
        .map_err(drop)
        .expect("a handshake");
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => {
                socket.send(message).unwrap();
            }
            // Pings are answered by the crate itself.
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

fn connect<S: Read + Write>(stream: S) -> WebSocket<S> {
    let (socket, response) = tungstenite::client("ws://localhost/echo", stream)
        .map_err(drop)
        .expect("a handshake");
    assert_eq!(response.status(), 101);
    socket
}

fn call(stream: impl Read + Write, seed: usize) {
    let mut socket = connect(stream);
    for round in 0..10 {
        let text = Message::text(format!("message {round} of {seed}"));
        let binary = Message::binary(noise(seed + round, 10_000 * round));
        for message in [text, binary] {
            socket.send(message.clone()).unwrap();
            assert!(socket.read().unwrap() == message);
        }
    }
    socket.send(Message::Ping("are you there?".into())).unwrap();
    assert_eq!(
        socket.read().unwrap(),
        Message::Pong("are you there?".into())
    );
    socket.close(None).unwrap();
    loop {
        match socket.read() {
            Ok(message) => assert!(message.is_close()),
            Err(Error::ConnectionClosed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[gort::test]
fn websockets_over_tcp() {
    converse(50, echo, call);
}

#[gort::test]
fn websockets_over_unix_sockets() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = gort::go(move || echo(theirs));
    call(ours, 1);
    server.join().unwrap();
}

#[gort::test]
fn a_silent_peer_is_ended_by_a_deadline() {
    converse(
        1,
        |stream: TcpStream| {
            let soon = Instant::now() + Duration::from_millis(20);
            stream.set_read_deadline(Some(soon)).unwrap();
            assert!(tungstenite::accept(stream).is_err());
        },
        |mut stream: TcpStream, _| {
            // Says nothing, and waits until the other side has had enough.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        },
    );
}
