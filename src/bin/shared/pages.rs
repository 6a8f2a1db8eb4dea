//! Completions for shells and manual pages, out of the definitions of the arguments.

use clap::{Command, ValueEnum};
use std::io;

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => Self::Bash,
            Shell::Zsh => Self::Zsh,
            Shell::Fish => Self::Fish,
        }
    }
}

/// The completions of a program for a shell.
pub(crate) fn completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(clap_complete::Shell::from(shell), &mut command, name, &mut text);
    text
}

/// The manual page of a program, or of one of its subcommands.
///
/// # Errors
/// When there is no such subcommand (`NotFound`).
pub(crate) fn manual(mut command: Command, subcommand: Option<&str>) -> io::Result<Vec<u8>> {
    command.build();
    let source = format!("{} {}", command.get_name(), command.get_version().unwrap_or_default());
    let page = match subcommand {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(subcommand) => subcommand.clone(),
            None => {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name:?} is no subcommand")));
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).source(source).render(&mut text)?;
    Ok(text)
}
