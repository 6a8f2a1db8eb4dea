//! How a program ends.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit codes of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// It could not: not found, refused, wrong configuration.
    Failed = 1,
    /// It was asked in a way that it does not understand.
    Usage = 2,
    /// There is no server, or it is lost.
    NoConnection = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A line on standard error, with the program's name in front. That there may be no standard error is no reason to fail.
pub(crate) fn complain(program: &str, what: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {what}");
}
