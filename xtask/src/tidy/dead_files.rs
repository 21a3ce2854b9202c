//! Dead files: Rust files that no target reaches, so nobody compiles them.
//!
//! From each target's root the `mod` lines are followed, `#[path]` and `include!` too. A file is
//! also reached by a string that names it, or a pattern that matches it, in a file of its package:
//! so compile-fail cases are handed to their runner.

use std::collections::BTreeSet;

use crate::lexer::{self, Kind, Token};
use crate::tidy::Finding;
use crate::tree::{File, Tree, folder_of, join};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<(String, bool)> = tree
        .packages()
        .iter()
        .flat_map(|package| roots(tree, package))
        .map(|r| (r, true))
        .collect();
    while let Some((path, is_root)) = open.pop() {
        let Some(file) = tree.get(&path) else {
            continue;
        };
        if reached.insert(path) {
            open.extend(
                children(tree, file, is_root)
                    .into_iter()
                    .map(|child| (child, false)),
            );
        }
    }
    let dead = tree.rust().filter(|file| !reached.contains(&file.path));
    dead.map(|file| {
        let message =
            "no `mod` line and no target of a Cargo.toml reaches this file: add one or delete it";
        Finding::new(&file.path, 1, message)
    })
    .collect()
}

/// The files that cargo starts from in a package.
fn roots(tree: &Tree, package: &str) -> Vec<String> {
    let mut roots = Vec::new();
    for file in tree
        .rust()
        .filter(|file| tree.package_of(&file.path) == Some(package))
    {
        let parts: Vec<&str> = file.path[package.len() + 1..].split('/').collect();
        if matches!(
            parts[..],
            ["build.rs"]
                | ["src", "lib.rs" | "main.rs"]
                | ["src", "bin", _]
                | ["src", "bin", _, "main.rs"]
                | ["tests" | "examples" | "benches", _]
                | ["tests" | "examples" | "benches", _, "main.rs"]
        ) {
            roots.push(file.path.clone());
        }
    }
    if let Some(manifest) = tree.get(&format!("{package}/Cargo.toml")) {
        let paths = manifest
            .text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("path"));
        let paths =
            paths.filter_map(|value| value.trim_start_matches([' ', '=']).strip_prefix('"'));
        let paths = paths.filter_map(|value| value.strip_suffix('"'));
        roots.extend(paths.map(|path| join(package, path)));
    }
    roots
}

/// The files that `file` brings in.
fn children(tree: &Tree, file: &File, is_root: bool) -> Vec<String> {
    let code = lexer::code(&lexer::tokens(&file.text));
    let folder = folder_of(&file.path);
    let own_folder = if is_root || file.path.ends_with("/mod.rs") {
        folder.to_owned()
    } else {
        file.path.trim_end_matches(".rs").to_owned()
    };
    let package = tree.package_of(&file.path).unwrap_or("");
    let mut inline: Vec<(&str, usize)> = Vec::new();
    let mut children = Vec::new();
    for (index, token) in code.iter().enumerate() {
        inline.retain(|&(_, end)| index <= end);
        if token.kind == Kind::Str {
            children.extend(named(tree, package, token.text));
        }
        if token.is("include")
            && code
                .get(index + 3)
                .is_some_and(|path| path.kind == Kind::Str)
        {
            children.push(join(folder, code[index + 3].text));
        }
        let (Some(name), Some(after)) = (code.get(index + 1), code.get(index + 2)) else {
            continue;
        };
        if !token.is("mod") || !name.is_word() {
            continue;
        }
        if after.is("{") {
            inline.push((name.text, lexer::closing(&code, index + 2)));
        } else if after.is(";") {
            let inner: Vec<&str> = inline.iter().map(|&(name, _)| name).collect();
            let own_folder = join(&own_folder, &inner.join("/"));
            if let Some(path) = path_attribute(&code[..index]) {
                let folder = if inner.is_empty() {
                    folder
                } else {
                    &own_folder
                };
                children.push(join(folder, path));
            }
            children.push(join(&own_folder, &format!("{}.rs", name.text)));
            children.push(join(&own_folder, &format!("{}/mod.rs", name.text)));
        }
    }
    children
}

/// The value of `#[path = "..."]` among the attributes that end `before`.
fn path_attribute<'a>(before: &[Token<'a>]) -> Option<&'a str> {
    let ends = |token: &Token<'_>| [";", "{", "}"].iter().any(|end| token.is(end));
    let start = before.iter().rposition(ends).map_or(0, |index| index + 1);
    let attributes = &before[start..];
    let value = attributes
        .windows(3)
        .find(|w| w[0].is("path") && w[1].is("=") && w[2].kind == Kind::Str);
    value.map(|w| w[2].text)
}

/// The files of `package` that a string names, with at most one `*`.
fn named(tree: &Tree, package: &str, string: &str) -> Vec<String> {
    if !string.ends_with(".rs") {
        return Vec::new();
    }
    let full = join(package, string);
    let (start, end) = full.split_once('*').unwrap_or((&full, ""));
    let matches = |path: &str| {
        if full.contains('*') {
            let middle = path
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end));
            middle.is_some_and(|middle| !middle.contains('/'))
        } else {
            path == full
        }
    };
    tree.rust()
        .map(|file| &file.path)
        .filter(|path| matches(path))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files))
            .into_iter()
            .map(|finding| finding.path)
            .collect()
    }

    #[test]
    fn a_file_without_mod_line_is_dead() {
        let found = dead(&[
            ("c/Cargo.toml", ""),
            ("c/src/lib.rs", "mod a; // mod b;"),
            ("c/src/a.rs", ""),
            ("c/src/b.rs", ""),
        ]);
        assert_eq!(found, ["c/src/b.rs"]);
    }

    #[test]
    fn nested_modules_are_followed() {
        let found = dead(&[
            ("c/Cargo.toml", ""),
            ("c/src/lib.rs", "pub(crate) mod a; mod b;"),
            ("c/src/a/mod.rs", "mod x;"),
            ("c/src/a/x.rs", "mod y;"),
            ("c/src/a/x/y.rs", ""),
            ("c/src/b.rs", "mod inline { mod z; }"),
            ("c/src/b/inline/z.rs", ""),
            ("c/src/y.rs", ""),
            ("c/src/b/z.rs", ""),
        ]);
        assert_eq!(found, ["c/src/y.rs", "c/src/b/z.rs"]);
    }

    #[test]
    fn path_attributes_and_includes_are_followed() {
        let found = dead(&[
            ("c/Cargo.toml", ""),
            (
                "c/src/lib.rs",
                "#[cfg(x)]\n#[path = \"other/p.rs\"]\nmod a; include!(\"i.rs\");",
            ),
            ("c/src/other/p.rs", ""),
            ("c/src/i.rs", ""),
            ("c/src/j.rs", ""),
        ]);
        assert_eq!(found, ["c/src/j.rs"]);
    }

    #[test]
    fn targets_are_roots() {
        let found = dead(&[
            (
                "c/Cargo.toml",
                "[[bin]]\nname = \"x\"\npath = \"odd/x.rs\"\n",
            ),
            ("c/build.rs", ""),
            ("c/odd/x.rs", "mod y;"),
            ("c/odd/y.rs", ""),
            ("c/src/main.rs", ""),
            ("c/src/bin/tool.rs", ""),
            ("c/tests/one.rs", "mod part;"),
            ("c/tests/part/mod.rs", ""),
            ("c/tests/two/main.rs", "mod helper;"),
            ("c/tests/two/helper.rs", ""),
            ("c/tests/two/unused.rs", ""),
            ("c/examples/e.rs", ""),
            ("stray.rs", ""),
        ]);
        assert_eq!(found, ["c/tests/two/unused.rs", "stray.rs"]);
    }

    #[test]
    fn compile_fail_cases_are_reached_by_their_pattern() {
        let found = dead(&[
            ("c/Cargo.toml", ""),
            (
                "c/tests/ui.rs",
                "fn f() { t.compile_fail(\"tests/ui/*.rs\"); g(\"tests/one/x.rs\") }",
            ),
            ("c/tests/ui/a.rs", ""),
            ("c/tests/ui/deep/a.rs", ""),
            ("c/tests/one/x.rs", ""),
            ("c/tests/one/y.rs", ""),
        ]);
        assert_eq!(found, ["c/tests/ui/deep/a.rs", "c/tests/one/y.rs"]);
    }
}
