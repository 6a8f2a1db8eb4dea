//! A sensor that invents its values. In each cycle it tells and keeps a value, and counts. The length of its cycle, in
//! seconds, is a value in the server's store; when that is changed, it hears of it.

use eventdispatcher::connections::clacks::client::{
    Client, ClientError, ClientHandler, ClientOptions, Event,
};
use eventdispatcher::{HandlerResult, TimerId, communicator};
use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

const CYCLE_TIME: &[u8] = b"sensor/cycle-time";

/// Has the timer that makes it measure, once it knows its cycle time.
#[derive(Clone, Default)]
struct Sensor(Rc<Cell<Option<TimerId>>>);

impl ClientHandler for Sensor {
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult {
        match event {
            Event::Connected { .. } => {
                // First this, so that no change is missed.
                client.listen(CYCLE_TIME)?;
                let sensor = self.clone();
                client.retrieve(CYCLE_TIME, move |answer, client| {
                    // Where nobody has set it, or this user may not know it: a second.
                    sensor.set_cycle_time(&answer.ok().flatten().unwrap_or(b"1".to_vec()), client);
                })?;
            }
            Event::Set { value, .. } => self.set_cycle_time(value, client),
            _ => {}
        }
        Ok(())
    }

    fn disconnected(&mut self, why: ClientError, client: &Client) {
        eprintln!("fake_sensor: {why}");
        client.communicator().stop();
    }
}

impl Sensor {
    fn set_cycle_time(&self, value: &[u8], client: &Client) {
        let seconds = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        let cycle = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let Some(cycle) = cycle.filter(|cycle| !cycle.is_zero()) else {
            return eprintln!("fake_sensor: {:?} is no cycle time", String::from_utf8_lossy(value));
        };
        let (to, mut count) = (client.clone(), 0);
        let timer = client.communicator().every(cycle, move |_| {
            count += 1;
            let value = format!("{:.2}", 20.0 + 3.0 * (f64::from(count) / 10.0).sin());
            let told = to.set_and_store(b"sensor/value", value.as_bytes());
            if let Err(error) = told.and_then(|()| to.increment(b"sensor/count", None)) {
                eprintln!("fake_sensor: {error}");
            }
        });
        if let Some(before) = self.0.replace(Some(timer)) {
            client.communicator().cancel(before);
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let communicator = communicator();
    ClientOptions::from_environment()?.named("fake sensor").connect(&communicator, Sensor::default())?;
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("fake_sensor: {error}");
    }
    // It ends only when something fails.
    ExitCode::FAILURE
}
