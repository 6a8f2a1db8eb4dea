//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// A clacks server: signals and a shared cache for the programs of a machine.
///
/// Without any argument it listens in a private folder of the user, where the clacks command finds it, with a password
/// that is made once and kept there.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "clacksd",
    version,
    max_term_width = 100,
    after_long_help = "\
Signals:
  SIGTERM, SIGINT  end it in order; one more ends it at once
  SIGHUP           reads users, passwords, limits and certificates again; without a
                   configuration it ends when its terminal has gone

Exit status:
  0  after an orderly end
  1  it could not start, or the configuration has errors
  2  a wrong command line

Environment:
  CLACKSD_LOG  what is logged, more exactly than --log-level can say, in the syntax of RUST_LOG"
)]
pub(crate) struct Arguments {
    /// The configuration: an XML file of the reference server. It is looked for in the folders of PC_CONFIG_PATHS if
    /// that is set, else as given and then in configs/
    #[arg(value_name = "CONFIG.xml")]
    pub(crate) configuration: Option<PathBuf>,

    /// Check the configuration, say everything that is wrong with it, with line and column, and end
    #[arg(long, requires = "configuration")]
    pub(crate) check: bool,

    /// Listen on this Unix socket instead of those of the configuration; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Vec<PathBuf>,

    /// The main user, with all permissions, and the file with the password in its first line, instead of those of the
    /// configuration
    #[arg(long, value_name = "NAME:PASSWORD-FILE", value_parser = user)]
    pub(crate) user: Option<(String, PathBuf)>,

    /// Become this user, and its group or the one named, once the sockets and the certificate are open; needs root. Where a
    /// service manager starts it as that user this is not needed
    #[arg(long, value_name = "USER[:GROUP]")]
    pub(crate) run_as: Option<String>,

    /// Read a password, print what passwordhash in a configuration is to hold, and end
    ///
    /// In a terminal it asks twice, without showing what is typed; else it takes the first line of standard input.
    #[arg(long, exclusive = true)]
    pub(crate) hash_password: bool,

    /// Print the manual page, or the completions for a shell, and end
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) print: Option<Page>,

    /// Write the log into this file instead of standard error; the message LOG_ROTATE opens it anew
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,

    /// How much is logged, on standard error
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info")]
    pub(crate) log_level: LogLevel,
}

/// What can be printed about the program.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Page {
    Man,
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    /// Nothing
    Off,
    /// What went wrong
    Error,
    /// And what is suspicious
    Warn,
    /// And what happens
    Info,
    /// And each connection
    Debug,
    /// And each turn of the loop
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

fn user(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once(':') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("must be a name, a colon and the path of a file".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_user_is_a_name_and_a_file() {
        assert_eq!(user("a:b:c"), Ok(("a".into(), "b:c".into())));
        for bad in ["", "a", "a:", ":b"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
    }
}
