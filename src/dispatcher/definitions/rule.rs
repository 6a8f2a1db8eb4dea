use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::problem::ProblemFault;
use crate::dispatcher::value::{FromValue, ValueError, text};
use crate::dispatcher::{Part, Timespec};

/// What a definition says about one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) name: String,
    pub(super) presence: Presence,
    pub(super) may_be_empty: bool,
    pub(super) kind: Kind,
    pub(super) length_max: Option<usize>,
    pub(super) default: Option<String>,
    pub(super) description: String,
}

/// Whether a parameter has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Presence {
    /// It has to be.
    Required,
    /// It may be.
    Optional,
    /// It may not be.
    Forbidden,
}

/// What the value of a parameter may be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any bytes.
    Any,
    /// Any text in UTF-8.
    Text,
    /// A whole number within these limits: see [`integer`](crate::dispatcher::integer).
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// An IP address, with or without a port.
    Address,
    /// Seconds with at most nine decimals: see [`Timespec`].
    Timespec,
    /// `true` or `false`.
    Boolean,
    /// A span of time within these limits.
    Duration {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// A name that a server, a service or a command can have.
    Name,
    /// One of these.
    OneOf(Vec<String>),
}

impl Rule {
    /// The name of the parameter.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has to be there.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// Whether its value may be empty.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        self.may_be_empty
    }

    /// What its value may be, unless it is empty.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// How long its value may be, in bytes; nothing if that does not matter.
    #[must_use]
    pub fn length_max(&self) -> Option<usize> {
        self.length_max
    }

    /// What it is meant to be if it is missing.
    #[must_use]
    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// What it is for; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Checks the value of the parameter, or that it is missing.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self, value: Option<&[u8]>) -> Result<(), ProblemFault> {
        match (value, self.presence) {
            (None, Presence::Required) => Err(ProblemFault::Missing),
            (None, _) => Ok(()),
            (Some(_), Presence::Forbidden) => Err(ProblemFault::Forbidden),
            (Some(b""), _) if self.may_be_empty => Ok(()),
            (Some(b""), _) => Err(ProblemFault::Empty),
            (Some(value), _) => match self.length_max {
                Some(limit) if value.len() > limit => Err(ProblemFault::TooLong { limit }),
                _ => self.kind.check(value),
            },
        }
    }
}

impl Kind {
    fn check(&self, value: &[u8]) -> Result<(), ProblemFault> {
        let checked = match self {
            Self::Any => Ok(()),
            Self::Text => text(value).map(drop),
            Self::Integer { min, max } => match i64::from_value(value) {
                Ok(number) if !(min..=max).contains(&&number) => {
                    return Err(ProblemFault::Range { min: *min, max: *max });
                }
                read => read.map(drop),
            },
            Self::Address => match IpAddr::from_value(value) {
                Ok(_) => Ok(()),
                Err(error) => SocketAddr::from_value(value).map(drop).map_err(|_| error),
            },
            Self::Timespec => Timespec::from_value(value).map(drop),
            Self::Boolean => bool::from_value(value).map(drop),
            Self::Duration { min, max } => match Duration::from_value(value) {
                Ok(span) if !(min..=max).contains(&&span) => {
                    return Err(ProblemFault::Span { min: *min, max: *max });
                }
                read => read.map(drop),
            },
            Self::Name => {
                let at = match text(value) {
                    Ok(name) => Part::Parameter.check(name).map_err(|error| error.at).err(),
                    Err(error) => Some(error.at),
                };
                at.map_or(Ok(()), |at| Err(ValueError::new("a name", at)))
            }
            Self::OneOf(possible) if possible.iter().any(|possible| possible.as_bytes() == value) => Ok(()),
            Self::OneOf(possible) => return Err(ProblemFault::NotOneOf(possible.clone())),
        };
        checked.map_err(ProblemFault::Value)
    }
}
