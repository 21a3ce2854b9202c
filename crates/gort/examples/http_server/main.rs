//! An HTTP/1.1 server: a goroutine for each connection, blocking code, `httparse` for the heads.
//!
//! ```text
//! cargo run --release --example http_server -- 127.0.0.1:8080
//! gort load --http http://127.0.0.1:8080/
//! curl -d hello http://127.0.0.1:8080/echo
//! ```
//!
//! `server.rs` is the server, `request.rs` and `head.rs` what it reads; all are ordinary blocking code, and would work
//! over `std::net` with std's threads. Bad requests get a 4xx or 5xx, and peers that are too slow or
//! gone are ended by deadlines: `tests/http` shows that with this very code.

#![forbid(unsafe_code)]

mod head;
mod request;
mod server;

use std::io;

use gort::net::TcpListener;

use request::Request;
use server::{Limits, Response, Server};

#[gort::main]
fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1);
    let listener = TcpListener::bind(addr.as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("listening on http://{}/", listener.local_addr()?);
    Server::new(listener, Limits::default(), answer).serve()
}

fn answer(request: &Request) -> Response {
    match (&*request.method, &*request.target) {
        ("GET" | "HEAD", "/") => Response::text(200, "Hello, World!\n"),
        ("POST" | "PUT", "/echo") => Response::new(200, request.body.clone()),
        (_, "/") => Response::not_allowed("GET, HEAD"),
        (_, "/echo") => Response::not_allowed("POST, PUT"),
        _ => Response::text(404, "not found\n"),
    }
}
