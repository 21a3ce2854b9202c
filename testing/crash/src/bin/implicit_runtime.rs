//! A program that never called `run`: it uses a library that uses goroutines, and they wait for each other
//! for ever. Its alarm clock ends it, not the runtime; with the argument `quit` a SIGQUIT does, whose default
//! action the runtime has left alone.

fn main() {
    let hung = gort::go(|| {
        let (_sender, receiver) = gort::chan::bounded::<()>(0);
        let _ = receiver.recv();
    });
    if std::env::args().nth(1).as_deref() == Some("quit") {
        // SAFETY: the signal ends the process.
        unsafe { libc::raise(libc::SIGQUIT) };
        println!("survived SIGQUIT");
    }
    // SAFETY: sets a timer whose signal ends the process.
    unsafe { libc::alarm(1) };
    let _ = hung.join();
    println!("joined");
}
