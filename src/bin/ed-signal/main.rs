//! `ed-signal`: send one message to a service.

mod arguments;
#[path = "../messaging/mod.rs"]
mod messaging;
#[path = "../shared/pages.rs"]
mod pages;
mod plan;

use arguments::Arguments;
use clap::{CommandFactory, Parser};
use eventdispatcher::dispatcher::read_message;
use messaging::address::Address;
use messaging::deliver::{Delivery, Failure};
use messaging::environment;
use messaging::report::complain;
use plan::{Plan, Problem};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// So many characters are shown of what is no message.
const SHOWN_OF_NONSENSE: usize = 60;

/// How it ends.
#[derive(Debug, Clone, Copy)]
enum Exit {
    Done = 0,
    NotSent = 1,
    Usage = 2,
    NoAnswer = 3,
}

fn main() -> ExitCode {
    let exit = match environment::arguments_with("ED_SIGNAL") {
        Ok(words) => run(&Arguments::parse_from(words)),
        Err(error) => Err((Exit::Usage, error)),
    };
    let exit = exit.map_or_else(
        |(exit, error)| {
            complain("ed-signal", error);
            exit
        },
        |()| Exit::Done,
    );
    ExitCode::from(exit as u8)
}

fn run(arguments: &Arguments) -> Result<(), (Exit, String)> {
    if let Some(shell) = arguments.completions {
        return print(&pages::completions(Arguments::command(), shell));
    }
    if arguments.man {
        let page = pages::manual(Arguments::command(), None);
        return print(&page.map_err(|error| (Exit::NotSent, error.to_string()))?);
    }
    let plan = Plan::of(arguments).map_err(|problem| match problem {
        Problem::Usage(error) => (Exit::Usage, format!("{error}\nTry 'ed-signal --help'.")),
        Problem::Other(error) => (Exit::NotSent, error),
    })?;
    let delivery = Delivery {
        message: &plan.message,
        json: arguments.json,
        timeout: arguments.timeout,
        reply: arguments.reply,
        encryption: &plan.encryption,
    };
    if arguments.dry_run {
        let mut bytes = delivery.bytes(&plan.address).map_err(failed)?;
        // A socket file that can be either is taken for a stream.
        if plan.address.is_datagram() != Some(true) {
            bytes.push(b'\n');
        }
        return print(&bytes);
    }
    match delivery.send(&plan.address).map_err(failed)? {
        None => Ok(()),
        Some(answer) => print(&shown(answer, arguments.json, &plan.address)?),
    }
}

fn failed(failure: Failure) -> (Exit, String) {
    match failure {
        Failure::NotSent(error) => (Exit::NotSent, error),
        Failure::NoAnswer(error) => (Exit::NoAnswer, error),
    }
}

/// An answer as a line for whoever reads it. What is no message is none: somebody else than a service that talks in messages
/// listens there.
fn shown(answer: Vec<u8>, json: bool, address: &Address) -> Result<Vec<u8>, (Exit, String)> {
    let mut scratch = None;
    let message = read_message(&answer, &mut scratch).map_err(|error| {
        let begin: String = String::from_utf8_lossy(&answer).chars().take(SHOWN_OF_NONSENSE).collect();
        (Exit::NoAnswer, format!("sent to {address}, but the answer {begin:?} can't be read: {error}"))
    })?;
    let mut line = if json {
        let json = message.to_json();
        json.map_err(|error| (Exit::NoAnswer, format!("answered, but {error}")))?.into_bytes()
    } else if io::stdout().is_terminal() {
        // A peer should not move the cursor.
        String::from_utf8_lossy(&answer).chars().map(visible).collect::<String>().into_bytes()
    } else {
        answer
    };
    line.push(b'\n');
    Ok(line)
}

fn visible(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

/// That nobody reads it is no reason to fail.
fn print(bytes: &[u8]) -> Result<(), (Exit, String)> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err((Exit::NotSent, format!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
