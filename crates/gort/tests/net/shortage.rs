//! No descriptors left: `accept` says so, `accept_retrying` and `incoming` wait and go on.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use gort::net::{TcpListener, TcpStream};
use gort_test_support::alone;

use crate::support::{assert_closed, in_both_worlds};

/// Takes all descriptors that are left: in a process of the case's own, which may not have many.
fn take_all() -> Vec<File> {
    #[cfg(gort_tsan)]
    start_symbolizer();
    let limit = libc::rlimit {
        rlim_cur: 128,
        rlim_max: 128,
    };
    // SAFETY: reads the limit given.
    let answer = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(answer, 0);
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files
}

/// ThreadSanitizer asks a process of its own for the names in its reports, by which `ci/tsan.supp` knows what to leave
/// out: it is to be there before the pipes to it cannot be had.
#[cfg(gort_tsan)]
fn start_symbolizer() {
    unsafe extern "C" {
        fn __sanitizer_symbolize_pc(
            pc: *const libc::c_void,
            format: *const libc::c_char,
            text: *mut libc::c_char,
            size: usize,
        );
    }
    let mut text = [0_u8; 256];
    // It takes what it is given for a return address, and looks up the byte before.
    let pc = (take_all as fn() -> Vec<File> as *const libc::c_void).wrapping_byte_add(1);
    // SAFETY: a format, and room for so many bytes; the address is only looked up.
    unsafe { __sanitizer_symbolize_pc(pc, c"%f".as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("take_all"), "no names: {text:?}");
}

/// The number of EMFILE.
const TOO_MANY_OPEN_FILES: i32 = 24;

#[test]
fn a_server_lives_through_a_lack_of_descriptors() {
    alone(
        "shortage::a_server_lives_through_a_lack_of_descriptors",
        || {
            in_both_worlds(|world| {
                let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
                let addr = listener.local_addr().unwrap();
                let mut clients: Vec<_> =
                    (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
                let files = take_all();
                assert!(!files.is_empty());
                let error = listener.accept().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(TOO_MANY_OPEN_FILES));
                let start = Instant::now();
                let server = world.go({
                    let listener = Arc::clone(&listener);
                    move || {
                        for stream in listener.incoming() {
                            stream.unwrap().write_all(b"served").unwrap();
                        }
                    }
                });
                // Five and ten milliseconds are two pauses; others run meanwhile.
                while start.elapsed().as_millis() < 20 {
                    gort::yield_now();
                }
                drop(files);
                for client in &mut clients {
                    let mut text = String::new();
                    client.read_to_string(&mut text).unwrap();
                    assert_eq!(text, "served");
                }
                listener.close().unwrap();
                server.join();
            });
        },
    );
}

#[test]
fn a_close_ends_the_pause() {
    alone("shortage::a_close_ends_the_pause", || {
        in_both_worlds(|world| {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let files = take_all();
            let acceptor = world.go({
                let listener = Arc::clone(&listener);
                move || listener.accept_retrying().map(drop)
            });
            let start = Instant::now();
            while start.elapsed().as_millis() < 50 {
                gort::yield_now();
            }
            listener.close().unwrap();
            assert_closed(acceptor.join());
            drop(files);
        });
    });
}

#[test]
fn a_deadline_ends_the_pause() {
    alone("shortage::a_deadline_ends_the_pause", || {
        in_both_worlds(|world| {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let files = take_all();
            let acceptor = world.go({
                let listener = Arc::clone(&listener);
                move || listener.accept_retrying().map(drop)
            });
            listener
                .set_deadline(Some(Instant::now() + std::time::Duration::from_millis(30)))
                .unwrap();
            let error = acceptor.join().unwrap_err();
            assert_eq!(error.to_string(), "i/o timeout");
            drop(files);
        });
    });
}
