//! Links: what comments and pages point to exists.
//!
//! In comments of Rust code the links to sections of `ARCHITECTURE.md` are checked, in Markdown
//! also every link to a file: a link from a name to a Rust file promises that what has this name is there.
//! Addresses on the net are left alone.

use crate::lexer;
use crate::tidy::Finding;
use crate::tree::{File, Tree, folder_of, join};

const SECTION_LINK: &str = "ARCHITECTURE.md#";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if file.is_rust() {
            let tokens = lexer::tokens(&file.text);
            for comment in tokens.iter().filter(|token| token.is_comment()) {
                for (offset, line) in comment.text.lines().enumerate() {
                    findings.extend(check_sections(tree, file, line, comment.line + offset));
                }
            }
        } else if file.path.ends_with(".md") {
            for (line, text) in outside_fences(&file.text) {
                findings.extend(check_sections(tree, file, text, line));
                findings.extend(check_files(tree, file, text, line));
                findings.extend(check_names(tree, file, text, line));
            }
        }
    }
    findings
}

fn check_sections(tree: &Tree, file: &File, text: &str, line: usize) -> Vec<Finding> {
    let sections: Vec<String> = match tree.get("ARCHITECTURE.md") {
        Some(page) => outside_fences(&page.text)
            .filter_map(|(_, line)| slug(line))
            .collect(),
        None => Vec::new(),
    };
    let links = text.match_indices(SECTION_LINK).map(|(at, link)| {
        let rest = &text[at + link.len()..];
        &rest[..rest
            .find(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
            .unwrap_or(rest.len())]
    });
    let missing = links.filter(|link| !sections.iter().any(|section| section == link));
    missing
        .map(|link| {
            let message =
                format!("ARCHITECTURE.md has no section `#{link}`: write it or mend the link");
            Finding::new(&file.path, line, message)
        })
        .collect()
}

fn check_files(tree: &Tree, file: &File, text: &str, line: usize) -> Vec<Finding> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next());
    let local = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let missing = local.filter(|target| {
        let path = join(folder_of(&file.path), target);
        let folder = format!("{path}/");
        !tree
            .files
            .iter()
            .any(|file| file.path == path || file.path.starts_with(&folder))
            && !is_licence(&path)
    });
    missing
        .map(|target| {
            Finding::new(
                &file.path,
                line,
                format!("`{target}` does not exist: mend the link"),
            )
        })
        .collect()
}

/// Links as `` [`name`](file.rs) ``: the file, or its folder, has that name, or an item in it.
fn check_names(tree: &Tree, file: &File, text: &str, line: usize) -> Vec<Finding> {
    let links = text.split("[`").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once("`](")?;
        let target = rest.split([')', '#']).next()?;
        let is_word = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_word && target.ends_with(".rs")).then_some((name, target))
    });
    let missing = links.filter(|(name, target)| {
        let path = join(folder_of(&file.path), target);
        // A file that is not there has its own finding.
        tree.get(&path)
            .is_some_and(|linked| !has_name(linked, name))
    });
    missing
        .map(|(name, target)| {
            let message = format!("`{target}` has no item `{name}`: mend the link");
            Finding::new(&file.path, line, message)
        })
        .collect()
}

fn has_name(file: &File, name: &str) -> bool {
    let stem = file.path.trim_end_matches(".rs");
    let stem = stem.strip_suffix("/main").unwrap_or(stem);
    if stem.rsplit('/').next() == Some(name) {
        return true;
    }
    const KINDS: [&str; 9] = [
        "fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod",
    ];
    let code = lexer::tokens(&file.text);
    code.windows(2)
        .any(|pair| KINDS.iter().any(|kind| pair[0].is(kind)) && pair[1].is(name))
}

/// The licences have no ending and so are not part of the tree.
fn is_licence(path: &str) -> bool {
    path == "LICENSE-MIT" || path == "LICENSE-APACHE"
}

/// The anchor that a heading gets on a Markdown page.
fn slug(line: &str) -> Option<String> {
    let heading = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?
        .trim();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(
        kept.map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
            .to_lowercase(),
    )
}

/// The lines of a page, numbered from 1, without fenced blocks of code.
fn outside_fences(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fenced && !is_fence).then_some((index + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<(String, usize)> {
        check(&Tree::of(files))
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect()
    }

    #[test]
    fn a_link_needs_its_section() {
        let page = (
            "ARCHITECTURE.md",
            "# The map\n```\n# not one\n```\n## Taking a P: `retake`\n",
        );
        let good = "//! See ARCHITECTURE.md#the-map.\n// [x](ARCHITECTURE.md#taking-a-p-retake)";
        assert_eq!(found(&[page, ("a.rs", good)]), []);
        let bad = "//! Fine.\n//! See ARCHITECTURE.md#not-one\n// ARCHITECTURE.md#the-mapping";
        assert_eq!(
            found(&[page, ("a.rs", bad)]),
            [("a.rs".into(), 2), ("a.rs".into(), 3)]
        );
        assert_eq!(
            found(&[("a.rs", good)]).len(),
            2,
            "without the page nothing is there"
        );
        assert_eq!(
            found(&[page, ("a.rs", "const S: &str = \"ARCHITECTURE.md#x\";")]),
            []
        );
    }

    #[test]
    fn a_link_to_a_file_needs_the_file() {
        let page = "[a](docs/a.md#x) [b](docs) [c](https://x.y/z) [d](#here)\n[e](LICENSE-MIT)\n";
        assert_eq!(found(&[("README.md", page), ("docs/a.md", "")]), []);
        assert_eq!(
            found(&[("README.md", page)]),
            [("README.md".into(), 1), ("README.md".into(), 1)]
        );
        assert_eq!(
            found(&[("docs/a.md", "[up](../README.md)"), ("README.md", "")]),
            []
        );
        assert_eq!(found(&[("README.md", "```\n[a](b)\n```\n")]), []);
    }

    #[test]
    fn a_link_from_a_name_needs_what_it_names() {
        let page =
            "|[`first`](first.rs)|[`s1_a`](tests.rs)<br>[`big`](big/main.rs)|[`a::b`](tests.rs)|";
        let first = ("first.rs", "fn main() {}");
        let big = ("big/main.rs", "fn main() {}");
        let tests = ("tests.rs", "// s1_a is\n#[test]\nfn s1_a() {}");
        assert_eq!(found(&[("README.md", page), first, big, tests]), []);
        let tests = ("tests.rs", "// fn s1_a is\nfn s1_b() { s1_a(); }");
        assert_eq!(
            found(&[("README.md", page), first, big, tests]),
            [("README.md".into(), 1)]
        );
        let second = ("second.rs", "fn first_() {}");
        assert_eq!(
            found(&[("README.md", "[`first`](second.rs)"), second]).len(),
            1
        );
    }
}
