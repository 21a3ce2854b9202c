//! `gort doctor`: what this machine gives the runtime, and what to mend.
//!
//! Each fact is a line: `ok`, `degraded` (it works, at a price that the line names) or `off` (it
//! cannot be had), with the fix. What can be tried is tried, not concluded from version numbers.
//!
//! The facts of the runtime come from `gort_core::runtime::report`, those of the kernel from
//! `gort_core::os::probe` and from `/proc`.

use std::ffi::OsString;
use std::fs;

use gort::chan;
use gort_arch::guard::GuardKind;
use gort_arch::tls;
use gort_core::hibernate;
use gort_core::os::{cgroup, probe};
use gort_core::runtime::Report;
use lexopt::prelude::*;
use serde_json::json;

use crate::limits::{self, Limit};
use crate::number::{bytes, grouped};
use crate::{Failure, machine, print};

const HELP: &str = "\
Tells what this machine gives the runtime, and what to mend.

usage: gort doctor [--json]

  --json    the facts as a JSON array";

/// Below this, a busy server runs out of descriptors before anything else.
const OPEN_FILES_GOOD: u64 = 65_536;
/// Threads that the runtime may need: its own few, and one for each call that blocks in the kernel.
const THREADS_GOOD: u64 = 1_024;
/// The kernel's default of `vm.max_map_count`.
const MAP_COUNT_DEFAULT: u64 = 65_530;
/// Goroutines parked to see what one takes.
const SAMPLE: u64 = 2_000;

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Degraded,
    Off,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::Off => "off",
        }
    }
}

/// One line.
#[derive(Debug)]
struct Fact {
    name: &'static str,
    state: State,
    value: String,
    fix: Option<String>,
}

impl Fact {
    fn ok(name: &'static str, value: impl Into<String>) -> Fact {
        Fact {
            name,
            state: State::Ok,
            value: value.into(),
            fix: None,
        }
    }

    fn degraded(name: &'static str, value: impl Into<String>, fix: impl Into<String>) -> Fact {
        Fact {
            name,
            state: State::Degraded,
            value: value.into(),
            fix: Some(fix.into()),
        }
    }

    fn off(name: &'static str, value: impl Into<String>, fix: impl Into<String>) -> Fact {
        Fact {
            name,
            state: State::Off,
            value: value.into(),
            fix: Some(fix.into()),
        }
    }
}

pub(crate) fn main(words: Vec<OsString>) -> Result<(), Failure> {
    let mut is_json = false;
    let mut args = lexopt::Parser::from_args(words);
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => is_json = true,
            Long("help") | Short('h') => {
                return print(HELP);
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    let facts = gort::run(examine);
    match is_json {
        true => print(as_json(&facts)),
        false => print(as_lines(&facts)),
    }
}

fn as_lines(facts: &[Fact]) -> String {
    let mut lines = Vec::new();
    for Fact {
        name,
        state,
        value,
        fix,
    } in facts
    {
        lines.push(format!("{:<9} {name:<20} {value}", state.name()));
        if let Some(fix) = fix {
            lines.push(format!("{:<30} -> {fix}", ""));
        }
    }
    lines.join(
        "
",
    )
}

fn as_json(facts: &[Fact]) -> serde_json::Value {
    let object = |fact: &Fact| {
        json!({
            "name": fact.name,
            "state": fact.state.name(),
            "value": fact.value,
            "fix": fact.fix,
        })
    };
    facts.iter().map(object).collect()
}

fn examine() -> Vec<Fact> {
    let each = parked_bytes();
    // After the sample: only then is it known what guards are made of.
    let report = gort_core::runtime::report();
    vec![
        kernel(),
        c_library(),
        allocator(&fs::read_to_string("/proc/self/maps").unwrap_or_default()),
        thread_locals(&report),
        fs_base(&report),
        guards(&report),
        max_map_count(&report),
        overcommit(),
        userfaultfd(),
        hibernation(),
        membarrier(),
        netpoll(&report),
        gomaxprocs(&report),
        cgroup_cpu(),
        cgroup_memory(),
        open_files(limits::open_files()),
        threads(),
        stacks(&report),
        capacity(&report, each),
    ]
}

fn kernel() -> Fact {
    let release =
        machine::line_in("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into());
    Fact::ok(
        "kernel",
        format!("Linux {release}, {}", machine::processor()),
    )
}

fn c_library() -> Fact {
    Fact::ok("C library", probe::libc_version())
}

/// Looks for allocators that keep a large cache for each thread, among the libraries in `maps`.
fn allocator(maps: &str) -> Fact {
    let known = ["mimalloc", "jemalloc", "tcmalloc", "snmalloc"];
    match known.into_iter().find(|name| maps.contains(name)) {
        None => Fact::ok(
            "allocator",
            "the C library's; its cache is lent to the goroutine that runs",
        ),
        Some(name) => Fact::degraded(
            "allocator",
            format!(
                "{name} is loaded: it keeps a cache for each thread, and so for each goroutine that allocates"
            ),
            "as a Rust global allocator wrap it in gort::alloc::OnThread; otherwise leave LD_PRELOAD alone",
        ),
    }
}

fn thread_locals(report: &Report) -> Fact {
    let name = "thread-locals";
    match report.tls.mode {
        tls::Mode::Own => Fact::ok(
            name,
            format!(
                "each goroutine has its own block of {} + {} spare for libraries loaded later ({})",
                bytes(report.tls.static_bytes as f64),
                bytes(report.tls.surplus_bytes as f64),
                report.tls.reason,
            ),
        ),
        _ => Fact::degraded(
            name,
            format!(
                "each goroutine has an OS thread, and so fewer goroutines fit: {}",
                report.tls.reason
            ),
            "own blocks need x86-64 Linux with glibc, and GORT_TLS not set to thread",
        ),
    }
}

fn fs_base(report: &Report) -> Fact {
    match report.tls.mode {
        tls::Mode::Own if report.tls.fsgsbase => {
            Fact::ok("FSGSBASE", "the switch sets the FS base itself (wrfsbase)")
        }
        tls::Mode::Own => Fact::degraded(
            "FSGSBASE",
            "each switch makes a system call (arch_prctl), some 175 ns more",
            "a kernel from 5.9 on, without `nofsgsbase` on its command line, on a processor with FSGSBASE",
        ),
        _ => Fact::off(
            "FSGSBASE",
            "not used: goroutines have threads",
            "see thread-locals",
        ),
    }
}

fn guards(report: &Report) -> Fact {
    let name = "stack guards";
    let slots: usize = report.stacks.classes.iter().map(|class| class.slots).sum();
    match report.stacks.guard {
        Some(GuardKind::Install) => Fact::ok(
            name,
            format!(
                "MADV_GUARD_INSTALL, {} so far, without limit",
                grouped(slots as u64)
            ),
        ),
        Some(GuardKind::Protect) => Fact::degraded(
            name,
            format!(
                "mprotect, {} so far, at most {}: each takes a mapping",
                grouped(slots as u64),
                grouped(report.stacks.guards_max as u64)
            ),
            "Linux 6.13 or newer, or raise vm.max_map_count",
        ),
        None => Fact::off(
            name,
            "the system's: goroutines have threads",
            "see thread-locals",
        ),
    }
}

fn max_map_count(report: &Report) -> Fact {
    let name = "vm.max_map_count";
    let Some(count) = machine::number_in("/proc/sys/vm/max_map_count") else {
        return Fact::off(name, "cannot be read", "mount /proc");
    };
    let is_needed = report.stacks.guard != Some(GuardKind::Install);
    if is_needed && count <= MAP_COUNT_DEFAULT {
        let fix = "sysctl -w vm.max_map_count=1048576 for more goroutines with mprotect guards";
        return Fact::degraded(name, grouped(count), fix);
    }
    let why = if is_needed { "" } else { " (guards take none)" };
    Fact::ok(name, format!("{}{why}", grouped(count)))
}

fn overcommit() -> Fact {
    let name = "overcommit";
    match machine::number_in("/proc/sys/vm/overcommit_memory") {
        Some(0) => Fact::ok(
            name,
            "0: the kernel guesses; stacks are mapped without reservation",
        ),
        Some(1) => Fact::ok(name, "1: always"),
        Some(mode) => Fact::degraded(
            name,
            format!("{mode}: the address space of every stack counts as used memory"),
            "sysctl -w vm.overcommit_memory=0, or smaller stacks (GORT_STACK, Config::stack_size)",
        ),
        None => Fact::off(name, "cannot be read", "mount /proc"),
    }
}

fn userfaultfd() -> Fact {
    match probe::userfaultfd() {
        Ok(()) => Fact::ok("userfaultfd", "can be had"),
        Err(err) => Fact::off(
            "userfaultfd",
            format!("refused: {err}"),
            "Linux 5.11 or newer, and a seccomp profile that allows userfaultfd",
        ),
    }
}

fn hibernation() -> Fact {
    match hibernate::probe() {
        Ok(()) => Fact::ok(
            "hibernation",
            "can be had (Config::hibernate, GORT_HIBERNATE=10s)",
        ),
        Err(why) => Fact::off(
            "hibernation",
            format!("parked goroutines keep their memory: {why}"),
            "Linux 6.6 or newer with userfaultfd, and goroutines with stacks of their own (see thread-locals)",
        ),
    }
}

fn membarrier() -> Fact {
    match probe::membarrier() {
        Ok(()) => Fact::ok("membarrier", "can be had (private expedited)"),
        Err(err) => Fact::degraded(
            "membarrier",
            format!("refused: {err}; runtime calls use full fences instead"),
            "Linux 4.14 or newer, and a seccomp profile that allows membarrier",
        ),
    }
}

fn netpoll(report: &Report) -> Fact {
    // It is made at first need, so its absence says nothing yet.
    let state = if report.netpoll {
        "epoll, in use"
    } else {
        "epoll, made when the first socket needs it"
    };
    Fact::ok("network poller", state)
}

fn gomaxprocs(report: &Report) -> Fact {
    Fact::ok(
        "GOMAXPROCS",
        format!("{} (from {})", report.procs, report.procs_source),
    )
}

fn cgroup_cpu() -> Fact {
    match cgroup::cpu_quota() {
        None => Fact::ok("cgroup CPU", "no quota"),
        Some(quota) if quota < 1.0 => Fact::degraded(
            "cgroup CPU",
            format!("a quota of {quota:.2} processors: all threads stand still when it is used up"),
            "a quota of at least one processor",
        ),
        Some(quota) => Fact::ok("cgroup CPU", format!("a quota of {quota:.2} processors")),
    }
}

fn cgroup_memory() -> Fact {
    let limit = cgroup::memory_limit().map_or("no limit".into(), |limit| {
        format!("a limit of {}", bytes(limit as f64))
    });
    Fact::ok("cgroup memory", limit)
}

fn open_files(limit: Limit) -> Fact {
    let value = match limit.soft == limit.hard {
        true => limit_text(limit.soft),
        false => format!(
            "{}, can be raised to {}",
            limit_text(limit.soft),
            limit_text(limit.hard)
        ),
    };
    if limit.soft >= OPEN_FILES_GOOD {
        return Fact::ok("open files", value);
    }
    let fix = match limit.hard >= OPEN_FILES_GOOD {
        true => format!(
            "ulimit -n {OPEN_FILES_GOOD} before the program (gort load and gort echo raise it themselves)"
        ),
        false => {
            "raise the hard limit: /etc/security/limits.conf, or LimitNOFILE= of a systemd service"
                .to_owned()
        }
    };
    Fact::degraded(
        "open files",
        format!("{value}: so many connections at most"),
        fix,
    )
}

fn threads() -> Fact {
    let of_user = limits::processes().soft;
    let of_system = ["threads-max", "pid_max"]
        .map(|name| machine::number_in(&format!("/proc/sys/kernel/{name}")));
    let most = of_system.into_iter().flatten().fold(of_user, u64::min);
    let value = format!(
        "{} (RLIMIT_NPROC {})",
        limit_text(most),
        limit_text(of_user)
    );
    match most >= THREADS_GOOD {
        true => Fact::ok("threads", value),
        false => Fact::degraded(
            "threads",
            value,
            "ulimit -u, or LimitNPROC= of a systemd service",
        ),
    }
}

fn stacks(report: &Report) -> Fact {
    let value = format!(
        "{} of address space by default, committed page by page",
        bytes(report.stack_bytes as f64)
    );
    Fact::ok("stack", value)
}

/// How many parked goroutines fit, from what one takes here.
fn capacity(report: &Report, each: f64) -> Fact {
    let memory = machine::available_memory();
    let by_memory = (memory as f64 / each) as u64;
    let by_guards = match report.stacks.guard {
        Some(GuardKind::Protect) => report.stacks.guards_max as u64,
        _ => u64::MAX,
    };
    let by_space = limits::address_space().soft / report.stack_bytes.max(1) as u64;
    let fit = by_memory.min(by_guards).min(by_space);
    let bound = match fit {
        _ if fit == by_memory => "memory",
        _ if fit == by_guards => "stack guards",
        _ => "address space (ulimit -v)",
    };
    Fact::ok(
        "goroutines that fit",
        format!(
            "about {} parked ones in {}, {} each; {bound} is the bound",
            grouped(fit),
            bytes(memory as f64),
            bytes(each)
        ),
    )
}

/// Resident bytes of one parked goroutine, measured on some thousand.
fn parked_bytes() -> f64 {
    let (arrived, all_arrived) = chan::bounded(SAMPLE as usize);
    let (gate, at_gate) = chan::bounded::<()>(0);
    let before = machine::resident_bytes();
    let sample: Vec<_> = (0..SAMPLE)
        .map(|_| {
            let (arrived, at_gate) = (arrived.clone(), at_gate.clone());
            gort::go(move || {
                arrived.send(()).expect("the examiner waits for it");
                // Nothing is ever sent: the close is the end.
                let _closed = at_gate.recv();
            })
        })
        .collect();
    for _ in 0..SAMPLE {
        all_arrived
            .recv()
            .expect("every goroutine of the sample tells");
    }
    let bytes = machine::resident_bytes().saturating_sub(before);
    drop(gate);
    for goroutine in sample {
        goroutine.join().expect("no panic inside");
    }
    // Never zero, whatever the kernel has counted meanwhile.
    (bytes as f64 / SAMPLE as f64).max(1.0)
}

fn limit_text(limit: u64) -> String {
    if limit == u64::MAX {
        "unlimited".into()
    } else {
        grouped(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocator_with_thread_caches_is_named() {
        assert_eq!(allocator("7f00 /usr/lib/libc.so.6").state, State::Ok);
        let fact = allocator("7f00 /usr/lib/libjemalloc.so.2");
        assert_eq!(fact.state, State::Degraded);
        assert!(fact.value.contains("jemalloc") && fact.fix.is_some());
    }

    #[test]
    fn a_low_limit_that_can_be_raised_has_another_fix_than_a_hard_one() {
        let fact = open_files(Limit {
            soft: 1_024,
            hard: 1 << 20,
        });
        assert!(fact.fix.expect("degraded").contains("ulimit -n"));
        let fact = open_files(Limit {
            soft: 1_024,
            hard: 4_096,
        });
        assert!(fact.fix.expect("degraded").contains("hard limit"));
        assert_eq!(
            open_files(Limit {
                soft: u64::MAX,
                hard: u64::MAX
            })
            .state,
            State::Ok
        );
    }

    #[test]
    fn every_fact_that_is_not_ok_has_a_fix() {
        let facts = gort::run(examine);
        for fact in &facts {
            assert_eq!(fact.fix.is_none(), fact.state == State::Ok, "{fact:?}");
        }
        let capacity = facts.last().expect("there are facts");
        assert!(capacity.value.contains("parked"), "{capacity:?}");
    }
}
