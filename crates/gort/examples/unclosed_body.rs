//! A response whose body nobody reads or closes, of an HTTP client that keeps its connections.
//!
//! ```text
//! cargo run --example unclosed_body
//! ```
//!
//! In Go each response that is neither read to its end nor closed keeps its connection, with two goroutines of
//! the client and one of the server: ten of them take the count from 2 to 32.
//!
//! Here the client is the crate `ureq`, which knows nothing of goroutines. It is given connections of gort, with
//! two goroutines each as Go's client has them. A body owns its connection: reading it to its end gives the
//! connection back for the next request, and dropping it closes the connection, which ends all three goroutines.
//! It takes a `mem::forget`, or a place that keeps bodies, to leak as Go does. To use the body of a failed request
//! does not compile (`tests/ui/s090_the_body_of_a_failed_request.rs`).

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::sync::Arc;

use gort::JoinHandle;
use gort::net::{Pipe, TcpListener, TcpStream, pipe};
use gort::runtime::num_goroutine;
use gort::time::{Duration, sleep};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Body};

/// Opens the client's connections. Without it they would be std's, whose calls block their thread.
#[derive(Debug)]
struct Net;

impl Connector for Net {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Connection>, ureq::Error> {
        let stream = TcpStream::connect(&details.addrs[..])?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Connection::new(stream, buffers)))
    }
}

/// A goroutine writes the requests, another reads the responses, until this is dropped.
#[derive(Debug)]
struct Connection {
    stream: Arc<TcpStream>,
    client: Pipe,
    reader: JoinHandle<io::Result<()>>,
    buffers: LazyBuffers,
}

impl Connection {
    fn new(stream: TcpStream, buffers: LazyBuffers) -> Connection {
        let stream = Arc::new(stream);
        let (client, goroutines) = pipe();
        let goroutines = Arc::new(goroutines);
        let (from, to) = (Arc::clone(&goroutines), Arc::clone(&stream));
        gort::go(move || gort::io::copy(&mut &*from, &mut &*to));
        let (from, to) = (Arc::clone(&stream), goroutines);
        let reader = gort::go(move || {
            let copied = gort::io::copy(&mut &*from, &mut &*to);
            to.close()?;
            copied.map(drop)
        });
        Connection {
            stream,
            client,
            reader,
            buffers,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other side may have done it before.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// There are no timeouts in this program.
impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        Ok(self.client.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let amount = self.client.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        !self.reader.is_finished()
    }
}

fn client() -> Agent {
    // Not even a proxy that the environment may name.
    let config = Agent::config_builder().proxy(None).build();
    Agent::with_parts(config, Net, DefaultResolver::default())
}

fn get(client: &Agent, url: &str) -> Result<Body, ureq::Error> {
    Ok(client.get(url).call()?.into_body())
}

/// Answers each request on the connection, until its end.
fn serve(stream: TcpStream) -> io::Result<()> {
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello\nworld\n")?;
        }
    }
    Ok(())
}

/// Waits until there are so many goroutines besides main and the one that accepts.
fn until_left(count: usize) -> usize {
    while num_goroutine() != 2 + count {
        sleep(Duration::from_millis(1));
    }
    count
}

#[gort::main]
fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    gort::go(move || {
        for stream in listener.incoming() {
            let stream = stream?;
            gort::go(move || serve(stream));
        }
        io::Result::Ok(())
    });
    let first = client();
    for _ in 0..10 {
        assert_eq!(get(&first, &url)?.read_to_string()?, "hello\nworld\n");
    }
    println!("read: {} left, for the next request", until_left(3));
    drop(first);
    println!("connection closed: {} left", until_left(0));
    let client = client();
    for _ in 0..10 {
        drop(get(&client, &url)?);
    }
    println!("dropped: {} left", until_left(0));
    for _ in 0..10 {
        mem::forget(get(&client, &url)?);
    }
    println!("forgotten: {} left", until_left(30));
    Ok(())
}
