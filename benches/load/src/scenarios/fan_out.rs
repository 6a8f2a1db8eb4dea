//! One publisher, and listeners of one topic.

use super::parameters::Parameters;
use super::phases::{Phase, Phases};
use super::{Kind, Scenario, Unit, in_unit, of_size, unit_of, value};
use crate::crew::Crew;
use crate::failure::Failure;
use crate::sample::Sample;
use crate::target::Target;
use std::time::{Duration, Instant};

const TOPIC: &str = "benchtopic";

/// One publisher, and listeners of one topic.
#[derive(Debug, Clone)]
pub(super) struct FanOut {
    listeners: usize,
    /// So many signals are on their way at most.
    window: u64,
    size: usize,
    is_latency: bool,
}

impl FanOut {
    pub(super) fn scenario(parameters: &mut Parameters, is_latency: bool) -> Result<Scenario, String> {
        let listeners = parameters.take("n", 1)?;
        let size = parameters.take("size", 32)?;
        let window = if is_latency { 1 } else { parameters.take("window", 256)? as u64 };
        let (title, unit) = if is_latency {
            (format!("one signal at a time to {listeners}{}, p50 / p99 µs", of_size(size)), Unit::Latency)
        } else {
            let what = if unit_of(size) == Unit::Rate { "delivered/s" } else { "MB/s" };
            (format!("fan-out 1 → {listeners}{}, {what}", of_size(size)), unit_of(size))
        };
        Ok(Scenario { title, unit, kind: Kind::FanOut(Self { listeners, window, size, is_latency }) })
    }

    /// One signal at a time to one listener.
    pub(super) fn one_at_a_time() -> Self {
        Self { listeners: 1, window: 1, size: 32, is_latency: true }
    }

    pub(super) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        if !target.protocol.has_topics() {
            return Err(Failure::Unsuited);
        }
        let publisher = self.listeners;
        let mut crew = Crew::new()?;
        crew.open(target, 0, self.listeners + 1)?;
        for listener in 0..self.listeners {
            crew.subscribe(listener, &[TOPIC.to_owned()])?;
            crew.connections[listener].counter.learn();
        }
        let mut signal = Vec::new();
        target.protocol.publish(&mut signal, TOPIC.as_bytes(), &value(self.size));

        let mut phases = Phases::begin(length, crew.process(target));
        let mut delivered = Delivered { of_each: vec![0; self.listeners], all: 0, bytes: 0 };
        let mut sent = 0;
        let mut sent_at = Instant::now();
        let mut latencies = Vec::new();
        loop {
            let phase = phases.at(delivered.all);
            let wanted = sent * self.listeners as u64;
            match phase {
                Phase::Over if delivered.all == wanted => break,
                Phase::Over => {}
                _ => {
                    if phase == Phase::Begins {
                        latencies.clear();
                    }
                    let under_way = sent - delivered.all / self.listeners as u64;
                    let room = self.window.saturating_sub(under_way);
                    if room >= (self.window / 8).max(1) && crew.connections[publisher].is_flushed() {
                        for _ in 0..room {
                            crew.connections[publisher].out.extend_from_slice(&signal);
                        }
                        sent += room;
                        sent_at = Instant::now();
                        crew.flush(publisher)?;
                    }
                }
            }
            let wanted = sent * self.listeners as u64;
            crew.turn(true, |at, tally| {
                let Some(of_this) = delivered.of_each.get_mut(at) else { return };
                *of_this += tally.messages;
                delivered.all += tally.messages;
                delivered.bytes += tally.bytes;
                if self.is_latency && tally.messages > 0 && delivered.all == wanted {
                    latencies.push(sent_at.elapsed());
                }
            })?;
        }
        delivered.check(sent, self.size)?;
        let Some((spent, count)) = phases.measured() else { return Err(Failure::Unsuited) };
        let sample = Sample::rate(count, &spent);
        if self.is_latency {
            return Ok(sample.into_latency(&mut latencies));
        }
        Ok(in_unit(sample, self.size))
    }
}

/// What has arrived.
struct Delivered {
    of_each: Vec<u64>,
    all: u64,
    bytes: u64,
}

impl Delivered {
    fn check(&self, sent: u64, size: usize) -> Result<(), Failure> {
        if self.of_each.iter().any(|&count| count != sent) || self.bytes != self.all * size as u64 {
            return Err(Failure::Server(format!(
                "of {sent} signals of {size} bytes it has delivered {:?}, {} bytes",
                self.of_each, self.bytes
            )));
        }
        Ok(())
    }
}
