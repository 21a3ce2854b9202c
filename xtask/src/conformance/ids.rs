//! The list of cases: `ids.txt`, whose own head describes its form.

/// What is known about a case beside its title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Go's outcome is wanted.
    None,
    /// A decision (its id) gives another outcome.
    Decided(String),
    /// The mistake does not compile.
    Forbidden,
    /// It is about goroutines that are no threads: in thread mode a decision (its id) gives another outcome, and why.
    ThreadMode(String, String),
    /// There is nothing to test, and why.
    Docs(String),
    /// There is no test yet, and why.
    Later(String),
}

impl Mark {
    /// Why no test is asked for.
    pub(super) fn untested(&self) -> Option<&str> {
        match self {
            Mark::Docs(why) | Mark::Later(why) => Some(why),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) area: String,
    pub(super) mark: Mark,
}

#[derive(Debug)]
pub(super) struct Ids {
    /// Ids and texts.
    pub(super) decisions: Vec<(String, String)>,
    pub(super) cases: Vec<Case>,
}

impl Ids {
    pub(super) fn parse(text: &str) -> Result<Ids, String> {
        let mut ids = Ids {
            decisions: Vec::new(),
            cases: Vec::new(),
        };
        let mut area = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                area = Some(name.to_owned());
                continue;
            }
            let problem = |text: &str| format!("{}:{}: {text}: {line}", super::IDS, index + 1);
            let (id, title) = line.split_once(' ').ok_or_else(|| problem("no title"))?;
            if ids.find(id).is_some() || ids.is_decision(id) {
                return Err(problem("the id is taken"));
            }
            let Some(area) = &area else {
                ids.decisions.push((id.to_owned(), title.to_owned()));
                continue;
            };
            let (title, mark) = match title.split_once(" {") {
                Some((title, mark)) => {
                    let mark = mark.strip_suffix('}').ok_or_else(|| problem("no `}`"))?;
                    (title, ids.mark(mark).map_err(problem)?)
                }
                None => (title, Mark::None),
            };
            let case = Case {
                id: id.to_owned(),
                title: title.to_owned(),
                area: area.clone(),
                mark,
            };
            ids.cases.push(case);
        }
        Ok(ids)
    }

    pub(super) fn find(&self, id: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.id == id)
    }

    fn is_decision(&self, id: &str) -> bool {
        self.decisions.iter().any(|(decision, _)| decision == id)
    }

    fn mark(&self, mark: &str) -> Result<Mark, &'static str> {
        let (kind, why) = mark.split_once(": ").unwrap_or((mark, ""));
        let (why, in_thread_mode) = (why.to_owned(), kind.strip_suffix(" in thread mode"));
        let mark = match kind {
            "forbids" => return Ok(Mark::Forbidden),
            decision if self.is_decision(decision) => return Ok(Mark::Decided(mark.to_owned())),
            "docs" => Mark::Docs(why),
            "later" => Mark::Later(why),
            _ => match in_thread_mode {
                Some(decision) if self.is_decision(decision) => {
                    Mark::ThreadMode(decision.to_owned(), why)
                }
                _ => return Err("unknown mark"),
            },
        };
        match &mark {
            Mark::Docs(why) | Mark::Later(why) | Mark::ThreadMode(_, why) if why.is_empty() => {
                Err("no reason")
            }
            _ => Ok(mark),
        }
    }

    /// The cases that a test covers by its name: `s021_s115_...` is S21 and S115. A name that only
    /// looks like an id is an error, so that a typing mistake does not lose a test.
    pub(super) fn of_name(&self, name: &str) -> Result<Vec<String>, String> {
        let ids = name.split('_').map_while(id_of_part);
        ids.map(|id| match self.find(&id) {
            Some(_) => Ok(id),
            None => Err(format!(
                "`{name}` names the case {id}, which {} does not list",
                super::IDS
            )),
        })
        .collect()
    }
}

/// "s042" is S42 and "ch07" CH07; anything else is no id.
fn id_of_part(part: &str) -> Option<String> {
    let digits_start = part.find(|c: char| c.is_ascii_digit())?;
    let (letters, digits) = part.split_at(digits_start);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match (letters, digits.len()) {
        ("s", 3) => Some(format!("S{}", digits.trim_start_matches('0'))),
        ("ch" | "se" | "sc" | "pn" | "sy" | "mp" | "ti" | "cx" | "ne" | "ft" | "dg", 2) => {
            Some(format!("{}{digits}", letters.to_uppercase()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# head\nD7 a decision\n\n[One]\nS1 first\nS42 ring {D7}\n[Two]\n\
                         CH07 views {forbids}\nS104 advice {docs: nothing to build}\n\
                         S99 pages {later: comes with pages}\nS157 idle {D7 in thread mode: each has one}\n";

    #[test]
    fn cases_have_areas_and_marks() {
        let ids = Ids::parse(SMALL).expect("it is well formed");
        let cases: Vec<_> = ids
            .cases
            .iter()
            .map(|c| (&*c.area, &*c.id, &*c.title, c.mark.clone()))
            .collect();
        assert_eq!(
            cases,
            [
                ("One", "S1", "first", Mark::None),
                ("One", "S42", "ring", Mark::Decided("D7".into())),
                ("Two", "CH07", "views", Mark::Forbidden),
                (
                    "Two",
                    "S104",
                    "advice",
                    Mark::Docs("nothing to build".into())
                ),
                (
                    "Two",
                    "S99",
                    "pages",
                    Mark::Later("comes with pages".into())
                ),
                (
                    "Two",
                    "S157",
                    "idle",
                    Mark::ThreadMode("D7".into(), "each has one".into())
                ),
            ]
        );
        assert_eq!(ids.decisions, [("D7".into(), "a decision".into())]);
    }

    #[test]
    fn mistakes_are_found() {
        for (text, problem) in [
            ("[A]\nS1 a\nS1 b", "taken"),
            ("[A]\nS1", "no title"),
            ("[A]\nS1 a {D7}", "unknown mark"),
            ("[A]\nS1 a {docs: x", "no `}`"),
            ("[A]\nS1 a {docs}", "no reason"),
            ("[A]\nS1 a {later: }", "no reason"),
        ] {
            let error = Ids::parse(text).expect_err(text);
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn names_carry_ids() {
        let ids = Ids::parse(SMALL).expect("it is well formed");
        let of = |name| ids.of_name(name).expect(name);
        assert_eq!(of("s042_ring_of_256"), ["S42"]);
        assert_eq!(of("s001_ch07_both"), ["S1", "CH07"]);
        assert_eq!(of("s001_then_s042"), ["S1"]);
        assert_eq!(of("s1_is_not_padded"), [""; 0]);
        assert_eq!(of("sends_in_order"), [""; 0]);
        assert_eq!(of("u64_is_s001"), [""; 0]);
        assert!(ids.of_name("s160_x").expect_err("S160").contains("S160"));
    }

    #[test]
    fn the_list_is_complete() {
        let ids =
            Ids::parse(include_str!("../../../testing/conformance/ids.txt")).expect("ids.txt");
        let count = |prefix: &str| {
            let numbers = ids
                .cases
                .iter()
                .filter_map(|case| case.id.strip_prefix(prefix));
            numbers
                .filter(|number| number.bytes().all(|b| b.is_ascii_digit()))
                .count()
        };
        let counts = [
            "S", "CH", "SE", "SC", "PN", "SY", "MP", "TI", "CX", "NE", "FT", "DG",
        ]
        .map(count);
        assert_eq!(counts, [159, 29, 22, 24, 18, 26, 10, 18, 20, 28, 18, 7]);
        assert_eq!(ids.cases.len(), 379);
        let decisions = |letter: &str| {
            let ids = ids.decisions.iter();
            ids.filter(|(id, _)| id.starts_with(letter)).count()
        };
        assert_eq!((decisions("D"), decisions("A")), (22, 5));
    }
}
