//! `ed-verify`: check the files that define messages.

#[path = "../shared/pages.rs"]
mod pages;
#[path = "../messaging/report.rs"]
mod report;

use clap::{CommandFactory, Parser};
use eventdispatcher::dispatcher::Part;
use eventdispatcher::dispatcher::definitions::{DEFAULT_PATH, Definition, built_in_files};
use pages::Shell;
use report::{complain, say};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check the files that define messages, named COMMAND.conf.
///
/// Says everything that is wrong, with file, line and column. A key that means nothing is wrong too: most often it is
/// misspelt.
#[derive(Debug, Parser)]
#[command(
    name = "ed-verify",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 all is right; 1 something is wrong; 2 wrong command line."
)]
struct Arguments {
    /// Files, folders of files, or commands, which are looked for in the path; all of the path if there is nothing here
    #[arg(value_name = "COMMAND|FILE.conf|FOLDER")]
    what: Vec<OsString>,

    /// Folders, with a colon between each two, in which a command is looked for; the first that has its file counts
    #[arg(long, visible_alias = "path-to-message-definitions", value_name = "FOLDERS", default_value = DEFAULT_PATH)]
    path: String,

    /// Say what is right, too
    #[arg(short, long)]
    verbose: bool,

    /// Print the completions for a shell
    #[arg(long, hide = true, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,

    /// Print the manual page
    #[arg(long, hide = true, exclusive = true)]
    man: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let page = if let Some(shell) = arguments.completions {
        Some(Ok(pages::completions(Arguments::command(), shell)))
    } else {
        arguments.man.then(|| pages::manual(Arguments::command(), None))
    };
    if let Some(page) = page {
        return match page.and_then(|page| io::stdout().write_all(&page)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain("ed-verify", error);
                ExitCode::FAILURE
            }
        };
    }
    let mut verifier = Verifier { verbose: arguments.verbose, problems: 0 };
    let folders: Vec<_> =
        arguments.path.split(':').filter(|folder| !folder.is_empty()).map(Path::new).collect();
    if arguments.what.is_empty() {
        let files: usize =
            folders.iter().filter(|folder| folder.exists()).map(|folder| verifier.folder(folder)).sum();
        if files == 0 && verifier.problems == 0 {
            verifier.wrong(format_args!("there is no file to check in {}", arguments.path));
        }
    }
    for what in &arguments.what {
        verifier.verify(what, &folders);
    }
    if verifier.problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks, says what is wrong, and counts.
struct Verifier {
    verbose: bool,
    problems: usize,
}

impl Verifier {
    /// Whatever is meant by a word of the command line.
    fn verify(&mut self, what: &OsString, folders: &[&Path]) {
        let path = Path::new(what);
        let command = what.to_str().filter(|name| Part::Command.check(name).is_ok());
        if path.is_dir() {
            if self.folder(path) == 0 {
                self.wrong(format_args!("there is no file to check in {}", path.display()));
            }
        } else if path.extension().is_some_and(|extension| extension == "conf") {
            self.file(path);
        } else if let Some(command) = command {
            let files = folders.iter().map(|folder| folder.join(format!("{command}.conf")));
            match files.into_iter().find(|file| file.exists()) {
                Some(file) => self.file(&file),
                None if built_in_files().iter().any(|(built_in, _)| *built_in == command) => {
                    self.right(command, "the library");
                }
                None => self.wrong(format_args!("{command} is defined nowhere")),
            }
        } else {
            self.wrong(format_args!("{} is neither a folder, a file .conf, nor a command", path.display()));
        }
    }

    /// All files of a folder that look like definitions; says how many, or 1 if it can't be looked into.
    fn folder(&mut self, folder: &Path) -> usize {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut files: Vec<PathBuf> = match entries {
            Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
            Err(error) => {
                self.wrong(format_args!("{}: {error}", folder.display()));
                return 1;
            }
        };
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        files.sort_unstable();
        files.iter().for_each(|file| self.file(file));
        files.len()
    }

    fn file(&mut self, file: &Path) {
        let command = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Err(error) = Part::Command.check(command) {
            return self.wrong(format_args!("{}: nobody reads it: {error}", file.display()));
        }
        match Definition::load(command, file) {
            Err(error) => self.wrong(error),
            Ok(definition) if definition.unknown_keys().is_empty() => {
                self.right(command, file.display());
            }
            Ok(definition) => {
                for key in definition.unknown_keys() {
                    let (line, column, name) = (key.line, key.column, &key.name);
                    self.wrong(format_args!("{}:{line}:{column}: {name} means nothing", file.display()));
                }
            }
        }
    }

    fn right(&self, command: &str, place: impl std::fmt::Display) {
        if self.verbose {
            say(format_args!("{command}: right, in {place}"));
        }
    }

    fn wrong(&mut self, what: impl std::fmt::Display) {
        self.problems += 1;
        complain("ed-verify", what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
