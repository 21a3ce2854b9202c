//! Goroutines that share one loop variable, as Go's did before 1.22.

fn main() {
    for i in 0..3 {
        gort::go(|| println!("{i}"));
    }
}
