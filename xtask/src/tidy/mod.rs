//! `cargo xtask tidy`: rules of STYLE.md that the compiler does not check.
//!
//! A rule is a function from the tree to findings. A finding names the place and says what to do.
//! To change a rule's subject (the layering, the forbidden words), change the list at the top of
//! its file in the same commit.

mod dead_files;
mod files;
mod forbid_unsafe;
mod layers;
mod links;
mod sleeps;
mod words;

use std::fmt;
use std::path::Path;

use crate::lexer::{self, Token};
use crate::tree::Tree;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

const RULES: [fn(&Tree) -> Vec<Finding>; 9] = [
    layers::check_modules,
    layers::check_crates,
    files::check_headers,
    files::check_lengths,
    dead_files::check,
    forbid_unsafe::check,
    links::check,
    sleeps::check,
    words::check,
];

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort();
    findings.dedup();
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} to mend")),
    }
}

/// The ranges of `code` that are compiled under `cfg(test)` only, attribute included.
fn test_ranges(code: &[Token<'_>]) -> Vec<std::ops::RangeInclusive<usize>> {
    let mut ranges = Vec::new();
    for start in 0..code.len() {
        if !is_attribute(code, start) || !code.get(start + 2).is_some_and(|word| word.is("cfg")) {
            continue;
        }
        let end = lexer::closing(code, start + 1);
        let asks_for_test = (start..end).any(|index| {
            code[index].is("test") && !(code[index - 1].is("(") && code[index - 2].is("not"))
        });
        if asks_for_test {
            ranges.push(start..=item_end(code, end + 1));
        }
    }
    ranges
}

fn is_attribute(code: &[Token<'_>], index: usize) -> bool {
    code[index].is("#") && code.get(index + 1).is_some_and(|bracket| bracket.is("["))
}

/// The index of the last token of the item that begins at `start`, perhaps with attributes.
fn item_end(code: &[Token<'_>], start: usize) -> usize {
    let mut index = start;
    while index < code.len() {
        let token = code[index];
        if token.is(";") {
            return index;
        }
        if token.is("{") {
            let end = lexer::closing(code, index);
            // A `use` tree goes on to its semicolon.
            if !code.get(end + 1).is_some_and(|next| next.is(";")) {
                return end;
            }
            index = end;
        } else if token.is("(") || token.is("[") {
            index = lexer::closing(code, index);
        }
        index += 1;
    }
    code.len().saturating_sub(1)
}

/// A file that belongs to tests as a whole.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("testing/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_ranges_cover_the_item() {
        let source = "fn a() {} #[cfg(test)] mod tests { fn b() {} } fn c() {}";
        let code = lexer::tokens(source);
        let ranges = test_ranges(&code);
        let is_inside = |word: &str| {
            let index = code.iter().position(|token| token.is(word)).expect(word);
            ranges.iter().any(|range| range.contains(&index))
        };
        assert!(is_inside("b") && is_inside("tests"));
        assert!(!is_inside("a") && !is_inside("c"));
    }

    #[test]
    fn test_ranges_know_not() {
        assert_eq!(
            test_ranges(&lexer::tokens("#[cfg(not(test))] fn a() {}")),
            []
        );
        assert_eq!(
            test_ranges(&lexer::tokens("#[cfg(all(test, unix))] use a::{b};")).len(),
            1
        );
    }

    #[test]
    fn items_end_where_they_should() {
        for (source, last) in [
            ("use a::{b, c}; fn d() {}", ";"),
            ("fn f(x: [u8; 4]) -> u8 { 1 } fn d() {}", "}"),
            ("#[a(b)] static X: u8 = 1; fn d() {}", ";"),
        ] {
            let code = lexer::tokens(source);
            let end = item_end(&code, 0);
            assert!(code[end].is(last), "{source}: {end}");
            assert!(code[end + 1].is("fn"), "{source}: {end}");
        }
    }

    #[test]
    fn a_finding_prints_place_and_advice() {
        assert_eq!(
            Finding::new("a.rs", 3, "mend it").to_string(),
            "a.rs:3: mend it"
        );
    }
}
