//! Connections that are waited for together.

use crate::connection::Connection;
use crate::failure::Failure;
use crate::poller::{Poller, Ready};
use crate::tally::Tally;
use crate::target::Target;
use std::time::{Duration, Instant};

const READ_SIZE: usize = 256 * 1024;
const WAIT_MS: u16 = 100;
/// Nothing has come for so long: the server does not do what it should.
const PATIENCE: Duration = Duration::from_secs(10);
/// Preparations may take so long.
const PREPARATION: Duration = Duration::from_secs(60);
/// Not more connections than a server's backlog are opened at a time.
const AT_A_TIME: usize = 100;

/// Connections that are waited for together; each is known by its place.
pub(crate) struct Crew {
    pub(crate) connections: Vec<Connection>,
    poller: Poller,
    ready: Vec<Ready>,
    buffer: Vec<u8>,
    last_came: Instant,
}

impl Crew {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            connections: Vec::new(),
            poller: Poller::new().map_err(Failure::connection("epoll"))?,
            ready: Vec::new(),
            buffer: vec![0; READ_SIZE],
            last_came: Instant::now(),
        })
    }

    /// Opens `count` more connections; their names begin with `first`.
    pub(crate) fn open(&mut self, target: &Target, first: usize, count: usize) -> Result<(), Failure> {
        for start in (0..count).step_by(AT_A_TIME) {
            let from = self.connections.len();
            for client in start..count.min(start + AT_A_TIME) {
                self.connections.push(Connection::dial(target, first + client)?);
            }
            for (connection, at) in self.connections[from..].iter_mut().zip(from..) {
                connection.welcome()?;
                self.poller.add(connection.socket(), at).map_err(Failure::connection("epoll"))?;
            }
        }
        Ok(())
    }

    /// The server's process, if it is known.
    pub(crate) fn process(&self, target: &Target) -> Option<i32> {
        target.process.or_else(|| self.connections.first()?.process())
    }

    pub(crate) fn flush(&mut self, at: usize) -> Result<(), Failure> {
        self.connections[at].flush(&self.poller, at)
    }

    /// Flushes what the sockets take, and calls `came` with what has come at which connection. Without `can_wait` it only looks.
    pub(crate) fn turn(&mut self, can_wait: bool, mut came: impl FnMut(usize, Tally)) -> Result<(), Failure> {
        self.look(if can_wait { WAIT_MS } else { 0 })?;
        for index in 0..self.ready.len() {
            let (at, tally) = self.handle(index)?;
            came(at, tally);
        }
        Ok(())
    }

    /// As [`Crew::turn`], one connection after another: what is sent on one goes out before the next is looked at.
    pub(crate) fn turn_and_send(
        &mut self,
        mut came: impl FnMut(usize, Tally, &mut Connection),
    ) -> Result<(), Failure> {
        self.look(WAIT_MS)?;
        for index in 0..self.ready.len() {
            let (at, tally) = self.handle(index)?;
            came(at, tally, &mut self.connections[at]);
            if !self.connections[at].is_flushed() {
                self.flush(at)?;
            }
        }
        Ok(())
    }

    /// Subscribes a connection to `topics`, and waits until the server has done it.
    pub(crate) fn subscribe(&mut self, at: usize, topics: &[String]) -> Result<(), Failure> {
        let connection = &mut self.connections[at];
        let protocol = connection.protocol;
        for (number, topic) in topics.iter().enumerate() {
            protocol.subscribe(&mut connection.out, topic.as_bytes(), number);
        }
        if protocol.acknowledges_subscriptions() {
            let wanted = topics.len() as u64;
            self.settle(at, "a subscription", |tally| tally.subscribed >= wanted)
        } else {
            self.synchronize(at)
        }
    }

    /// Waits until the server has done everything that a connection has sent.
    pub(crate) fn synchronize(&mut self, at: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[at];
        connection.protocol.synchronize(&mut connection.out);
        self.settle(at, "an answer", |tally| tally.synchronized >= 1)
    }

    /// Sends what a connection has to send, and waits for what is to come.
    fn settle(&mut self, at: usize, what: &str, is_done: impl Fn(&Tally) -> bool) -> Result<(), Failure> {
        let began = Instant::now();
        let mut total = Tally::default();
        self.flush(at)?;
        while !is_done(&total) {
            if began.elapsed() > PREPARATION {
                return Err(Failure::Stalled(format!("{what} has not come: {total:?}")));
            }
            self.turn(true, |from, tally| {
                if from == at {
                    total += tally;
                }
            })?;
        }
        Ok(())
    }

    fn look(&mut self, timeout_ms: u16) -> Result<(), Failure> {
        self.poller.wait(timeout_ms, &mut self.ready).map_err(Failure::connection("epoll"))?;
        if timeout_ms > 0 && self.ready.is_empty() {
            if self.last_came.elapsed() > PATIENCE {
                return Err(Failure::Stalled("nothing more comes".to_owned()));
            }
        } else {
            self.last_came = Instant::now();
        }
        Ok(())
    }

    fn handle(&mut self, index: usize) -> Result<(usize, Tally), Failure> {
        let ready = self.ready[index];
        let connection = &mut self.connections[ready.connection];
        let mut tally = Tally::default();
        if ready.can_read {
            tally = connection.read(&mut self.buffer)?;
        }
        // A server's pings are answered, too.
        if ready.can_write || (ready.can_read && !connection.is_flushed()) {
            self.flush(ready.connection)?;
        }
        Ok((ready.connection, tally))
    }
}
