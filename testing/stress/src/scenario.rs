//! The scenarios. Each round starts from nothing, checks its work, and returns how many operations it
//! did.

mod chans;
mod conns;
mod joins;
mod locks;
mod maps;
mod pairs;
mod selects;
mod spawns;
mod timers;
mod yields;

use gort_test_support::Random;

/// One thing to stress.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) round: fn(&mut Random) -> u64,
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "spawns",
        about: "trees of goroutines, joined or not",
        round: spawns::round,
    },
    Scenario {
        name: "pairs",
        about: "park and ready, in pairs, across Ps",
        round: pairs::round,
    },
    Scenario {
        name: "yields",
        about: "turns by yielding, while GOMAXPROCS changes",
        round: yields::round,
    },
    Scenario {
        name: "joins",
        about: "joins that time out or are dropped",
        round: joins::round,
    },
    Scenario {
        name: "locks",
        about: "mutex, rwlock, condvar, wait group",
        round: locks::round,
    },
    Scenario {
        name: "maps",
        about: "map and pool, what is in them dropped once",
        round: maps::round,
    },
    Scenario {
        name: "chans",
        about: "channels against close and timeouts",
        round: chans::round,
    },
    Scenario {
        name: "selects",
        about: "selects against selects and close",
        round: selects::round,
    },
    Scenario {
        name: "timers",
        about: "timers against their stopping",
        round: timers::round,
    },
    Scenario {
        name: "conns",
        about: "connections dropped mid-write",
        round: conns::round,
    },
];
