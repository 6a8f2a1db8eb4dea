//! Sets the cycle time of the sensor (see `fake_sensor.rs`), in seconds: `cargo run --example clacks_set_cycle_time 0.5`.
//! The value is kept for sensors that start later, and told to those that run.

use eventdispatcher::connections::clacks::client::ClientOptions;
use std::error::Error;
use std::process::ExitCode;

fn set(seconds: Option<String>) -> Result<(), Box<dyn Error>> {
    let seconds = seconds.ok_or("say how many seconds a cycle is to take")?;
    if !seconds.parse::<f64>().is_ok_and(|seconds| seconds > 0.0 && seconds.is_finite()) {
        return Err(format!("{seconds:?} is no number of seconds above 0").into());
    }
    let mut client = ClientOptions::from_environment()?.named("set cycle time").connect_blocking()?;
    Ok(client.set_and_store(b"sensor/cycle-time", seconds.as_bytes())?)
}

fn main() -> ExitCode {
    // An argument that is no text is no number either.
    let seconds = std::env::args_os().nth(1).map(|argument| argument.to_string_lossy().into_owned());
    match set(seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("set_cycle_time: {error}");
            ExitCode::FAILURE
        }
    }
}
