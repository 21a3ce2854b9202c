//! A database's protocol as drivers write it: messages with a tag and a length, through a function that
//! is generic over `Read + Write` and knows nothing of where it runs.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net;
use std::thread;

use gort::net::unix::UnixStream;

use crate::converse;

/// A connection of a driver, over whatever stream.
struct Connection<S: Read + Write> {
    stream: BufReader<S>,
    output: Vec<u8>,
}

/// A message: its tag, and what is in it.
type Frame = (u8, Vec<u8>);

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Connection<S> {
        Connection {
            stream: BufReader::new(stream),
            output: Vec::new(),
        }
    }

    /// Puts a message into the buffer, with its length in front, which counts itself.
    fn put(&mut self, tag: u8, body: &[u8]) {
        self.output.push(tag);
        let len = u32::try_from(body.len() + 4).expect("a short message");
        self.output.extend_from_slice(&len.to_be_bytes());
        self.output.extend_from_slice(body);
    }

    fn flush(&mut self) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(&self.output)?;
        stream.flush()?;
        self.output.clear();
        Ok(())
    }

    fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [tag, len @ ..] = head;
        let len = u32::from_be_bytes(len).checked_sub(4);
        let len = len.ok_or(io::ErrorKind::InvalidData)? as usize;
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok((tag, body))
    }
}

/// The client: stores `count` rows in one batch, asks for them, and returns what came.
fn query<S: Read + Write>(stream: S, count: u32) -> io::Result<BTreeMap<u32, String>> {
    let mut connection = Connection::new(stream);
    connection.put(b'p', b"user\0test\0\0");
    connection.flush()?;
    assert_eq!(connection.next()?, (b'R', 0u32.to_be_bytes().to_vec()));
    for key in 0..count {
        let row = [&key.to_be_bytes()[..], format!("row {key}").as_bytes()].concat();
        connection.put(b'B', &row);
    }
    connection.put(b'Q', b"select\0");
    connection.flush()?;
    let mut rows = BTreeMap::new();
    loop {
        match connection.next()? {
            (b'D', row) => {
                let (key, text) = row.split_first_chunk().expect("a key");
                let text = String::from_utf8(text.to_vec()).expect("text");
                rows.insert(u32::from_be_bytes(*key), text);
            }
            (b'Z', _) => break,
            (tag, _) => panic!("an unexpected {tag}"),
        }
    }
    connection.put(b'X', b"");
    connection.flush()?;
    Ok(rows)
}

/// The server: remembers rows, and gives them back when asked.
fn serve<S: Read + Write>(stream: S) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    let mut rows = Vec::new();
    loop {
        match connection.next()? {
            (b'p', _) => connection.put(b'R', &0u32.to_be_bytes()),
            (b'B', row) => {
                rows.push(row);
                continue;
            }
            (b'Q', _) => {
                for row in rows.drain(..) {
                    connection.put(b'D', &row);
                }
                connection.put(b'Z', b"I");
            }
            (b'X', _) => return Ok(()),
            (tag, _) => panic!("an unexpected {tag}"),
        }
        connection.flush()?;
    }
}

fn assert_rows(rows: &BTreeMap<u32, String>, count: u32) {
    assert_eq!(rows.len(), count as usize);
    assert!(rows.iter().all(|(key, text)| *text == format!("row {key}")));
}

const COUNT: u32 = 5_000;

#[gort::test]
fn the_driver_works_over_our_streams() {
    let results = converse(
        20,
        |stream| serve(stream).unwrap(),
        |stream, _| query(stream, COUNT).unwrap(),
    );
    results.iter().for_each(|rows| assert_rows(rows, COUNT));
    // Over references, so that the stream can be closed by others meanwhile.
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = gort::go(move || serve(&theirs).unwrap());
    assert_rows(&query(&ours, COUNT).unwrap(), COUNT);
    server.join().unwrap();
}

#[gort::test]
fn the_same_driver_over_stds_stream_talks_to_ours() {
    let listener = gort::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let client = thread::spawn(move || query(net::TcpStream::connect(addr)?, COUNT));
    serve(listener.accept().unwrap().0).unwrap();
    assert_rows(&client.join().unwrap().unwrap(), COUNT);
}

#[gort::test]
fn a_driver_that_waits_is_ended_by_a_close_from_elsewhere() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let closer = ours.try_clone().unwrap();
    let waiting = gort::go(move || query(ours, 1).map(drop));
    closer.close().unwrap();
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}
