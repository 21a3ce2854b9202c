//! SC24: Go's scheduler benchmarks, as a short run each that checks its work and prints what it cost.
//! `bench/` measures in earnest.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gort::chan;
use gort_conformance::child;
use gort_conformance::look::sized;

fn print_ns(what: &str, count: usize, time: Duration) {
    println!("{what}: {} ns each", time.as_nanos() / count as u128);
}

/// Goroutines that each start the next one.
fn chain_of(count: usize) {
    fn start(left: usize, done: chan::Sender<()>) {
        match left {
            0 => done.send(()).expect("somebody waits"),
            left => drop(gort::go(move || start(left - 1, done))),
        }
    }
    let (done, is_done) = chan::bounded(1);
    start(count, done);
    is_done.recv().expect("the last one sends");
}

#[test]
fn sc24_goroutines_are_started_in_a_chain_in_chains_and_by_one() {
    child::of(|| {
        gort::run(|| {
            let count = sized(20_000, 1_000, 1_000_000);
            let start = Instant::now();
            chain_of(count);
            print_ns("a chain", count, start.elapsed());

            let start = Instant::now();
            let chains = gort::runtime::gomaxprocs();
            gort::scope(|s| (0..chains).for_each(|_| drop(s.go(|| chain_of(count / chains)))));
            print_ns("a chain for each P", count, start.elapsed());

            let ended = Arc::new(AtomicUsize::new(0));
            let start = Instant::now();
            let handles: Vec<_> = (0..count)
                .map(|_| {
                    let ended = Arc::clone(&ended);
                    gort::go(move || ended.fetch_add(1, Ordering::Relaxed))
                })
                .collect();
            assert!(handles.into_iter().all(|it| it.join().is_ok()));
            print_ns("by one", count, start.elapsed());
            assert_eq!(ended.load(Ordering::Relaxed), count);
        });
    })
    .passes();
}

fn spin_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Two goroutines take turns, with some work between: the other one's P may have gone to sleep.
#[test]
fn sc24_a_hand_over_after_work_of_0_to_100_us() {
    child::of(|| {
        gort::run(|| {
            const ROUNDS: usize = 200;
            for micros in [0, 1, 2, 5, 10, 20, 50, 100] {
                let work = Duration::from_micros(micros);
                let (ping, pinged) = chan::bounded(0);
                let (pong, ponged) = chan::bounded(0);
                let other = gort::go(move || {
                    let mut count = 0;
                    for number in pinged {
                        spin_for(work);
                        pong.send(number + 1).unwrap();
                        count += 1;
                    }
                    count
                });
                let start = Instant::now();
                for round in 0..ROUNDS {
                    ping.send(round).unwrap();
                    spin_for(work);
                    assert_eq!(ponged.recv(), Ok(round + 1));
                }
                let hand_overs = 2 * ROUNDS;
                let time = start.elapsed();
                drop(ping);
                assert_eq!(other.join().unwrap(), ROUNDS);
                print_ns(&format!("a hand-over after {micros} us"), hand_overs, time);
            }
        });
    })
    .passes();
}

/// The product by quarters, each a goroutine's, down to a few rows.
fn multiply(
    a: &[Vec<u64>],
    b: &[Vec<u64>],
    rows: [usize; 2],
    columns: [usize; 2],
) -> Vec<Vec<u64>> {
    let [top, bottom] = rows;
    let [left, right] = columns;
    if bottom - top <= 8 {
        let element =
            |row: usize, column: usize| (0..b.len()).map(|k| a[row][k] * b[k][column]).sum();
        let row_of = |row| (left..right).map(|column| element(row, column)).collect();
        return (top..bottom).map(row_of).collect();
    }
    let (middle, center) = (top.midpoint(bottom), left.midpoint(right));
    let mut quarters = gort::scope(|s| {
        let quarters = [[top, middle], [middle, bottom]]
            .map(|rows| [[left, center], [center, right]].map(|columns| (rows, columns)));
        let handles = quarters
            .as_flattened()
            .iter()
            .map(|&(rows, columns)| s.go(move || multiply(a, b, rows, columns)))
            .collect::<Vec<_>>();
        handles
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect::<Vec<_>>()
    })
    .into_iter();
    let mut product = Vec::new();
    while let (Some(west), Some(east)) = (quarters.next(), quarters.next()) {
        product.extend(
            west.into_iter()
                .zip(east)
                .map(|(west, east)| [west, east].concat()),
        );
    }
    product
}

#[test]
fn sc24_a_matrix_product_by_goroutines_is_the_product() {
    child::of(|| {
        gort::run(|| {
            const N: usize = 64;
            let matrix = |seed: u64| -> Vec<Vec<u64>> {
                let element = |i: usize, j: usize| (i as u64 * 31 + j as u64 * seed) % 97;
                (0..N)
                    .map(|i| (0..N).map(|j| element(i, j)).collect())
                    .collect()
            };
            let (a, b) = (black_box(matrix(7)), black_box(matrix(11)));
            let start = Instant::now();
            let product = multiply(&a, &b, [0, N], [0, N]);
            print_ns("a product of 64 by 64", 1, start.elapsed());
            for (i, row) in product.iter().enumerate() {
                for (j, element) in row.iter().enumerate() {
                    let expected: u64 = (0..N).map(|k| a[i][k] * b[k][j]).sum();
                    assert_eq!(*element, expected, "row {i}, column {j}");
                }
            }
            assert_eq!(product.len(), N);
        });
    })
    .passes();
}
