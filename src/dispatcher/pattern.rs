use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use super::expression::Expression;
use super::template::{Captures, Template};
use super::view::MessageRef;

/// A pattern has at most so many bytes: what a peer's command costs is bounded by it.
const LENGTH_MAX: usize = 255;

/// Which messages an entry of a [`Table`](super::Table) is for.
///
/// | written | matches the command |
/// |---|---|
/// | `STOP` | `STOP` only |
/// | `LOG_*` | with this start |
/// | `?_LOG*_X` | where `?` is any one character and `*` any number of them |
/// | `EVENT<number>` | `EVENT` and a number, which is captured: see [`Captures`] |
///
/// A capture is `<kind>` or `<name:kind>`; without a name, it is called as its kind. Its kinds are
/// `number` (all digits that follow, as a `u64`), `word` (all ASCII letters and digits that follow) and
/// `rest` (all that follows, at the end of a pattern). Each takes at least one character. What a capture
/// takes is never in doubt, so a pattern is refused where it would be: a digit behind a
/// `number`, a letter behind a `word`, two captures in a row, a capture beside `*`.
///
/// What can't be said so, a [regular expression](Self::regex) or a [predicate](Self::predicate) can.
///
/// ```
/// use eventdispatcher::dispatcher::{MessageRef, Pattern};
///
/// let pattern: Pattern = "SET_<key:word>_<number>".parse()?;
/// let captures = pattern.matches(MessageRef::parse(b"SET_speed_7")?).unwrap();
/// assert_eq!((captures.text("key"), captures.number("number")), (Some("speed"), Some(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pattern {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Exact(Box<str>),
    Prefix(Box<str>),
    Glob(Box<str>),
    Template(Rc<Template>),
    Expression(Rc<Expression>),
    Predicate(Rc<dyn Fn(MessageRef<'_>) -> bool>),
    Always,
}

impl Pattern {
    /// All messages.
    #[must_use]
    pub fn always() -> Self {
        Self { inner: Inner::Always }
    }

    /// The messages with this command; no character means anything else than itself.
    #[must_use]
    pub fn exactly(command: &str) -> Self {
        Self { inner: Inner::Exact(command.into()) }
    }

    /// The messages whose command, as a whole, matches a regular expression, in the syntax of the crate `regex-lite` (that of
    /// most others, without look-around and back-references). Groups with names are captured.
    ///
    /// It takes time in proportion to its length and that of the command; a command of more than 255 bytes matches none.
    ///
    /// ```
    /// use eventdispatcher::dispatcher::{MessageRef, Pattern};
    ///
    /// let pattern = Pattern::regex("(GET|SET)_(?<key>[a-z]+)(_(?<index>[0-9]{1,3}))?")?;
    /// let captures = pattern.matches(MessageRef::parse(b"SET_speed_7")?).unwrap();
    /// assert_eq!((captures.text("key"), captures.number("index")), (Some("speed"), Some(7)));
    /// assert!(pattern.matches(MessageRef::parse(b"SET_speed_7000")?).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When it is none, or has more than 255 bytes.
    pub fn regex(expression: &str) -> Result<Self, PatternError> {
        if expression.len() > LENGTH_MAX {
            return Err(PatternError::new(expression, PatternFault::TooLong, LENGTH_MAX));
        }
        match Expression::parse(expression) {
            Ok(parsed) => Ok(Self { inner: Inner::Expression(Rc::new(parsed)) }),
            Err(why) => {
                Err(PatternError { why, ..PatternError::new(expression, PatternFault::Expression, 0) })
            }
        }
    }

    /// The messages for which `predicate` says so. It may look at parameters too.
    #[must_use]
    pub fn predicate(predicate: impl Fn(MessageRef<'_>) -> bool + 'static) -> Self {
        Self { inner: Inner::Predicate(Rc::new(predicate)) }
    }

    /// The one command that it matches, if it is such a pattern.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match &self.inner {
            Inner::Exact(command) => Some(command),
            _ => None,
        }
    }

    /// As it is written, if it can be.
    #[must_use]
    pub fn written(&self) -> Option<String> {
        match &self.inner {
            Inner::Predicate(_) | Inner::Always => None,
            _ => Some(self.to_string()),
        }
    }

    /// Whether a message matches, and what was captured from its command.
    #[must_use]
    pub fn matches<'m>(&self, message: MessageRef<'m>) -> Option<Captures<'m>> {
        let command = message.command();
        let matches = match &self.inner {
            Inner::Exact(exact) => command == &**exact,
            Inner::Prefix(prefix) => command.starts_with(&**prefix),
            Inner::Glob(glob) => matches_glob(glob, command),
            Inner::Template(template) => return template.matches(command),
            Inner::Expression(expression) if command.len() <= LENGTH_MAX => {
                return expression.matches(command);
            }
            Inner::Expression(_) => false,
            Inner::Predicate(predicate) => predicate(message),
            Inner::Always => true,
        };
        matches.then(Captures::default)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let error = |fault, at| Err(PatternError::new(text, fault, at));
        if text.is_empty() {
            return error(PatternFault::Empty, 0);
        }
        if text.len() > LENGTH_MAX {
            return error(PatternFault::TooLong, LENGTH_MAX);
        }
        let impossible = |c: char| c.is_ascii_control() || matches!(c, ' ' | '/');
        if let Some(at) = text.find(impossible) {
            return error(PatternFault::Character, at);
        }
        let inner = match (text.find(['<', '>']), text.find(['*', '?'])) {
            (Some(_), Some(at)) => return error(PatternFault::CaptureInGlob, at),
            (Some(_), None) => match Template::parse(text) {
                Ok(template) => Inner::Template(Rc::new(template)),
                Err((fault, at)) => return error(fault, at),
            },
            (None, Some(at)) if at + 1 == text.len() && text.ends_with('*') => {
                Inner::Prefix(text[..at].into())
            }
            (None, Some(_)) => Inner::Glob(text.into()),
            (None, None) => Inner::Exact(text.into()),
        };
        Ok(Self { inner })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Exact(text) | Inner::Glob(text) => f.write_str(text),
            Inner::Prefix(text) => write!(f, "{text}*"),
            Inner::Template(template) => f.write_str(&template.text),
            Inner::Expression(expression) => write!(f, "/{}/", expression.text),
            Inner::Predicate(_) => f.write_str("<a predicate>"),
            Inner::Always => f.write_str("<always>"),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

/// `*` is any number of characters, `?` is one. Goes back to the last `*` only, which suffices.
fn matches_glob(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob, text);
    // Behind the last `*`, and what it has not yet taken.
    let mut retry: Option<(&str, &str)> = None;
    loop {
        let mut rest = text.chars();
        let wanted = glob.chars().next();
        match (wanted, rest.next()) {
            (Some('*'), _) => {
                glob = &glob[1..];
                retry = Some((glob, text));
                continue;
            }
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                glob = &glob[wanted.len_utf8()..];
                text = rest.as_str();
                continue;
            }
            _ => {}
        }
        let Some((behind, left)) = retry else { return false };
        let mut left = left.chars();
        if left.next().is_none() {
            return false;
        }
        (glob, text) = (behind, left.as_str());
        retry = Some((glob, text));
    }
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatternFault {
    /// It is empty.
    Empty,
    /// It has more than 255 bytes.
    TooLong,
    /// It has a character that no command has.
    Character,
    /// It has `<` without `>`, or the other way round.
    Bracket,
    /// The kind of a capture is none of `number`, `word`, `rest`.
    Kind,
    /// The name of a capture is empty, or another one has it.
    Name,
    /// It is in doubt where a capture ends.
    InDoubt,
    /// It has captures and `*` or `?`.
    CaptureInGlob,
    /// It is no regular expression.
    Expression,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatternError {
    /// The text: at most its first 64 characters.
    pub pattern: String,
    /// What is wrong.
    pub fault: PatternFault,
    /// Where: bytes from the start of the text; 0 for a regular expression.
    pub at: usize,
    /// More about that; empty but for a regular expression.
    pub why: String,
}

impl PatternError {
    fn new(text: &str, fault: PatternFault, at: usize) -> Self {
        Self { pattern: text.chars().take(64).collect(), fault, at, why: String::new() }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            PatternFault::Empty => "it is empty",
            PatternFault::TooLong => "it is longer than 255 bytes",
            PatternFault::Character => "no command has this character",
            PatternFault::Bracket => "this bracket has no other",
            PatternFault::Kind => "a capture is a number, a word or the rest",
            PatternFault::Name => "a capture needs a name of its own",
            PatternFault::InDoubt => "it is in doubt where the capture before this ends",
            PatternFault::CaptureInGlob => "a pattern with captures has no * and no ?",
            PatternFault::Expression => {
                return write!(f, "{:?} is no regular expression: {}", self.pattern, self.why);
            }
        };
        write!(f, "the pattern {:?} is wrong at byte {}: {what}", self.pattern, self.at)
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let parsed: Pattern = pattern.parse().unwrap();
        let matches =
            |command: &str| parsed.matches(MessageRef::parse(command.as_bytes()).unwrap()).is_some();
        for command in matching {
            assert!(matches(command), "{pattern} {command}");
        }
        for command in others {
            assert!(!matches(command), "{pattern} {command}");
        }
    }

    #[test]
    fn commands_match_patterns() {
        check("STOP", &["STOP"], &["STOPP", "STO", "stop"]);
        check("LOG_*", &["LOG_", "LOG_ROTATE"], &["LOG", "XLOG_"]);
        check("*", &["A", "ÄÖ"], &[]);
        check("*_X", &["_X", "A_X", "_X_X", "A_B_X"], &["X", "_XY", "A_X_"]);
        check("A*B*C", &["ABC", "AxByC", "ABBCC", "ABCBC"], &["AB", "ACB", "ABCD"]);
        check("?", &["A", "Ä"], &["AB"]);
        check("A?C", &["ABC", "AÄC"], &["AC", "ABBC"]);
        check("*?", &["A", "AB"], &[]);
        check("??*", &["AB", "ABC"], &["A"]);
        check("**A**", &["A", "BAB"], &["B"]);
    }

    #[test]
    fn a_predicate_sees_the_message() {
        let pattern = Pattern::predicate(|message| message.has("urgent"));
        let matches = |text: &str| pattern.matches(MessageRef::parse(text.as_bytes()).unwrap()).is_some();
        assert!(matches("X urgent=1"));
        assert!(!matches("X"));
        assert!(Pattern::always().matches(MessageRef::parse(b"X").unwrap()).is_some());
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_place() {
        let check = |text: &str, fault, at| {
            let error = text.parse::<Pattern>().unwrap_err();
            assert_eq!((error.fault, error.at), (fault, at), "{text}");
        };
        check("", PatternFault::Empty, 0);
        check(&"A".repeat(256), PatternFault::TooLong, 255);
        check("A B", PatternFault::Character, 1);
        check("a/B", PatternFault::Character, 1);
        check("A\n", PatternFault::Character, 1);
        check("A<number", PatternFault::Bracket, 1);
        check("A>", PatternFault::Bracket, 1);
        check("A<number>>", PatternFault::Bracket, 9);
        check("A<>", PatternFault::Kind, 2);
        check("A<float>", PatternFault::Kind, 2);
        check("A<x:float>", PatternFault::Kind, 2);
        check("A<:number>", PatternFault::Name, 2);
        check("<number>_<number>", PatternFault::Name, 10);
        check("<number><word>", PatternFault::InDoubt, 8);
        check("<number>7", PatternFault::InDoubt, 8);
        check("<word>X", PatternFault::InDoubt, 6);
        check("<rest>_", PatternFault::InDoubt, 6);
        check("<rest>Ä", PatternFault::InDoubt, 6);
        check("A*<number>", PatternFault::CaptureInGlob, 1);
        assert_eq!(
            "A<float>".parse::<Pattern>().unwrap_err().to_string(),
            "the pattern \"A<float>\" is wrong at byte 2: a capture is a number, a word or the rest"
        );
    }

    #[test]
    fn a_regular_expression_is_for_the_whole_command() {
        let check = |expression: &str, command: &str, expected: Option<&str>| {
            let pattern = Pattern::regex(expression).unwrap_or_else(|error| panic!("{error}"));
            let message = MessageRef::parse(command.as_bytes()).unwrap();
            let captured = pattern.matches(message).map(|captures| format!("{captures:?}"));
            assert_eq!(captured.as_deref(), expected, "{expression} {command}");
        };
        check("A|B", "A", Some("{}"));
        check("A|B", "AB", None);
        check("A|B", "XB", None);
        check("(?i)stop", "StOp", Some("{}"));
        check("", "A", None);
        check("(?<n>[0-9]+)?(?<x>X)?", "X", Some(r#"{"x": "X"}"#));
        check("(?<n>[0-9]+)?(?<x>X)?", "007", Some(r#"{"n": "007"}"#));
        check("(E)(?<n>.)", "EÄ", Some(r#"{"n": "Ä"}"#));
        check("A*", &"A".repeat(255), Some("{}"));
        check("A*", &"A".repeat(256), None);
        let captures = Pattern::regex("E(?<n>[0-9]+)").unwrap();
        assert_eq!(captures.matches(MessageRef::parse(b"E42").unwrap()).unwrap().number("n"), Some(42));
        assert_eq!(captures.to_string(), "/E(?<n>[0-9]+)/");
        assert_eq!(captures.written().as_deref(), Some("/E(?<n>[0-9]+)/"));
    }

    #[test]
    fn what_is_no_regular_expression_is_refused_with_the_reason() {
        for wrong in
            ["(", "A)(B", "[", "*", "(?<n>a)(?<n>b)", "(?=A)", "((((((A{100}){100}){100}){100}){100}){100})"]
        {
            let error = Pattern::regex(wrong).unwrap_err();
            assert_eq!(error.fault, PatternFault::Expression, "{wrong}");
            assert!(
                error.to_string().starts_with(&format!("{wrong:?} is no regular expression: ")),
                "{error}"
            );
            assert!(!error.why.is_empty());
        }
        assert_eq!(Pattern::regex(&"A".repeat(256)).unwrap_err().fault, PatternFault::TooLong);
    }

    #[test]
    fn a_pattern_is_shown_as_written() {
        for text in ["STOP", "LOG_*", "*A?", "EVENT<number>"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        assert_eq!(Pattern::always().to_string(), "<always>");
    }

    /// As [`matches_glob`], by trying everything.
    fn matches_glob_slowly(glob: &[char], text: &[char]) -> bool {
        match (glob.first(), text.first()) {
            (None, None) => true,
            (Some('*'), first) => {
                matches_glob_slowly(&glob[1..], text)
                    || first.is_some() && matches_glob_slowly(glob, &text[1..])
            }
            (Some('?'), Some(_)) => matches_glob_slowly(&glob[1..], &text[1..]),
            (Some(a), Some(b)) => a == b && matches_glob_slowly(&glob[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_by_trying_everything(glob in "[AÄ*?]{0,8}", text in "[AÄ]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches_glob(&glob, &text), matches_glob_slowly(&chars(&glob), &chars(&text)));
        }

        #[test]
        fn any_text_is_a_pattern_or_not(
            text in "([A-C_0-9*?<>:]|<number>|<word>|<x:word>|<rest>){0,8}",
            command in "[A-C_0-9]{1,8}",
        ) {
            if let Ok(pattern) = text.parse::<Pattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                let message = MessageRef::parse(command.as_bytes()).unwrap();
                if let Some(captures) = pattern.matches(message) {
                    for (_, captured) in captures.iter() {
                        prop_assert!(!captured.is_empty() && command.contains(captured));
                    }
                }
            }
        }
    }
}
