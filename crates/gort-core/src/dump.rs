//! Goroutines as text, in the form of Go's dumps.
//!
//! ```text
//! goroutine 7 "reader" [chan receive, 3 minutes]:
//! gort::chan::receiver::Receiver<T>::recv(...)
//!     src/chan/receiver.rs:120
//! app::read(...)
//!     src/main.rs:31
//! created at src/main.rs:12:9 in goroutine 1
//! ```
//!
//! Goroutines that differ in nothing but their numbers and creators are listed once, with the numbers of the others, if
//! there are many. Of the runtime's own frames only the outermost on top is shown, which says what the
//! goroutine called; `RUST_BACKTRACE=full` shows all.
//!
//! Elsewhere: which goroutines there are (`snapshot`), what addresses are called (`symbol`).

use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::fmt::Write;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use gort_queue::status::State;

use crate::g::Creation;
use crate::snapshot::{self, Goroutine};
use crate::symbol::{self, Symbol};
use crate::trace::Stack;
use crate::wait_reason::WaitReason;

/// All goroutines with their stacks.
pub fn all() -> String {
    text(&snapshot::goroutines_with_stacks())
}

/// As [`all`], before the process ends.
pub fn at_the_end() -> String {
    text(&snapshot::goroutines_at_the_end())
}

/// The members of one group (a test's).
pub fn of_group(group: u32) -> String {
    let mut goroutines = snapshot::goroutines_with_stacks();
    goroutines.retain(|goroutine| goroutine.group == group);
    text(&goroutines)
}

/// How many alike are listed one by one.
const ALIKE_MAX: usize = 10;
/// How many numbers, or runs of numbers, of further goroutines are listed.
const NUMBERS_MAX: usize = 100;

/// The text of these goroutines.
pub fn text(goroutines: &[Goroutine]) -> String {
    let mut stacks = Stacks::default();
    let stacks: Vec<Option<Rc<str>>> = goroutines
        .iter()
        .map(|goroutine| goroutine.stack.as_ref().map(|stack| stacks.text(stack)))
        .collect();
    let mut alike: HashMap<_, Vec<&Goroutine>> = HashMap::new();
    for (goroutine, stack) in goroutines.iter().zip(&stacks) {
        let kind = Kind::of(goroutine, stack);
        alike.entry(kind).or_default().push(goroutine);
    }
    let mut out = String::new();
    for (goroutine, stack) in goroutines.iter().zip(&stacks) {
        let group = &alike[&Kind::of(goroutine, stack)];
        let is_first = group[0].id == goroutine.id;
        if group.len() > ALIKE_MAX && !is_first {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let others = if group.len() > ALIKE_MAX {
            &group[1..]
        } else {
            &[]
        };
        // Writing to a String cannot fail.
        let _ = describe(&mut out, goroutine, stack.as_deref());
        let _ = describe_creation(&mut out, goroutine, others);
        if !others.is_empty() {
            let _ = describe_others(&mut out, others);
        }
    }
    out
}

/// Texts of stacks, one of each: stacks may differ in places of the runtime that are not shown.
#[derive(Default)]
struct Stacks {
    /// By address of the return addresses, which equal stacks of one snapshot share.
    known: HashMap<(*const usize, bool), Rc<str>>,
    texts: HashSet<Rc<str>>,
}

impl Stacks {
    fn text(&mut self, stack: &Stack) -> Rc<str> {
        let key = (stack.addresses.as_ptr(), stack.is_cut);
        if let Some(text) = self.known.get(&key) {
            return text.clone();
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write_stack(&mut text, stack);
        let text = match self.texts.get(text.as_str()) {
            Some(known) => known.clone(),
            None => {
                let new: Rc<str> = text.into();
                self.texts.insert(new.clone());
                new
            }
        };
        self.known.insert(key, text.clone());
        text
    }
}

/// What goroutines have in common that are shown as one.
#[derive(PartialEq, Eq, Hash)]
struct Kind<'a> {
    name: Option<&'a str>,
    state: (State, Option<WaitReason>),
    waited_minutes: u64,
    is_locked: bool,
    labels: &'a [(String, String)],
    created_at: Option<&'static Location<'static>>,
    parked_at: Option<&'static Location<'static>>,
    /// Where the text of its stack lies, as there is one of each.
    stack: Option<*const u8>,
}

impl Kind<'_> {
    fn of<'a>(goroutine: &'a Goroutine, stack: &Option<Rc<str>>) -> Kind<'a> {
        Kind {
            name: goroutine.name.as_deref(),
            state: (goroutine.state, goroutine.wait_reason),
            waited_minutes: minutes(goroutine),
            is_locked: goroutine.locked_to_thread,
            labels: &goroutine.labels,
            created_at: goroutine.created_at,
            parked_at: goroutine.parked_at,
            stack: stack.as_ref().map(|text| text.as_ptr()),
        }
    }
}

fn minutes(goroutine: &Goroutine) -> u64 {
    goroutine.waited.unwrap_or(Duration::ZERO).as_secs() / 60
}

fn describe(out: &mut String, goroutine: &Goroutine, stack: Option<&str>) -> std::fmt::Result {
    write!(out, "goroutine {}", goroutine.id)?;
    if let Some(name) = &goroutine.name {
        write!(out, " \"{name}\"")?;
    }
    match goroutine.wait_reason {
        Some(reason) => write!(out, " [{reason}")?,
        None => write!(out, " [{}", goroutine.state)?,
    }
    let waited = minutes(goroutine);
    if waited >= 1 {
        write!(out, ", {waited} minutes")?;
    }
    if goroutine.locked_to_thread {
        out.push_str(", locked to thread");
    }
    out.push(']');
    for (i, (key, value)) in goroutine.labels.iter().enumerate() {
        write!(out, "{}{key}: {value}", if i == 0 { " {" } else { ", " })?;
    }
    out.push_str(if goroutine.labels.is_empty() {
        ":\n"
    } else {
        "}:\n"
    });
    match stack {
        Some(stack) => out.push_str(stack),
        None => {
            if snapshot::is_on_a_thread(goroutine.state) {
                out.push_str("\tgoroutine running on other thread; stack unavailable\n");
            }
            if let Some(at) = goroutine.parked_at {
                writeln!(out, "\tparked at {at}")?;
            }
        }
    }
    Ok(())
}

/// Where it was started and by whom. By whom `others` were, who are listed with it, may differ.
fn describe_creation(
    out: &mut String,
    goroutine: &Goroutine,
    others: &[&Goroutine],
) -> std::fmt::Result {
    let Some(at) = goroutine.created_at else {
        return Ok(());
    };
    let by = goroutine.created_by;
    write!(out, "{}", Creation { at, by })?;
    if by.is_some() && others.iter().any(|other| other.created_by != by) {
        out.push_str(" and others");
    }
    out.push('\n');
    Ok(())
}

/// Numbers of goroutines like the one before, runs as `5-9`.
fn describe_others(out: &mut String, others: &[&Goroutine]) -> std::fmt::Result {
    write!(out, "{} more goroutines like this: ", others.len())?;
    let mut rest = others;
    for written in 0.. {
        let Some((first, _)) = rest.split_first() else {
            break;
        };
        if written > 0 {
            out.push_str(", ");
        }
        if written == NUMBERS_MAX {
            out.push_str("...");
            break;
        }
        write!(out, "{}", first.id)?;
        let run = rest
            .iter()
            .zip(first.id..)
            .take_while(|(goroutine, id)| goroutine.id == *id)
            .count();
        if run > 1 {
            write!(out, "-{}", rest[run - 1].id)?;
        }
        rest = &rest[run..];
    }
    out.push('\n');
    Ok(())
}

fn write_stack(out: &mut String, stack: &Stack) -> std::fmt::Result {
    for frame in frames(stack) {
        writeln!(out, "{}(...)", frame.function)?;
        if let Some(file) = &frame.file {
            write!(out, "\t{file}")?;
            if let Some(line) = frame.line {
                write!(out, ":{line}")?;
            }
            out.push('\n');
        }
    }
    if stack.is_cut {
        out.push_str("...additional frames elided...\n");
    }
    Ok(())
}

/// The frames of a stack that are of interest to a user, innermost first.
pub fn frames(stack: &Stack) -> Vec<Symbol> {
    static WANTS_ALL: OnceLock<bool> = OnceLock::new();
    let mut frames = all_frames(stack);
    let wants_all =
        *WANTS_ALL.get_or_init(|| std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v == "full"));
    if !wants_all {
        trim(&mut frames);
    }
    frames
}

/// The innermost function that is neither the runtime's nor std's nor libc's.
pub(crate) fn users(stack: &Stack) -> Option<Symbol> {
    let libc = object_of(libc::read as *const () as usize);
    // In a program that is one object with its libc, that says nothing.
    let libc = libc.filter(|_| libc != object_of(users as *const () as usize));
    let addresses = stack.addresses.iter();
    addresses
        .filter(|&&address| libc.is_none() || object_of(address) != libc)
        .flat_map(|&address| symbol::symbols(address).to_vec())
        .find(|symbol| owner(symbol) == Owner::Other)
}

/// The program or library that a return address lies in.
fn object_of(address: usize) -> Option<usize> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    let before = address.wrapping_sub(1) as *const c_void;
    // SAFETY: `dladdr` looks an address up and does not follow it; `info` has room for the answer, and is read only if
    // it was written.
    unsafe {
        let found = libc::dladdr(before, info.as_mut_ptr()) != 0;
        found.then(|| info.assume_init().dli_fbase as usize)
    }
}

fn all_frames(stack: &Stack) -> Vec<Symbol> {
    let mut frames = Vec::new();
    for &address in &*stack.addresses {
        let symbols = symbol::symbols(address);
        if symbols.is_empty() {
            frames.push(Symbol {
                function: format!("{address:#x}"),
                file: None,
                line: None,
            });
        }
        frames.extend_from_slice(&symbols);
    }
    frames
}

/// Whose function it is, by the crate that a path begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// The runtime below the public API.
    Runtime,
    /// The public API and what it is made of.
    Api,
    /// Between the runtime and others, or below all: std, libc.
    Std,
    Other,
}

fn owner(symbol: &Symbol) -> Owner {
    let path = symbol.function.trim_start_matches(['<', '&', '(']);
    let path = path.strip_prefix("dyn ").unwrap_or(path);
    let path = path.split('<').next().unwrap_or_default();
    match path.split_once("::") {
        Some(("gort_arch" | "gort_core" | "gort_queue", _)) => Owner::Runtime,
        Some(("gort" | "lock_api", _)) => Owner::Api,
        Some(("std" | "core" | "alloc", _)) => Owner::Std,
        Some(_) => Owner::Other,
        // An inlined function whose debug information has lines only; or not Rust.
        None => owner_by_file(path, symbol.file.as_deref()),
    }
}

fn owner_by_file(function: &str, file: Option<&str>) -> Owner {
    // libc's have files where its debug information is installed.
    if matches!(
        function,
        "_start"
            | "clone"
            | "clone3"
            | "__clone"
            | "__clone3"
            | "start_thread"
            | "__rust_try"
            | "__libc_start_main"
            | "__libc_start_call_main"
            | "__libc_start_main_impl"
    ) {
        return Owner::Std;
    }
    let Some(file) = file else {
        return match function {
            "main" => Owner::Std,
            _ if function.starts_with("0x") => Owner::Std,
            _ => Owner::Other,
        };
    };
    if file.starts_with("/rustc/") || file.contains("/lib/rustlib/src/rust/library/") {
        return Owner::Std;
    }
    let Some((folder, _)) = file.rsplit_once("/src/") else {
        return Owner::Other;
    };
    let package = folder.rsplit('/').next().unwrap_or_default();
    // As in a registry: with a version.
    let name = match package.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name,
        _ => package,
    };
    match name {
        "gort-arch" | "gort-core" | "gort-queue" => Owner::Runtime,
        "gort" | "lock_api" => Owner::Api,
        _ => Owner::Other,
    }
}

/// Cuts the runtime's own frames off: on top all but the outermost, below all.
fn trim(frames: &mut Vec<Symbol>) {
    let owners: Vec<Owner> = frames.iter().map(owner).collect();
    let others = |owner: &Owner| *owner == Owner::Other;
    let (Some(first), Some(last)) = (
        owners.iter().position(others),
        owners.iter().rposition(others),
    ) else {
        // Nothing but the runtime, as far as is known: better too much than nothing.
        return;
    };
    frames.truncate(last + 1);
    let ours = |owner: &Owner| matches!(owner, Owner::Runtime | Owner::Api);
    if let Some(outermost) = owners[..first].iter().rposition(ours) {
        let is_known = owners[outermost] == Owner::Api;
        frames.drain(..outermost + usize::from(!is_known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(functions: &[&str]) -> Vec<String> {
        let mut frames: Vec<Symbol> = functions
            .iter()
            .map(|function| Symbol {
                function: (*function).to_owned(),
                file: None,
                line: None,
            })
            .collect();
        trim(&mut frames);
        frames.into_iter().map(|frame| frame.function).collect()
    }

    #[test]
    fn frames_of_the_runtime_are_cut_off() {
        assert_eq!(
            trimmed(&[
                "gort_core::sched::switch::leave",
                "gort_core::sched::park::park",
                "std::thread::local::LocalKey<T>::with",
                "gort::chan::core::receive",
                "<gort::chan::receiver::Receiver<i32>>::recv",
                "core::iter::Iterator::map",
                "app::reads",
                "gort::sync::once::Once::call_once",
                "<app::Thing as app::Trait>::act",
                "core::ops::function::FnOnce::call_once",
                "gort_core::sched::entry::run",
                "0x1234",
            ]),
            [
                "<gort::chan::receiver::Receiver<i32>>::recv",
                "core::iter::Iterator::map",
                "app::reads",
                "gort::sync::once::Once::call_once",
                "<app::Thing as app::Trait>::act",
            ]
        );
        assert_eq!(
            trimmed(&["gort_core::a", "core::b", "app::c", "std::d"]),
            ["core::b", "app::c"]
        );
        assert_eq!(trimmed(&["std::a", "app::b"]), ["std::a", "app::b"]);
        assert_eq!(trimmed(&["gort_core::a"]), ["gort_core::a"]);
    }

    #[test]
    fn frames_of_libc_are_cut_off_with_their_files_or_without() {
        for file in [None, Some("./nptl/pthread_create.c")] {
            let symbol = |function: &str, file: Option<&str>| Symbol {
                function: function.to_owned(),
                file: file.map(str::to_owned),
                line: Some(442),
            };
            let mut frames = vec![
                symbol("app::computes", Some("/app/src/main.rs")),
                symbol("gort_core::sched::entry::run", None),
                symbol("std::thread::start", None),
                symbol("start_thread", file),
                symbol("clone3", file),
            ];
            trim(&mut frames);
            assert_eq!(frames.len(), 1, "{frames:?}");
        }
    }

    #[test]
    fn functions_without_a_path_are_told_by_their_files() {
        let owner = |function: &str, file: &str| {
            super::owner(&Symbol {
                function: function.to_owned(),
                file: Some(file.to_owned()),
                line: None,
            })
        };
        assert_eq!(
            owner("leave", "/w/crates/gort-core/src/sched/a.rs"),
            Owner::Runtime
        );
        assert_eq!(
            owner("recv<a::B>", "/r/gort-0.1.0/src/chan/a.rs"),
            Owner::Api
        );
        assert_eq!(
            owner("do_call<a::B>", "/rustc/5980/library/std/src/a.rs"),
            Owner::Std
        );
        assert_eq!(owner("f", "/app/src/main.rs"), Owner::Other);
        assert_eq!(owner("app::f", "/w/crates/gort/src/a.rs"), Owner::Other);
        assert_eq!(
            owner("{closure#0}", "/w/crates/gort/tests/a.rs"),
            Owner::Other
        );
    }

    fn goroutine(id: u64, name: Option<&str>) -> Goroutine {
        Goroutine::for_tests(id, name)
    }

    #[test]
    fn many_alike_are_listed_once() {
        let few: Vec<_> = (1..=10).map(|id| goroutine(id, None)).collect();
        let text = super::text(&few);
        assert_eq!(text.matches("goroutine ").count(), 10);
        assert!(!text.contains("more goroutines"));

        let many: Vec<_> = (1..=20)
            .filter(|id| *id != 7)
            .map(|id| goroutine(id, (id == 9).then_some("nine")))
            .collect();
        let text = super::text(&many);
        assert_eq!(text.matches("goroutine ").count(), 2);
        assert!(
            text.contains("17 more goroutines like this: 2-6, 8, 10-20\n"),
            "{text}"
        );
        assert!(
            text.contains("goroutine 9 \"nine\" [runnable]:\n"),
            "{text}"
        );

        let scattered: Vec<_> = (1..=1000).map(|id| goroutine(id * 2, None)).collect();
        let text = super::text(&scattered);
        assert!(text.ends_with("200, 202, ...\n"), "{text}");
    }

    #[test]
    fn the_last_line_says_where_and_by_whom_it_was_created() {
        let created = |id, by| Goroutine {
            created_at: Some(Location::caller()),
            created_by: by,
            ..goroutine(id, None)
        };
        let at = format!("\ncreated at {}", file!());
        let last_line = |goroutines: &[Goroutine]| {
            let text = super::text(goroutines);
            let (_, line) = text.split_once(&at).expect("all have one");
            line.split_once(' ').map_or("", |(_, by)| by).to_owned()
        };
        assert_eq!(last_line(&[created(2, None)]), "");
        assert_eq!(last_line(&[created(2, Some(1))]), "in goroutine 1\n");

        let many = |by: fn(u64) -> u64| -> Vec<_> {
            let ids = 2..=20;
            ids.map(|id| created(id, Some(by(id)))).collect()
        };
        let same = last_line(&many(|_| 1));
        assert!(same.starts_with("in goroutine 1\n18 more "), "{same}");
        let others = last_line(&many(|id| id - 1));
        assert!(
            others.starts_with("in goroutine 1 and others\n18 more "),
            "{others}"
        );
    }

    #[test]
    fn a_header_is_gos_with_name_and_labels() {
        let mut goroutine = goroutine(3, Some("reader"));
        goroutine.labels = vec![("a".into(), "b".into()), ("c".into(), "d".into())];
        let text = super::text(&[goroutine]);
        assert!(
            text.starts_with("goroutine 3 \"reader\" [runnable] {a: b, c: d}:\n"),
            "{text}"
        );
    }
}
