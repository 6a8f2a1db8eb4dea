//! Completions for shells and manual pages, out of the definitions of the arguments.

use clap::builder::Resettable;
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
    let more = page.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let page = page.after_long_help(Resettable::Reset).after_help(Resettable::Reset);
    let mut text = Vec::new();
    clap_mangen::Man::new(page).source(source).render(&mut text)?;
    text.extend_from_slice(sections(&more).as_bytes());
    Ok(text)
}

/// What the help says at its end: a line that ends with a colon begins a section if none is before it, an indented one has a
/// term, two spaces or more, and what it means.
fn sections(help: &str) -> String {
    let mut roff = String::new();
    let mut begins = true;
    for line in help.lines() {
        let plain = line.trim().replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        let indented = if line.starts_with(' ') { plain.split_once("  ") } else { None };
        let title = plain.strip_suffix(':').filter(|_| begins);
        begins = plain.is_empty();
        roff += &match (indented, title) {
            (Some((term, meaning)), _) => format!(".TP\n\\fB{term}\\fR\n{}\n", meaning.trim_start()),
            (None, Some(title)) => format!(".SH {}\n", title.to_uppercase()),
            (None, None) if plain.is_empty() => ".PP\n".to_owned(),
            (None, None) => format!("\\&{plain}\n"),
        };
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_help_becomes_sections() {
        let help = "Exit status:\n  0  it's done\n  10   not-so\n\n.text of\na paragraph:";
        let roff = ".SH EXIT STATUS\n.TP\n\\fB0\\fR\nit\\(aqs done\n.TP\n\\fB10\\fR\nnot\\-so\n.PP\n\\&.text of\n\\&a paragraph:\n";
        assert_eq!(sections(help), roff);
    }
}
