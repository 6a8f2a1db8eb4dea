//! Shows what all clients of a clacks server do, for as long as the server lives.
//!
//! Start `clacksd` in one shell and this in another: `cargo run --example clacks_debug_monitor`. Then try the other
//! examples of this folder, or `clacks set x hello`, and watch.

use eventdispatcher::connections::clacks::client::{
    Client, ClientError, ClientHandler, ClientOptions, Event,
};
use eventdispatcher::{HandlerResult, communicator};
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

struct Monitor;

impl ClientHandler for Monitor {
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult {
        match event {
            Event::Connected { server } => {
                writeln!(stdout(), "connected to {server}")?;
                client.monitor(true)?;
            }
            Event::Debug { host, command } => {
                let (host, command) = (String::from_utf8_lossy(host), String::from_utf8_lossy(command));
                writeln!(stdout(), "{host:<34} {command}")?;
            }
            Event::Error { message } => eprintln!("debug_monitor: the server says: {message}"),
            _ => {}
        }
        Ok(())
    }

    fn disconnected(&mut self, why: ClientError, _: &Client) {
        eprintln!("debug_monitor: {why}");
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let communicator = communicator();
    ClientOptions::from_environment()?.named("debug monitor").connect(&communicator, Monitor)?;
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("debug_monitor: {error}");
    }
    // It ends only when something fails.
    ExitCode::FAILURE
}
