//! Reading the command line.

use super::exit::{Exit, complain};
use clap::Parser;
use std::io::{self, Write as _};

/// The arguments of this process; or how to exit, when they only ask for help, or when they can't be understood and the
/// user was told.
pub(crate) fn parse<A: Parser>(program: &str) -> Result<A, Exit> {
    A::try_parse().map_err(|error| {
        if !error.use_stderr() {
            return match error.print().and_then(|()| io::stdout().flush()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    complain(program, format_args!("can't write to standard output: {error}"));
                    Exit::Failed
                }
                _ => Exit::Success,
            };
        }
        let text = error.to_string();
        match text.strip_prefix("error: ") {
            Some(what) => complain(program, what.trim_end()),
            // The help, where nothing at all was said.
            None => drop(error.print()),
        }
        Exit::Usage
    })
}
