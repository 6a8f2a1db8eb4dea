//! What is done to a process, step by step.

use crate::messaging::address::Address;
use crate::messaging::deliver::{Delivery, Failure};
use crate::messaging::encryption::Encryption;
use crate::messaging::report::{complain, say};
use crate::messaging::sender;
use crate::process::Process;
use crate::progress::Progress;
use eventdispatcher::dispatcher::Message;
use rustix::process::Signal;
use std::fmt;
use std::time::{Duration, Instant};

/// So long a process has at most after the harder signals.
const HARD_TIME_MAX: Duration = Duration::from_secs(10);

/// How to stop a process.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// What it was called on the command line.
    pub(crate) name: &'a str,
    pub(crate) timeout: Duration,
    pub(crate) soft: Option<&'a Address>,
    pub(crate) kill: bool,
}

/// What a process is asked with.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Message(&'a Address),
    Signal(Signal),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Message(_) => "the message STOP",
            Self::Signal(Signal::INT) => "SIGINT",
            Self::Signal(Signal::TERM) => "SIGTERM",
            Self::Signal(_) => "SIGKILL",
        })
    }
}

impl Plan<'_> {
    /// Stops a process.
    ///
    /// # Errors
    /// When it is still alive, or may not be stopped.
    pub(crate) fn stop(&self, process: &Process) -> Result<(), String> {
        let who = self.who(process);
        if process.has_ended()? {
            say(format_args!("ed-stop: {who} has ended already; its parent has not taken notice yet"));
            return Ok(());
        }
        let start = Instant::now();
        let mut tried = Vec::new();
        for (step, time) in self.steps() {
            if !self.ask(process, step) {
                continue;
            }
            tried.push(step.to_string());
            if let Step::Signal(signal) = step
                && !process.signal(signal)?
            {
                // It has ended since the last look.
                say(format_args!("ed-stop: {who} has ended"));
                return Ok(());
            }
            if matches!(step, Step::Signal(Signal::INT)) {
                // Who is suspended would never see it.
                process.signal(Signal::CONT)?;
            }
            if Progress::new(&who).wait(process, time)? {
                let seconds = start.elapsed().as_secs_f64();
                say(format_args!("ed-stop: {who} has ended after {step}, in {seconds:.1} s"));
                return Ok(());
            }
        }
        let rest = if self.kill { "" } else { "; --kill would send SIGKILL" };
        Err(format!("{who} is still alive after {}{rest}", tried.join(", ")))
    }

    /// What is tried, one after the other, and for how long.
    fn steps(&self) -> impl Iterator<Item = (Step<'_>, Duration)> {
        let hard = self.timeout.min(HARD_TIME_MAX);
        let soft = self.soft.map(|address| (Step::Message(address), self.timeout));
        let signals = [(Step::Signal(Signal::INT), self.timeout), (Step::Signal(Signal::TERM), hard)];
        // Only the system can keep a process from this.
        let kill = self.kill.then_some((Step::Signal(Signal::KILL), HARD_TIME_MAX));
        soft.into_iter().chain(signals).chain(kill)
    }

    /// Sends a message; what can't be sent is no reason not to go on.
    fn ask(&self, process: &Process, step: Step<'_>) -> bool {
        let Step::Message(address) = step else { return true };
        let message = match Message::build("STOP").sent_from(&sender::server_name(), "ed_stop").finish() {
            Ok(message) => message,
            Err(error) => {
                complain("ed-stop", error);
                return false;
            }
        };
        let delivery = Delivery {
            message: &message,
            json: false,
            timeout: self.timeout,
            reply: false,
            encryption: &Encryption::Off,
        };
        match delivery.send(address) {
            Ok(_) => true,
            Err(Failure::NotSent(why) | Failure::NoAnswer(why)) => {
                complain("ed-stop", format_args!("STOP for {}: {why}", self.who(process)));
                false
            }
        }
    }

    fn who(&self, process: &Process) -> String {
        let pid = process.pid().to_string();
        if self.name == pid { format!("process {pid}") } else { format!("{} (process {pid})", self.name) }
    }
}
