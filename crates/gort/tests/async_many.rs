//! What async goroutines cost, and very many of them. In a process of its own, whose memory is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gort::chan;
use gort_test_support::{eventually_within, yield_once};

#[test]
fn async_goroutines_are_small_and_there_may_be_a_million() {
    assert_a_thousand_bytes_of_future_cost_little_more();
    assert_a_million_run();
}

/// Waits for very many, on a machine that may be slow.
#[track_caller]
fn until_all_are_parked(condition: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(30), "all parked", condition);
}

/// Bytes of memory that the process has. The kernel counts them here; elsewhere it may be off by some pages for each
/// processor.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")
        .or_else(|_| std::fs::read_to_string("/proc/self/status"))
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:").or(line.strip_prefix("VmRSS:")));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap() * 1024
}

/// A future of a known size that waits for a channel.
async fn with_state<const N: usize>(rx: chan::Receiver<()>, parked: Arc<AtomicU64>) -> u8 {
    let state = std::hint::black_box([1u8; N]);
    parked.fetch_add(1, Ordering::Relaxed);
    let _ = rx.recv_async().await;
    state[N / 2]
}

fn assert_a_thousand_bytes_of_future_cost_little_more() {
    const COUNT: usize = 20_000;
    let (tx, rx) = chan::bounded::<()>(0);
    let parked = Arc::new(AtomicU64::new(0));
    let size = size_of_val(&with_state::<900>(rx.clone(), parked.clone()));
    assert!((900..1_100).contains(&size), "a future of {size} bytes");
    let start = || gort::go_async(with_state::<900>(rx.clone(), parked.clone()));
    // What comes with the first ones.
    let mut handles: Vec<_> = (0..1_000).map(|_| start()).collect();
    handles.reserve(COUNT);
    until_all_are_parked(|| parked.load(Ordering::Relaxed) == 1_000);
    let before = resident();
    handles.extend((0..COUNT).map(|_| start()));
    until_all_are_parked(|| parked.load(Ordering::Relaxed) == 1_000 + COUNT as u64);
    // Also each one's place in the channel and in the vector of handles.
    let each = resident().saturating_sub(before) / COUNT;
    println!("{each} bytes for a future of {size}");
    assert!(each < size + 300, "{each} bytes for a future of {size}");
    drop(tx);
    for handle in handles {
        assert_eq!(handle.join().unwrap(), 1);
    }
}

fn assert_a_million_run() {
    const COUNT: u64 = 1_000_000;
    let sum = Arc::new(AtomicU64::new(0));
    let (tx, rx) = chan::bounded::<()>(0);
    let (done, all_done) = chan::bounded::<()>(0);
    for n in 0..COUNT {
        let (sum, rx, done) = (sum.clone(), rx.clone(), done.clone());
        gort::go_async(async move {
            yield_once().await;
            let _ = rx.recv_async().await;
            sum.fetch_add(n, Ordering::Relaxed);
            drop(done);
        });
    }
    drop((tx, done));
    assert!(all_done.recv().is_err());
    assert_eq!(sum.load(Ordering::Relaxed), COUNT * (COUNT - 1) / 2);
}
