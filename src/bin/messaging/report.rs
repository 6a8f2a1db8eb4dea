//! What a user is told.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on standard error, with the program's name in front. That there may be no standard error is no reason to fail.
pub(crate) fn complain(program: &str, what: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{program}: {what}");
}

/// A line on standard output. That nobody reads it is no reason to fail.
pub(crate) fn say(what: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{what}");
}
