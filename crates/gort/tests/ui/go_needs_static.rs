//! A goroutine may outlive the function that starts it, so it cannot borrow from it.

fn main() {
    let text = String::from("hello");
    gort::go(|| println!("{text}"));
}
