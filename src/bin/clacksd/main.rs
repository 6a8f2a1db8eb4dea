//! `clacksd`, the clacks server.

mod arguments;
mod plan;
mod serve;

use arguments::Arguments;
use clap::Parser;
use plan::Plan;
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    env_logger::Builder::new()
        .filter_level(arguments.log_level.into())
        .format_target(false)
        .target(env_logger::Target::Stderr)
        .init();
    let plan = match Plan::of(&arguments) {
        Ok(plan) => plan,
        Err(text) => return fail(&text),
    };
    say(io::stderr(), &plan.warnings);
    if arguments.check {
        say(io::stdout(), &format!("clacksd: {}: can be used\n", plan.source));
        return ExitCode::SUCCESS;
    }
    match serve::serve(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => fail(&text),
    }
}

/// Says why nothing came of it: each line with the program's name in front.
fn fail(text: &str) -> ExitCode {
    for line in text.lines() {
        let name = if line.starts_with("clacksd: ") { "" } else { "clacksd: " };
        say(io::stderr(), &format!("{name}{line}\n"));
    }
    ExitCode::FAILURE
}

/// Writes what a user may want to know. That nobody is there to read it is no reason to fail.
fn say(mut to: impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
