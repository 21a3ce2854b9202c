//! Splits Rust source into tokens with line numbers.
//!
//! It knows just enough of the language to tell code from comments and strings: nested block
//! comments, raw, byte and C strings, lifetimes against character literals. Numbers come out as
//! identifiers and punctuation as single characters, except `::`; no rule needs more. On broken
//! source it never fails: a literal or comment without an end reaches to the end of the file.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, keyword or number.
    Word,
    /// One character of punctuation, or `::`.
    Punct,
    /// A string literal; the text is what stands between the quotes.
    Str,
    /// A character literal or lifetime.
    Quoted,
    /// A comment that is documentation (`///`, `//!`, `/**`, `/*!`), with its marker.
    Doc,
    /// Any other comment, with its marker.
    Comment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    /// The line on which the token begins, from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Punct) && self.text == text
    }

    pub(crate) fn is_word(&self) -> bool {
        self.kind == Kind::Word
    }

    pub(crate) fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::Doc | Kind::Comment)
    }
}

/// All tokens of `source`, comments included.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        source,
        position: 0,
        line: 1,
    };
    std::iter::from_fn(|| lexer.next()).collect()
}

/// The tokens without the comments.
pub(crate) fn code<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    tokens
        .iter()
        .filter(|token| !token.is_comment())
        .copied()
        .collect()
}

/// The index of the bracket that closes the one at `open`, or of the last token.
pub(crate) fn closing(code: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in code.iter().enumerate().skip(open) {
        if ["(", "[", "{"].iter().any(|bracket| token.is(bracket)) {
            depth += 1;
        } else if [")", "]", "}"].iter().any(|bracket| token.is(bracket)) {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return index;
            }
        }
    }
    code.len().saturating_sub(1)
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let blanks = length_while(self.rest(), char::is_whitespace);
        self.take(blanks);
        let line = self.line;
        let first = self.rest().chars().next()?;
        let (kind, text) = if self.rest().starts_with("//") || self.rest().starts_with("/*") {
            self.comment()
        } else if let Some(literal) = self.string() {
            literal
        } else if first == '\'' {
            let length = quoted_length(self.rest());
            (Kind::Quoted, self.take(length))
        } else if is_word_char(first) {
            let raw = if self.rest().starts_with("r#") { 2 } else { 0 };
            let length = raw + length_while(&self.rest()[raw..], is_word_char);
            (Kind::Word, self.take(length))
        } else if self.rest().starts_with("::") {
            (Kind::Punct, self.take(2))
        } else {
            (Kind::Punct, self.take(first.len_utf8()))
        };
        Some(Token { kind, text, line })
    }

    fn comment(&mut self) -> (Kind, &'a str) {
        let rest = self.rest();
        let length = if rest.starts_with("//") {
            length_while(rest, |char| char != '\n')
        } else {
            block_comment_length(rest)
        };
        // `////` and `/***` are no documentation, nor is the empty `/**/`.
        let is_doc = rest.starts_with("//!")
            || rest.starts_with("/*!")
            || rest.starts_with("///") && !rest.starts_with("////")
            || rest.starts_with("/**") && !rest.starts_with("/***") && length > 4;
        (
            if is_doc { Kind::Doc } else { Kind::Comment },
            self.take(length),
        )
    }

    /// A string literal of any kind, if one begins here.
    fn string(&mut self) -> Option<(Kind, &'a str)> {
        let rest = self.rest();
        let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
            rest.strip_prefix(prefix).is_some_and(|rest| {
                let hashes = if prefix.ends_with('r') {
                    hash_count(rest)
                } else {
                    0
                };
                rest[hashes..].starts_with('"')
            })
        })?;
        let is_raw = prefix.ends_with('r');
        let hashes = if is_raw {
            hash_count(&rest[prefix.len()..])
        } else {
            0
        };
        self.take(prefix.len() + hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        let length = if is_raw {
            self.rest().find(&end).unwrap_or(self.rest().len())
        } else {
            escaped_length(self.rest(), '"')
        };
        let text = self.take(length);
        self.take(end.len().min(self.rest().len()));
        Some((Kind::Str, text))
    }

    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn take(&mut self, length: usize) -> &'a str {
        let text = &self.rest()[..length];
        self.position += length;
        self.line += text.matches('\n').count();
        text
    }
}

fn is_word_char(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

fn length_while(text: &str, matches: impl Fn(char) -> bool) -> usize {
    text.find(|char| !matches(char)).unwrap_or(text.len())
}

fn hash_count(text: &str) -> usize {
    length_while(text, |char| char == '#')
}

/// The length up to an unescaped `end`.
fn escaped_length(text: &str, end: char) -> usize {
    let mut is_escaped = false;
    text.find(|char| {
        let is_end = char == end && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_end
    })
    .unwrap_or(text.len())
}

fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut length) = (0_usize, 0);
    while length < text.len() {
        let rest = &text[length..];
        if rest.starts_with("/*") {
            (depth, length) = (depth + 1, length + 2);
        } else if rest.starts_with("*/") {
            (depth, length) = (depth - 1, length + 2);
            if depth == 0 {
                break;
            }
        } else {
            length += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    length
}

/// The length of the lifetime or character literal that begins `text` with its `'`.
fn quoted_length(text: &str) -> usize {
    let mut chars = text[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => (1 + escaped_length(&text[1..], '\'') + 1).min(text.len()),
        (Some(char), Some('\'')) => 1 + char.len_utf8() + 1,
        (Some(char), _) if is_word_char(char) => 1 + length_while(&text[1..], is_word_char),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, &str)> {
        tokens(source)
            .iter()
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn words_and_punctuation() {
        use Kind::{Punct, Word};
        let expected = [
            (Word, "a"),
            (Punct, "::"),
            (Word, "b"),
            (Punct, "("),
            (Word, "1"),
            (Punct, ")"),
        ];
        assert_eq!(kinds("a::b(1)"), expected);
        assert_eq!(kinds("r#type"), [(Word, "r#type")]);
    }

    #[test]
    fn comments_nest_and_know_documentation() {
        assert_eq!(
            kinds("/* a /* b */ c */ d"),
            [(Kind::Comment, "/* a /* b */ c */"), (Kind::Word, "d"),]
        );
        assert_eq!(
            kinds("//! a\n/// b\n// c\n//// d"),
            [
                (Kind::Doc, "//! a"),
                (Kind::Doc, "/// b"),
                (Kind::Comment, "// c"),
                (Kind::Comment, "//// d"),
            ]
        );
        assert_eq!(
            kinds("/**/ /** x */"),
            [(Kind::Comment, "/**/"), (Kind::Doc, "/** x */")]
        );
    }

    #[test]
    fn strings_hide_what_looks_like_code() {
        assert_eq!(
            kinds(r#""crate::x // \" y" z"#),
            [(Kind::Str, r#"crate::x // \" y"#), (Kind::Word, "z"),]
        );
        assert_eq!(
            kinds("br##\"a\"# b\"## c"),
            [(Kind::Str, "a\"# b"), (Kind::Word, "c")]
        );
        assert_eq!(kinds("b\"x\" c\"y\""), [(Kind::Str, "x"), (Kind::Str, "y")]);
        assert_eq!(kinds(r#""\\" x"#), [(Kind::Str, r"\\"), (Kind::Word, "x")]);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(
            kinds("'a 'b' '\\'' '\"' '_"),
            [
                (Kind::Quoted, "'a"),
                (Kind::Quoted, "'b'"),
                (Kind::Quoted, "'\\''"),
                (Kind::Quoted, "'\"'"),
                (Kind::Quoted, "'_"),
            ]
        );
    }

    #[test]
    fn lines_are_counted_in_literals_too() {
        let lines: Vec<usize> = tokens("a\n\"x\ny\" b\n/* \n */ c")
            .iter()
            .map(|token| token.line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn broken_source_reaches_to_the_end() {
        for source in ["\"abc", "r#\"abc", "/* abc", "'", "'\\", "b'"] {
            assert!(!tokens(source).is_empty(), "{source:?}");
        }
    }

    #[test]
    fn closing_finds_the_matching_bracket() {
        let tokens = tokens("( [ a ] { b } ) c");
        assert_eq!(closing(&tokens, 0), 7);
        assert_eq!(closing(&tokens, 1), 3);
    }
}
