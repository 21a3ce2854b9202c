//! Unix sockets and their files: NE24, and NE01 for them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gort::net::unix::{UnixDatagram, UnixListener, UnixStream};

use crate::support::{after_ms, assert_closed, run, until_parked};

/// A path for a socket; what is left there goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static USED: AtomicUsize = AtomicUsize::new(0);
        let number = USED.fetch_add(1, Relaxed);
        let name = format!("gort-ne24-{}-{number}", std::process::id());
        Place(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn ne01_a_line_comes_back_through_a_unix_socket() {
    run(|| {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(addr.as_pathname(), Some(&*place.0));
        listener.set_deadline(after_ms(60_000)).unwrap();
        let server = gort::go(move || {
            let (stream, peer) = listener.accept().unwrap();
            assert!(peer.is_unnamed());
            stream.set_deadline(after_ms(60_000)).unwrap();
            let mut line = Vec::new();
            BufReader::new(&stream)
                .read_until(b'\n', &mut line)
                .unwrap();
            (&stream).write_all(&line).unwrap();
        });
        let mut client = UnixStream::connect(&place.0).unwrap();
        let peer = client.peer_addr().unwrap();
        assert_eq!(peer.as_pathname(), Some(&*place.0));
        client.set_deadline(after_ms(60_000)).unwrap();
        client.write_all(b"a line\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "a line\n");
        server.join().unwrap();
    });
}

#[test]
fn ne24_the_file_of_a_listener_is_removed_once() {
    run(|| {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        assert!(exists(&place.0));
        let acceptor = listener.try_clone().unwrap();
        let acceptor = gort::go(move || acceptor.accept());
        until_parked(&acceptor);
        listener.close().unwrap();
        assert_closed(acceptor.join().unwrap());
        assert!(!exists(&place.0));
        // Somebody else's, at the same path.
        fs::write(&place.0, "new").unwrap();
        listener.close().unwrap();
        drop(listener);
        assert!(exists(&place.0));
    });
}

#[test]
fn ne24_a_duplicated_listener_does_not_remove_the_file() {
    run(|| {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        let duplicate = listener.try_clone().unwrap().into_std().unwrap();
        let duplicate = UnixListener::from_std(duplicate).unwrap();
        duplicate.close().unwrap();
        assert!(exists(&place.0));
        // Nor does the listener itself, if it is told so; and a drop is std's: the file stays.
        listener.set_unlink_on_close(false);
        listener.close().unwrap();
        assert!(exists(&place.0));
        fs::remove_file(&place.0).unwrap();
        drop(UnixListener::bind(&place.0).unwrap());
        assert!(exists(&place.0));
    });
}

#[test]
fn ne24_a_datagram_may_be_empty() {
    run(|| {
        let place = Place::new();
        let receiver = UnixDatagram::bind(&place.0).unwrap();
        let parked = gort::go(move || receiver.recv_from(&mut [0; 8]).unwrap());
        until_parked(&parked);
        let sender = UnixDatagram::unbound().unwrap();
        assert_eq!(sender.send_to(&[], &place.0).unwrap(), 0);
        let (len, from) = parked.join().unwrap();
        assert!(len == 0 && from.is_unnamed());
    });
}

#[test]
fn ne24_the_peers_close_is_the_end() {
    run(|| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let parked = gort::go(move || b.read(&mut [0; 8]));
        until_parked(&parked);
        drop(a);
        assert_eq!(parked.join().unwrap().unwrap(), 0);
    });
}
