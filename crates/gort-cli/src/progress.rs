//! Progress on standard error: a bar on a terminal, a plain line a second elsewhere.
//!
//! The bar is drawn as a whole line with its newline; drawing it again goes up one line first. So the
//! cursor always stands at the start of an empty line, and a Ctrl-C at any moment leaves the terminal
//! as it should be. Nothing is hidden, coloured or switched, so there is nothing to restore.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const BAR_WIDTH: u64 = 32;
/// Often enough to look alive; each drawing is one `write`.
const BAR_PERIOD: Duration = Duration::from_millis(100);
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// The progress of one step.
#[derive(Debug)]
pub(crate) struct Progress {
    label: &'static str,
    total: u64,
    style: Style,
    drawn_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bar,
    Lines,
}

impl Progress {
    /// A step of `total` units. Nothing is drawn before the first [`set`](Progress::set).
    pub(crate) fn new(label: &'static str, total: u64) -> Progress {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let style = if stderr().is_terminal() && !is_dumb {
            Style::Bar
        } else {
            Style::Lines
        };
        Progress {
            label,
            total,
            style,
            drawn_at: None,
        }
    }

    /// How often [`set`](Progress::set) is worth calling.
    pub(crate) fn period(&self) -> Duration {
        BAR_PERIOD
    }

    /// Shows `done` units with a word on them, unless it was shown a moment ago.
    pub(crate) fn set(&mut self, done: u64, detail: &str) {
        let period = if self.style == Style::Bar {
            BAR_PERIOD
        } else {
            LINE_PERIOD
        };
        if self
            .drawn_at
            .is_none_or(|drawn_at| drawn_at.elapsed() >= period)
        {
            self.draw(done, detail);
        }
    }

    /// Shows the end of the step, always.
    pub(crate) fn finish(mut self, detail: &str) {
        self.draw(self.total, detail);
    }

    fn draw(&mut self, done: u64, detail: &str) {
        let text = render(
            self.style,
            self.label,
            done,
            self.total,
            detail,
            self.drawn_at.is_some(),
        );
        // A standard error that cannot be written to has nobody who looks.
        let _ = stderr().write_all(text.as_bytes());
        self.drawn_at = Some(Instant::now());
    }
}

fn render(
    style: Style,
    label: &str,
    done: u64,
    total: u64,
    detail: &str,
    is_redraw: bool,
) -> String {
    let done = done.min(total);
    let percent = done as f64 / total.max(1) as f64 * 100.0;
    match style {
        Style::Lines => format!("{label}: {percent:.0} % {detail}\n"),
        Style::Bar => {
            let filled = (done * BAR_WIDTH).checked_div(total).unwrap_or(BAR_WIDTH) as usize;
            let bar = "#".repeat(filled) + &"-".repeat(BAR_WIDTH as usize - filled);
            let up = if is_redraw { "\x1b[1A\r" } else { "" };
            format!("{up}\x1b[K{label:<24} [{bar}] {percent:>3.0} % {detail}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_ends_on_a_fresh_line_and_redraws_over_itself() {
        let first = render(Style::Bar, "step", 1, 2, "x", false);
        assert!(
            first.ends_with("x\n") && !first.contains("\x1b[1A"),
            "{first:?}"
        );
        assert_eq!(first.matches('#').count(), 16);
        let second = render(Style::Bar, "step", 2, 2, "x", true);
        assert!(second.starts_with("\x1b[1A\r\x1b[K"), "{second:?}");
        assert_eq!(second.matches('#').count(), 32);
    }

    #[test]
    fn lines_have_no_control_characters() {
        let line = render(Style::Lines, "step", 5, 4, "so far", true);
        assert_eq!(line, "step: 100 % so far\n");
        assert_eq!(
            render(Style::Lines, "step", 0, 0, "", false),
            "step: 0 % \n"
        );
    }
}
