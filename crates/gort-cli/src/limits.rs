//! What this process may have: descriptors, threads and goroutines.

use std::io;

use gort::runtime::TlsMode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;
use crate::number::grouped;

/// Descriptors that the process needs beside connections: standard streams, epoll, timers, and room
/// for a look-up meanwhile.
const SPARE_DESCRIPTORS: u64 = 32;

/// Goroutines fewer than could be started are advised: in thread mode they share the limit with threads whose
/// number varies.
const SPARE_GOROUTINES: u64 = 16;

/// A limit with its two ends; `u64::MAX` is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

pub(crate) fn open_files() -> Limit {
    read(Resource::Nofile)
}

pub(crate) fn processes() -> Limit {
    read(Resource::Nproc)
}

pub(crate) fn address_space() -> Limit {
    read(Resource::As)
}

fn read(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit {
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
    }
}

/// Raises the limit on open files as far as it goes without privileges, and returns it.
///
/// A refusal leaves it as it was; what needs more then fails with the number that fits.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    open_files().soft
}

/// How many connections of `descriptors_each` fit into `limit` open files beside what is open now.
pub(crate) fn connections_that_fit(limit: u64, descriptors_each: u64) -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    limit.saturating_sub(open.max(SPARE_DESCRIPTORS)) / descriptors_each
}

/// Checks that `wanted` connections fit.
pub(crate) fn check_connections(wanted: u64, limit: u64) -> Result<(), Failure> {
    let fit = connections_that_fit(limit, 1);
    if wanted <= fit {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} connections do not fit into the limit of {} open files; {} do: use --conns {fit}, or raise the hard limit \
         (ulimit -Hn, /etc/security/limits.conf, LimitNOFILE= of a systemd service)",
        grouped(wanted),
        grouped(limit),
        grouped(fit),
    )))
}

/// The failure of a command that wanted a goroutine for each of `wanted` connections and was refused with
/// `err` after `started`.
pub(crate) fn too_few_goroutines(wanted: u64, started: u64, err: &io::Error) -> Failure {
    let fit = started.saturating_sub(SPARE_GOROUTINES).max(1);
    let why = match gort::runtime::metrics().tls_mode {
        TlsMode::Own => "",
        _ => ": each is an OS thread here",
    };
    Failure::failed(format!(
        "{} connections need a goroutine each, and {} could be started: {err}; use --conns {fit}, or mend what \
         `gort doctor` names{why}",
        grouped(wanted),
        grouped(started),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_connections_name_the_number_that_fits() {
        let fit = connections_that_fit(1_000, 1);
        assert!((900..1_000).contains(&fit), "{fit}");
        assert!(check_connections(fit, 1_000).is_ok());
        let Err(Failure::Failed(why)) = check_connections(fit + 1, 1_000) else {
            panic!("one more than fits was accepted");
        };
        assert!(why.contains(&format!("--conns {fit}")), "{why}");
    }
}
