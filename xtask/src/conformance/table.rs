//! The page `testing/conformance/README.md`: built, written, and read back.

use std::fmt::Write as _;

use crate::conformance::find::Found;
use crate::conformance::ids::{Ids, Mark};
use crate::conformance::results::{CONFIGURATIONS, Results};

const COLUMNS: usize = CONFIGURATIONS.len();

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    NotYet,
    Passed,
    /// A test shows the outcome of a decision.
    Decided(String),
    /// A test shows that it does not compile.
    Forbidden,
    NothingToTest,
}

impl State {
    fn text(&self) -> String {
        match self {
            State::NotYet => "not yet".into(),
            State::Passed => "passed".into(),
            State::Decided(id) => format!("decided otherwise ({id})"),
            State::Forbidden => "language forbids".into(),
            State::NothingToTest => "nothing to test".into(),
        }
    }

    fn parse(text: &str) -> Option<State> {
        let decided = text
            .strip_prefix("decided otherwise (")
            .and_then(|id| id.strip_suffix(')'));
        match text {
            "not yet" => Some(State::NotYet),
            "passed" => Some(State::Passed),
            "language forbids" => Some(State::Forbidden),
            "nothing to test" => Some(State::NothingToTest),
            _ => decided.map(|id| State::Decided(id.to_owned())),
        }
    }

    /// Whether a test stands behind it.
    fn is_shown(&self) -> bool {
        matches!(self, State::Passed | State::Decided(_) | State::Forbidden)
    }
}

#[derive(Debug)]
struct Row {
    id: String,
    title: String,
    area: String,
    /// The tests that count.
    tests: Vec<Test>,
    /// What is to be said beside them.
    note: String,
    states: [State; COLUMNS],
}

#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: String,
    path: String,
    /// Which cells show the same run, in the words of the page's head.
    same: String,
}

impl Test {
    fn of(found: &Found) -> Test {
        let mut same = Vec::new();
        if found.package == "gort-queue" {
            same.push("no runtime");
        }
        let sets = [
            (found.sets.procs, "own Ps"),
            (found.sets.order, "own order"),
            (found.sets.mode, "own mode"),
        ];
        same.extend(sets.into_iter().filter(|(is, _)| *is).map(|(_, word)| word));
        Test {
            name: found.name.clone(),
            path: found.path.clone(),
            same: same.join(", "),
        }
    }

    fn text(&self) -> String {
        let Test { name, path, same } = self;
        let link = format!("[`{name}`](../../{path})");
        match &**same {
            "" => link,
            same => format!("{link} ({same})"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    decisions: Vec<(String, String)>,
    rows: Vec<Row>,
}

impl Table {
    pub(super) fn build(ids: &Ids, found: &[Found], results: &Results, old: &Table) -> Table {
        let mut rows = Vec::new();
        for case in &ids.cases {
            let tests: Vec<&Found> = found
                .iter()
                .filter(|found| found.uncounted.is_none() && found.ids.contains(&case.id))
                .collect();
            let old_row = old.rows.iter().find(|row| row.id == case.id);
            let states = std::array::from_fn(|column| {
                if let Mark::Docs(_) = case.mark {
                    return State::NothingToTest;
                }
                let has_passed = |test: &&Found| {
                    let outcomes = if test.is_compile_fail {
                        &results.compile
                    } else {
                        &results.configurations[column]
                    };
                    match outcomes {
                        Some(outcomes) => outcomes.get(&test.name) == Some(&true),
                        // Not run this time: as it was, if this very test was there.
                        None => old_row.is_some_and(|row| {
                            row.states[column].is_shown() && row.has_test(&test.name)
                        }),
                    }
                };
                if tests.is_empty() || !tests.iter().all(has_passed) {
                    return State::NotYet;
                }
                match &case.mark {
                    // A case that does not compile is shown by the compiler and nothing else.
                    Mark::Forbidden if !tests.iter().any(|test| test.is_compile_fail) => {
                        State::NotYet
                    }
                    Mark::Forbidden => State::Forbidden,
                    Mark::Decided(id) => State::Decided(id.clone()),
                    Mark::ThreadMode(id, _) if CONFIGURATIONS[column].has_threads() => {
                        State::Decided(id.clone())
                    }
                    Mark::None | Mark::ThreadMode(..) | Mark::Docs(_) | Mark::Later(_) => {
                        State::Passed
                    }
                }
            });
            rows.push(Row {
                id: case.id.clone(),
                title: case.title.clone(),
                area: case.area.clone(),
                tests: tests.into_iter().map(Test::of).collect(),
                note: match &case.mark {
                    Mark::ThreadMode(_, why) => format!("In thread mode: {why}."),
                    mark => mark
                        .untested()
                        .map_or(String::new(), |why| format!("No test: {why}.")),
                },
                states,
            });
        }
        Table {
            decisions: ids.decisions.clone(),
            rows,
        }
    }

    /// Reads a page back. Lines that are no rows are passed over, and so is what the list of cases
    /// says better.
    pub(super) fn parse(page: &str) -> Table {
        let rows = page.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
            let states: Option<Vec<State>> = cells
                .get(3..3 + COLUMNS)?
                .iter()
                .map(|cell| State::parse(cell))
                .collect();
            let tests = cells[2].split("[`").skip(1);
            let names = tests.filter_map(|link| Some(link.split_once('`')?.0.to_owned()));
            Some(Row {
                id: cells[0].to_owned(),
                title: cells[1].to_owned(),
                area: String::new(),
                tests: names
                    .map(|name| Test {
                        name,
                        path: String::new(),
                        same: String::new(),
                    })
                    .collect(),
                note: String::new(),
                states: states?.try_into().ok()?,
            })
        });
        Table {
            decisions: Vec::new(),
            rows: rows.collect(),
        }
    }

    /// What this table shows and `new` does not any more.
    pub(super) fn losses(&self, new: &Table) -> Vec<String> {
        let mut losses = Vec::new();
        for row in self
            .rows
            .iter()
            .filter(|row| row.states.iter().any(State::is_shown))
        {
            let Some(new_row) = new.rows.iter().find(|new_row| new_row.id == row.id) else {
                losses.push(format!(
                    "{}: the case once passed and is not listed any more",
                    row.id
                ));
                continue;
            };
            let names = row.tests.iter().map(|test| &test.name);
            let gone = names.filter(|name| !new_row.has_test(name));
            losses.extend(gone.map(|name| format!("{}: `{name}` once passed and is gone", row.id)));
            for (column, configuration) in CONFIGURATIONS.iter().enumerate() {
                if row.states[column].is_shown() && !new_row.states[column].is_shown() {
                    let title = configuration.title;
                    losses.push(format!("{}: does not pass any more under: {title}", row.id));
                }
            }
        }
        losses
    }

    pub(super) fn summary(&self) -> String {
        let counts = CONFIGURATIONS
            .iter()
            .enumerate()
            .map(|(column, configuration)| {
                let shown = self
                    .rows
                    .iter()
                    .filter(|row| row.states[column].is_shown())
                    .count();
                format!("{shown} ({})", configuration.title)
            });
        let counts: Vec<String> = counts.collect();
        format!(
            "of {} cases are shown by tests: {}",
            self.rows.len(),
            counts.join(", ")
        )
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut page = String::from(HEAD);
        let titles: Vec<&str> = CONFIGURATIONS.iter().map(|c| c.title).collect();
        let titles = titles.join(" | ");
        let rules = "---|".repeat(COLUMNS);

        // `write!` to a `String` cannot fail.
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = writeln!(page, "{text}");
        };
        line(format_args!("| | {titles} |\n|---|{rules}"));
        type IsKind = fn(&State) -> bool;
        let kinds: [(&str, IsKind); 5] = [
            ("passed", |state| *state == State::Passed),
            ("decided otherwise", |state| {
                matches!(state, State::Decided(_))
            }),
            ("language forbids", |state| *state == State::Forbidden),
            ("nothing to test", |state| *state == State::NothingToTest),
            ("not yet", |state| *state == State::NotYet),
        ];
        for (name, is_kind) in kinds {
            let count = |column: usize| {
                self.rows
                    .iter()
                    .filter(|row| is_kind(&row.states[column]))
                    .count()
            };
            let counts: Vec<String> = (0..COLUMNS)
                .map(|column| count(column).to_string())
                .collect();
            line(format_args!("| {name} | {} |", counts.join(" | ")));
        }

        line(format_args!("\n## Decisions\n"));
        for (id, text) in &self.decisions {
            line(format_args!("* **{id}** {text}"));
        }

        let mut area = "";
        for row in &self.rows {
            if row.area != area {
                area = &row.area;
                line(format_args!("\n## {area}\n"));
                line(format_args!(
                    "| id | case | tests | {titles} |\n|---|---|---|{rules}"
                ));
            }
            let tests = row.tests.iter().map(Test::text);
            let note = (!row.note.is_empty()).then(|| row.note.clone());
            let tests: Vec<String> = tests.chain(note).collect();
            let states: Vec<String> = row.states.iter().map(State::text).collect();
            let (tests, states) = (tests.join("<br>"), states.join(" | "));
            line(format_args!(
                "| {} | {} | {tests} | {states} |",
                row.id, row.title
            ));
        }
        page
    }
}

const HEAD: &str = "\
<!-- Written by `cargo xtask conformance`; what is changed by hand is lost. -->

# Conformance with Go

What Go's goroutines, channels, locks, timers, contexts and sockets do, case by case, and whether a
test of ours shows the same. S1 to S159 come from articles about Go, the rest from the tests of Go
itself; [ids.txt](ids.txt) is the list. The suite is run once per configuration by
[ci/conformance.sh](../../ci/conformance.sh). A test that is ignored or asserts nothing does not
count.

* **passed**: all tests of the case passed.
* **decided otherwise**: Go's outcome does not fit Rust, or std has rules of its own, or goroutines are OS threads
  (A5); tests show what the decision gives instead.
* **language forbids**: the mistake does not compile, and a test shows that. The compiler is asked once, for all four.
* **nothing to test** and **not yet**: the reason stands where the tests would. *Not yet* without a reason is a test
  that does not pass.

The four cells of a row are not always four different runs. A test may set itself what a configuration would set:

* (own Ps): how many Ps there are, so that the second cell repeats the first.
* (own order): that the order is not shaken, or by which seed, so that the third cell repeats the second.
* (own mode): the thread-local mode, mostly both in one test, so that the fourth cell repeats the second.
* (no runtime): it needs none; all four are the same.

The runs are everyday ones, without optimization, and their sizes may be below those of the cases: S2, for one, counts
200,000 goroutines (1,000,000 with optimization), S58 has 300 blocking calls, S152 opens 5,000 sockets; where each
goroutine is a thread they are smaller still. `ci/conformance.sh --long` (`GORT_TEST_LONG=1`) has the sizes of the cases,
with optimization and stacks of their own; it tells which tests failed and writes nothing here. Some stay below: S1 and S4
have a million goroutines instead of ten, as those need more memory than most machines have, and S157 has 9,800
connections instead of 10,000, as a process has 20,000 descriptors.

";

impl Row {
    fn has_test(&self, name: &str) -> bool {
        self.tests.iter().any(|test| test.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::find::Sets;

    const IDS: &str = "D7 a decision\n[One]\nS1 first\nS2 second {D7}\nS3 third {forbids}\n\
                       [Two]\nS4 advice {docs: nothing}\nS5 no threads {D7 in thread mode: one each}\n";

    fn found(name: &str, is_compile_fail: bool) -> Found {
        let ids = Ids::parse(IDS).expect("it is well formed");
        Found {
            ids: ids.of_name(name).expect("the id is known"),
            name: name.into(),
            package: "pack".into(),
            path: "c/src/a.rs".into(),
            line: 1,
            is_compile_fail,
            sets: Sets::default(),
            uncounted: None,
        }
    }

    /// All configurations with the same outcomes.
    fn results(outcomes: &[(&str, bool)]) -> Results {
        let outcomes: std::collections::BTreeMap<String, bool> = outcomes
            .iter()
            .map(|&(name, passed)| (name.to_owned(), passed))
            .collect();
        Results {
            configurations: std::array::from_fn(|_| Some(outcomes.clone())),
            compile: Some(outcomes),
        }
    }

    fn build(found: &[Found], results: &Results, old: &Table) -> Table {
        Table::build(
            &Ids::parse(IDS).expect("it is well formed"),
            found,
            results,
            old,
        )
    }

    fn states(table: &Table, column: usize) -> Vec<String> {
        table
            .rows
            .iter()
            .map(|row| row.states[column].text())
            .collect()
    }

    #[test]
    fn without_tests_nothing_is_shown() {
        let table = build(&[], &results(&[("s001_x", true)]), &Table::default());
        assert_eq!(
            states(&table, 0),
            [
                "not yet",
                "not yet",
                "not yet",
                "nothing to test",
                "not yet"
            ]
        );
    }

    #[test]
    fn each_kind_of_case_has_its_state() {
        let found = [
            found("s001_a", false),
            found("s002_b", false),
            found("s003_c", true),
            found("s005_d", false),
        ];
        let passed = results(&[
            ("s001_a", true),
            ("s002_b", true),
            ("s003_c", true),
            ("s005_d", true),
        ]);
        let table = build(&found, &passed, &Table::default());
        let expected = [
            "passed",
            "decided otherwise (D7)",
            "language forbids",
            "nothing to test",
        ];
        for column in 0..COLUMNS {
            assert_eq!(states(&table, column)[..4], expected);
        }
        // The last one is thread mode.
        assert_eq!(states(&table, 2)[4], "passed");
        assert_eq!(states(&table, 3)[4], "decided otherwise (D7)");
    }

    #[test]
    fn every_test_of_a_case_must_pass() {
        let found = [found("s001_a", false), found("s001_b", false)];
        for outcome in [
            vec![("s001_a", true), ("s001_b", false)],
            vec![("s001_a", true)],
        ] {
            let table = build(&found, &results(&outcome), &Table::default());
            assert_eq!(states(&table, 0)[0], "not yet", "{outcome:?}");
        }
    }

    #[test]
    fn only_the_compiler_shows_what_the_language_forbids() {
        let table = build(
            &[found("s003_c", false)],
            &results(&[("s003_c", true)]),
            &Table::default(),
        );
        assert_eq!(states(&table, 0)[2], "not yet");
    }

    #[test]
    fn a_test_that_does_not_count_shows_nothing() {
        let mut ignored = found("s001_a", false);
        ignored.uncounted = Some("it is ignored");
        let table = build(&[ignored], &results(&[("s001_a", true)]), &Table::default());
        assert_eq!(states(&table, 0)[0], "not yet");
        assert_eq!(table.rows[0].tests, []);
    }

    #[test]
    fn reasons_and_repeats_stand_beside_the_tests() {
        let mut test = found("s005_a", false);
        test.sets.procs = true;
        test.sets.mode = true;
        let table = build(&[test], &results(&[("s005_a", true)]), &Table::default());
        let page = table.to_markdown();
        for line in [
            "| S4 | advice | No test: nothing. | nothing to test |",
            "| S5 | no threads | [`s005_a`](../../c/src/a.rs) (own Ps, own mode)<br>In thread mode: one each. | passed |",
        ] {
            assert!(page.contains(line), "{page}");
        }
        assert!(Table::parse(&page).rows[4].has_test("s005_a"));
        assert_eq!(Table::parse(&page).rows[3].tests, []);
    }

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let found = [
            found("s001_a", false),
            found("s001_b", false),
            found("s002_c", false),
        ];
        let passed = results(&[("s001_a", true), ("s001_b", true), ("s002_c", true)]);
        let table = build(&found, &passed, &Table::default());
        let old = Table::parse(&table.to_markdown());
        assert_eq!(old.rows.len(), 5);
        // Nothing was run: everything stays.
        let again = build(&found, &Results::default(), &old);
        assert_eq!(again.to_markdown(), table.to_markdown());
        assert_eq!(old.losses(&again), [""; 0]);
    }

    #[test]
    fn a_configuration_that_was_not_run_promises_nothing_for_new_tests() {
        let first = build(
            &[found("s001_a", false)],
            &results(&[("s001_a", true)]),
            &Table::default(),
        );
        let old = Table::parse(&first.to_markdown());
        let both = [found("s001_a", false), found("s001_b", false)];
        assert_eq!(
            states(&build(&both, &Results::default(), &old), 0)[0],
            "not yet"
        );
    }

    #[test]
    fn what_once_passed_must_not_vanish() {
        let all = [
            found("s001_a", false),
            found("s001_b", false),
            found("s002_c", false),
        ];
        let passed = results(&[("s001_a", true), ("s001_b", true), ("s002_c", true)]);
        let old = Table::parse(&build(&all, &passed, &Table::default()).to_markdown());

        let without_b = build(
            &[found("s001_a", false), found("s002_c", false)],
            &passed,
            &old,
        );
        assert_eq!(
            old.losses(&without_b),
            ["S1: `s001_b` once passed and is gone"]
        );

        let c_fails = results(&[("s001_a", true), ("s001_b", true), ("s002_c", false)]);
        let losses = old.losses(&build(&all, &c_fails, &old));
        assert_eq!(losses.len(), COLUMNS, "{losses:?}");
        assert_eq!(losses[0], "S2: does not pass any more under: own TLS, 1 P");
    }

    #[test]
    fn the_summary_counts() {
        let table = build(
            &[found("s001_a", false)],
            &results(&[("s001_a", true)]),
            &Table::default(),
        );
        assert!(
            table
                .summary()
                .starts_with("of 5 cases are shown by tests: 1 (own TLS, 1 P)")
        );
        let page = table.to_markdown();
        assert!(page.contains("| passed | 1 | 1 | 1 | 1 |"), "{page}");
        assert!(
            page.contains("| S1 | first | [`s001_a`](../../c/src/a.rs) | passed |"),
            "{page}"
        );
    }
}
