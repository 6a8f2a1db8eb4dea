//! Prints each new value of the sensor (see `fake_sensor.rs`), for as long as the server lives.

use eventdispatcher::connections::clacks::client::{
    Client, ClientError, ClientHandler, ClientOptions, Event,
};
use eventdispatcher::{HandlerResult, communicator};
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

struct Tracker;

impl ClientHandler for Tracker {
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult {
        match event {
            Event::Connected { .. } => client.listen(b"sensor/value")?,
            Event::Set { value, .. } => writeln!(stdout(), "{}", String::from_utf8_lossy(value))?,
            _ => {}
        }
        Ok(())
    }

    fn disconnected(&mut self, why: ClientError, _: &Client) {
        eprintln!("tracker: {why}");
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let communicator = communicator();
    ClientOptions::from_environment()?.named("tracker").connect(&communicator, Tracker)?;
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("tracker: {error}");
    }
    // It ends only when something fails.
    ExitCode::FAILURE
}
