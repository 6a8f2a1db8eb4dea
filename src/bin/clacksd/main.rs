//! `clacksd`, the clacks server.

mod arguments;
mod control;
mod hash;
mod listen;
mod manager;
mod plan;
mod reload;
mod run_as;
mod secrecy;
mod serve;
#[path = "../shared/mod.rs"]
mod shared;
mod uplink;

use arguments::{Arguments, Page};
use clap::CommandFactory;
use plan::Plan;
use shared::exit::{Exit, complain};
use shared::logging::{self, LogFile};
use shared::{arguments::parse, pages};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match parse::<Arguments>("clacksd") {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    match start_log(&arguments).and_then(|log| run(&arguments, log)) {
        Ok(()) => Exit::Success.into(),
        Err(text) => {
            for line in text.lines() {
                complain("clacksd", line.strip_prefix("clacksd: ").unwrap_or(line));
            }
            Exit::Failed.into()
        }
    }
}

/// # Errors
/// That the file can't be opened.
fn start_log(arguments: &Arguments) -> Result<Option<LogFile>, String> {
    let (variable, level) = ("CLACKSD_LOG", arguments.log_level.into());
    match &arguments.log_file {
        Some(path) => logging::start_in_file(variable, level, path)
            .map(Some)
            .map_err(|error| format!("--log-file: {error}")),
        None => {
            logging::start(variable, level);
            Ok(None)
        }
    }
}

/// # Errors
/// What is wrong, a line each.
fn run(arguments: &Arguments, log: Option<LogFile>) -> Result<(), String> {
    if let Some(page) = arguments.print {
        let text = match page {
            Page::Man => pages::manual(Arguments::command(), None).map_err(|error| error.to_string())?,
            Page::Bash => pages::completions(Arguments::command(), pages::Shell::Bash),
            Page::Zsh => pages::completions(Arguments::command(), pages::Shell::Zsh),
            Page::Fish => pages::completions(Arguments::command(), pages::Shell::Fish),
        };
        say(io::stdout(), &text);
        return Ok(());
    }
    secrecy::keep_memory_private(); // before the first password is read
    if arguments.hash_password {
        let hash = hash::hash()?;
        say(io::stdout(), format!("{}\n", hash.expose()).as_bytes());
        return Ok(());
    }
    let plan = Plan::of(arguments)?;
    say(io::stderr(), plan.warnings.as_bytes());
    if arguments.check {
        say(io::stdout(), format!("clacksd: {}: can be used\n", plan.source).as_bytes());
        return Ok(());
    }
    serve::serve(&plan, arguments, log)
}

/// Writes what a user may want to know. That nobody is there to read it is no reason to fail.
fn say(mut to: impl Write, text: &[u8]) {
    let _ = to.write_all(text).and_then(|()| to.flush());
}
