//! One publisher, some listeners.

use super::generator::{Load, Traffic};
use super::value;
use std::collections::VecDeque;
use std::time::Instant;

/// As much is under way at most, in bytes.
const UNDER_WAY: usize = 4 << 20;
/// The publisher's place; the listeners follow.
const PUBLISHER: usize = 0;

pub(super) struct FanOut {
    listeners: Vec<Listener>,
    listen: Vec<u8>,
    /// As many lines as may be under way.
    lines: Vec<u8>,
    /// The length of one.
    length: usize,
    window: usize,
    /// How many were sent, and have come to all listeners together.
    sent: u64,
    received: u64,
    /// What was sent at a time and has not come to all listeners, the oldest first.
    batches: VecDeque<Batch>,
    /// How many were there before these.
    past: u64,
}

#[derive(Clone, Default)]
struct Listener {
    received: u64,
    /// The batch that it waits for.
    batch: u64,
}

struct Batch {
    /// How many were sent with it.
    end: u64,
    at: Instant,
    /// Listeners that have not received it.
    left: usize,
}

impl FanOut {
    /// As many as `window` may be under way to each of the listeners.
    pub(super) fn new(prefix: &str, size: usize, listeners: usize, window: usize) -> Self {
        let name = format!("{prefix}signal");
        let line = format!("SET {name}={}\r\n", value(size));
        let window = (UNDER_WAY / line.len()).clamp(1, window.max(1));
        Self {
            listeners: vec![Listener::default(); listeners],
            listen: format!("LISTEN {name}\r\n").into_bytes(),
            lines: line.repeat(window).into_bytes(),
            length: line.len(),
            window,
            sent: 0,
            received: 0,
            batches: VecDeque::new(),
            past: 0,
        }
    }

    /// Sends more, if there is room for more than a few.
    fn send(&mut self, traffic: &mut Traffic<'_>) {
        let come = self.received / self.listeners.len().max(1) as u64;
        let under_way = usize::try_from(self.sent.saturating_sub(come)).unwrap_or(usize::MAX);
        let room = self.window.saturating_sub(under_way);
        if room < (self.window / 8).max(1) {
            return;
        }
        if let Some(lines) = self.lines.get(..room * self.length) {
            traffic.send(PUBLISHER, lines);
            self.sent += room as u64;
            self.batches.push_back(Batch { end: self.sent, at: traffic.now, left: self.listeners.len() });
        }
    }
}

impl Load for FanOut {
    fn connections(&self) -> usize {
        1 + self.listeners.len()
    }

    fn opening(&self, connection: usize) -> Vec<u8> {
        if connection == PUBLISHER { Vec::new() } else { self.listen.clone() }
    }

    fn reply_length(&self) -> usize {
        self.length
    }

    fn begin(&mut self, traffic: &mut Traffic<'_>) {
        self.send(traffic);
    }

    fn replies(&mut self, connection: usize, lines: usize, traffic: &mut Traffic<'_>) {
        let Some(listener) = connection.checked_sub(1).and_then(|at| self.listeners.get_mut(at)) else {
            return;
        };
        listener.received += lines as u64;
        self.received += lines as u64;
        traffic.done(lines);
        // The time of the last one of a batch counts for the batch.
        while let Some(batch) =
            usize::try_from(listener.batch - self.past).ok().and_then(|at| self.batches.get_mut(at))
            && batch.end <= listener.received
        {
            traffic.latency(batch.at, 1);
            batch.left -= 1;
            listener.batch += 1;
        }
        while self.batches.front().is_some_and(|batch| batch.left == 0) {
            self.batches.pop_front();
            self.past += 1;
        }
        self.send(traffic);
    }
}
