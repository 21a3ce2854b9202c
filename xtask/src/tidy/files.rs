//! Every file says at its top what it is, and a long one says why it is long.

use crate::tidy::Finding;
use crate::tree::Tree;

/// Past this, a file probably holds a second concept.
const LINES_MAX: usize = 800;

/// What excuses a longer one; the reason follows.
const LONG_MARK: &str = "// tidy: long because ";

pub(super) fn check_headers(tree: &Tree) -> Vec<Finding> {
    let has_header = |text: &str| {
        let line = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("");
        line.strip_prefix("//!")
            .is_some_and(|header| !header.trim().is_empty())
    };
    let bare = tree.rust().filter(|file| !has_header(&file.text));
    bare.map(|file| {
        let message =
            "begins without a `//!` header: say what this file is and which rule it keeps";
        Finding::new(&file.path, 1, message)
    })
    .collect()
}

pub(super) fn check_lengths(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let count = file.text.lines().count();
        let is_excused = file.text.lines().any(|line| {
            line.trim()
                .strip_prefix(LONG_MARK)
                .is_some_and(|reason| !reason.trim().is_empty())
        });
        if count > LINES_MAX && !is_excused {
            let message = format!(
                "{count} lines are more than {LINES_MAX}: look for a second concept, or add \
                 `{LONG_MARK}...`"
            );
            findings.push(Finding::new(&file.path, LINES_MAX + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_header_is_found() {
        let tree = Tree::of(&[
            ("a.rs", "//! What it is.\nfn a() {}"),
            ("b.rs", "// Just a comment.\nfn b() {}"),
            ("c.rs", "use x;\n//! Too late."),
            ("d.rs", ""),
            ("e.rs", "//!\nfn e() {}"),
            ("f.md", "no Rust"),
        ]);
        let found: Vec<String> = check_headers(&tree).into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["b.rs", "c.rs", "d.rs", "e.rs"]);
    }

    #[test]
    fn a_long_file_needs_a_reason() {
        let full = "x\n".repeat(LINES_MAX);
        let long = format!("{full}x\n");
        let excused = format!("{long}// tidy: long because the table is one thing\n");
        let no_reason = format!("{long}// tidy: long because \n");
        let tree = Tree::of(&[
            ("full.rs", &full),
            ("long.rs", &long),
            ("excused.rs", &excused),
            ("no_reason.rs", &no_reason),
        ]);
        let found: Vec<String> = check_lengths(&tree).into_iter().map(|f| f.path).collect();
        assert_eq!(found, ["long.rs", "no_reason.rs"]);
    }
}
