use std::fmt;
use std::rc::Rc;

use super::pattern::PatternFault;

/// A pattern with captures.
pub(super) struct Template {
    /// As it is written.
    pub(super) text: Box<str>,
    pieces: Vec<Piece>,
    /// Of the captures.
    names: Rc<[Box<str>]>,
}

enum Piece {
    Literal(Box<str>),
    Capture(Box<str>, Kind),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Word,
    Rest,
}

impl Kind {
    fn takes(self, byte: u8) -> bool {
        match self {
            Self::Number => byte.is_ascii_digit(),
            Self::Word => byte.is_ascii_alphanumeric(),
            Self::Rest => true,
        }
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, (PatternFault, usize)> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let last = match pieces.last() {
                Some(Piece::Capture(_, kind)) => Some(*kind),
                _ => None,
            };
            let Some(inner) = rest.strip_prefix('<') else {
                let literal = rest.split('<').next().unwrap_or_default();
                if let Some(stray) = literal.find('>') {
                    return Err((PatternFault::Bracket, at + stray));
                }
                let first = literal.bytes().next().unwrap_or_default();
                if last.is_some_and(|kind| kind.takes(first)) {
                    return Err((PatternFault::InDoubt, at));
                }
                pieces.push(Piece::Literal(literal.into()));
                at += literal.len();
                continue;
            };
            if last.is_some() {
                return Err((PatternFault::InDoubt, at));
            }
            let (capture, _) = inner.split_once('>').ok_or((PatternFault::Bracket, at))?;
            let (name, kind) = capture.split_once(':').unwrap_or((capture, capture));
            let kind = match kind {
                "number" => Kind::Number,
                "word" => Kind::Word,
                "rest" => Kind::Rest,
                _ => return Err((PatternFault::Kind, at + 1)),
            };
            let same = |piece: &Piece| matches!(piece, Piece::Capture(other, _) if **other == *name);
            if name.is_empty() || pieces.iter().any(same) {
                return Err((PatternFault::Name, at + 1));
            }
            pieces.push(Piece::Capture(name.into(), kind));
            at += capture.len() + 2;
        }
        let name = |piece: &Piece| match piece {
            Piece::Capture(name, _) => Some(name.clone()),
            Piece::Literal(_) => None,
        };
        let names = pieces.iter().filter_map(name).collect();
        Ok(Self { text: text.into(), pieces, names })
    }

    pub(super) fn matches<'m>(&self, command: &'m str) -> Option<Captures<'m>> {
        let mut rest = command;
        let mut values = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => rest = rest.strip_prefix(&**literal)?,
                Piece::Capture(_, kind) => {
                    let end = rest.bytes().position(|byte| !kind.takes(byte)).unwrap_or(rest.len());
                    let (text, behind) = rest.split_at_checked(end).filter(|(text, _)| !text.is_empty())?;
                    let number = match kind {
                        Kind::Number => Some(text.parse().ok()?),
                        _ => None,
                    };
                    values.push((text, number));
                    rest = behind;
                }
            }
        }
        rest.is_empty().then(|| Captures::new(&self.names, values))
    }
}

/// What a pattern has captured from a command. It borrows from the message alone, so the pattern may be
/// removed while it is in use.
#[derive(Clone, Default)]
pub struct Captures<'m> {
    names: Option<Rc<[Box<str>]>>,
    /// As many, in the order of the pattern; with the number, if it is one. One that is empty was not captured.
    values: Vec<(&'m str, Option<u64>)>,
}

impl<'m> Captures<'m> {
    pub(super) fn new(names: &Rc<[Box<str>]>, values: Vec<(&'m str, Option<u64>)>) -> Self {
        Self { names: Some(Rc::clone(names)), values }
    }

    /// What was captured under a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'m str> {
        self.find(name).map(|(text, _)| text)
    }

    /// The number that was captured under a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.find(name)?.1
    }

    /// All that was captured, in the order of the pattern.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'m str)> {
        let all = self.names().zip(&self.values).map(|(name, &(text, _))| (name, text));
        all.filter(|(_, text)| !text.is_empty())
    }

    fn find(&self, name: &str) -> Option<(&'m str, Option<u64>)> {
        let index = self.names().position(|other| other == name)?;
        self.values.get(index).copied().filter(|(text, _)| !text.is_empty())
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flat_map(|names| names.iter()).map(|name| &**name)
    }
}

impl fmt::Debug for Captures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MessageRef, Pattern};

    fn captured(pattern: &str, command: &str) -> Option<String> {
        let pattern: Pattern = pattern.parse().unwrap_or_else(|error| panic!("{error}"));
        let message = MessageRef::parse(command.as_bytes()).unwrap();
        pattern.matches(message).map(|captures| format!("{captures:?}"))
    }

    #[test]
    fn captures_are_values() {
        let check = |pattern: &str, command: &str, expected: Option<&str>| {
            assert_eq!(captured(pattern, command).as_deref(), expected, "{pattern} {command}");
        };
        check("EVENT<number>", "EVENT17", Some(r#"{"number": "17"}"#));
        check("EVENT<number>", "EVENT007", Some(r#"{"number": "007"}"#));
        check("EVENT<number>", "EVENT", None);
        check("EVENT<number>", "EVENT1X", None);
        check("EVENT<number>", "EVENTX", None);
        check("EVENT<number>", "EVENT18446744073709551615", Some(r#"{"number": "18446744073709551615"}"#));
        check("EVENT<number>", "EVENT18446744073709551616", None);
        check("<a:number>_<b:number>", "1_22", Some(r#"{"a": "1", "b": "22"}"#));
        check("SET_<key:word>_<number>", "SET_speed_7", Some(r#"{"key": "speed", "number": "7"}"#));
        check("SET_<key:word>_<number>", "SET_max_speed_7", None);
        check("SET_<key:word>_<number>", "SET__7", None);
        check("<word>_<rest>", "A_B_C", Some(r#"{"word": "A", "rest": "B_C"}"#));
        check("<word>_<rest>", "A_", None);
        check("X<rest>", "XÄ", Some(r#"{"rest": "Ä"}"#));
        check("<word>Ä", "AÄ", Some(r#"{"word": "A"}"#));
    }

    #[test]
    fn a_number_is_a_number() {
        let pattern: Pattern = "EVENT<number>_<word>".parse().unwrap();
        let captures = pattern.matches(MessageRef::parse(b"EVENT0042_7").unwrap()).unwrap();
        assert_eq!(captures.number("number"), Some(42));
        assert_eq!(captures.text("number"), Some("0042"));
        assert_eq!(captures.number("word"), None);
        assert_eq!(captures.text("word"), Some("7"));
        assert_eq!(captures.text("other"), None);
    }
}
