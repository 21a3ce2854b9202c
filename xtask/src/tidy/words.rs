//! Forbidden words: what belongs to one machine or to nobody's business.
//!
//! Paths of a developer's machine work for nobody else; a private registry in a lock file or in
//! cargo's settings breaks the build of everybody else; and prose says what was done and why, not
//! by whom. The words are written in halves here, since this file is read like all others.

use crate::tidy::Finding;
use crate::tree::Tree;

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// Phrases about who did something, in lower case.
const PHRASES: [&str; 3] = [
    concat!("helper ", "agent"),
    concat!("sub", "agent"),
    concat!("ai ", "assistant"),
];

/// The one registry that lock files may name.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            let problem = machine_path(line).or_else(|| phrase(line)).or_else(|| {
                let is_cargo = file.path.ends_with(".lock") || file.path.ends_with(".toml");
                is_cargo.then(|| registry(line)).flatten()
            });
            findings.extend(problem.map(|message| Finding::new(&file.path, index + 1, message)));
        }
    }
    findings
}

fn machine_path(line: &str) -> Option<String> {
    let starts_path = |at: usize| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/'))
    };
    let found = MACHINE_PATHS
        .iter()
        .find(|word| line.match_indices(**word).any(|(at, _)| starts_path(at)));
    found.map(|word| format!("`{word}` exists on one machine only: use a relative path"))
}

fn phrase(line: &str) -> Option<String> {
    let line = line.to_lowercase();
    let found = PHRASES.iter().find(|phrase| line.contains(**phrase));
    found.map(|phrase| format!("`{phrase}`: say what was done and why, not by whom"))
}

fn registry(line: &str) -> Option<String> {
    let line = line.trim();
    let is_foreign = line.contains("registry+") && !line.contains(REGISTRY)
        || line.starts_with("replace-with")
        || line.starts_with("[registries")
        || line.starts_with("sparse+");
    is_foreign
        .then(|| "names a registry other than crates.io: nobody else can build this".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for path in MACHINE_PATHS {
            assert_eq!(count("a.md", &format!("see {path}x")), 1);
            assert_eq!(count("a.rs", &format!("\"{path}x\"")), 1);
            assert_eq!(count("a.rs", &format!("src{path}x and ../src{path}x")), 0);
        }
    }

    #[test]
    fn phrases_about_people_are_found() {
        for phrase in PHRASES {
            assert_eq!(
                count("a.md", &format!("By a {}.", phrase.to_uppercase())),
                1
            );
        }
        assert_eq!(count("a.md", "a helper thread without a P"), 0);
    }

    #[test]
    fn private_registries_are_found() {
        let source = |url: &str| format!("source = \"registry+{url}\"");
        assert_eq!(
            count(
                "Cargo.lock",
                &source("https://github.com/rust-lang/crates.io-index")
            ),
            0
        );
        assert_eq!(
            count("Cargo.lock", &source("https://mirror.example/index")),
            1
        );
        assert_eq!(count(".cargo/config.toml", "replace-with = \"mirror\""), 1);
        assert_eq!(count("a.md", "replace-with"), 0);
    }
}
