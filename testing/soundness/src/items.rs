//! The public items of the crate `gort`, read from its source.
//!
//! rustfmt writes each item on a line of its own, with fixed beginnings, so a look at the lines is enough. What
//! is `pub` there is public indeed: the lint `unreachable_pub` sees to that. Read are
//!
//! | item | path |
//! |---|---|
//! | function, type alias | `chan::bounded`, `sync::Mutex` |
//! | method | `chan::Sender::send` |
//! | implementation of a trait by a public type | `chan::Sender:Drop`, `chan::&Receiver:IntoIterator` |
//! | type, as something to be forgotten | `forget(chan::Sender)` |
//! | macro | `select!` |
//! | what comes from another crate of ours | `use(runtime::ConfigError)` |
//!
//! `unsafe fn`s are not: this package is about safe code.
//!
//! Several types have the same methods from a macro of the crate's own: what such a macro makes of its
//! arguments is read as if it stood where the macro is called ([`Macro`]).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// A public item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Item {
    /// Its path, as in the table above.
    pub path: String,
    /// File and line.
    pub at: String,
}

/// All public items of the crate whose sources are in a folder.
///
/// # Errors
///
/// Those of reading it.
pub fn read(folder: &Path) -> io::Result<Vec<Item>> {
    let mut files = Vec::new();
    read_folder(folder, "", &mut files)?;
    let macros: Vec<Macro> = files.iter().flat_map(|file| file.macros()).collect();
    // What a macro makes may call another: those are expanded in their turn.
    let mut index = 0;
    while let Some(file) = files.get(index) {
        let made = file.expansions(&macros);
        files.extend(made);
        index += 1;
    }
    let public = files.iter().flat_map(File::public_modules).collect();
    let items = files.iter().flat_map(|file| file.items(&public));
    let mut items: Vec<Item> = items.collect();
    let types: BTreeSet<String> = items
        .iter()
        .filter_map(|item| item.path.strip_prefix("forget(")?.strip_suffix(')'))
        .map(str::to_owned)
        .collect();
    // What private types do is seen through public ones.
    items.retain(|item| {
        implementor(&item.path).is_none_or(|implementor| types.contains(&implementor))
    });
    items.sort();
    items.dedup_by(|a, b| a.path == b.path);
    Ok(items)
}

/// The type of the path of an implementation: `chan::&Receiver:IntoIterator` is `chan::Receiver`'s.
fn implementor(path: &str) -> Option<String> {
    let (of, r#trait) = path.rsplit_once(':')?;
    let is_trait = !of.ends_with(':') && !r#trait.ends_with(')');
    is_trait.then(|| of.replace('&', ""))
}

struct File {
    name: String,
    text: String,
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_folder(&entry.path(), &format!("{name}/"), files)?;
        } else {
            let text = fs::read_to_string(entry.path())?;
            files.push(File { name, text });
        }
    }
    Ok(())
}

/// A macro that makes items, as far as reading them goes.
struct Macro {
    name: String,
    /// The names of its parameters, in order, with their dollars.
    parameters: Vec<String>,
    /// What it makes, less the margin.
    body: Vec<String>,
}

impl Macro {
    /// The items that a call with these arguments makes. Arguments are known by their place among the
    /// commas, arrows and braces; that finds names, which come first.
    fn expand(&self, arguments: &str) -> String {
        let values = arguments.replace("=>", ",");
        let values = values.split([',', '{']).map(str::trim);
        let values: Vec<(&String, &str)> = self.parameters.iter().zip(values).collect();
        let mut lines: Vec<String> = Vec::new();
        for line in &self.body {
            let mut line = line.clone();
            for (parameter, value) in &values {
                line = line.replace(*parameter, value);
            }
            lines.push(line);
            // A method for each signature among the arguments.
            if lines.last().is_some_and(|line| line.ends_with("$(")) {
                let signatures = arguments.lines().map(str::trim);
                let signatures = signatures.filter(|line| line.starts_with("fn "));
                lines.extend(signatures.map(|line| format!("    pub {line}")));
            }
        }
        lines.retain(|line| !line.contains("fn $"));
        lines.join("\n")
    }
}

impl File {
    /// The macros of this file that are not exported.
    fn macros(&self) -> Vec<Macro> {
        let mut macros = Vec::new();
        for (start, _) in self.text.match_indices("\nmacro_rules! ") {
            let text = &self.text[start + 1..];
            let text = &text[..text.find("\n}").unwrap_or(text.len())];
            let is_exported = self.text[..start].ends_with("#[macro_export]");
            let Some((matcher, body)) = text.split_once("=> {\n").filter(|_| !is_exported) else {
                continue;
            };
            // Those that are repeated stand for no one argument.
            let (matcher, _) = matcher.split_once("$(").unwrap_or((matcher, ""));
            let parameters = matcher.split('$').skip(1);
            macros.push(Macro {
                name: word(text.strip_prefix("macro_rules! ").unwrap_or_default()).to_owned(),
                parameters: parameters.map(|rest| format!("${}", word(rest))).collect(),
                body: body
                    .lines()
                    .map(|line| line.strip_prefix("        ").unwrap_or(line).to_owned())
                    .collect(),
            });
        }
        macros
    }

    /// What the calls of `macros` in this file make, as files beside it.
    fn expansions(&self, macros: &[Macro]) -> Vec<File> {
        let mut made = Vec::new();
        let mut place = 0;
        for line in self.text.split_inclusive('\n') {
            let rest = &self.text[place..];
            place += line.len();
            let Some(called) = macros.iter().find(|r#macro| {
                let behind = line.strip_prefix(&r#macro.name);
                behind.is_some_and(|rest| rest.starts_with("!(") || rest.starts_with("! {"))
            }) else {
                continue;
            };
            let arguments = &rest[called.name.len()..];
            let arguments = arguments.trim_start_matches(['!', ' ', '(', '{', '\n']);
            // As rustfmt ends it: on the same line, or with the delimiter at the beginning of one.
            let end = match line.trim_end().strip_suffix(");") {
                Some(_) => arguments.find(");"),
                None => ["\n}", "\n);"]
                    .iter()
                    .filter_map(|end| arguments.find(end))
                    .min(),
            };
            let end = end.unwrap_or(arguments.len());
            made.push(File {
                name: self.name.clone(),
                text: called.expand(&arguments[..end]),
            });
        }
        made
    }

    /// The public modules that are declared here, by their paths.
    fn public_modules(&self) -> impl Iterator<Item = String> {
        let parent = match self.name.strip_suffix("/mod.rs") {
            Some(folder) => format!("{}::", folder.replace('/', "::")),
            None => String::new(),
        };
        let declared = self.text.lines().filter_map(|line| {
            let name = line.strip_prefix("pub mod ")?.strip_suffix(';')?;
            Some(format!("{parent}{name}"))
        });
        let declared: Vec<String> = declared.collect();
        declared.into_iter()
    }

    /// The innermost public module around this file, with `::` behind it: what is public in a private
    /// module is shown by the one above.
    fn module(&self, public: &BTreeSet<String>) -> String {
        let path = self.name.trim_end_matches(".rs").trim_end_matches("/mod");
        let mut path = path.replace('/', "::");
        loop {
            if public.contains(&path) {
                return path + "::";
            }
            match path.rsplit_once("::") {
                Some((parent, _)) => path = parent.to_owned(),
                None => return String::new(),
            }
        }
    }

    fn items(&self, public: &BTreeSet<String>) -> Vec<Item> {
        let module = self.module(public);
        let mut items = Vec::new();
        // Whose methods follow.
        let mut of = String::new();
        for (index, line) in self.text.lines().enumerate() {
            if line == "mod tests {" {
                break;
            }
            let mut add = |path: String| {
                let at = format!("{}:{}", self.name, index + 1);
                items.push(Item { path, at });
            };
            if let Some(name) = function(line) {
                add(format!("{module}{name}"));
            } else if let Some(name) = line.strip_prefix("    ").and_then(function) {
                add(format!("{module}{of}::{name}"));
            } else if let Some(name) = after_any(line, &["pub struct ", "pub enum ", "pub union "])
            {
                add(format!("forget({module}{name})"));
            } else if let Some(name) = after_any(line, &["pub type "]) {
                add(format!("{module}{name}"));
                add(format!("forget({module}{name})"));
            } else if let Some(name) = after_any(line, &["macro_rules! "]) {
                let is_exported = self.text.contains(&format!("#[macro_export]\n{line}"));
                if is_exported {
                    add(format!("{name}!"));
                }
            } else if let Some(rest) = line.strip_prefix("pub use ") {
                // `core` is what `runtime` calls the one below it.
                let ours = ["gort_", "core::"];
                let text = statement(&self.text, index);
                if ours.iter().any(|prefix| rest.starts_with(prefix)) {
                    names_used(&text).for_each(|name| add(format!("use({module}{name})")));
                }
            } else if let Some(head) = after_impl(line) {
                let head = without_generics(head);
                match head.split_once(" for ") {
                    Some((r#trait, implementor)) => {
                        of = format!("({head})");
                        let r#trait = last_segment(r#trait);
                        let implementor = word_with_reference(implementor);
                        // None: what a macro implements for a type that is not one of ours.
                        if !implementor.is_empty() {
                            add(format!("{module}{implementor}:{trait}"));
                        }
                    }
                    None => of = word_with_reference(&head),
                }
            }
        }
        items
    }
}

/// The name of a safe public function that begins in this line.
fn function(line: &str) -> Option<&str> {
    after_any(line, &["pub fn ", "pub const fn ", "pub async fn "])
}

/// The word behind the first of these beginnings that the line has.
fn after_any<'a>(line: &'a str, beginnings: &[&str]) -> Option<&'a str> {
    let mut beginnings = beginnings.iter();
    beginnings
        .find_map(|beginning| line.strip_prefix(beginning))
        .map(word)
}

/// What is implemented for what, in a line that begins an implementation.
fn after_impl(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("unsafe ").unwrap_or(line);
    let rest = rest.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        // The parameters end where as many are closed as were opened; `->` closes none.
        Some(_) => {
            let mut depth = 0;
            let mut before = ' ';
            let end = rest.char_indices().find(|&(_, char)| {
                depth += i32::from(char == '<') - i32::from(char == '>' && before != '-');
                before = char;
                depth == 0
            });
            &rest[end?.0 + 1..]
        }
        None => rest,
    };
    rest.strip_prefix(' ')
}

/// The text without what stands between angle brackets, and without what follows.
fn without_generics(text: &str) -> String {
    let text = text.split(['{', ';']).next().unwrap_or_default();
    let mut depth = 0;
    let mut kept = String::new();
    for char in text.chars() {
        depth += i32::from(char == '<');
        if depth == 0 {
            kept.push(char);
        }
        depth -= i32::from(char == '>');
    }
    kept
}

/// The word at the beginning; with `&`, if it is a reference.
fn word_with_reference(text: &str) -> String {
    let text = text.trim();
    match text.strip_prefix('&') {
        Some(rest) => {
            let rest = match rest.strip_prefix('\'') {
                Some(lifetime) => lifetime.trim_start_matches(is_word_char).trim_start(),
                None => rest,
            };
            format!("&{}", last_segment(rest))
        }
        None => last_segment(text).to_owned(),
    }
}

fn last_segment(path: &str) -> &str {
    word(path.trim().rsplit("::").next().unwrap_or_default())
}

fn word(text: &str) -> &str {
    text.split(|char| !is_word_char(char))
        .next()
        .unwrap_or_default()
}

fn is_word_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The statement that begins in this line, to its semicolon.
fn statement(text: &str, line: usize) -> String {
    let rest: Vec<&str> = text.lines().skip(line).collect();
    let rest = rest.join(" ");
    rest.split(';').next().unwrap_or_default().to_owned()
}

/// The names that a `use` brings.
fn names_used(statement: &str) -> impl Iterator<Item = String> {
    let list = match statement.split_once('{') {
        Some((_, list)) => list.to_owned(),
        None => last_segment(statement).to_owned(),
    };
    let names: Vec<String> = list
        .split(|char| !is_word_char(char))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(name: &str, text: &str) -> Vec<String> {
        let file = File {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let public = ["chan", "sync", "sync::mpsc"].map(str::to_owned);
        let items = file.items(&public.into()).into_iter();
        items.map(|item| item.path).collect()
    }

    #[test]
    fn a_file_belongs_to_the_public_module_around_it() {
        let text = "pub fn a() {";
        for (name, path) in [
            ("go.rs", "a"),
            ("chan/mod.rs", "chan::a"),
            ("chan/select/arms.rs", "chan::a"),
            ("sync/mpsc.rs", "sync::mpsc::a"),
        ] {
            assert_eq!(paths(name, text), [path]);
        }
        let file = File {
            name: "sync/mod.rs".to_owned(),
            text: "mod a;\npub mod b;".to_owned(),
        };
        assert!(file.public_modules().eq(["sync::b"]));
    }

    #[test]
    fn functions_and_methods_are_found() {
        let text = "pub fn a() {\n    pub(crate) fn b() {\npub const fn c() {\npub unsafe fn d() {\n\
                    impl<T: Fn() -> u32> E<T> {\n    pub fn f<T>(self) {\n    fn g() {\n\
                    mod tests {\npub fn h() {";
        assert_eq!(
            paths("chan/x.rs", text),
            ["chan::a", "chan::c", "chan::E::f"]
        );
    }

    #[test]
    fn types_and_what_they_implement_are_found() {
        let text = "pub struct A<'a>(u32);\npub type B<T> = C<T>;\nimpl<T> Drop for A<'_> {\n\
                    impl<'a, T> IntoIterator for &'a A<T> {\nunsafe impl lock_api::Raw for A {";
        let expected = [
            "forget(A)",
            "B",
            "forget(B)",
            "A:Drop",
            "&A:IntoIterator",
            "A:Raw",
        ];
        assert_eq!(paths("go.rs", text), expected);
    }

    #[test]
    fn what_macros_make_is_found() {
        let text = "\nmacro_rules! a {\n    ($name:ident, $method:ident, $rest:expr) => {\n        \
                    impl $name {\n            pub fn $method(&self) {\n        }\n        \
                    impl Read for &$name {\n        b!($name);\n    };\n}\n\
                    macro_rules! b {\n    ($name:ident) => {\n        impl Write for $name {\n    };\n}\n\
                    macro_rules! c {\n    ($std:ty => $name:ident { $(\n        fn $method:ident();\n    )+ }) => {\n        \
                    impl $name { $(\n            pub fn $method() {}\n        )+ }\n    };\n}\n\
                    a!(X, act, 1);\nc! { net::X => X {\n    fn one();\n    fn two();\n} }\n";
        let mut files = vec![File {
            name: "chan/x.rs".to_owned(),
            text: text.to_owned(),
        }];
        let macros = files[0].macros();
        for index in 0.. {
            let Some(file) = files.get(index) else { break };
            let made = file.expansions(&macros);
            files.extend(made);
        }
        let made: Vec<String> = files[1..]
            .iter()
            .flat_map(|file| paths(&file.name, &file.text))
            .collect();
        let expected = [
            "chan::X::act",
            "chan::&X:Read",
            "chan::X::one",
            "chan::X::two",
            "chan::X:Write",
        ];
        assert_eq!(made, expected);
    }

    #[test]
    fn macros_and_our_other_crates_names_are_found() {
        let text = "#[macro_export]\nmacro_rules! a {\nmacro_rules! b {\n\
                    pub use std::sync::atomic;\npub use own::C;\npub use gort_core::d::{\n    D, E,\n};";
        let expected = ["a!", "use(sync::D)", "use(sync::E)"];
        assert_eq!(paths("sync/x.rs", text), expected);
    }
}
