//! The workloads: what each models, what it counts, and what would mislead.
//!
//! An enum, so that a twin which forgets one does not compile. The words are data and not comments:
//! `gort-bench-run --list` prints them, and the tables it writes link to them.

/// One workload, the same work for every runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// See [`Workload::about`], as for all others.
    Spawn,
    SpawnBatch,
    PingPong,
    Chan1p1c,
    Chan1p1cUnbuffered,
    Chan4p4c,
    Chan4p4cUnbuffered,
    Select4,
    Mutex,
    MutexUncontended,
    Yield2,
    Yield100,
    Parked,
    Echo64,
    Echo1000,
    Hog,
    HogRest,
    BlockRead,
    BlockSleep,
    BlockLock,
}

/// What a workload is for.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The situation in a real program that it stands for.
    pub models: &'static str,
    /// What one operation is.
    pub counts: &'static str,
    /// How its number could be misread.
    pub misleads: &'static str,
}

/// How many goroutines a batch of [`Workload::SpawnBatch`] has.
pub const SPAWN_BATCH: u64 = 1_000;

/// The capacity of the buffered channels.
pub const CHAN_CAPACITY: usize = 128;

/// The size of one echoed message.
pub const ECHO_BYTES: usize = 64;

impl Workload {
    /// All of them, in the order of the tables.
    pub const ALL: [Workload; 20] = [
        Workload::Spawn,
        Workload::SpawnBatch,
        Workload::PingPong,
        Workload::Chan1p1c,
        Workload::Chan1p1cUnbuffered,
        Workload::Chan4p4c,
        Workload::Chan4p4cUnbuffered,
        Workload::Select4,
        Workload::Mutex,
        Workload::MutexUncontended,
        Workload::Yield2,
        Workload::Yield100,
        Workload::Parked,
        Workload::Echo64,
        Workload::Echo1000,
        Workload::Hog,
        Workload::HogRest,
        Workload::BlockRead,
        Workload::BlockSleep,
        Workload::BlockLock,
    ];

    /// The name on the command line and in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Spawn => "spawn",
            Workload::SpawnBatch => "spawn_batch",
            Workload::PingPong => "ping_pong",
            Workload::Chan1p1c => "chan_1p1c",
            Workload::Chan1p1cUnbuffered => "chan_1p1c_unbuffered",
            Workload::Chan4p4c => "chan_4p4c",
            Workload::Chan4p4cUnbuffered => "chan_4p4c_unbuffered",
            Workload::Select4 => "select_4",
            Workload::Mutex => "mutex",
            Workload::MutexUncontended => "mutex_uncontended",
            Workload::Yield2 => "yield_2",
            Workload::Yield100 => "yield_100",
            Workload::Parked => "parked",
            Workload::Echo64 => "echo_64",
            Workload::Echo1000 => "echo_1000",
            Workload::Hog => "hog",
            Workload::HogRest => "hog_rest",
            Workload::BlockRead => "block_read",
            Workload::BlockSleep => "block_sleep",
            Workload::BlockLock => "block_lock",
        }
    }

    /// The workload with this name.
    pub fn from_name(name: &str) -> Option<Workload> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
    }

    /// How many operations a run does when `--n` does not say: enough for some tenths of a second
    /// on a runtime with its own scheduler.
    pub fn default_n(self) -> u64 {
        match self {
            Workload::Spawn => 500_000,
            Workload::SpawnBatch => 1_000_000,
            Workload::PingPong => 1_000_000,
            Workload::Chan1p1c => 5_000_000,
            Workload::Chan1p1cUnbuffered => 2_000_000,
            Workload::Chan4p4c => 4_000_000,
            Workload::Chan4p4cUnbuffered => 2_000_000,
            Workload::Select4 => 1_000_000,
            Workload::Mutex => 8_000_000,
            Workload::MutexUncontended => 20_000_000,
            Workload::Yield2 => 4_000_000,
            Workload::Yield100 => 4_000_000,
            Workload::Parked => 20_000,
            Workload::Echo64 => 200_000,
            Workload::Echo1000 => 200_000,
            Workload::Hog | Workload::HogRest => 3_000,
            Workload::BlockRead | Workload::BlockSleep | Workload::BlockLock => 1_000,
        }
    }

    /// The `n` for twins whose goroutine is an OS thread.
    ///
    /// Every figure is per operation, so a smaller `n` only keeps a run short: a thread switch is
    /// some hundred times dearer. Where nothing switches, the `n` stays.
    pub fn default_n_threads(self) -> u64 {
        match self {
            Workload::MutexUncontended | Workload::Echo64 | Workload::Echo1000 => self.default_n(),
            // Not per operation but over time.
            _ if self.counts_ticks() => self.default_n(),
            // The kernel's usual limits on threads and mappings end not far above.
            Workload::Parked => 5_000,
            _ => self.default_n() / 20,
        }
    }

    /// Whether an operation is a tick of 1 ms, so that `n` is a length of time.
    pub fn counts_ticks(self) -> bool {
        matches!(
            self,
            Workload::Hog
                | Workload::HogRest
                | Workload::BlockRead
                | Workload::BlockSleep
                | Workload::BlockLock
        )
    }

    /// Connections of the echo workloads.
    pub fn connections(self) -> Option<usize> {
        match self {
            Workload::Echo64 => Some(64),
            Workload::Echo1000 => Some(1_000),
            _ => None,
        }
    }

    /// What it models, what it counts, what would mislead.
    pub fn about(self) -> About {
        match self {
            Workload::Spawn => About {
                models: "a program that starts a goroutine for a small task and waits for it",
                counts: "one spawn, run, end and join, one after another",
                misleads: "the stack is always warm and there is one goroutine at a time: the best case of a stack cache",
            },
            Workload::SpawnBatch => About {
                models: "a request that fans out to many goroutines and waits for all",
                counts: "one of 1,000 goroutines of a batch: spawn, run, end and its share of the join",
                misleads: "with more than one proc, the batch can be stolen while it is made, so the number mixes spawning with waking another core",
            },
            Workload::PingPong => About {
                models: "two goroutines that answer each other: a call to an actor, a generator, a lock-step pipeline",
                counts: "one round trip over two unbuffered channels: two sends, two receives, two switches at least",
                misleads: "both goroutines can always run on one core, so it says nothing about waking another one; runtimes without unbuffered channels use what they have (noted)",
            },
            Workload::Chan1p1c => About {
                models: "a pipeline stage: one producer, one consumer, a channel of 128",
                counts: "one value sent and received",
                misleads: "in the best case a goroutine moves 128 values per switch, so this is the price of the queue, hardly of the scheduler",
            },
            Workload::Chan1p1cUnbuffered => About {
                models: "a hand-over: the sender goes on when the receiver has the value",
                counts: "one value handed over",
                misleads: "a scheduler that moves two values per switch halves the number without being faster at switching",
            },
            Workload::Chan4p4c => About {
                models: "a work queue: four producers, four consumers, a channel of 128",
                counts: "one value sent and received",
                misleads: "on fewer than eight cores the threads of the peers without a scheduler are rarely all awake; on one proc there is no contention at all",
            },
            Workload::Chan4p4cUnbuffered => About {
                models: "four producers that hand over to four consumers",
                counts: "one value handed over",
                misleads: "as for chan_4p4c",
            },
            Workload::Select4 => About {
                models: "a fan-in: one goroutine selects over four unbuffered channels, each with a producer",
                counts: "one value received through the select",
                misleads: "an unfair select can stay with one channel and look fast; the twins check the sum, not the order",
            },
            Workload::Mutex => About {
                models: "four goroutines that bump one counter behind one lock",
                counts: "one lock, add, unlock",
                misleads: "an unfair lock that lets the owner take it again at once looks fast and starves the others; on one proc the lock is nearly always free",
            },
            Workload::MutexUncontended => About {
                models: "a lock that is taken often and contended never",
                counts: "one lock, add, unlock by the only goroutine",
                misleads: "the lock's cache line never moves",
            },
            Workload::Yield2 => About {
                models: "two goroutines that yield to each other",
                counts: "one yield",
                misleads: "with two procs each may have a proc to itself, and a yield finds nothing to switch to",
            },
            Workload::Yield100 => About {
                models: "a hundred goroutines that yield in turn",
                counts: "one yield",
                misleads: "a hundred small stacks still fit the first caches",
            },
            Workload::Parked => About {
                models: "a server with very many idle connections: goroutines parked on one channel",
                counts: "per goroutine: resident memory and page tables that it adds, time to create it until all are parked, time to wake it until all are done",
                misleads: "the stacks are as shallow as they can be; a real goroutine has touched more of its stack. n is kept small for the peers that need two mappings a stack; --n raises it",
            },
            Workload::Echo64 => About {
                models: "a server with 64 busy connections, 64 bytes a message",
                counts: "one round trip as the wall sees it, and the server's CPU time for it",
                misleads: "loopback, and the load takes up to one core of the same machine: with two procs on two cores they share; the server's CPU time is the steadier number",
            },
            Workload::Echo1000 => About {
                models: "a server with 1,000 busy connections, 64 bytes a message",
                counts: "as echo_64",
                misleads: "as echo_64; one message in flight per connection, so many sockets are ready at once and each poll is well used",
            },
            Workload::Hog => About {
                models: "four goroutines that compute and call nothing, beside one that waits for a ticker of 1 ms",
                counts: "how late each tick is for who waits for it: a pause of 20 ms is twenty late ticks; seen is how often it was told at all; and the slowest loop's share of the work",
                misleads: "on two procs of two cores with nothing else running, the kernel's own time slices show as well: compare std, whose threads are the kernel's alone",
            },
            Workload::HogRest => About {
                models: "one `loop {}` by mistake, and the rest of the program: a ticker, two goroutines that play ping-pong, an echo over TCP",
                counts: "the ticker as hog; the longest time without a round trip of each, and how many there were",
                misleads: "with two procs one is left for the rest: one proc is the interesting number",
            },
            Workload::BlockRead => About {
                models: "64 goroutines in a library that reads from pipes with a blocking read(2), beside a ticker of 1 ms",
                counts: "the ticker as hog; how many were in the call at once; the time until all had returned, at best n ms",
                misleads: "the calls are made as in any function, not in spawn_blocking or its like: that is what the workload is about. Each blocked goroutine is an OS thread in any runtime that lets them overlap",
            },
            Workload::BlockSleep => About {
                models: "as block_read, in std::thread::sleep",
                counts: "as block_read",
                misleads: "as block_read",
            },
            Workload::BlockLock => About {
                models: "as block_read, in std's Mutex, which an OS thread outside the runtime holds",
                counts: "as block_read",
                misleads: "as block_read; Go has no lock that blocks a thread, so its twin parks",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_workload() {
        for workload in Workload::ALL {
            assert_eq!(Workload::from_name(workload.name()), Some(workload));
        }
        assert_eq!(Workload::from_name("spawn_"), None);
    }

    #[test]
    fn the_go_twin_has_the_same_defaults() {
        let go = include_str!("../../peers/go/main.go");
        let table: String = go.split_whitespace().collect();
        let rows: Vec<(&str, u64)> = Workload::ALL.map(|w| (w.name(), w.default_n())).into();
        for (name, n) in rows {
            let row = format!("\"{name}\":{{{},", with_underscores(n));
            assert!(table.contains(&row), "peers/go/main.go lacks {row}");
        }
    }

    fn with_underscores(n: u64) -> String {
        match n / 1_000 {
            0 => n.to_string(),
            thousands => format!("{}_{:03}", with_underscores(thousands), n % 1_000),
        }
    }
}
