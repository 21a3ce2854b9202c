//! Finds the tests that cover cases, by reading the workspace's source.
//!
//! Four forms count: a `#[test]` (or `#[gort::test]`) function, a function inside `in_both_modes!`, an
//! item with a `compile_fail` doc test, and a compile-fail case `tests/ui/NAME.rs` with its `.stderr`.
//! A test that is ignored, or whose body asserts nothing, is found but does not count. Assertions are
//! macros and functions named `assert...`, `panic!`, `unreachable!`, `expect_err`, `unwrap_err`, and
//! `should_panic`.
//!
//! What a test sets itself is the same under each configuration. That is read from its attribute, its
//! body, and the functions of the same file that it calls.

use crate::conformance::ids::Ids;
use crate::lexer::{self, Kind, Token};
use crate::tree::{File, Tree};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) ids: Vec<String>,
    pub(super) name: String,
    /// The name of the package, for cargo.
    pub(super) package: String,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) is_compile_fail: bool,
    /// What it sets itself, whatever the configuration.
    pub(super) sets: Sets,
    /// Why it does not count, if it does not.
    pub(super) uncounted: Option<&'static str>,
}

/// What a test sets that a configuration would set too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    /// The number of Ps.
    pub(super) procs: bool,
    /// That the order is not shaken, or how.
    pub(super) order: bool,
    /// The thread-local mode, or it runs in both.
    pub(super) mode: bool,
}

impl Sets {
    fn and(self, other: Sets) -> Sets {
        Sets {
            procs: self.procs || other.procs,
            order: self.order || other.order,
            mode: self.mode || other.mode,
        }
    }

    fn of(code: &[Token<'_>]) -> Sets {
        let mut sets = Sets::default();
        for (index, token) in code.iter().enumerate() {
            let is = |offset: usize, text: &str| {
                let other = code.get(index + offset);
                other.is_some_and(|other| other.is(text))
            };
            if token.kind == Kind::Str {
                sets.procs |= token.text == "GORT_PROCS";
                sets.mode |= token.text == "GORT_TLS";
            }
            let is_method = token.is(".") && is(2, "(");
            sets.procs |= is_method && is(1, "procs");
            // `set_gomaxprocs(0)` only asks.
            sets.procs |= token.is("set_gomaxprocs") && is(1, "(") && !is(2, "0");
            sets.order |= is_method && is(1, "unshaken");
            // The programs of `testing/crash` are never shaken.
            sets.order |= token.is("Program") && is(1, "::") && is(2, "at");
        }
        sets
    }
}

pub(super) fn find(tree: &Tree, ids: &Ids) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for file in tree.rust() {
        let Some(package) = tree.package_of(&file.path) else {
            continue;
        };
        let items = if file.path.contains("/tests/ui/") {
            vec![ui_case(tree, file)]
        } else {
            items(&lexer::tokens(&file.text))
        };
        for item in items {
            let ids = ids
                .of_name(item.name)
                .map_err(|error| format!("{}:{}: {error}", file.path, item.line))?;
            if !ids.is_empty() {
                all.push(Found {
                    ids,
                    name: item.name.to_owned(),
                    package: package_name(tree, package),
                    path: file.path.clone(),
                    line: item.line,
                    is_compile_fail: item.is_compile_fail,
                    sets: item.sets,
                    uncounted: item.uncounted,
                });
            }
        }
    }
    Ok(all)
}

fn package_name(tree: &Tree, folder: &str) -> String {
    let manifest = tree.get(&format!("{folder}/Cargo.toml"));
    let mut lines = manifest.iter().flat_map(|file| file.text.lines());
    let name = lines.find_map(|line| line.trim().strip_prefix("name = \"")?.strip_suffix('"'));
    name.unwrap_or(folder).to_owned()
}

/// Something that may be a test, whatever its name.
struct Item<'a> {
    name: &'a str,
    line: usize,
    is_compile_fail: bool,
    sets: Sets,
    uncounted: Option<&'static str>,
}

fn ui_case<'a>(tree: &Tree, file: &'a File) -> Item<'a> {
    let stem = file.path.trim_end_matches(".rs");
    let has_stderr = tree.get(&format!("{stem}.stderr")).is_some();
    Item {
        name: stem.rsplit('/').next().unwrap_or(stem),
        line: 1,
        is_compile_fail: true,
        sets: Sets::default(),
        uncounted: (!has_stderr).then_some("it has no .stderr beside it"),
    }
}

/// What stands before an item: its attributes and documentation.
#[derive(Default)]
struct Head {
    is_test: bool,
    is_ignored: bool,
    should_panic: bool,
    is_compile_fail: bool,
    sets: Sets,
}

fn items<'a>(tokens: &[Token<'a>]) -> Vec<Item<'a>> {
    const KINDS: [&str; 8] = [
        "fn", "struct", "enum", "mod", "trait", "const", "static", "type",
    ];
    // Words that may stand between the attributes and the kind.
    const BETWEEN: [&str; 8] = [
        "pub", "(", "crate", ")", "async", "unsafe", "extern", "super",
    ];

    let tokens: Vec<Token<'a>> = tokens
        .iter()
        .filter(|token| token.kind != Kind::Comment)
        .copied()
        .collect();
    let functions = functions(&tokens);
    let mut head = Head::default();
    let mut items = Vec::new();
    // Where the last `in_both_modes!` ends.
    let mut both_end = 0;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        if token.kind == Kind::Doc {
            let fences = token.text.lines().filter(|line| line.contains("```"));
            head.is_compile_fail |= fences.into_iter().any(|line| line.contains("compile_fail"));
        } else if token.is("#") && tokens.get(index + 1).is_some_and(|next| next.is("[")) {
            let end = lexer::closing(&tokens, index + 1);
            head.read_attribute(&tokens[index + 2..end]);
            index = end;
        } else if token.is("in_both_modes") && tokens.get(index + 1).is_some_and(|t| t.is("!")) {
            both_end = lexer::closing(&tokens, index + 2);
        } else if KINDS.iter().any(|kind| token.is(kind)) {
            // `const fn` is a function.
            let is_const_fn =
                token.is("const") && tokens.get(index + 1).is_some_and(|t| t.is("fn"));
            if let Some(name) = tokens
                .get(index + 1)
                .filter(|name| name.is_word() && !is_const_fn)
            {
                if index < both_end {
                    head.is_test = true;
                    head.sets = head.sets.and(Sets {
                        order: true,
                        mode: true,
                        procs: false,
                    });
                }
                let rest = &tokens[index..];
                items.extend(head.item(*name, rest, token.is("fn"), &functions));
                head = Head::default();
            }
        } else if !BETWEEN.iter().any(|word| token.is(word)) {
            head = Head::default();
        }
        index += 1;
    }
    items
}

impl Head {
    fn read_attribute(&mut self, attribute: &[Token<'_>]) {
        let path = attribute
            .iter()
            .take_while(|token| token.is_word() || token.is("::"));
        let Some(last) = path.last() else { return };
        self.is_test |= last.is("test");
        self.is_ignored |= last.is("ignore");
        self.should_panic |= last.is("should_panic");
        if last.is("test") {
            self.sets.procs |= attribute.iter().any(|token| token.is("procs"));
            self.sets.order |= attribute.iter().any(|token| token.is("seed"));
        }
    }

    /// The item called `name`, whose tokens begin `rest`, if it can be a test.
    fn item<'a>(
        &self,
        name: Token<'a>,
        rest: &[Token<'a>],
        is_function: bool,
        functions: &[(&str, Sets)],
    ) -> Option<Item<'a>> {
        let is_test = self.is_test && is_function;
        if !is_test && !self.is_compile_fail {
            return None;
        }
        let uncounted = if self.is_ignored {
            Some("it is ignored")
        } else if is_test && !self.should_panic && !asserts(body(rest)) {
            Some("it asserts nothing")
        } else {
            None
        };
        let is_compile_fail = !is_test;
        let mut sets = self.sets;
        if is_test {
            let body = body(rest);
            sets = sets.and(Sets::of(body));
            for pair in body.windows(2).filter(|pair| pair[1].is("(")) {
                let called = functions.iter().filter(|(name, _)| pair[0].is(name));
                sets = called.fold(sets, |sets, (_, theirs)| sets.and(*theirs));
            }
        }
        Some(Item {
            name: name.text,
            line: name.line,
            is_compile_fail,
            sets,
            uncounted,
        })
    }
}

/// The functions of a file, and what they set.
fn functions<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, Sets)> {
    let begins = (0..tokens.len()).filter(|&index| tokens[index].is("fn"));
    let named = begins.filter_map(|index| {
        let name = tokens.get(index + 1).filter(|name| name.is_word())?;
        Some((name.text, Sets::of(body(&tokens[index..]))))
    });
    named.filter(|(_, sets)| *sets != Sets::default()).collect()
}

/// The tokens of the body of the function that begins `tokens`.
fn body<'b, 'a>(tokens: &'b [Token<'a>]) -> &'b [Token<'a>] {
    let Some(open) = tokens.iter().position(|token| token.is("{")) else {
        return &[];
    };
    &tokens[open..lexer::closing(tokens, open)]
}

fn asserts(body: &[Token<'_>]) -> bool {
    body.windows(2).any(|pair| {
        let [word, next] = pair else { return false };
        let is_call = next.is("(") || next.is("!") || next.is("::");
        word.is_word() && word.text.starts_with("assert") && is_call
            || (word.is("panic") || word.is("unreachable")) && next.is("!")
            || (word.is("expect_err") || word.is("unwrap_err")) && next.is("(")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        Ids::parse("[A]\nS1 a\nS2 b\nS18 c\nCH07 d\n").expect("it is well formed")
    }

    /// Name and reason of everything found in one file.
    fn found(source: &str) -> Vec<(String, bool, Option<&'static str>)> {
        let tree = Tree::of(&[
            ("c/Cargo.toml", "[package]\nname = \"pack\""),
            ("c/src/a.rs", source),
        ]);
        let found = find(&tree, &ids()).expect("all ids are known");
        found
            .into_iter()
            .map(|f| (f.name, f.is_compile_fail, f.uncounted))
            .collect()
    }

    #[test]
    fn a_test_that_asserts_counts() {
        for body in [
            "assert_eq!(a, b)",
            "assert!(a)",
            "harness::assert_no_leaks(|| {})",
            "assert_parked::<3>()",
            "x.unwrap_err();",
            "if a { panic!() }",
        ] {
            let source = format!("#[test] fn s001_x() {{ {body} }}");
            assert_eq!(found(&source), [("s001_x".into(), false, None)], "{body}");
        }
    }

    #[test]
    fn a_test_without_assertion_does_not_count() {
        for body in [
            "run()",
            "x.unwrap();",
            "// assert!(a)\n",
            "f(\"assert!(a)\")",
            "let asserted = 1;",
        ] {
            let source = format!(
                "#[gort::test(procs = 1)]\nfn s001_x() {{ {body} }} fn f() {{ assert!(a) }}"
            );
            assert_eq!(
                found(&source),
                [("s001_x".into(), false, Some("it asserts nothing"))],
                "{body}"
            );
        }
    }

    #[test]
    fn an_ignored_test_does_not_count() {
        let source = "#[test]\n#[ignore = \"long\"]\nfn s001_x() { assert!(a) }";
        assert_eq!(
            found(source),
            [("s001_x".into(), false, Some("it is ignored"))]
        );
    }

    #[test]
    fn should_panic_is_an_assertion() {
        let source = "#[test] #[should_panic(expected = \"x\")] pub(crate) fn s001_x() { run() }";
        assert_eq!(found(source), [("s001_x".into(), false, None)]);
    }

    /// What the only test of a file sets.
    fn sets(source: &str) -> Sets {
        let tree = Tree::of(&[("c/Cargo.toml", ""), ("c/src/a.rs", source)]);
        let found = find(&tree, &ids()).expect("all ids are known");
        assert_eq!(found.len(), 1, "{source}");
        found[0].sets
    }

    #[test]
    fn a_check_in_both_modes_counts_and_sets_its_mode() {
        let source = "in_both_modes! { fn s001_x(program) { assert!(a) } fn other(p) { assert!(b) } }\n\
                      fn s002_x() { assert!(c) }";
        assert_eq!(found(source), [("s001_x".into(), false, None)]);
        let sets = sets(source);
        assert!(sets.order && sets.mode && !sets.procs);
    }

    #[test]
    fn what_a_test_sets_is_seen() {
        let of = |body: &str| sets(&format!("#[test] fn s001_x() {{ assert!(a); {body} }}"));
        assert_eq!(
            of("set_gomaxprocs(0); procs(); gomaxprocs()"),
            Sets::default()
        );
        for body in [
            "child::of(|| ()).procs(2).passes()",
            "gort::runtime::set_gomaxprocs(n);",
            ".without(\"GORT_PROCS\")",
        ] {
            assert!(of(body).procs && !of(body).order, "{body}");
        }
        for body in ["child::of(|| ()).unshaken()", "Program::at(path)"] {
            assert!(of(body).order && !of(body).procs, "{body}");
        }
        assert!(of("p.var(\"GORT_TLS\", 1)").mode);
        assert!(sets("#[gort::test(procs = 2)] fn s001_x() { assert!(a) }").procs);
        assert!(sets("#[gort::test(seed = 2)] fn s001_x() { assert!(a) }").order);
        let by_helper =
            "fn two() { x.procs(2) } fn none() {}\n#[test] fn s001_x() { assert!(a); two() }";
        assert!(sets(by_helper).procs);
        let by_nobody =
            "fn two() { x.procs(2) } fn none() {}\n#[test] fn s001_x() { assert!(a); none() }";
        assert_eq!(sets(by_nobody), Sets::default());
    }

    #[test]
    fn functions_that_are_no_tests_are_passed_over() {
        assert_eq!(
            found("fn s001_x() { assert!(a) } #[inline] fn s002_x() { assert!(a) }"),
            []
        );
        assert_eq!(found("#[test] fn other() { assert!(a) }"), []);
        assert_eq!(
            found("#[test] const X: u8 = 1; fn s001_x() { assert!(a) }"),
            []
        );
    }

    #[test]
    fn compile_fail_documentation_counts() {
        let source = "/// Text.\n///\n/// ```compile_fail,E0277\n/// x\n/// ```\npub struct s018_x;\n\
                      /// ```\n/// compiles\n/// ```\npub struct s001_y;";
        assert_eq!(found(source), [("s018_x".into(), true, None)]);
    }

    #[test]
    fn compile_fail_cases_need_what_the_compiler_says() {
        let tree = Tree::of(&[
            ("c/Cargo.toml", "name = \"pack\""),
            ("c/tests/ui/s018_a.rs", ""),
            ("c/tests/ui/s018_a.stderr", "error"),
            ("c/tests/ui/ch07_b.rs", ""),
            ("c/tests/ui/other.rs", ""),
        ]);
        let found = find(&tree, &ids()).expect("all ids are known");
        let counted: Vec<_> = found
            .iter()
            .map(|f| (&*f.name, f.uncounted.is_none()))
            .collect();
        assert_eq!(counted, [("s018_a", true), ("ch07_b", false)]);
        assert_eq!(found[0].package, "pack");
    }

    #[test]
    fn an_unknown_id_is_an_error_with_its_place() {
        let source = "\n#[test] fn s999_x() { assert!(a) }";
        let tree = Tree::of(&[("c/Cargo.toml", ""), ("c/src/a.rs", source)]);
        let error = find(&tree, &ids()).expect_err("S999");
        assert!(error.starts_with("c/src/a.rs:2: "), "{error}");
    }
}
