use std::fmt;
use std::time::Duration;

use crate::dispatcher::ValueError;

/// So many problems of one message are found; a peer gets no longer answer than they make.
pub(super) const PROBLEMS_MAX: usize = 16;

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
    pub(in crate::dispatcher) fn new(parameter: &str, fault: ProblemFault) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

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
