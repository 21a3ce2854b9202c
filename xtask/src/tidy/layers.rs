//! Layers: crates depend on lower crates, and modules use lower modules.
//!
//! The order of the modules of a crate is a list, from the ground up. A path that begins with
//! `crate`, `super` or `self` and leads to a later entry of the list is a finding. A folder may use
//! what lies inside it. An entry speaks for all modules below it that have no entry of their own.
//!
//! Tests (`cfg(test)`) may point anywhere: they play the caller's part.

use crate::lexer::{self, Token};
use crate::tidy::{Finding, is_test_file, test_ranges};
use crate::tree::Tree;

/// The crates, from the ground up. Not listed: packages that nothing depends on, and those outside `crates/`,
/// which only tests depend on.
const CRATES: [&str; 7] = [
    "gort-arch",
    "gort-queue",
    "gort-core",
    "gort-macros",
    "gort",
    "gort-debug",
    "gort-cli",
];

/// The modules of a crate, from the ground up.
struct Layers {
    package: &'static str,
    modules: &'static [&'static str],
    exceptions: &'static [Exception],
}

/// One module may use one other that is above it, for a reason. An exception that nothing needs any
/// more is a finding.
struct Exception {
    from: &'static str,
    to: &'static str,
    #[expect(dead_code, reason = "for the reader of the list")]
    because: &'static str,
}

const LAYERS: [Layers; 2] = [
    Layers {
        package: "crates/gort-core",
        modules: &[
            // One file per kernel facility; what they share stands in os/mod.rs.
            "os",
            "os::cgroup",
            "os::futex",
            "os::epoll",
            "os::thread",
            "os::signal",
            "os::membarrier",
            "os::clock",
            "os::socket",
            "os::process",
            "os::file",
            "os::probe",
            "fatal",
            "fork",
            "atomic",
            "clock",
            "wait_reason",
            "thread_state",
            "inside",
            "lock",
            "light_lock",
            "reporter",
            "settings",
            "limits",
            "g",
            // Sources of work return goroutines and know nothing of who runs them.
            "timer",
            "netpoll",
            // One layer: its files are one state machine, and all know the one scheduler.
            "sched",
            "halt",
            "cancel",
            "on_thread",
            "hibernate",
            // A descriptor's locks park their waiters.
            "poll_fd",
            "symbol",
            "trace",
            "snapshot",
            "dump",
            "stall",
            "report",
            "overflow",
            "preempt",
            "audit",
            "deadlock",
            "hang",
            "sysmon",
            "runtime",
            "notify",
        ],
        exceptions: &[],
    },
    Layers {
        package: "crates/gort",
        modules: &[
            "task", "chan", "context", "go", "sync", "time", "fd", "net", "io", "fs", "process",
            "signal", "blocking", "dump", "debug", "deadlock", "runtime", "thread", "alloc",
            "tracing", "pages",
        ],
        exceptions: &[],
    },
];

const HERE: &str = "xtask/src/tidy/layers.rs";

pub(super) fn check_modules(tree: &Tree) -> Vec<Finding> {
    LAYERS
        .iter()
        .flat_map(|layers| layers.check(tree))
        .collect()
}

impl Layers {
    fn check(&self, tree: &Tree) -> Vec<Finding> {
        let prefix = format!("{}/src/", self.package);
        let files = || {
            tree.rust()
                .filter_map(|file| Some((file, module_of(file.path.strip_prefix(&prefix)?))))
        };
        let mut roots: Vec<&str> = self.modules.iter().map(|module| first(module)).collect();
        roots.extend(files().filter_map(|(_, module)| module.first().copied()));
        let macros: Vec<&str> = files()
            .flat_map(|(file, _)| macro_names(&file.text))
            .collect();

        let mut findings = Vec::new();
        let mut needed = vec![false; self.exceptions.len()];
        for (file, module) in files() {
            if module.is_empty() || is_test_file(&file.path) {
                continue;
            }
            let Some(own_layer) = self.layer_of(&module) else {
                let message = format!(
                    "`{}` has no place in the order: add it to {HERE}",
                    module[0]
                );
                findings.push(Finding::new(&file.path, 1, message));
                continue;
            };
            let code = lexer::code(&lexer::tokens(&file.text));
            for Reference { target, line } in references(&code, &module) {
                let root = target.first().copied().unwrap_or("*");
                if macros.contains(&root) || target.starts_with(&module) {
                    continue;
                }
                if let Some(exception) = self.exception(own_layer, self.layer_of(&target)) {
                    needed[exception] = true;
                    continue;
                }
                let message = if !roots.contains(&root) {
                    format!("`crate::{root}` is an item of the crate's root: name its module")
                } else {
                    match self.layer_of(&target) {
                        Some(layer) if layer > own_layer => format!(
                            "`{}` is above `{}`: move the item down, hand the call over as a \
                             value, or change the order in {HERE}",
                            self.modules[layer], self.modules[own_layer]
                        ),
                        Some(_) => continue,
                        None => format!("`{root}` has no place in the order: add it to {HERE}"),
                    }
                };
                findings.push(Finding::new(&file.path, line, message));
            }
        }
        for (exception, _) in self
            .exceptions
            .iter()
            .zip(needed)
            .filter(|(_, is_needed)| !is_needed)
        {
            let Exception { from, to, .. } = exception;
            let message = format!("`{from}` does not use `{to}` any more: delete the exception");
            findings.push(Finding::new(HERE, 1, message));
        }
        findings
    }

    fn exception(&self, from: usize, to: Option<usize>) -> Option<usize> {
        let (from, to) = (self.modules[from], self.modules[to?]);
        self.exceptions
            .iter()
            .position(|exception| exception.from == from && exception.to == to)
    }

    /// The index of the longest entry that `path` lies in.
    fn layer_of(&self, path: &[&str]) -> Option<usize> {
        let entries = self.modules.iter().enumerate().filter(|(_, entry)| {
            let mut parts = path.iter();
            entry.split("::").all(|part| parts.next() == Some(&part))
        });
        entries
            .max_by_key(|(_, entry)| entry.len())
            .map(|(index, _)| index)
    }
}

fn first(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// The module path of a file, from its path below `src/`.
fn module_of(path: &str) -> Vec<&str> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Vec<&str> = path.split('/').collect();
    if matches!(parts.last(), Some(&"mod")) || matches!(parts[..], ["lib" | "main"]) {
        parts.pop();
    }
    parts
}

fn macro_names(source: &str) -> Vec<&str> {
    let code = lexer::code(&lexer::tokens(source));
    let names = code
        .windows(3)
        .filter(|w| w[0].is("macro_rules") && w[1].is("!"));
    names.map(|w| w[2].text).collect()
}

/// A path written in a module, resolved to the crate's root.
struct Reference<'a> {
    target: Vec<&'a str>,
    line: usize,
}

fn references<'a>(code: &[Token<'a>], file_module: &[&'a str]) -> Vec<Reference<'a>> {
    let skipped = test_ranges(code);
    let mut inline: Vec<(&str, usize)> = Vec::new();
    let mut references = Vec::new();
    for (index, token) in code.iter().enumerate() {
        inline.retain(|&(_, end)| index <= end);
        if token.is("mod") && code.get(index + 2).is_some_and(|brace| brace.is("{")) {
            inline.push((code[index + 1].text, lexer::closing(code, index + 2)));
        }
        let is_start = (token.is("crate") || token.is("super") || token.is("self"))
            && code.get(index + 1).is_some_and(|next| next.is("::"))
            && !(index > 0
                && ["$", "::", "in"]
                    .iter()
                    .any(|before| code[index - 1].is(before)));
        if !is_start || skipped.iter().any(|range| range.contains(&index)) {
            continue;
        }
        let module = file_module
            .iter()
            .copied()
            .chain(inline.iter().map(|&(name, _)| name));
        let mut base: Vec<&str> = if token.is("crate") {
            Vec::new()
        } else {
            module.collect()
        };
        let mut next = if token.is("super") { index } else { index + 2 };
        while code.get(next).is_some_and(|token| token.is("super")) {
            base.pop();
            next += 2;
        }
        expand(code, next, &base, &mut references);
    }
    references
}

/// Follows a path from `index`, into the branches of a `use` tree, and notes where each one ends.
/// Returns the index behind it.
fn expand<'a>(
    code: &[Token<'a>],
    mut index: usize,
    base: &[&'a str],
    references: &mut Vec<Reference<'a>>,
) -> usize {
    let mut target = base.to_vec();
    let mut line = code.get(index).map_or(0, |token| token.line);
    while let Some(token) = code.get(index) {
        if token.is("{") {
            let end = lexer::closing(code, index);
            index += 1;
            while index < end {
                index = expand(code, index, &target, references).max(index + 1);
                if code.get(index).is_some_and(|token| token.is(",")) {
                    index += 1;
                }
            }
            return end + 1;
        }
        if !token.is_word() {
            break;
        }
        line = token.line;
        if !token.is("self") {
            target.push(token.text);
        }
        index += 1;
        if !code.get(index).is_some_and(|token| token.is("::")) {
            break;
        }
        index += 1;
    }
    // `a as b`, `a::*`: the rest adds nothing.
    while code
        .get(index)
        .is_some_and(|token| token.is("*") || token.is("as"))
    {
        index += if code[index].is("as") { 2 } else { 1 };
    }
    references.push(Reference { target, line });
    index
}

pub(super) fn check_crates(tree: &Tree) -> Vec<Finding> {
    let rank = |name: &str| CRATES.iter().position(|listed| *listed == name);
    let mut findings = Vec::new();
    for file in tree
        .files
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
    {
        let folder = file.path.trim_end_matches("/Cargo.toml");
        let Some(name) = folder.strip_prefix("crates/") else {
            continue;
        };
        let Some(own_rank) = rank(name) else {
            let message = format!("crate `{name}` has no place in the order: add it to {HERE}");
            findings.push(Finding::new(&file.path, 1, message));
            continue;
        };
        for (dependency, line) in dependencies(&file.text) {
            if rank(dependency).is_some_and(|rank| rank >= own_rank) {
                let message = format!("`{dependency}` is not below `{name}`: see STYLE.md, 1");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// The names in the sections for dependencies and build dependencies; a crate's tests may use
/// what lies above it.
fn dependencies(manifest: &str) -> Vec<(&str, usize)> {
    let mut is_inside = false;
    let mut names = Vec::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let kind = section.rsplit('.').next().unwrap_or(section);
            is_inside = matches!(kind, "dependencies" | "build-dependencies");
            let table = section
                .rsplit_once("dependencies.")
                .filter(|(before, _)| !before.ends_with("dev-"));
            names.extend(table.map(|(_, name)| (name, index + 1)));
        } else if is_inside && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(0);
            names.extend(Some((&line[..end], index + 1)).filter(|(name, _)| !name.is_empty()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Layers = Layers {
        package: "c",
        modules: &["low", "mid::a", "mid::b", "mid", "high"],
        exceptions: &[],
    };

    fn check(path: &str, source: &str) -> Vec<String> {
        let all = [
            "c/src/low.rs",
            "c/src/mid/mod.rs",
            "c/src/mid/a.rs",
            "c/src/mid/b.rs",
            "c/src/high.rs",
        ];
        let mut files: Vec<(&str, &str)> = all
            .into_iter()
            .filter(|other| *other != path)
            .map(|other| (other, ""))
            .collect();
        files.push((path, source));
        let findings = SMALL.check(&Tree::of(&files));
        findings
            .iter()
            .map(|f| format!("{}: {}", f.line, f.message))
            .collect()
    }

    #[track_caller]
    fn assert_up(path: &str, source: &str, line: usize, text: &str) {
        let found = check(path, source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{line}: {text}")),
            "{source}: {found:?}"
        );
    }

    #[track_caller]
    fn assert_fine(path: &str, source: &str) {
        assert_eq!(check(path, source), [""; 0], "{source}");
    }

    #[test]
    fn a_path_that_points_up_is_found() {
        assert_up(
            "c/src/low.rs",
            "\nuse crate::high::X;",
            2,
            "`high` is above `low`",
        );
        assert_up(
            "c/src/low.rs",
            "fn f() { crate::high::f(); }",
            1,
            "`high` is above `low`",
        );
        assert_up(
            "c/src/low.rs",
            "use super::mid::X;",
            1,
            "`mid` is above `low`",
        );
        assert_up(
            "c/src/low.rs",
            "use crate::mid::a::X;",
            1,
            "`mid::a` is above `low`",
        );
        assert_up(
            "c/src/low.rs",
            "pub use crate::high;",
            1,
            "`high` is above `low`",
        );
        assert_up(
            "c/src/low.rs",
            "use crate::high::*;",
            1,
            "`high` is above `low`",
        );
    }

    #[test]
    fn a_path_that_points_down_is_fine() {
        assert_fine("c/src/high.rs", "use crate::{low::X, mid::{self, b::Y}};");
        assert_fine("c/src/high.rs", "use super::low; fn f(x: crate::mid::T) {}");
        assert_fine(
            "c/src/low.rs",
            "use crate::low::X; use self::Y; use core::high::Z;",
        );
    }

    #[test]
    fn use_trees_are_followed() {
        assert_up(
            "c/src/mid/a.rs",
            "use crate::{\n  low::{X, Y as Z},\n  high::{\n    self,\n  },\n};",
            4,
            "`high` is above `mid::a`",
        );
        assert_eq!(
            check("c/src/low.rs", "use crate::{mid::{a, b}, low, high};").len(),
            3
        );
    }

    #[test]
    fn a_folder_has_an_order_of_its_own() {
        assert_up(
            "c/src/mid/a.rs",
            "use super::b::X;",
            1,
            "`mid::b` is above `mid::a`",
        );
        assert_up(
            "c/src/mid/a.rs",
            "use super::X;",
            1,
            "`mid` is above `mid::a`",
        );
        assert_up(
            "c/src/mid/b.rs",
            "use super::super::high::X;",
            1,
            "`high` is above `mid::b`",
        );
        assert_fine("c/src/mid/b.rs", "use super::a::X;");
        assert_fine(
            "c/src/mid/mod.rs",
            "mod a; pub use self::a::X; use crate::mid::b::Y;",
        );
    }

    #[test]
    fn inline_modules_shift_super() {
        assert_fine(
            "c/src/high.rs",
            "mod inner { use super::X; use super::super::low; }",
        );
        assert_up(
            "c/src/low.rs",
            "mod inner { use super::super::high::X; }",
            1,
            "`high` is above",
        );
        assert_up(
            "c/src/low.rs",
            "mod inner {} use super::high::X;",
            1,
            "`high` is above",
        );
    }

    #[test]
    fn tests_comments_and_exported_macros_may_point_anywhere() {
        assert_fine(
            "c/src/low.rs",
            "#[cfg(test)] mod tests { use crate::high::X; }",
        );
        assert_fine(
            "c/src/low.rs",
            "// crate::high::X\nconst S: &str = \"crate::high::X\";",
        );
        assert_fine(
            "c/src/low.rs",
            "macro_rules! m { () => { $crate::high::X } }",
        );
        assert_fine("c/src/low.rs", "pub(in crate::low) fn f() {}");
    }

    #[test]
    fn items_of_the_root_hide_where_they_live() {
        assert_up(
            "c/src/low.rs",
            "use crate::Thing;",
            1,
            "`crate::Thing` is an item of the crate's",
        );
        assert_up("c/src/low.rs", "use crate::*;", 1, "`crate::*` is an item");
        assert_fine(
            "c/src/low.rs",
            "macro_rules! fatal { () => {} } fn f() { crate::fatal!(); }",
        );
    }

    #[test]
    fn an_exception_holds_for_its_pair_and_while_it_is_needed() {
        let exceptions = &[Exception {
            from: "low",
            to: "high",
            because: "of the test",
        }];
        let layers = Layers {
            exceptions,
            ..SMALL
        };
        let lines = |low| -> Vec<(String, usize)> {
            let tree = Tree::of(&[
                ("c/src/low.rs", low),
                ("c/src/mid/mod.rs", ""),
                ("c/src/high.rs", ""),
            ]);
            layers
                .check(&tree)
                .into_iter()
                .map(|f| (f.path, f.line))
                .collect()
        };
        assert_eq!(lines("use crate::high::X;"), []);
        assert_eq!(
            lines("use crate::high::X;\nuse crate::mid::Y;"),
            [("c/src/low.rs".into(), 2)]
        );
        assert_eq!(lines(""), [(HERE.into(), 1)]);
    }

    #[test]
    fn an_unlisted_module_is_found() {
        assert_up("c/src/new.rs", "", 1, "`new` has no place in the order");
    }

    #[test]
    fn crates_depend_on_lower_ones() {
        let up = "[package]\nname = \"gort-queue\"\n[target.'cfg(loom)'.dependencies]\n\
                  gort-core.workspace = true\n[dependencies.gort]\npath = \"x\"\n";
        let found = check_crates(&Tree::of(&[("crates/gort-queue/Cargo.toml", up)]));
        let lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [4, 5], "{found:?}");

        let down = "[dependencies]\n# gort-core\ngort-arch = { path = \"x\" }\n\
                    libc.workspace = true\n[dev-dependencies]\ngort.workspace = true\n[dev-dependencies.gort-cli]\n";
        assert_eq!(
            check_crates(&Tree::of(&[("crates/gort-queue/Cargo.toml", down)])),
            []
        );
        assert_eq!(
            check_crates(&Tree::of(&[("crates/gort-new/Cargo.toml", "")])).len(),
            1
        );
    }
}
