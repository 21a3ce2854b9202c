//! Names, files and lines for return addresses, by std's symbolizer, once per address.
//!
//! std symbolizes whole backtraces and gives them as text. `gort_arch::trace::capture_at` shows it a
//! stack of one address, and the text is taken apart here; `the_text_is_understood` notices if a new std
//! writes it differently. What cannot be had stays a number.
//!
//! Allocates, reads the program's debug information, and takes locks of std: not for code inside the
//! runtime.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use gort_arch::trace;

/// A function at a call, as it was in the source: several if the compiler inlined.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Symbol {
    /// The path of the function.
    pub function: String,
    /// Its file.
    pub file: Option<String>,
    /// The line of the call.
    pub line: Option<u32>,
}

/// What was looked up so far: no more entries than the program has calls.
static KNOWN: Mutex<Option<HashMap<usize, Arc<[Symbol]>>>> = Mutex::new(None);

/// The functions at a return address, innermost first; none if nothing is known of it.
pub fn symbols(address: usize) -> Arc<[Symbol]> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(symbols) = known().as_ref().and_then(|known| known.get(&address)) {
        return symbols.clone();
    }
    // Without the lock: it takes milliseconds the first time.
    let symbols: Arc<[Symbol]> = look_up(address).into();
    let mut known = known();
    let known = known.get_or_insert_default();
    known.entry(address).or_insert(symbols).clone()
}

fn look_up(address: usize) -> Vec<Symbol> {
    let Some(backtrace) = trace::capture_at(address) else {
        return Vec::new();
    };
    let mut entries = parse(&format!("{backtrace:?}"));
    match entries
        .iter()
        .position(|symbol| symbol.function.contains(trace::SHIM_NAME))
    {
        Some(shim) => entries.split_off(shim + 1),
        None => Vec::new(),
    }
}

/// Takes `Backtrace [{ fn: "…", file: "…", line: 1 }, { fn: "…" }]` apart.
fn parse(text: &str) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    for entry in text.split("{ fn: ").skip(1) {
        let Some(entry) = entry.trim_end_matches([',', ' ', ']']).strip_suffix('}') else {
            continue;
        };
        let mut entry = entry.trim_end();
        let mut line = None;
        if let Some((rest, number)) = entry.rsplit_once(", line: ")
            && let Ok(number) = number.parse()
        {
            line = Some(number);
            entry = rest;
        }
        let mut file = None;
        if let Some((rest, path)) = entry.split_once(", file: ") {
            file = Some(whole_path(path.trim_matches('"')));
            entry = rest;
        }
        let function = entry.trim_matches('"');
        if function == "<unknown>" && file.is_none() {
            continue;
        }
        symbols.push(Symbol {
            function: function.to_owned(),
            file,
            line,
        });
    }
    symbols
}

/// std shortens paths below the current folder, which may change.
fn whole_path(path: &str) -> String {
    match (path.strip_prefix("./"), std::env::current_dir()) {
        (Some(rest), Ok(folder)) => folder.join(rest).to_string_lossy().into_owned(),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last part of a function's path. Tables of lines alone, as in our release builds, have no more.
    fn name(symbol: &Symbol) -> &str {
        let path = &symbol.function;
        path.rsplit_once("::").map_or(path, |(_, name)| name)
    }

    #[inline(always)]
    fn inlined(addresses: &mut [usize]) -> (usize, u32) {
        let line = line!() + 1;
        (trace::own(addresses).len, line)
    }

    /// Guards the form of std's text.
    #[test]
    fn the_text_is_understood() {
        let mut addresses = [0; 64];
        let (len, line) = inlined(&mut addresses);
        let all: Vec<Symbol> = addresses[..len]
            .iter()
            .flat_map(|&address| symbols(address).to_vec())
            .collect();
        let at = all
            .iter()
            .position(|symbol| name(symbol) == "inlined")
            .unwrap_or_else(|| panic!("{all:#?}"));
        assert_eq!(all[at].line, Some(line));
        let outer = &all[at + 1];
        assert_eq!(name(outer), "the_text_is_understood");
        assert_eq!(outer.line, Some(line + 7));
        for symbol in [&all[at], outer] {
            let file = symbol.file.as_deref().expect("a file");
            assert!(file.ends_with("gort-core/src/symbol.rs"), "{file}");
        }
    }

    #[test]
    fn parts_may_be_missing() {
        let text = r#"Backtrace [{ fn: "<a::B<i32> as c::D>::{closure#0}", file: "/x, y/z.rs", line: 12 }, { fn: "f" }, { fn: <unknown> }, { fn: "g", file: "a.c" }]"#;
        let symbol = |function: &str, file: Option<&str>, line| Symbol {
            function: function.to_owned(),
            file: file.map(str::to_owned),
            line,
        };
        let first = "<a::B<i32> as c::D>::{closure#0}";
        assert_eq!(
            parse(text),
            [
                symbol(first, Some("/x, y/z.rs"), Some(12)),
                symbol("f", None, None),
                symbol("g", Some("a.c"), None),
            ]
        );
        assert_eq!(parse("Backtrace []"), []);
        assert_eq!(parse("disabled backtrace"), []);
    }

    #[test]
    fn an_address_that_is_no_code_has_no_name() {
        let local = 0_u8;
        assert_eq!(*symbols(&raw const local as usize), []);
    }
}
