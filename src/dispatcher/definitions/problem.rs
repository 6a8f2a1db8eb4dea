use std::fmt;
use std::time::Duration;

use crate::dispatcher::{Message, MessageRef, ValueError};

/// So many problems of one message are found; a peer gets no longer answer than they make.
pub(super) const PROBLEMS_MAX: usize = 16;

/// Commands, and what is said about a message, are cut to so many characters in an answer: it should fit
/// a UDP datagram.
const COMMAND_MAX: usize = 128;
const MESSAGE_MAX: usize = 400;

/// A parameter that is not as the definition of the message says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The parameter: at most the first 64 characters of its name.
    pub parameter: String,
    /// What is wrong with it.
    pub fault: ProblemFault,
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemFault {
    /// It is not there, and has to be.
    Missing,
    /// It is there, and may not be.
    Forbidden,
    /// The definition does not know it, and refuses what it does not know.
    Unknown,
    /// It is empty, and may not be.
    Empty,
    /// It is longer than so many bytes.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It is something else than what it has to be.
    Value(ValueError),
    /// It is a number out of the range.
    Range {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// It is a span of time out of the range.
    Span {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// It is none of these.
    NotOneOf(Vec<String>),
}

impl Problem {
    pub(super) fn new(parameter: &str, fault: ProblemFault) -> Self {
        Self { parameter: parameter.chars().take(64).collect(), fault }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.parameter, self.fault)
    }
}

impl fmt::Display for ProblemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Forbidden => f.write_str("may not be there"),
            Self::Unknown => f.write_str("is not known"),
            Self::Empty => f.write_str("is empty"),
            Self::TooLong { limit } => write!(f, "is longer than {limit} bytes"),
            Self::Value(error) => error.fmt(f),
            Self::Range { min, max } => match (*min, *max) {
                (i64::MIN, _) => write!(f, "is more than {max}"),
                (_, i64::MAX) => write!(f, "is less than {min}"),
                _ => write!(f, "is not from {min} to {max}"),
            },
            Self::Span { min, max } => match *max {
                Duration::MAX => write!(f, "is less than {min:?}"),
                _ => write!(f, "is not from {min:?} to {max:?}"),
            },
            Self::NotOneOf(possible) => write!(f, "is none of {}", possible.join(" ")),
        }
    }
}

/// The answer to a message that is not as its definition says: `INVALID command=…;message=…`.
///
/// It goes to the sender, as far as the sender's name can be written. Nothing if `request` is an
/// INVALID or UNKNOWN itself: two services would answer each other for ever.
///
/// ```
/// use eventdispatcher::dispatcher::MessageRef;
/// use eventdispatcher::dispatcher::definitions::{Definitions, invalid_answer};
///
/// let request = MessageRef::parse(b"<web:cart ALIVE serial=")?;
/// let problems = Definitions::built_in().check(request).unwrap_err();
/// let answer = invalid_answer(request, &problems).unwrap();
/// assert_eq!(answer.view().to_text()?, b"web:cart/INVALID command=ALIVE;message=serial is empty");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn invalid_answer(request: MessageRef<'_>, problems: &[Problem]) -> Option<Message> {
    if matches!(request.command(), "INVALID" | "UNKNOWN") {
        return None;
    }
    let said: Vec<_> = problems.iter().map(Problem::to_string).collect();
    let answer = Message::build("INVALID")
        .with("command", cut(request.command(), COMMAND_MAX))
        .with("message", cut(&said.join(", "), MESSAGE_MAX));
    // A destination with a server and no service could not be written.
    let addressed = match request.sent_from_service() {
        "" => answer.clone(),
        _ => answer.clone().reply_to(request),
    };
    addressed.finish().or_else(|_| answer.finish()).ok()
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => text[..end].to_owned() + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: &str, problems: &[Problem]) -> Option<String> {
        let request = MessageRef::parse(request.as_bytes()).unwrap();
        let answer = invalid_answer(request, problems)?;
        Some(String::from_utf8(answer.view().to_text().unwrap()).unwrap())
    }

    #[test]
    fn a_sender_is_told_what_is_wrong() {
        let problems = [
            Problem::new("serial", ProblemFault::Empty),
            Problem::new("timestamp", ProblemFault::Value(ValueError::new("a time", 2))),
        ];
        let check = |request: &str, expected: Option<&str>| {
            assert_eq!(answer(request, &problems).as_deref(), expected, "{request}");
        };
        let said = "command=ALIVE;message=serial is empty, timestamp is not a time: see byte 2";
        check("ALIVE", Some(&format!("INVALID {said}")));
        check("<web:cart a:b/ALIVE", Some(&format!("web:cart/INVALID {said}")));
        check("<:cart ALIVE", Some(&format!("cart/INVALID {said}")));
        // Senders that can't be written as a destination.
        check("<web: ALIVE", Some(&format!("INVALID {said}")));
        check("<web-1:cart ALIVE", Some(&format!("INVALID {said}")));
        check("<web:cart.1 ALIVE", Some(&format!("INVALID {said}")));
    }

    #[test]
    fn two_services_do_not_answer_each_other_for_ever() {
        let problems = [Problem::new("command", ProblemFault::Empty)];
        assert_eq!(answer("INVALID command=", &problems), None);
        assert_eq!(answer("UNKNOWN command=", &problems), None);
    }

    #[test]
    fn an_answer_fits_a_datagram_whatever_was_asked() {
        let name = "n".repeat(1000);
        let problems = vec![Problem::new(&name, ProblemFault::Unknown); PROBLEMS_MAX];
        let answer = answer(&format!("<:{} {}", "s".repeat(60), "é".repeat(500)), &problems).unwrap();
        assert!(answer.len() < crate::dispatcher::DATAGRAM_MAX_UDP, "{} bytes", answer.len());
    }

    #[test]
    fn problems_are_said_in_words() {
        let check = |fault, expected: &str| {
            assert_eq!(Problem::new("a", fault).to_string(), expected);
        };
        check(ProblemFault::Missing, "a is missing");
        check(ProblemFault::Forbidden, "a may not be there");
        check(ProblemFault::Unknown, "a is not known");
        check(ProblemFault::TooLong { limit: 9 }, "a is longer than 9 bytes");
        check(ProblemFault::Range { min: 1, max: 9 }, "a is not from 1 to 9");
        check(ProblemFault::Range { min: 1, max: i64::MAX }, "a is less than 1");
        check(ProblemFault::Range { min: i64::MIN, max: 9 }, "a is more than 9");
        let (min, max) = (Duration::from_millis(1500), Duration::MAX);
        check(ProblemFault::Span { min, max }, "a is less than 1.5s");
        check(ProblemFault::NotOneOf(vec!["x".into(), "y".into()]), "a is none of x y");
    }
}
