//! What a client that reconnects by itself says to each new connection before everything that waits.

use super::super::line::ClacksLines;
use super::error::ClientError;
use super::login::Login;
use crate::communicator::{Cx, HandlerResult};
use std::collections::BTreeSet;

/// To as many names it listens at most.
const MOST_NAMES: usize = 1 << 16;

/// What is said again, and what has happened until now.
pub(super) struct Lasting {
    login: [String; 2],
    listening: BTreeSet<Vec<u8>>,
    monitoring: bool,
    /// It owes the server no signs of life.
    is_quiet: bool,
    /// It was logged in before.
    was_there: bool,
}

impl Lasting {
    pub(super) fn new(login: &Login) -> Self {
        Self {
            login: login.lines(),
            listening: BTreeSet::new(),
            monitoring: false,
            is_quiet: false,
            was_there: false,
        }
    }

    /// Notes what holds over reconnects.
    pub(super) fn note(&mut self, subscription: Subscription<'_>) -> Result<(), ClientError> {
        match subscription {
            Subscription::Listen(name) => {
                if self.listening.len() >= MOST_NAMES && !self.listening.contains(name) {
                    return Err(ClientError::Full);
                }
                self.listening.insert(name.to_vec());
            }
            Subscription::Unlisten(name) => {
                self.listening.remove(name);
            }
            Subscription::Monitor(on) => self.monitoring = on,
            Subscription::Pings(on) => self.is_quiet = !on,
        }
        Ok(())
    }

    /// The login has succeeded. To how many names it listens, if that was not the first time.
    pub(super) fn enter(&mut self) -> Option<usize> {
        std::mem::replace(&mut self.was_there, true).then_some(self.listening.len())
    }

    /// Logs in, and says what held before.
    pub(super) fn greet(&self, cx: &Cx<'_, ClacksLines>) -> HandlerResult {
        for line in &self.login {
            cx.greet(cx.id(), &[line.as_bytes()])?;
        }
        for name in &self.listening {
            cx.greet(cx.id(), &[b"LISTEN ", name])?;
        }
        if self.monitoring {
            cx.greet(cx.id(), &[b"MONITOR"])?;
        }
        if self.is_quiet {
            cx.greet(cx.id(), &[b"NOPING"])?;
        }
        Ok(())
    }
}

/// A command that holds for as long as the connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subscription<'a> {
    Listen(&'a [u8]),
    Unlisten(&'a [u8]),
    Monitor(bool),
    /// Signs of life are sent, and expected.
    Pings(bool),
}
