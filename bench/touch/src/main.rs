//! Prints what each thing of the list costs a goroutine, and the same for an allocator with a heap per thread.
//!
//! `cargo build --release -p gort-touch && target/release/touch`. The table in `docs/what-a-goroutine-costs.md` is
//! from here. It says nothing on a machine that does other things.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use gort_touch::{Cost, GOROUTINES, THINGS};

fn main() -> std::io::Result<()> {
    if let Some(name) = std::env::args().nth(1) {
        let cost = gort::run(|| gort_touch::measure(&name));
        gort_touch::print(cost.unwrap_or_else(|| panic!("nothing of the list is called {name}")));
        return Ok(());
    }
    let me = std::env::current_exe()?;
    let nothing = measure(&me, "nothing")?;
    println!(
        "{GOROUTINES} goroutines; a goroutine that uses nothing: {:.0} B, life {:.0} ns\n",
        nothing.bytes, nothing.life_ns
    );
    println!("| uses | bytes more | first use, ns | next use, ns | life, ns more |");
    println!("|---|---|---|---|---|");
    for thing in &THINGS[1..] {
        row(thing.name, measure(&me, thing.name)?, nothing);
    }
    for (name, program) in [
        ("mimalloc", "touch-mimalloc"),
        ("mimalloc in OnThread", "touch-on-thread"),
    ] {
        row(
            name,
            measure(&me.with_file_name(program), "malloc")?,
            nothing,
        );
    }
    Ok(())
}

/// Has a process of its own measure that thing, three times; the one with the median life counts.
fn measure(program: &Path, name: &str) -> std::io::Result<Cost> {
    let mut costs = Vec::new();
    for _ in 0..3 {
        let output = Command::new(program).arg(name).output()?;
        let line = String::from_utf8_lossy(&output.stdout);
        costs.push(gort_touch::parse(&line).ok_or_else(|| {
            let errors = String::from_utf8_lossy(&output.stderr);
            std::io::Error::other(format!("{name}: {}\n{errors}", output.status))
        })?);
    }
    costs.sort_by(|a, b| a.life_ns.total_cmp(&b.life_ns));
    Ok(costs[1])
}

fn row(name: &str, cost: Cost, nothing: Cost) {
    println!(
        "| {name} | {:.0} | {:.0} | {:.0} | {:.0} |",
        cost.bytes - nothing.bytes,
        cost.first_ns,
        cost.next_ns,
        cost.life_ns - nothing.life_ns,
    );
}
