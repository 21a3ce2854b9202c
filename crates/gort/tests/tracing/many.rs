//! More goroutines than the stock registry has room for, each with a span that it is in.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use gort::chan;
use gort::runtime::{TlsMode, metrics};
use gort::sync::WaitGroup;
use gort::tracing::Registry;
use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

/// Counts the lines of each goroutine by the number in its span.
#[derive(Clone)]
struct Lines(Arc<Vec<AtomicU8>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(line).map_err(io::Error::other)?;
        let (_, after) = text.split_once("goroutine{n=").expect("the span");
        let (n, message) = after.split_once('}').expect("the span's end");
        assert!(message.contains("is in its span"), "{text}");
        self.0[n.parse::<usize>().expect("a number")].fetch_add(1, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

#[test]
fn a_hundred_thousand_live_goroutines_are_each_in_a_span() {
    gort::run(|| {
        // In thread mode each is a thread.
        let count = match metrics().tls_mode {
            TlsMode::Own => 100_000,
            _ => 5_000,
        };
        let lines = Lines(Arc::new((0..count).map(|_| AtomicU8::new(0)).collect()));
        let format = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(lines.clone());
        let dispatch = Dispatch::new(Registry::default().with(format));
        let (release, released) = chan::bounded::<()>(0);
        let in_spans = WaitGroup::new();
        in_spans.add(count as isize);
        let goroutines: Vec<_> = (0..count)
            .map(|n| {
                let (dispatch, released) = (dispatch.clone(), released.clone());
                let in_spans = in_spans.clone();
                gort::go(move || {
                    dispatcher::with_default(&dispatch, || {
                        let span = tracing::info_span!("goroutine", n).entered();
                        tracing::info!("is in its span");
                        in_spans.done();
                        released.recv().expect_err("nobody sends");
                        tracing::info!("is in its span still");
                        assert_eq!(Span::current().id(), span.id());
                    });
                })
            })
            .collect();
        in_spans.wait();
        let registry: &Registry = dispatch.downcast_ref().expect("it is at the bottom");
        assert!(format!("{registry:?}").contains(&format!("len: {count}")));
        drop(release);
        for goroutine in goroutines {
            goroutine.join().expect("no panic");
        }
        assert!(
            lines
                .0
                .iter()
                .all(|lines| lines.load(Ordering::Relaxed) == 2)
        );
        assert!(format!("{registry:?}").contains("len: 0"));
    });
}

/// Per-layer filters keep a stock registry, and layers close spans in that one too when they find it.
#[test]
fn more_goroutines_than_stock_has_room_for_close_filtered_spans() {
    gort::run(|| {
        // In thread mode each is a thread.
        let count = match metrics().tls_mode {
            TlsMode::Own => 10_000,
            _ => 5_000,
        };
        let lines = Lines(Arc::new((0..count).map(|_| AtomicU8::new(0)).collect()));
        let format = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(lines.clone())
            .with_filter(LevelFilter::INFO);
        let dispatch = Dispatch::new(Registry::default().with(format));
        let (release, released) = chan::bounded::<()>(0);
        let closed = WaitGroup::new();
        closed.add(count as isize);
        let goroutines: Vec<_> = (0..count)
            .map(|n| {
                let (dispatch, released) = (dispatch.clone(), released.clone());
                let closed = closed.clone();
                gort::go(move || {
                    let logged = catch_unwind(AssertUnwindSafe(|| {
                        dispatcher::with_default(&dispatch, || {
                            let _span = tracing::info_span!("goroutine", n).entered();
                            let _quiet = tracing::debug_span!("quiet").entered();
                            tracing::info!("is in its span");
                        });
                    }));
                    closed.done();
                    logged.expect("there is room");
                    released.recv().expect_err("nobody sends");
                })
            })
            .collect();
        closed.wait();
        drop(release);
        for goroutine in goroutines {
            goroutine.join().expect("no panic");
        }
        let once = |lines: &AtomicU8| lines.load(Ordering::Relaxed) == 1;
        assert!(lines.0.iter().all(once));
        let registry: &Registry = dispatch.downcast_ref().expect("it is at the bottom");
        assert!(format!("{registry:?}").contains("len: 0"));
    });
}
