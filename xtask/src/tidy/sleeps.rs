//! Tests wait for conditions, not for durations.
//!
//! A call of a `sleep` in a test needs a comment `// waits: ...`, on its line or right above, that
//! says what it waits for and why no condition can stand for it.

use std::collections::BTreeSet;

use crate::lexer::{self, Token};
use crate::tidy::{Finding, is_test_file, test_ranges};
use crate::tree::Tree;

const MARK: &str = "// waits: ";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let tokens = lexer::tokens(&file.text);
        let code = lexer::code(&tokens);
        let ranges = test_ranges(&code);
        for index in 0..code.len() {
            let is_test = is_test_file(&file.path) || ranges.iter().any(|r| r.contains(&index));
            if is_test && is_sleep(&code, index) && !has_reason(&tokens, code[index].line) {
                let message =
                    format!("a test sleeps: wait for a condition, or say why with `{MARK}...`");
                findings.push(Finding::new(&file.path, code[index].line, message));
            }
        }
    }
    findings
}

fn is_sleep(code: &[Token<'_>], index: usize) -> bool {
    let is_call = code[index].is("sleep") && code.get(index + 1).is_some_and(|next| next.is("("));
    is_call && !(index > 0 && code[index - 1].is("fn"))
}

/// Whether a comment on `line`, or on the lines of comments right above it, has the mark.
fn has_reason(tokens: &[Token<'_>], line: usize) -> bool {
    let code_lines: BTreeSet<usize> = tokens
        .iter()
        .filter(|token| !token.is_comment())
        .map(|token| token.line)
        .collect();
    let comments = |line| {
        tokens
            .iter()
            .filter(move |token| token.is_comment() && token.line == line)
    };
    let mut at = line;
    loop {
        if comments(at)
            .any(|comment| comment.text.len() > MARK.len() && comment.text.starts_with(MARK))
        {
            return true;
        }
        at -= 1;
        if code_lines.contains(&at) || comments(at).next().is_none() {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, source: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, source)]))
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_test_that_sleeps_is_found() {
        assert_eq!(
            lines("c/tests/t.rs", "fn f() {\n    thread::sleep(d);\n}"),
            [2]
        );
        assert_eq!(lines("testing/x/src/lib.rs", "sleep(d)"), [1]);
        let unit = "fn f() { sleep(d) }\n#[cfg(test)]\nmod tests {\n fn f() { sleep(d) }\n}";
        assert_eq!(lines("c/src/lib.rs", unit), [4]);
    }

    #[test]
    fn a_reason_excuses_it() {
        assert_eq!(
            lines(
                "c/tests/t.rs",
                "sleep(d); // waits: the sleep is what is tested"
            ),
            []
        );
        let above = "// waits: the kernel tells nobody\n// when it is done.\nsleep(d);\nsleep(d);";
        assert_eq!(lines("c/tests/t.rs", above), [4]);
        assert_eq!(lines("c/tests/t.rs", "// waits: \nsleep(d);"), [2]);
        assert_eq!(
            lines("c/tests/t.rs", "x(); // waits: for x\nsleep(d);"),
            [2]
        );
    }

    #[test]
    fn other_words_are_no_sleeps() {
        let source =
            "fn sleep(d: D) {} // sleep(d)\nconst S: &str = \"sleep(d)\"; sleeper(d); sleep;";
        assert_eq!(lines("c/tests/t.rs", source), []);
    }
}
