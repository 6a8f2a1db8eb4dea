//! `ed-stop`: stop a process, and wait until it has ended.

mod arguments;
#[path = "../messaging/mod.rs"]
mod messaging;
#[path = "../shared/pages.rs"]
mod pages;
mod process;
mod progress;
mod stop;
mod target;

use arguments::Arguments;
use clap::{CommandFactory, Parser};
use messaging::environment;
use messaging::report::{complain, say};
use std::io::{self, Write};
use std::process::ExitCode;
use stop::Plan;

/// A command line that means nothing; clap exits with it, too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words = match environment::arguments_with("ED_STOP") {
        Ok(words) => words,
        Err(error) => {
            complain("ed-stop", error);
            return ExitCode::from(USAGE);
        }
    };
    let arguments = Arguments::parse_from(words);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("ed-stop", error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    if let Some(shell) = arguments.completions {
        return print(&pages::completions(Arguments::command(), shell));
    }
    if arguments.man {
        return print(&pages::manual(Arguments::command(), None).map_err(|error| error.to_string())?);
    }
    let name = arguments.target();
    let Some(process) = target::find(name, arguments.process_name)? else {
        let others =
            if arguments.process_name { Vec::new() } else { target::programs(name).unwrap_or_default() };
        match others.first() {
            Some(pid) => say(format_args!(
                "ed-stop: {name} is not running as a service; process {pid} is a program of this name, which \
                 --process-name stops"
            )),
            None => say(format_args!("ed-stop: {name} is not running")),
        }
        return Ok(());
    };
    let plan = Plan { name, timeout: arguments.timeout, soft: arguments.soft.as_ref(), kill: arguments.kill };
    plan.stop(&process)
}

fn print(page: &[u8]) -> Result<(), String> {
    io::stdout().write_all(page).map_err(|error| error.to_string())
}
