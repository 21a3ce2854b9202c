//! `async fn main` is told that a goroutine may block.

#[gort::main]
async fn main() {
    std::future::ready(()).await;
}
