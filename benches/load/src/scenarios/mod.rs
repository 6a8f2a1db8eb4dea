//! What is measured.

mod cache;
mod clients;
mod fan_out;
mod idle;
mod ingest;
mod parameters;
mod phases;
mod random;
mod topics;

use crate::failure::Failure;
use crate::sample::Sample;
use crate::target::Target;
use parameters::Parameters;
use std::time::Duration;

pub(crate) use idle::Idle;

/// Values from here on are told in bytes, not in pieces.
const LARGE: usize = 4096;

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    FanOut(fan_out::FanOut),
    Ingest(ingest::Ingest),
    Cache(cache::Cache),
    Topics(topics::Topics),
    Clients(clients::Clients),
    Idle(Idle),
}

/// What the value of a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A second.
    Rate,
    /// Megabytes (10⁶ bytes) of values a second.
    Megabytes,
    /// Microseconds; less is better.
    Latency,
    /// Bytes; less is better.
    Bytes,
    /// Milliseconds of CPU time; less is better.
    CpuMs,
}

impl Unit {
    pub(crate) fn is_less_better(self) -> bool {
        matches!(self, Self::Latency | Self::Bytes | Self::CpuMs)
    }
}

impl Scenario {
    /// Reads `NAME:key=value,…`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let mut parameters = Parameters::parse(parameters)?;
        let scenario = match name {
            "fan-out" => fan_out::FanOut::scenario(&mut parameters, false),
            "latency" => fan_out::FanOut::scenario(&mut parameters, true),
            "ingest" => ingest::Ingest::scenario(&mut parameters),
            "cache" => cache::Cache::scenario(&mut parameters),
            "topics" => topics::Topics::scenario(&mut parameters),
            "clients" => clients::Clients::scenario(&mut parameters),
            "idle" => Idle::scenario(&mut parameters),
            _ => return Err(format!("there is no scenario {name:?}")),
        };
        let scenario = scenario.map_err(|error| format!("{text}: {error}"))?;
        parameters.finish().map_err(|error| format!("{text}: {error}"))?;
        Ok(scenario)
    }

    /// Whether it makes sense with such a server.
    pub(crate) fn suits(&self, target: &Target) -> bool {
        match &self.kind {
            Kind::FanOut(_) | Kind::Topics(_) => target.protocol.has_topics(),
            Kind::Ingest(ingest) => ingest.suits(target.protocol),
            Kind::Cache(_) => target.protocol.has_cache(),
            Kind::Clients(_) | Kind::Idle(_) => true,
        }
    }

    /// All servers are measured at once.
    pub(crate) fn idle(&self) -> Option<&Idle> {
        if let Kind::Idle(idle) = &self.kind { Some(idle) } else { None }
    }

    /// Whether a table of its own tells more than one figure of each server.
    pub(crate) fn has_columns(&self) -> bool {
        matches!(self.kind, Kind::Clients(_) | Kind::Idle(_))
    }

    /// Measures for so long.
    pub(crate) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        match &self.kind {
            Kind::FanOut(fan_out) => fan_out.run(target, length),
            Kind::Ingest(ingest) => ingest.run(target, length),
            Kind::Cache(cache) => cache.run(target, length),
            Kind::Topics(topics) => topics.run(target, length),
            Kind::Clients(clients) => clients.run(target, length),
            Kind::Idle(idle) => {
                idle.run(std::slice::from_ref(target)).pop().unwrap_or(Err(Failure::Unsuited))
            }
        }
    }
}

/// The unit of a rate of values of that size.
fn unit_of(size: usize) -> Unit {
    if size >= LARGE { Unit::Megabytes } else { Unit::Rate }
}

/// A rate in the unit of values of that size.
fn in_unit(sample: Sample, size: usize) -> Sample {
    match unit_of(size) {
        Unit::Megabytes => Sample { value: sample.value * size as f64 / 1e6, ..sample },
        _ => sample,
    }
}

/// What the values are, for a title.
fn of_size(size: usize) -> String {
    match size {
        32 => String::new(),
        _ if size.is_multiple_of(1024) => format!(", {} KiB", size / 1024),
        _ => format!(", {size} bytes"),
    }
}

/// A value without an end of line in it.
fn value(size: usize) -> Vec<u8> {
    b"abcdefghijklmnopqrstuvwxyz012345".iter().copied().cycle().take(size).collect()
}
