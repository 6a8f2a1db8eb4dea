//! `ping`.

use crate::arguments::{Connection, Ping};
use crate::failure::Failure;
use crate::output::{Lines, Output};
use crate::session::{Flow, Session};
use eventdispatcher::Signal;
use eventdispatcher::connections::clacks::client::{Client, Event};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) fn ping(ping: &Ping, connection: &Connection) -> Result<(), Failure> {
    let session = Session::default();
    let times = Rc::<RefCell<Times>>::default();
    let pinger = Pinger {
        session: session.clone(),
        interval: ping.interval,
        lines: Rc::new(RefCell::new(Lines::new(ping.count))),
        times: times.clone(),
    };
    let interrupted = session.clone();
    let ended = session.run(
        &connection.options("ping")?,
        move |client| {
            let to_end = client.clone();
            let caught = client.communicator().signals([Signal::INT, Signal::TERM], move |_, _| {
                interrupted.end(Ok(()), &to_end);
            });
            caught.map(drop).map_err(Failure::System)
        },
        move |event, client| {
            if let Event::Connected { .. } = event {
                pinger.clone().send(client)?;
            }
            Ok(Flow::GoOn)
        },
    );
    if ended.is_err() && times.borrow().count == 0 {
        return ended;
    }
    let summary = Output::all(format!("{}\n", times.borrow()).as_bytes());
    ended.and(summary)
}

/// Sends one after the other.
#[derive(Clone)]
struct Pinger {
    session: Session,
    interval: Duration,
    lines: Rc<RefCell<Lines>>,
    times: Rc<RefCell<Times>>,
}

impl Pinger {
    fn send(self, client: &Client) -> Result<(), Failure> {
        let start = Instant::now();
        client.flush(move |answer, client| {
            let time = start.elapsed();
            match answer.map_err(Failure::from).and_then(|()| self.answered(time)) {
                Ok(Flow::GoOn) => self.send_later(self.interval.saturating_sub(time), client),
                Ok(Flow::Done) => self.session.end(Ok(()), client),
                Err(failure) => self.session.end(Err(failure), client),
            }
        })?;
        Ok(())
    }

    fn answered(&self, time: Duration) -> Result<Flow, Failure> {
        let times = &mut *self.times.borrow_mut();
        times.add(time);
        self.lines.borrow_mut().print(&[format!("{}: {} ms", times.count, milliseconds(time)).as_bytes()])
    }

    fn send_later(&self, after: Duration, client: &Client) {
        let (next, client) = (self.clone(), client.clone());
        client.communicator().clone().after(after, move |_| {
            let session = next.session.clone();
            if let Err(failure) = next.send(&client) {
                session.end(Err(failure), &client);
            }
        });
    }
}

/// The times so far.
#[derive(Debug, Default)]
struct Times {
    count: u32,
    sum: Duration,
    min: Duration,
    max: Duration,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.min = if self.count == 0 { time } else { self.min.min(time) };
        self.max = self.max.max(time);
        self.sum += time;
        self.count = self.count.saturating_add(1);
    }
}

/// The summary.
impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(average) = self.sum.checked_div(self.count) else { return f.write_str("no answer") };
        let (min, average, max) = (milliseconds(self.min), milliseconds(average), milliseconds(self.max));
        write!(f, "{} round trips, min/avg/max {min}/{average}/{max} ms", self.count)
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_extremes_and_the_average() {
        let mut times = Times::default();
        assert_eq!(times.to_string(), "no answer");
        for micros in [1500, 250, 1000] {
            times.add(Duration::from_micros(micros));
        }
        assert_eq!(times.to_string(), "3 round trips, min/avg/max 0.250/0.917/1.500 ms");
    }
}
