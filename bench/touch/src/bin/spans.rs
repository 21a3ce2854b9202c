//! A span's life on the stock registry and on gort's: opened, entered, left, closed.
//!
//! ```text
//! cargo run --release -p gort-touch --features spans --bin touch-spans                 all of it, about half a minute
//! touch-spans gort kept 2 1000000     one measurement: registry, what layers keep, goroutines, spans of each
//! ```
//!
//! With `bare` there is a layer that does nothing: under none at all, the stock registry would never free a span. With
//! `kept` a layer puts a value into each span, as `fmt` and others do. It models
//! a goroutine that handles one request after the other, each in a span. Spans that live long or have many
//! handles are not in it, nor what a layer does with them.

#![forbid(unsafe_code)]

use std::env;
use std::process::Command;
use std::time::Instant;

use tracing::dispatcher::set_global_default;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const ROUNDS: usize = 7;
const SPANS: usize = 1_000_000;

/// Keeps nothing.
struct Pass;

impl<S: Subscriber> Layer<S> for Pass {}

/// Keeps a value in each span.
struct Keep;

struct Kept(#[expect(dead_code, reason = "it is there to be kept")] u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keep {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("it is new");
        span.extensions_mut().insert(Kept(7));
    }
}

fn dispatch<R>(registry: R, is_kept: bool) -> Dispatch
where
    R: Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    if is_kept {
        Dispatch::new(registry.with(Keep))
    } else {
        Dispatch::new(registry.with(Pass))
    }
}

/// Nanoseconds for a span, with so many goroutines at once.
fn measure(registry: &str, kept: &str, goroutines: usize, spans: usize) -> f64 {
    let is_kept = kept == "kept";
    set_global_default(match registry {
        "gort" => dispatch(gort::tracing::Registry::default(), is_kept),
        _ => dispatch(tracing_subscriber::registry(), is_kept),
    })
    .expect("nobody else has set one");
    let live = |spans: usize| {
        for n in 0..spans {
            let _entered = tracing::info_span!("request", n).entered();
        }
    };
    gort::run(|| {
        live(1_000);
        let start = Instant::now();
        gort::scope(|scope| {
            for _ in 0..goroutines {
                scope.go(move || live(spans));
            }
        });
        start.elapsed().as_nanos() as f64 / spans as f64
    })
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [registry, kept, goroutines, spans] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        let ns = measure(registry, kept, number(goroutines), number(spans));
        return println!("{ns}");
    }
    println!("| layers | goroutines | stock, ns | gort, ns | ratio |\n|---|---|---|---|---|");
    for kept in ["bare", "kept"] {
        for goroutines in ["1", "2"] {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (registry, times) in ["stock", "gort"].iter().zip(&mut times) {
                    times.push(one(registry, kept, goroutines));
                }
            }
            let [stock, ours] = times.map(|mut times| {
                times.sort_by(f64::total_cmp);
                times[ROUNDS / 2]
            });
            let ratio = ours / stock;
            println!("| {kept} | {goroutines} | {stock:.0} | {ours:.0} | {ratio:.2} |");
        }
    }
}

/// One measurement in a process of its own.
fn one(registry: &str, kept: &str, goroutines: &str) -> f64 {
    let program = env::current_exe().expect("a program has a file");
    let output = Command::new(program)
        .args([registry, kept, goroutines, &SPANS.to_string()])
        .output()
        .expect("it runs once more");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("it prints a number")
}
