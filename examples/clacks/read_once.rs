//! Prints the last value of the sensor (see `fake_sensor.rs`), and how many there were.

use eventdispatcher::connections::clacks::client::ClientOptions;
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

fn read() -> Result<(), Box<dyn Error>> {
    let mut client = ClientOptions::from_environment()?.named("read once").connect_blocking()?;
    let value = client.retrieve(b"sensor/value")?.ok_or("there is no value yet")?;
    let count = client.retrieve(b"sensor/count")?.unwrap_or_default();
    let (value, count) = (String::from_utf8_lossy(&value), String::from_utf8_lossy(&count));
    writeln!(stdout(), "value {value}, number {count}")?;
    Ok(())
}

fn main() -> ExitCode {
    match read() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("read_once: {error}");
            ExitCode::FAILURE
        }
    }
}
