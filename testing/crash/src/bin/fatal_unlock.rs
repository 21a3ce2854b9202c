//! What the runtime cannot go on after: a mutex is unlocked that nobody has locked.

#[gort::main]
fn main() {
    let mutex = gort::sync::Mutex::new(0);
    let ended = gort::go(move || {
        // SAFETY: none: that is what the program is for.
        unsafe { mutex.force_unlock() };
    })
    .join();
    println!("joined {}", ended.is_ok());
}
