//! Finds the tests that cover cases, by reading the workspace's source.
//!
//! Three forms count: a `#[test]` (or `#[gort::test]`) function, an item with a `compile_fail` doc
//! test, and a compile-fail case `tests/ui/NAME.rs` with its `.stderr`. A test that is ignored, or
//! whose body asserts nothing, is found but does not count. Assertions are macros and functions
//! named `assert...`, `panic!`, `unreachable!`, `expect_err`, `unwrap_err`, and `should_panic`.

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
    /// Why it does not count, if it does not.
    pub(super) uncounted: Option<&'static str>,
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
    uncounted: Option<&'static str>,
}

fn ui_case<'a>(tree: &Tree, file: &'a File) -> Item<'a> {
    let stem = file.path.trim_end_matches(".rs");
    let has_stderr = tree.get(&format!("{stem}.stderr")).is_some();
    Item {
        name: stem.rsplit('/').next().unwrap_or(stem),
        line: 1,
        is_compile_fail: true,
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
    let mut head = Head::default();
    let mut items = Vec::new();
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        if token.kind == Kind::Doc {
            let fences = token.text.lines().filter(|line| line.contains("```"));
            head.is_compile_fail |= fences.into_iter().any(|line| line.contains("compile_fail"));
        } else if token.is("#") && tokens.get(index + 1).is_some_and(|next| next.is("[")) {
            let end = lexer::closing(&tokens, index + 1);
            head.read_attribute(&tokens[index + 2..end]);
            index = end;
        } else if KINDS.iter().any(|kind| token.is(kind)) {
            // `const fn` is a function.
            let is_const_fn =
                token.is("const") && tokens.get(index + 1).is_some_and(|t| t.is("fn"));
            if let Some(name) = tokens
                .get(index + 1)
                .filter(|name| name.is_word() && !is_const_fn)
            {
                items.extend(head.item(*name, &tokens[index..], token.is("fn")));
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
    }

    /// The item called `name`, whose tokens begin `rest`, if it can be a test.
    fn item<'a>(&self, name: Token<'a>, rest: &[Token<'a>], is_function: bool) -> Option<Item<'a>> {
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
        Some(Item {
            name: name.text,
            line: name.line,
            is_compile_fail,
            uncounted,
        })
    }
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
