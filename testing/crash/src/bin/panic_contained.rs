//! A panic in a goroutine, with the default policy: that goroutine ends, the others go on.

#[gort::main]
fn main() {
    let error = gort::go(|| panic!("杰克穷死")).join().unwrap_err();
    println!("is_panic: {}", error.is_panic());
    println!(
        "payload: {}",
        error.into_panic().downcast_ref::<&str>().unwrap()
    );
}
