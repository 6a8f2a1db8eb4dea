//! Warming up, measuring, coming to an end.

use crate::machine::{Account, Spent};
use std::time::{Duration, Instant};

/// Warming up, measuring, coming to an end.
#[derive(Debug)]
pub(super) struct Phases {
    began: Instant,
    warm_up: Duration,
    length: Duration,
    process: Option<i32>,
    account: Option<(Account, u64)>,
    measured: Option<(Spent, u64)>,
}

/// What the moment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    WarmUp,
    /// The measurement begins with this call.
    Begins,
    Measures,
    Over,
}

impl Phases {
    pub(super) fn begin(length: Duration, process: Option<i32>) -> Self {
        let warm_up = warm_up(length);
        Self { began: Instant::now(), warm_up, length, process, account: None, measured: None }
    }

    /// What the moment is, when so many operations are done.
    pub(super) fn at(&mut self, done: u64) -> Phase {
        if self.measured.is_some() {
            return Phase::Over;
        }
        let elapsed = self.began.elapsed();
        match &self.account {
            None if elapsed < self.warm_up => Phase::WarmUp,
            None => {
                self.account = Some((Account::open(self.process), done));
                Phase::Begins
            }
            Some(_) if elapsed < self.warm_up + self.length => Phase::Measures,
            Some((account, before)) => {
                self.measured = Some((account.close(), done - before));
                Phase::Over
            }
        }
    }

    /// What was measured, and how many operations were done.
    pub(super) fn measured(self) -> Option<(Spent, u64)> {
        self.measured
    }
}

/// How long a server is loaded before that length is measured.
pub(super) fn warm_up(length: Duration) -> Duration {
    (length / 5).min(Duration::from_millis(400))
}
