//! `unsafe` stays low: whatever needs none says so, and the compiler holds it to that.
//!
//! A module of which one file cannot do without says `deny` instead, and its `mod` line for that
//! file `#[expect(unsafe_code, reason = "...")]`: then the exception is seen where it is made.

use crate::lexer::{self, Token};
use crate::tidy::Finding;
use crate::tree::Tree;

/// Crates and modules that start with `#![forbid(unsafe_code)]`, as the paths of their first file
/// without the ending. Those that do not exist yet are passed over.
const SAFE: [&str; 12] = [
    "crates/gort/src/context",
    "crates/gort/src/context/mod",
    "crates/gort/src/io",
    "crates/gort/src/io/mod",
    "crates/gort/src/net",
    "crates/gort/src/net/mod",
    "crates/gort/src/time",
    "crates/gort/src/time/mod",
    "crates/gort-cli/src/main",
    "crates/gort-debug/src/lib",
    "crates/gort-macros/src/lib",
    "xtask/src/main",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = SAFE
        .iter()
        .filter_map(|path| tree.get(&format!("{path}.rs")));
    let bare = files.filter(|file| {
        let code = lexer::code(&lexer::tokens(&file.text));
        let has = |level| {
            let attribute = ["#", "!", "[", level, "(", "unsafe_code", ")", "]"];
            let is_here = |w: &[Token<'_>]| w.iter().zip(attribute).all(|(t, text)| t.is(text));
            code.windows(attribute.len()).any(is_here)
        };
        !(has("forbid") || file.path.ends_with("/mod.rs") && has("deny"))
    });
    bare.map(|file| {
        Finding::new(
            &file.path,
            1,
            "needs `#![forbid(unsafe_code)]` below its header (STYLE.md, 3)",
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_module_must_say_so() {
        let tree = Tree::of(&[
            (
                "crates/gort/src/net/mod.rs",
                "//! Net.\n#![forbid(unsafe_code)]\nmod tcp;",
            ),
            ("crates/gort/src/net/tcp.rs", ""),
            ("crates/gort/src/time.rs", "//! `#![forbid(unsafe_code)]`"),
            ("crates/gort/src/chan/mod.rs", ""),
            ("crates/gort/src/io/mod.rs", "#![deny(unsafe_code)]"),
            ("crates/gort/src/context.rs", "#![deny(unsafe_code)]"),
            ("crates/gort-cli/src/main.rs", "#![deny(unsafe_code)]"),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|f| f.path).collect();
        assert_eq!(
            found,
            [
                "crates/gort/src/context.rs",
                "crates/gort/src/time.rs",
                "crates/gort-cli/src/main.rs"
            ]
        );
    }
}
