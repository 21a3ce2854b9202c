//! What the report of a deadlock says: all goroutines, and which of them wait for each other's locks in a
//! circle.
//!
//! A parked goroutine waits for one lock, or for the end of one goroutine; so each has at most one that it
//! waits for, and a walk along these either ends or comes round. Whoever locked a lock is known by the low half
//! of its number (`sync::holder`).
//!
//! Elsewhere: whether there is a deadlock (`gort_core::deadlock`).

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::panic::Location;

use gort_core::snapshot::{self, Goroutine};
use gort_core::wait_reason::WaitReason;

use crate::sync::{self, Blocked};

/// The text below the first line of the report.
pub(crate) fn describe() -> String {
    let mut text = crate::dump::all();
    let goroutines = snapshot::goroutines();
    let circles = circles(&goroutines, &sync::blocked(), &snapshot::joins());
    if !circles.is_empty() {
        text.push('\n');
        text.push_str(&circles);
    }
    text
}

/// Why a goroutine cannot go on before another one does something.
#[derive(Clone, Copy)]
enum Wait {
    Lock(Blocked),
    End,
}

/// A goroutine that waits, and for what.
struct Edge<'a> {
    waiter: &'a Goroutine,
    wait: Wait,
    /// The number of the goroutine that would have to do something; `None` if it has ended.
    holder: Option<u64>,
}

/// A paragraph for each circle, and for each lock whose holder has ended.
fn circles(goroutines: &[Goroutine], blocked: &[Blocked], joins: &[(u64, u64)]) -> String {
    let edges = edges(goroutines, blocked, joins);
    let mut out = String::new();
    let mut seen = BTreeSet::new();
    for &start in edges.keys() {
        let mut path = Vec::new();
        let mut at = Some(start);
        while let Some((id, edge)) = at.and_then(|id| edges.get_key_value(&id)) {
            if !seen.insert(*id) {
                break;
            }
            path.push(*id);
            at = edge.holder;
        }
        let Some(last) = path.last().map(|id| &edges[id]) else {
            continue;
        };
        let circle = match last.holder {
            // The walk came to an end: worth a line only if the lock was left behind.
            None => &path[path.len() - 1..],
            Some(holder) => match path.iter().position(|&id| id == holder) {
                Some(first) => &path[first..],
                None => continue,
            },
        };
        out.push_str(match last.holder {
            None => "a lock left locked:\n",
            Some(_) => "waiting in a circle:\n",
        });
        for id in circle {
            // Writing to a String cannot fail.
            let _ = describe_edge(&mut out, &edges[id]);
        }
    }
    out
}

fn edges<'a>(
    goroutines: &'a [Goroutine],
    blocked: &[Blocked],
    joins: &[(u64, u64)],
) -> BTreeMap<u64, Edge<'a>> {
    let by_id: BTreeMap<u64, &Goroutine> = goroutines.iter().map(|g| (g.id, g)).collect();
    let by_low_half: BTreeMap<u32, u64> = by_id.keys().map(|&id| (id as u32, id)).collect();
    let locks = blocked
        .iter()
        // A plain thread's number is 0: nothing is known of it.
        .filter(|blocked| blocked.holder != 0)
        .map(|blocked| {
            let holder = by_low_half.get(&blocked.holder).copied();
            (blocked.waiter, Wait::Lock(*blocked), holder)
        });
    let ends = joins
        .iter()
        .map(|&(waiter, ends)| (waiter, Wait::End, Some(ends)));
    locks
        .chain(ends)
        .filter_map(|(id, wait, holder)| {
            let waiter = *by_id.get(&id)?;
            Some((
                id,
                Edge {
                    waiter,
                    wait,
                    holder,
                },
            ))
        })
        .collect()
}

fn describe_edge(out: &mut String, edge: &Edge<'_>) -> std::fmt::Result {
    let id = edge.waiter.id;
    write!(
        out,
        "\tgoroutine {id} waits{}",
        place(edge.waiter.parked_at)
    )?;
    let blocked = match edge.wait {
        Wait::Lock(blocked) => blocked,
        Wait::End => {
            let of = edge.holder.unwrap_or_default();
            return writeln!(out, " for the end of goroutine {of}");
        }
    };
    let is_rw = matches!(
        edge.waiter.wait_reason,
        Some(WaitReason::RwLockRead | WaitReason::RwLockWrite)
    );
    let lock = if is_rw { "sync.RWMutex" } else { "sync.Mutex" };
    write!(out, " for {lock} {:#x}, which ", blocked.lock)?;
    match edge.holder {
        Some(holder) if holder == id => out.push_str("it has itself "),
        Some(holder) => write!(out, "goroutine {holder} has ")?,
        None => write!(out, "goroutine {}, which has ended, had ", blocked.holder)?,
    }
    out.push_str(match blocked.held_at {
        // Of several readers only that one is known.
        Some(_) => "been the last to lock for reading",
        None if is_rw => "locked for writing, or is about to",
        None => "locked",
    });
    writeln!(out, "{}", place(blocked.held_at))
}

fn place(at: Option<&Location<'_>>) -> String {
    at.map_or(String::new(), |at| format!(" at {at}"))
}
