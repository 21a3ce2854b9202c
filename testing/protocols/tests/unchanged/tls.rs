//! `rustls`, client and server, over TCP and over Unix sockets.

use std::io::{self, Read, Write};
use std::sync::Arc;

use gort::net::unix::UnixStream;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use crate::{converse, noise};

/// Self-signed for `localhost`, until 2125; made for tests, the key is no secret.
const CERTIFICATE: &[u8] = include_bytes!("../../../torture/certificate/localhost.der");
const KEY: &[u8] = include_bytes!("../../../torture/certificate/localhost.key.der");

fn client(version: &'static SupportedProtocolVersion) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap()
}

fn server() -> ServerConnection {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivatePkcs8KeyDer::from(KEY).into(),
        );
    ServerConnection::new(Arc::new(config.unwrap())).unwrap()
}

/// Sends back what comes, until the peer says that it is done.
fn echo(stream: impl Read + Write) {
    let mut stream = StreamOwned::new(server(), stream);
    let mut buf = [0; 8192];
    loop {
        match stream.read(&mut buf).unwrap() {
            0 => break,
            len => stream.write_all(&buf[..len]).unwrap(),
        }
    }
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).unwrap();
}

/// Sends bytes in pieces, each when the one before has come back.
fn call(stream: impl Read + Write, version: &'static SupportedProtocolVersion, seed: usize) {
    let mut stream = StreamOwned::new(client(version), stream);
    let sent = noise(seed, 100_000);
    for piece in sent.chunks(7_001) {
        stream.write_all(piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == piece);
    }
    assert_eq!(
        stream.conn.protocol_version(),
        Some(version.version),
        "what was asked for"
    );
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[gort::test]
fn tls_over_tcp() {
    for version in [&TLS12, &TLS13] {
        converse(20, echo, move |stream, i| call(stream, version, i));
    }
}

#[gort::test]
fn tls_over_unix_sockets() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = gort::go(move || echo(theirs));
    call(ours, &TLS13, 1);
    server.join().unwrap();
}

#[gort::test]
fn a_stranger_is_refused_on_both_sides() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let server = gort::go(move || {
        let mut stream = StreamOwned::new(server(), theirs);
        stream.read(&mut [0]).unwrap_err()
    });
    ours.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let error = server.join().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    // An alert, and the end.
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).unwrap();
}
