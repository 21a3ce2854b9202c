//! What became of the tests: the output of `cargo test`, one file per configuration.
//!
//! `ci/conformance.sh` leaves the files in `target/conformance`. A configuration without a file has
//! not been run. Compile-fail tests do not depend on the configuration: `compile.txt` speaks for
//! all. A test is known by its last name; if two share it, both must pass.
//!
//! A test that cannot be had under a configuration prints `skipped: NAME: why` and returns. It does
//! not count as passed there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A way to run the suite.
pub(super) struct Configuration {
    /// The name of its file, without the ending.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
}

/// `ci/conformance.sh` sets what each one means.
pub(super) const CONFIGURATIONS: [Configuration; 4] = [
    Configuration {
        file: "own-1",
        title: "own TLS, 1 P",
    },
    Configuration {
        file: "own-4",
        title: "own TLS, 4 Ps",
    },
    Configuration {
        file: "shaken",
        title: "shaken, 4 Ps",
    },
    Configuration {
        file: "thread",
        title: "thread mode",
    },
];

const COMPILE: &str = "compile";

/// Whether each test passed, by name.
type Outcomes = BTreeMap<String, bool>;

#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) configurations: [Option<Outcomes>; CONFIGURATIONS.len()],
    pub(super) compile: Option<Outcomes>,
}

impl Configuration {
    /// Whether each goroutine is an OS thread.
    pub(super) fn has_threads(&self) -> bool {
        self.file == "thread"
    }
}

impl Results {
    pub(super) fn read(root: &Path) -> Result<Results, String> {
        let read = |name: &str| {
            let path = root
                .join("target/conformance")
                .join(name)
                .with_extension("txt");
            match fs::read(&path) {
                // Tests print what they like, also broken UTF-8.
                Ok(bytes) => Ok(Some(parse(&String::from_utf8_lossy(&bytes)))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            }
        };
        let mut results = Results {
            compile: read(COMPILE)?,
            ..Results::default()
        };
        for (index, configuration) in CONFIGURATIONS.iter().enumerate() {
            results.configurations[index] = read(configuration.file)?;
        }
        Ok(results)
    }
}

fn parse(output: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in without_colours(output).lines() {
        let (name, has_passed) = if let Some((_, skipped)) = line.split_once("skipped: ") {
            (skipped.split([':', ' ']).next().unwrap_or(skipped), false)
        } else if let Some((test, outcome)) = outcome(line) {
            (last_name(test), outcome.trim() == "ok")
        } else {
            continue;
        };
        outcomes
            .entry(name.to_owned())
            .and_modify(|all| *all &= has_passed)
            .or_insert(has_passed);
    }
    outcomes
}

/// The runner of compile-fail cases colours its lines even for a file.
fn without_colours(output: &str) -> String {
    let mut parts = output.split("\x1b[");
    let mut plain = parts.next().unwrap_or("").to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// The harnesses' words: libtest's, and those of compile-fail cases.
const OUTCOMES: [&str; 6] = ["ok", "FAILED", "ignored", "mismatch", "error", "wip"];

/// Splits `test NAME ... OUTCOME`. Other output may stand before it on the line. What a test printed may also
/// stand in the outcome's place, if nobody captured it (a test that runs itself as a child shows the child's
/// lines): such a line says nothing.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (before, outcome) = line.rsplit_once(" ... ")?;
    let word = outcome.trim().split(',').next().unwrap_or(outcome);
    if !OUTCOMES.contains(&word) {
        return None;
    }
    let start = before
        .rfind("test ")
        .filter(|&at| at == 0 || !before[..at].ends_with('/'))?;
    Some((&before[start + "test ".len()..], outcome))
}

/// The name that the source gives to a test:
///
/// * `queue::tests::s042_x`, perhaps ` - should panic` after it
/// * `src/nc.rs - nc::s018_x (line 3) - compile fail`
/// * `tests/ui/s018_x.rs`, perhaps ` [should fail to compile]` after it
/// * `deadlock::s120_x::own` and `deadlock::s120_x::thread`, which `in_both_modes!` makes of one check
fn last_name(test: &str) -> &str {
    let mut parts = test.split(" - ");
    let first = parts.next().unwrap_or(test);
    let name = match parts.next() {
        Some(item) if first.ends_with(".rs") => item,
        _ => first,
    };
    let name = name.split(' ').next().unwrap_or(name);
    let name = name.strip_suffix(".rs").unwrap_or(name);
    let mode = name
        .strip_suffix("::own")
        .or_else(|| name.strip_suffix("::thread"));
    let name = mode.unwrap_or(name);
    name.rsplit(['/', ':']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_line_is_read() {
        let output = "\
running 8 tests
test queue::tests::s042_ring ... ok
test s001_panics - should panic ... ok
test s002_fails ... FAILED
test s003_long ... ignored, it takes minutes
test src/nc.rs - nc::s018_shared (line 3) - compile fail ... ok
test tests/ui/ch07_views.rs ... ok
test s005_dies::own ... ok
test deadlock::s006_dies::own ... ok
test deadlock::s006_dies::thread ... FAILED
test tests/ui/ch08_views.rs [should fail to compile] ... mismatch
test \x1b[0m\x1b[1mtests/ui/s020_coloured.rs\x1b[0m ... \x1b[0m\x1b[32mok\x1b[0m
printed without a newline test s004_talks ... ok
test result: ok. 3 passed; 1 failed
";
        let expected = [
            ("ch07_views", true),
            ("ch08_views", false),
            ("s001_panics", true),
            ("s002_fails", false),
            ("s003_long", false),
            ("s004_talks", true),
            ("s005_dies", true),
            ("s006_dies", false),
            ("s018_shared", true),
            ("s020_coloured", true),
            ("s042_ring", true),
        ];
        let outcomes = parse(output);
        let outcomes: Vec<_> = outcomes
            .iter()
            .map(|(name, passed)| (&**name, *passed))
            .collect();
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn what_a_test_prints_is_no_outcome() {
        let output = "\
test seeds::s158_memory ... bytes per connection: [9220]
ok
test s002_alone ... of its own
test seeds::s158_memory ... ok
";
        let outcomes = parse(output);
        assert_eq!(outcomes.get("s158_memory"), Some(&true));
        // Without the harness's word it has not passed.
        assert_eq!(outcomes.get("s002_alone"), None);
    }

    #[test]
    fn a_skipped_test_has_not_passed() {
        for output in [
            "skipped: s004_million: threads are too few\ntest s004_million ... ok\n",
            "test a::s004_million ... ok\nskipped: s004_million: threads are too few\n",
        ] {
            assert_eq!(parse(output).get("s004_million"), Some(&false), "{output}");
        }
    }

    #[test]
    fn of_two_with_one_name_both_must_pass() {
        assert_eq!(
            parse("test a::s001_x ... ok\ntest b::s001_x ... FAILED").get("s001_x"),
            Some(&false)
        );
        assert_eq!(
            parse("test a::s001_x ... ok\ntest b::s001_x ... ok").get("s001_x"),
            Some(&true)
        );
    }
}
