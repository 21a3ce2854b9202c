//! A program that never called `run`: it uses a library that uses goroutines, and they wait for each other
//! for ever. Its alarm clock ends it, not the runtime.

fn main() {
    let hung = gort::go(|| {
        let (_sender, receiver) = gort::chan::bounded::<()>(0);
        let _ = receiver.recv();
    });
    // SAFETY: sets a timer whose signal ends the process.
    unsafe { libc::alarm(1) };
    let _ = hung.join();
    println!("joined");
}
