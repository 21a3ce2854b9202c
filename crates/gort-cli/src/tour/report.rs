//! What the tour found: a table of numbers and a list of checks.

use std::fmt;

/// Rows and checks, in the order of the tour.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    checks: Vec<Check>,
}

#[derive(Debug)]
enum Row {
    Section(String),
    Value(String, String),
}

#[derive(Debug)]
struct Check {
    what: String,
    is_right: bool,
}

impl Report {
    /// A heading between the rows.
    pub(crate) fn section(&mut self, title: impl Into<String>) {
        self.rows.push(Row::Section(title.into()));
    }

    /// A number below the last heading.
    pub(crate) fn row(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push(Row::Value(name.to_owned(), value.into()));
    }

    /// Notes whether the work was done as it should be; `what` says what was looked at, with numbers.
    pub(crate) fn check(&mut self, is_right: bool, what: impl Into<String>) {
        self.checks.push(Check {
            what: what.into(),
            is_right,
        });
    }

    pub(crate) fn failed_checks(&self) -> usize {
        self.checks.iter().filter(|check| !check.is_right).count()
    }

    /// The widths of the two columns.
    fn widths(&self) -> (usize, usize) {
        self.rows
            .iter()
            .fold((0, 0), |(names, values), row| match row {
                Row::Section(_) => (names, values),
                Row::Value(name, value) => (
                    names.max(name.chars().count()),
                    values.max(value.chars().count()),
                ),
            })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, values) = self.widths();
        for row in &self.rows {
            match row {
                Row::Section(title) => writeln!(f, "\n{title}")?,
                Row::Value(name, value) => writeln!(f, "  {name:<names$}  {value:>values$}")?,
            }
        }
        writeln!(f, "\nChecks")?;
        for check in &self.checks {
            let mark = if check.is_right { "ok    " } else { "FAILED" };
            writeln!(f, "  {mark}  {}", check.what)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_one_column_and_failures_stand_out() {
        let mut report = Report::default();
        report.section("A long title");
        report.row("µs", "1");
        report.row("longer", "1,000");
        report.check(true, "this");
        report.check(false, "that");
        let text = report.to_string();
        assert!(
            text.contains("\nA long title\n  µs          1\n  longer  1,000\n"),
            "{text}"
        );
        assert!(text.contains("  ok      this\n  FAILED  that\n"), "{text}");
        assert_eq!(report.failed_checks(), 1);
    }
}
