//! The command line.

use crate::shared::pages::Shell;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Show, check and convert the files that a clacks server keeps its cache in.
///
/// Files of all versions are read: those of this server and of the reference server from version 18 on. Nothing of
/// what is read is changed, so a server may be using it.
#[derive(Debug, Parser)]
#[command(
    name = "clacks-file",
    version,
    max_term_width = 100,
    after_long_help = "\
Exit status:
  0  all is right
  1  something is damaged, or could not be read or written
  2  a wrong command line"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Print all entries: live or removed, when it was set, when it was asked for, key, value; with tabs in between
    Show {
        #[command(flatten)]
        source: Source,
    },
    /// Say whether everything can be used, and what is in it
    Check {
        #[command(flatten)]
        source: Source,
    },
    /// Write everything to another file, in the format of today
    Convert {
        #[command(flatten)]
        source: Source,

        /// The new file
        to: PathBuf,

        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Print the completions for a shell
    Completions { shell: Shell },
    /// Print the manual page
    Man,
}

/// What is to be read.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// The persistence file; its backup stands in for it, and the changes in its journal are made, as by a server
    pub(crate) file: PathBuf,

    /// Read this file, without its backup and its journal
    #[arg(long)]
    pub(crate) alone: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
