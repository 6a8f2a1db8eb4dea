//! Many clients that do nothing.

use super::cache::Cache;
use super::fan_out::FanOut;
use super::parameters::Parameters;
use super::{Kind, Scenario, Unit};
use crate::crew::Crew;
use crate::failure::Failure;
use crate::machine::{memory, process_ns};
use crate::sample::Sample;
use crate::target::Target;
use std::thread;
use std::time::{Duration, Instant};

/// What a server does after a connection is done.
const SETTLING: Duration = Duration::from_millis(300);

/// Many clients that do nothing: the memory that they take, and what they do to the latency of one that is active.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    clients: usize,
}

impl Clients {
    pub(super) fn scenario(parameters: &mut Parameters) -> Result<Scenario, String> {
        let clients = parameters.take("n", 10_000)?;
        let title = format!("{clients} idle clients");
        Ok(Scenario { title, unit: Unit::Bytes, kind: Kind::Clients(Self { clients }) })
    }

    pub(super) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        let mut probe = Crew::new()?;
        probe.open(target, 0, 1)?;
        let process = probe.process(target).ok_or(Failure::Server("no process is known".to_owned()))?;
        let alone = Latencies::take(target, length)?;
        thread::sleep(SETTLING);
        let (memory_before, cpu_before) = (memory(process), process_ns(process));
        let began = Instant::now();
        let mut idle = Crew::new()?;
        idle.open(target, 10, self.clients)?;
        let seconds = began.elapsed().as_secs_f64();
        thread::sleep(SETTLING);
        let clients = self.clients as f64;
        let per_client = memory(process).saturating_sub(memory_before) as f64 / clients;
        let cpu_us = process_ns(process).saturating_sub(cpu_before) as f64 / 1e3 / clients;
        let beside = Latencies::take(target, length)?;
        let mut more = vec![
            ("bytes per client", per_client),
            ("logins/s", clients / seconds),
            ("server µs per login", cpu_us),
        ];
        if let (Some(alone), Some(beside)) = (alone.signal, beside.signal) {
            more.extend([("signal p50 µs, alone", alone.value), ("beside them", beside.value)]);
        } else {
            more.extend([("signal p50 µs, alone", f64::NAN), ("beside them", f64::NAN)]);
        }
        if let (Some(alone), Some(beside)) = (alone.retrieve, beside.retrieve) {
            more.extend([("retrieve p50 µs, alone", alone.value), ("beside them ", beside.value)]);
        } else {
            more.extend([("retrieve p50 µs, alone", f64::NAN), ("beside them ", f64::NAN)]);
        }
        Ok(Sample { value: per_client, more, ..Sample::default() })
    }
}

/// Of one client that is active.
struct Latencies {
    signal: Option<Sample>,
    retrieve: Option<Sample>,
}

impl Latencies {
    fn take(target: &Target, length: Duration) -> Result<Self, Failure> {
        let suited = |result| match result {
            Err(Failure::Unsuited) => Ok(None),
            Err(other) => Err(other),
            Ok(sample) => Ok(Some(sample)),
        };
        Ok(Self {
            signal: suited(FanOut::one_at_a_time().run(target, length))?,
            retrieve: suited(Cache::one_at_a_time().run(target, length))?,
        })
    }
}
