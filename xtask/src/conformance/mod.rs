//! `cargo xtask conformance`: the table of Go's semantics, from tests and what became of them.
//!
//! `testing/conformance/ids.txt` lists the cases. A test names the cases it covers, and `find`
//! reads the names from the source. `ci/conformance.sh` runs those tests once per configuration and
//! leaves the output in `target/conformance`, which `results` reads. `table` puts the three together
//! as `testing/conformance/README.md`.
//!
//! The page is also the memory: where a configuration has not been run, its column stays as it was,
//! and what has passed before must not vanish unnoticed.

mod find;
mod ids;
mod results;
mod table;

use std::fs;
use std::path::Path;

use crate::tree::Tree;
use find::Found;
use ids::Ids;
use results::Results;
use table::Table;

const IDS: &str = "testing/conformance/ids.txt";
const PAGE: &str = "testing/conformance/README.md";

pub(crate) fn write(root: &Path, may_forget: bool) -> Result<(), String> {
    let state = State::read(root)?;
    state.report_uncounted();
    state.unexplained()?;
    if !may_forget {
        state.losses()?;
    }
    let page = root.join(PAGE);
    fs::write(&page, state.new.to_markdown())
        .map_err(|error| format!("cannot write {}: {error}", page.display()))?;
    println!("{PAGE}: {}", state.new.summary());
    Ok(())
}

pub(crate) fn check(root: &Path) -> Result<(), String> {
    let state = State::read(root)?;
    state.report_uncounted();
    state.unexplained()?;
    state.losses()?;
    if state.page != state.new.to_markdown() {
        return Err(format!(
            "{PAGE} is out of date: run `cargo xtask conformance`"
        ));
    }
    println!("{PAGE}: {}", state.new.summary());
    Ok(())
}

pub(crate) fn print_packages(root: &Path) -> Result<(), String> {
    let mut packages: Vec<String> = counted(root)?
        .into_iter()
        .map(|found| found.package)
        .collect();
    packages.sort();
    packages.dedup();
    packages.iter().for_each(|package| println!("{package}"));
    Ok(())
}

pub(crate) fn print_filters(root: &Path) -> Result<(), String> {
    counted(root)?
        .iter()
        .for_each(|found| println!("{}", found.name));
    Ok(())
}

fn counted(root: &Path) -> Result<Vec<Found>, String> {
    let state = State::read(root)?;
    Ok(state
        .found
        .into_iter()
        .filter(|found| found.uncounted.is_none())
        .collect())
}

/// All that the commands work on.
struct State {
    page: String,
    ids: Ids,
    old: Table,
    new: Table,
    found: Vec<Found>,
}

impl State {
    fn read(root: &Path) -> Result<State, String> {
        let tree = Tree::read(root)?;
        let text = |path: &str| tree.get(path).map(|file| file.text.clone());
        let ids = Ids::parse(&text(IDS).ok_or_else(|| format!("{IDS} is missing"))?)?;
        let found = find::find(&tree, &ids)?;
        let results = Results::read(root)?;
        let page = text(PAGE).unwrap_or_default();
        let old = Table::parse(&page);
        let new = Table::build(&ids, &found, &results, &old);
        Ok(State {
            page,
            ids,
            old,
            new,
            found,
        })
    }

    fn report_uncounted(&self) {
        for found in &self.found {
            if let Some(reason) = found.uncounted {
                println!(
                    "{}:{}: `{}` does not count: {reason}",
                    found.path, found.line, found.name
                );
            }
        }
    }

    /// Fails if a case has neither a test nor a reason to have none, or both.
    fn unexplained(&self) -> Result<(), String> {
        let problems = self.ids.cases.iter().filter_map(|case| {
            let counted = |found: &&Found| found.uncounted.is_none();
            let mut tests = self.found.iter().filter(counted);
            let has_test = tests.any(|found| found.ids.contains(&case.id));
            match (has_test, case.mark.untested()) {
                (false, None) => Some(format!(
                    "{}: no test, and {IDS} does not say why: `{{later: why}}` or `{{docs: why}}`",
                    case.id
                )),
                (true, Some(_)) => Some(format!(
                    "{}: it has a test, and {IDS} says why it has none",
                    case.id
                )),
                _ => None,
            }
        });
        let problems: Vec<String> = problems.collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("\n")),
        }
    }

    fn losses(&self) -> Result<(), String> {
        let losses = self.old.losses(&self.new);
        if losses.is_empty() {
            return Ok(());
        }
        let advice = "mend them, or say that they may go: `cargo xtask conformance --forget`";
        Err(format!("{}\n{advice}", losses.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_without_a_test_says_why() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let mut state = State::read(root.expect("xtask lies in the workspace")).expect("readable");
        assert_eq!(state.unexplained(), Ok(()));

        let has_no_test = |id: &str| format!("{id}: no test, and {IDS}");
        state
            .found
            .retain(|found| !found.ids.contains(&"S1".into()));
        let error = state.unexplained().expect_err("S1");
        assert!(error.starts_with(&has_no_test("S1")), "{error}");

        state.ids.cases.retain(|case| case.id == "S2");
        state.ids.cases[0].mark = ids::Mark::Later("x".into());
        let error = state.unexplained().expect_err("S2");
        assert!(error.starts_with("S2: it has a test"), "{error}");
    }
}
