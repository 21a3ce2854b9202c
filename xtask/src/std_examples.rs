//! std's own doc examples of what gort has in std's shape, with `std::` replaced by `gort::`.
//!
//! They come from the documentation that is installed beside the compiler (rustup's component `rust-docs`), so
//! that they are those of this very version of std, and nothing is copied into the tree. Each page's examples
//! are read from their playground links, which have the hidden lines too. The paths in [`REPLACED`] are replaced, as
//! text, and nothing else; the results become the doc tests of a generated crate below `target`.
//!
//! What a page does not tell is which examples std itself only compiles. Those that talk to addresses
//! that nobody listens on, need files, or end the process are recognized by [`NOT_RUN`] and [`COMMANDS`], and compiled
//! as well, but not run.
//!
//! [`EXCEPTIONS`] has what cannot hold, with the reason. An entry that fits no example is an error.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of pages, below `std`.
const FOLDERS: [&str; 6] = ["thread", "sync/mpsc", "net", "io", "fs", "process"];

/// What is replaced: modules of std that gort has.
const REPLACED: [&str; 7] = ["thread", "sync", "net", "time", "io", "fs", "process"];

/// Of an example that must not be run: it talks to somebody, uses files, reads what nobody types, or ends
/// the process.
const NOT_RUN: [&str; 8] = [
    "::connect",
    "::bind",
    "to_socket_addrs",
    "fs::",
    "File::",
    "stdin()",
    "exit(",
    "abort(",
];

/// The commands that may be run, as they are there on any system. An example with others is not run.
const COMMANDS: [&str; 8] = [
    "/bin/cat", "cat", "echo", "ls", "printenv", "sed", "sh", "sort",
];

/// Examples (or, with `*` at the end, all of a page) that do not hold, and why.
const EXCEPTIONS: [(&str, &str); 6] = [
    ("thread_fn_sleep_ms_1", "std has deprecated it"),
    ("fs_struct_File_12", LOCK),
    ("fs_struct_File_13", LOCK),
    ("fs_struct_File_14", LOCK),
    ("fs_struct_File_15", LOCK),
    ("fs_struct_File_16", LOCK),
];

const LOCK: &str = "std has `File::lock` since 1.89, and gort builds with 1.88";

struct Example {
    /// Its page and number, from 1.
    name: String,
    code: String,
    should_panic: bool,
}

/// Why an example is not among the tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    /// It needs a feature of the compiler that is not stable.
    Unstable,
    /// std does not compile it either.
    NotCode,
    /// It names nothing that gort has.
    Unrelated,
    Excepted,
}

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let Some(docs) = installed_docs() else {
        println!(
            "std-examples: skipped: std's documentation is not installed (rustup component add rust-docs)"
        );
        return Ok(());
    };
    let mut examples = Vec::new();
    let mut left = Vec::new();
    for folder in FOLDERS {
        let mut pages: Vec<PathBuf> = fs::read_dir(docs.join(folder))
            .map_err(|error| format!("{}/{folder}: {error}", docs.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "html")
            })
            .collect();
        pages.sort();
        for page in pages {
            let html = fs::read_to_string(&page).map_err(|error| error.to_string())?;
            let name = page_name(folder, &page);
            for (index, found) in examples_of(&html).into_iter().enumerate() {
                let name = format!("{name}_{}", index + 1);
                match found.and_then(|(code, should_panic)| {
                    let excepted = EXCEPTIONS.iter().any(|(pattern, _)| fits(pattern, &name));
                    match replace(&code) {
                        _ if excepted => Err(Left::Excepted),
                        None => Err(Left::Unrelated),
                        Some(code) => Ok((code, should_panic)),
                    }
                }) {
                    Ok((code, should_panic)) => examples.push(Example {
                        name,
                        code,
                        should_panic,
                    }),
                    Err(why) => left.push((name, why)),
                }
            }
        }
    }
    for (pattern, _) in EXCEPTIONS {
        if !left.iter().any(|(name, _)| fits(pattern, name)) {
            return Err(format!("std-examples: no example is called {pattern}"));
        }
    }
    if examples.is_empty() {
        return Err("std-examples: no example was found: do the pages look different?".to_owned());
    }
    report(examples.len(), &left);
    let folder = write_crate(root, &examples).map_err(|error| error.to_string())?;
    let status = Command::new(env!("CARGO"))
        .args(["test", "--doc", "--quiet"])
        .current_dir(&folder)
        .status()
        .map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!(
            "std-examples: see src/lib.rs in {}",
            folder.display()
        ));
    }
    Ok(())
}

fn installed_docs() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    let docs = Path::new(sysroot.trim()).join("share/doc/rust/html/std");
    docs.is_dir().then_some(docs)
}

/// `sync/mpsc/struct.Sender.html` as `mpsc_struct_Sender`.
fn page_name(folder: &str, page: &Path) -> String {
    let module = folder.rsplit('/').next().unwrap_or(folder);
    let stem = page.file_stem().map(|stem| stem.to_string_lossy());
    format!("{module}_{}", stem.unwrap_or_default().replace('.', "_"))
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// The examples of a page, in order: their code, and whether they are to panic.
fn examples_of(html: &str) -> Vec<Result<(String, bool), Left>> {
    let blocks = html.split(r#"<div class="example-wrap"#).skip(1);
    blocks
        .map(|block| {
            let (classes, rest) = block.split_once('"').ok_or(Left::NotCode)?;
            let end = rest.find("</div>").unwrap_or(rest.len());
            let link = rest[..end].split_once("?code=").ok_or(Left::NotCode)?.1;
            let link = &link[..link.find("&amp;").unwrap_or(link.len())];
            if classes.contains("compile_fail") || classes.contains("ignore") {
                return Err(Left::NotCode);
            }
            let code = decode(link);
            if code.contains("#![feature(") {
                return Err(Left::Unstable);
            }
            Ok((code, classes.contains("should_panic")))
        })
        .collect()
}

/// Undoes the encoding of a link.
fn decode(link: &str) -> String {
    let mut bytes = Vec::with_capacity(link.len());
    let mut rest = link.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(0), rest.next().unwrap_or(0)];
                let digits = std::str::from_utf8(&digits).unwrap_or("");
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The example with gort in std's place; `None` if there is nothing to replace.
fn replace(code: &str) -> Option<String> {
    let mut replaced = code.to_owned();
    for module in REPLACED {
        let path = format!("std::{module}");
        let mut rest = std::mem::take(&mut replaced);
        while let Some(at) = rest.find(&path) {
            let end = at + path.len();
            let is_whole = !rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
            replaced.push_str(&rest[..at]);
            replaced.push_str(if is_whole { "gort::" } else { "std::" });
            replaced.push_str(module);
            rest = rest[end..].to_owned();
        }
        replaced.push_str(&rest);
    }
    let replaced = replace_groups(&replaced);
    (replaced != code).then_some(replaced)
}

/// `std::{thread, time}`, if gort has all of it.
fn replace_groups(code: &str) -> String {
    let mut parts = code.split("std::{");
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let names = part.split_once('}').map_or("", |(group, _)| group);
        let is_ours = names.split(',').all(|name| REPLACED.contains(&name.trim()));
        replaced.push_str(if is_ours { "gort::{" } else { "std::{" });
        replaced.push_str(part);
    }
    replaced
}

/// Whether an example can be run here.
fn may_run(code: &str) -> bool {
    let mut commands = code.split("Command::new(").skip(1);
    let is_known = |rest: &str| {
        let name = rest.split('"').nth(1);
        rest.starts_with('"') && name.is_some_and(|name| COMMANDS.contains(&name))
    };
    !NOT_RUN.iter().any(|call| code.contains(call)) && commands.all(is_known)
}

fn report(count: usize, left: &[(String, Left)]) {
    let how_many = |why| left.iter().filter(|(_, left)| *left == why).count();
    println!(
        "std-examples: {count} of std's examples with `gort::` in place of `std::`; not among them: {} that \
         need an unstable feature, {} that std does not compile, {} that name nothing of ours, {} exceptions",
        how_many(Left::Unstable),
        how_many(Left::NotCode),
        how_many(Left::Unrelated),
        how_many(Left::Excepted),
    );
    for (pattern, reason) in EXCEPTIONS {
        println!("    {pattern}: {reason}");
    }
}

/// A crate with the examples as doc tests.
fn write_crate(root: &Path, examples: &[Example]) -> std::io::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let folder = target.join("std-examples");
    fs::create_dir_all(folder.join("src"))?;
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let manifest = format!(
        "[package]\nname = \"std-examples\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\ngort = {{ path = {:?} }}\n",
        root.join("crates/gort")
    );
    fs::write(folder.join("Cargo.toml"), manifest)?;
    let mut source = String::from("//! Generated by `cargo xtask std-examples`.\n");
    for example in examples {
        let attribute = match (example.should_panic, may_run(&example.code)) {
            (_, false) => "no_run",
            (true, true) => "should_panic",
            (false, true) => "rust",
        };
        let _ = writeln!(source, "\n/// ```{attribute}");
        for line in example.code.lines() {
            let _ = writeln!(source, "/// {line}");
        }
        let _ = writeln!(source, "/// ```\npub mod {} {{}}", example.name);
    }
    fs::write(folder.join("src/lib.rs"), source)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_from_their_links_with_what_is_to_become_of_them() {
        let html = r#"<div class="example-wrap"><pre>x</pre><a href="https://p/?code=use+std::thread;%0Ax%3Cy%3E&amp;edition=2024"></a></div>
            <div class="example-wrap should_panic"><pre></pre><a href="https://p/?code=panic&amp;e"></a></div>
            <div class="example-wrap compile_fail"><pre></pre><a href="https://p/?code=no&amp;e"></a></div>
            <div class="example-wrap"><pre></pre><a href="https://p/?code=%23![feature(a)]&amp;e"></a></div>
            <div class="example-wrap"><pre>text</pre></div><a href="https://p/?code=far&amp;e"></a>"#;
        assert_eq!(
            examples_of(html),
            [
                Ok(("use std::thread;\nx<y>".to_owned(), false)),
                Ok(("panic".to_owned(), true)),
                Err(Left::NotCode),
                Err(Left::Unstable),
                Err(Left::NotCode),
            ]
        );
    }

    #[test]
    fn only_whole_paths_of_modules_that_gort_has_are_replaced() {
        assert_eq!(
            replace("std::thread::spawn; std::env; std::synchronized; std::sync::Arc").as_deref(),
            Some("gort::thread::spawn; std::env; std::synchronized; gort::sync::Arc")
        );
        assert_eq!(replace("std::env::args"), None);
        assert_eq!(
            replace("use std::{thread, time}; use std::{env, thread}").as_deref(),
            Some("use gort::{thread, time}; use std::{env, thread}")
        );
    }

    #[test]
    fn what_needs_others_is_not_run() {
        assert!(may_run("let x = gort::io::empty();"));
        assert!(may_run(r#"Command::new("echo").arg("rev")"#));
        assert!(!may_run(r#"Command::new("echo"); Command::new("rev")"#));
        assert!(!may_run("Command::new(path)"));
        assert!(!may_run(r#"gort::fs::write("foo.txt", "")?"#));
    }

    #[test]
    fn an_exception_fits_one_example_or_a_page() {
        assert!(fits("thread_fn_park_1", "thread_fn_park_1"));
        assert!(!fits("thread_fn_park_1", "thread_fn_park_12"));
        assert!(fits("net_struct_Udp*", "net_struct_UdpSocket_3"));
    }
}
