//! Waiting, and showing it to whoever watches.

use crate::process::Process;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line on the terminal that counts the seconds, and is gone when the waiting is over.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    who: &'a str,
    terminal: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(who: &'a str) -> Self {
        Self { who, terminal: io::stderr().is_terminal() }
    }

    /// Waits until the process has ended, for so long at most; says whether it has.
    ///
    /// # Errors
    /// As the system says.
    pub(crate) fn wait(&self, process: &Process, time: Duration) -> Result<bool, String> {
        if !self.terminal {
            return process.wait(time);
        }
        let end = Instant::now() + time;
        let ended = loop {
            let left = end.saturating_duration_since(Instant::now());
            if process.wait(left.min(Duration::from_secs(1)))? {
                break true;
            }
            if left.is_zero() {
                break false;
            }
            self.show(&format!("waiting for {}: {} s left", self.who, left.as_secs()));
        };
        self.show("");
        Ok(ended)
    }

    /// In the place of what was shown before.
    fn show(&self, text: &str) {
        let _ = write!(io::stderr().lock(), "\r\x1b[K{text}").and_then(|()| io::stderr().flush());
    }
}
