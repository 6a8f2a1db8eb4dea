//! `clacksd`, the clacks server.

mod arguments;
mod plan;
mod serve;

use arguments::Arguments;
use clap::Parser;
use plan::Plan;
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
    if arguments.check {
        println!("clacksd: {}: can be used", plan.source);
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
        eprintln!("{}{line}", if line.starts_with("clacksd: ") { "" } else { "clacksd: " });
    }
    ExitCode::FAILURE
}
