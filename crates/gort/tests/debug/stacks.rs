//! Stacks of goroutines, as values and as text: whose functions they name.

use std::time::{Duration, Instant};

use gort::chan;
use gort::debug::{self, GoroutineInfo, State, WaitReason};
use gort::runtime::{TlsMode, metrics, stacks};

/// Whether parked goroutines have stacks of ours, which can be walked.
pub(crate) fn has_own_stacks() -> bool {
    metrics().tls_mode == TlsMode::Own
}

/// The goroutine of this name, once it waits.
#[track_caller]
pub(crate) fn waiting(name: &str) -> GoroutineInfo {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let all = debug::goroutines();
        let found = all
            .into_iter()
            .find(|info| info.name.as_deref() == Some(name) && info.state == State::Waiting);
        if let Some(info) = found {
            return info;
        }
        assert!(
            Instant::now() < deadline,
            "{name} never waits:\n{}",
            stacks()
        );
        gort::yield_now();
    }
}

#[inline(never)]
fn receives_deep_inside(rx: &chan::Receiver<u32>) -> u32 {
    let value = rx.recv().unwrap();
    std::hint::black_box(value) + 1
}

#[inline(never)]
fn outer_of_the_receiver(rx: &chan::Receiver<u32>) -> u32 {
    std::hint::black_box(receives_deep_inside(rx)) + 1
}

#[gort::test]
fn the_stack_of_a_parked_goroutine_names_the_users_functions() {
    let (tx, rx) = chan::bounded(0);
    let created_line = line!() + 5;
    let handle = gort::Builder::new()
        .name("deep")
        .label("kind", "reader")
        // Here it is created.
        .go(move || outer_of_the_receiver(&rx))
        .unwrap();
    let info = waiting("deep");
    assert_eq!(info.wait_reason, Some(WaitReason::ChanReceive));
    assert_eq!(info.created_at.line(), created_line);
    assert_eq!(info.created_at.file(), file!());
    assert_eq!(info.created_by, Some(gort::current().id()));
    assert_eq!(info.labels, [("kind".to_owned(), "reader".to_owned())]);
    if has_own_stacks() {
        let frames = info.frames();
        let at = |name: &str| {
            frames
                .iter()
                .position(|frame| frame.function.contains(name))
                .unwrap_or_else(|| panic!("{name} is not in {frames:#?}"))
        };
        let (recv, inner, outer) = (
            at("recv"),
            at("receives_deep_inside"),
            at("outer_of_the_receiver"),
        );
        assert!(recv == 0 && recv < inner && inner < outer, "{frames:#?}");
        assert!(
            frames[inner]
                .file
                .as_ref()
                .unwrap()
                .ends_with("tests/debug/stacks.rs")
        );
        let ours = |frame: &debug::Frame| frame.function.contains("gort_core");
        assert!(!frames.iter().any(ours), "{frames:#?}");

        let text = stacks();
        println!("{text}");
        let (_, part) = text
            .split_once("\"deep\" [chan receive] {kind: reader}:\n")
            .unwrap();
        let (part, _) = part
            .split_once(&format!("stacks.rs:{created_line}:"))
            .unwrap();
        assert!(part.contains("receives_deep_inside(...)\n\t"), "{text}");
        let by = format!(" in goroutine {}\n", gort::current().id());
        let (_, created) = text
            .split_once(&format!("stacks.rs:{created_line}:"))
            .unwrap();
        let line = created.split_inclusive('\n').next().unwrap();
        assert!(line.ends_with(&by), "{line} in {text}");
        assert!(part.contains("\ncreated at "), "{text}");
    }
    tx.send(40).unwrap();
    assert_eq!(handle.join().unwrap(), 42);
}

#[inline(never)]
fn asks_for_its_own_stack() -> String {
    let text = debug::stacks();
    std::hint::black_box(text)
}

#[gort::test]
fn the_stack_of_the_caller_is_shown() {
    let id = gort::current().id();
    let text = asks_for_its_own_stack();
    let (_, own) = text.split_once(&format!("goroutine {id} ")).unwrap();
    let frames: Vec<&str> = own.lines().filter(|line| line.ends_with("(...)")).collect();
    // Above it at most the function of the API, if that is a frame of its own.
    let at = frames
        .iter()
        .position(|line| line.contains("asks_for_its_own_stack"));
    assert!(at.is_some_and(|at| at <= 1), "{own}");
}

#[gort::test]
fn many_goroutines_alike_are_shown_as_one_but_for_those_with_names() {
    let (tx, rx) = chan::bounded::<()>(0);
    let go = |name: &str| {
        let rx = rx.clone();
        let builder = match name {
            "" => gort::Builder::new(),
            _ => gort::Builder::new().name(name),
        };
        builder.go(move || rx.recv().unwrap_err()).unwrap()
    };
    let names = ["", "", "first", "second"];
    let handles: Vec<_> = names
        .iter()
        .cycle()
        .take(100)
        .map(|name| go(name))
        .collect();
    let last = go("last");
    waiting("last");
    for handle in &handles {
        let id = handle.goroutine().id();
        let waits = || {
            let all = debug::goroutines();
            all.iter()
                .any(|info| info.id == id && info.state == State::Waiting)
        };
        while !waits() {
            gort::yield_now();
        }
    }
    let text = stacks();
    assert!(text.contains("\n49 more goroutines like this: "), "{text}");
    // Other tests' goroutines are in the text too.
    let has_group = |name: &str| {
        text.split("\n\n").any(|group| {
            group.contains(&format!(" \"{name}\" [chan receive"))
                && group.contains("\n24 more goroutines like this: ")
        })
    };
    assert!(has_group("first") && has_group("second"), "{text}");
    assert_eq!(text.matches("\"last\" [chan receive").count(), 1, "{text}");
    drop(tx);
    for handle in handles.into_iter().chain([last]) {
        handle.join().unwrap();
    }
}

/// A stack of more frames than are kept.
#[gort::test]
fn a_deep_stack_is_cut() {
    fn descend(depth: usize, rx: &chan::Receiver<()>) -> usize {
        if depth == 0 {
            let _ = rx.recv();
            return 0;
        }
        std::hint::black_box(descend(depth - 1, rx)) + 1
    }
    if !has_own_stacks() {
        return;
    }
    let (tx, rx) = chan::bounded::<()>(0);
    let handle = gort::Builder::new()
        .name("descends")
        .go(move || descend(150, &rx))
        .unwrap();
    let info = waiting("descends");
    assert_eq!(info.addresses().len(), 100);
    let text = stacks();
    assert!(text.contains("...additional frames elided...\n"), "{text}");
    drop(tx);
    assert_eq!(handle.join().unwrap(), 150);
}
