use std::fmt;

/// A part of a message that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The server on which the sender runs.
    SentFromServer,
    /// The service that sent the message.
    SentFromService,
    /// The server to which the message goes.
    Server,
    /// The service to which the message goes.
    Service,
    /// What is to be done.
    Command,
    /// A parameter (its name; its value may be anything).
    Parameter,
}

impl Part {
    /// Checks a name for this part.
    ///
    /// A name is ASCII: a letter or `_`, then letters, digits and `_`; a command has no lower-case
    /// letters. Commands and parameters can't be empty, the others can. A server or service to send to
    /// may also be `.` (here), `*` (everywhere) or `?` (the local net).
    ///
    /// # Errors
    /// With the first thing that is wrong, and where.
    pub fn check(self, name: &str) -> Result<(), NameError> {
        match name {
            "" if matches!(self, Self::Command | Self::Parameter) => {
                return Err(NameError::new(self, name, NameFault::Empty, 0));
            }
            "." | "*" | "?" if matches!(self, Self::Server | Self::Service) => return Ok(()),
            _ => {}
        }
        for (at, byte) in name.bytes().enumerate() {
            match byte {
                b'a'..=b'z' if self == Self::Command => {
                    return Err(NameError::new(self, name, NameFault::LowerCase, at));
                }
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
                _ => return Err(NameError::new(self, name, NameFault::Character, at)),
            }
        }
        if name.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            return Err(NameError::new(self, name, NameFault::LeadingDigit, 0));
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SentFromServer => "sent-from server",
            Self::SentFromService => "sent-from service",
            Self::Server => "server",
            Self::Service => "service",
            Self::Command => "command",
            Self::Parameter => "parameter",
        })
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameFault {
    /// There is none, and there has to be one.
    Empty,
    /// It begins with a digit.
    LeadingDigit,
    /// It has a lower-case letter, and it is a command.
    LowerCase,
    /// It has something else than letters, digits and `_`.
    Character,
}

/// A name that a part of a message can't have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameError {
    /// Which part.
    pub part: Part,
    /// The name: at most its first 64 characters.
    pub name: String,
    /// What is wrong.
    pub fault: NameFault,
    /// Where: bytes from the start of the name.
    pub at: usize,
}

impl NameError {
    fn new(part: Part, name: &str, fault: NameFault, at: usize) -> Self {
        Self { part, name: name.chars().take(64).collect(), fault, at }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, name, fault, at } = self;
        match fault {
            NameFault::Empty => write!(f, "the {part} name is empty"),
            NameFault::LeadingDigit => write!(f, "the {part} name {name:?} begins with a digit"),
            NameFault::LowerCase => {
                write!(f, "the {part} name {name:?} has a lower-case letter at byte {at}")
            }
            NameFault::Character => write!(
                f,
                "the {part} name {name:?} has something else than a letter, digit or underscore at byte {at}"
            ),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use NameFault::{Character, Empty, LeadingDigit, LowerCase};

    fn check(part: Part, name: &str, expected: Result<(), (NameFault, usize)>) {
        let got = part.check(name).map_err(|error| (error.fault, error.at));
        assert_eq!(got, expected, "{part} {name:?}");
    }

    #[test]
    fn names_are_letters_digits_and_underscores() {
        for part in [Part::SentFromServer, Part::SentFromService, Part::Server, Part::Service] {
            check(part, "", Ok(()));
            check(part, "web_1", Ok(()));
            check(part, "_x", Ok(()));
            check(part, "Web", Ok(()));
            check(part, "a-b", Err((Character, 1)));
            check(part, "web.x", Err((Character, 3)));
            check(part, "1a", Err((LeadingDigit, 0)));
            check(part, "1-", Err((Character, 1)));
            check(part, "é", Err((Character, 0)));
            check(part, "a b", Err((Character, 1)));
            check(part, "a:b", Err((Character, 1)));
            check(part, "**", Err((Character, 0)));
        }
        check(Part::Parameter, "", Err((Empty, 0)));
        check(Part::Parameter, "mixedCase_2", Ok(()));
        check(Part::Parameter, "7", Err((LeadingDigit, 0)));
    }

    #[test]
    fn a_command_has_no_lower_case_letters() {
        check(Part::Command, "", Err((Empty, 0)));
        check(Part::Command, "LOG_ROTATE", Ok(()));
        check(Part::Command, "_X2", Ok(()));
        check(Part::Command, "LOGx", Err((LowerCase, 3)));
        check(Part::Command, "2X", Err((LeadingDigit, 0)));
        check(Part::Command, "X\n", Err((Character, 1)));
    }

    #[test]
    fn only_a_destination_may_be_a_wildcard() {
        for wildcard in [".", "*", "?"] {
            check(Part::Server, wildcard, Ok(()));
            check(Part::Service, wildcard, Ok(()));
            for part in [Part::SentFromServer, Part::SentFromService, Part::Command, Part::Parameter] {
                check(part, wildcard, Err((Character, 0)));
            }
        }
    }

    #[test]
    fn the_error_names_the_part_and_the_place() {
        let error = Part::Server.check("web-1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server name \"web-1\" has something else than a letter, digit or underscore at byte 3"
        );
        let long = Part::Command.check(&"x".repeat(10_000)).unwrap_err();
        assert_eq!(long.name.len(), 64);
    }
}
