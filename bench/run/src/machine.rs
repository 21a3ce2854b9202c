//! What the numbers were measured on.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Error;
use crate::peer::Programs;

/// The head of a result file.
pub(crate) struct Machine {
    lines: Vec<(&'static str, String)>,
}

impl Machine {
    /// Reads the facts; what cannot be read is said to be unknown.
    pub(crate) fn describe(root: &Path, programs: &Programs) -> Machine {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let mut lines = vec![
            ("date", today().unwrap_or_else(|_| "unknown".into())),
            ("commit", commit(root)),
            (
                "machine",
                format!("{}, {cores} cores, {}", processor(), memory()),
            ),
            ("kernel", read_line("/proc/sys/kernel/osrelease")),
            // Other work on the machine is the first suspect when a number looks odd.
            ("load before", read_line("/proc/loadavg")),
            ("rustc", output(Command::new("rustc").arg("--version"))),
        ];
        if let Some(go) = &programs.go {
            lines.push((
                "go",
                output(Command::new(go).arg("version").env("GOTOOLCHAIN", "local")),
            ));
        }
        Machine { lines }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | |\n|---|---|")?;
        for (name, value) in &self.lines {
            writeln!(f, "| {name} | {value} |")?;
        }
        Ok(())
    }
}

/// Today's date in UTC, as `2026-01-31`.
pub(crate) fn today() -> Result<String, Error> {
    let date = Command::new("date").args(["-u", "+%F"]).output()?;
    Ok(String::from_utf8(date.stdout)?.trim().to_owned())
}

fn commit(root: &Path) -> String {
    let git = |args: &[&str]| output(Command::new("git").current_dir(root).args(args));
    let head = git(&["rev-parse", "--short", "HEAD"]);
    match git(&["status", "--porcelain", "--untracked-files=no"]).as_str() {
        "" => head,
        _ => format!("{head} with local changes"),
    }
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    model
        .and_then(|line| line.split_once(':'))
        .map_or("unknown", |(_, name)| name.trim())
        .to_owned()
}

fn memory() -> String {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.map_or("memory unknown".into(), |kilobytes| {
        format!("{} GiB", kilobytes >> 20)
    })
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).map_or("unknown".into(), |text| text.trim().to_owned())
}

fn output(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".into(),
    }
}
