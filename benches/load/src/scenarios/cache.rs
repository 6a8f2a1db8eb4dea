//! Values stored and retrieved.

use super::parameters::Parameters;
use super::phases::{Phase, Phases};
use super::random::Random;
use super::{Kind, Scenario, Unit, in_unit, of_size, unit_of, value};
use crate::connection::Connection;
use crate::crew::Crew;
use crate::failure::Failure;
use crate::sample::Sample;
use crate::target::Target;
use std::time::{Duration, Instant};

/// So many values are stored between two answers when the keys are made.
const CHUNK: usize = 500;

/// A title tells how many keys there are if there are more.
const USUAL_KEYS: usize = 10_000;

/// Clients that store a value and retrieve another, or only retrieve. Each has some such units on their way.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    clients: usize,
    depth: usize,
    size: usize,
    keys: usize,
    only_retrieves: bool,
    is_latency: bool,
}

impl Cache {
    pub(super) fn scenario(parameters: &mut Parameters) -> Result<Scenario, String> {
        let cache = Self {
            clients: parameters.take("clients", 1)?,
            depth: parameters.take("depth", 1)?,
            size: parameters.take("size", 32)?,
            keys: parameters.take("keys", USUAL_KEYS)?,
            only_retrieves: parameters.take_flag("get"),
            is_latency: parameters.take_flag("latency"),
        };
        if cache.is_latency && cache.depth > 1 {
            return Err("a latency is of depth 1".to_owned());
        }
        let what = if cache.only_retrieves { "retrieve" } else { "store and retrieve" };
        let clients =
            if cache.clients == 1 { "1 client".to_owned() } else { format!("{} clients", cache.clients) };
        let unit = if cache.is_latency { Unit::Latency } else { unit_of(cache.size) };
        let figure = match unit {
            Unit::Latency => "p50 / p99 µs",
            Unit::Megabytes => "MB/s",
            _ => "operations/s",
        };
        let keys = if cache.keys > USUAL_KEYS { format!(", {} keys", cache.keys) } else { String::new() };
        let title =
            format!("{what}, {clients}, depth {}{}{keys}, {figure}", cache.depth, of_size(cache.size));
        Ok(Scenario { title, unit, kind: Kind::Cache(cache) })
    }

    /// One client that retrieves one value at a time.
    pub(super) fn one_at_a_time() -> Self {
        Self { clients: 1, depth: 1, size: 32, keys: 100, only_retrieves: true, is_latency: true }
    }

    pub(super) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        if !target.protocol.has_cache() {
            return Err(Failure::Unsuited);
        }
        let mut load = Load {
            keys: (0..self.keys).map(|key| format!("key{key:05}")).collect(),
            value: value(self.size),
            stores: !self.only_retrieves,
            random: Random(0x9e37_79b9_7f4a_7c15),
        };
        let mut crew = Crew::new()?;
        crew.open(target, 0, self.clients)?;
        for keys in load.keys.chunks(CHUNK) {
            let Connection { protocol, out, .. } = &mut crew.connections[0];
            for key in keys {
                protocol.store(out, key.as_bytes(), &load.value);
            }
            crew.synchronize(0)?;
        }

        let mut clients: Vec<Client> = (0..self.clients).map(|_| Client::new()).collect();
        let waits_for_stores = load.stores && target.protocol.acknowledges_stores();
        let mut phases = Phases::begin(length, crew.process(target));
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(&mut crew.connections[at], &mut load, self.depth as u64);
            crew.flush(at)?;
        }
        let (mut done, mut missing, mut bytes) = (0, 0, 0);
        let mut latencies = Vec::with_capacity(1 << 20);
        loop {
            let phase = phases.at(done);
            if phase == Phase::Begins {
                latencies.clear();
            }
            if phase == Phase::Over && clients.iter().all(Client::is_done) {
                break;
            }
            crew.turn_and_send(|at, tally, connection| {
                missing += tally.missing;
                bytes += tally.bytes;
                let client = &mut clients[at];
                client.stored += tally.acknowledged;
                client.retrieved += tally.values;
                let units =
                    if waits_for_stores { client.stored.min(client.retrieved) } else { client.retrieved };
                let more = units - client.done;
                if more == 0 {
                    return;
                }
                client.done = units;
                done += more;
                if self.depth == 1 {
                    latencies.push(client.sent_at.elapsed());
                }
                if phase != Phase::Over {
                    client.send(connection, &mut load, more);
                }
            })?;
        }
        if missing > 0 || bytes != done * self.size as u64 {
            return Err(Failure::Server(format!("{missing} of {done} values missing, {bytes} bytes")));
        }
        let Some((spent, units)) = phases.measured() else { return Err(Failure::Unsuited) };
        let operations = if load.stores { units * 2 } else { units };
        let sample = Sample::rate(operations, &spent);
        if self.is_latency {
            return Ok(sample.into_latency(&mut latencies));
        }
        Ok(in_unit(sample, self.size))
    }
}

/// What is sent.
struct Load {
    keys: Vec<String>,
    value: Vec<u8>,
    stores: bool,
    random: Random,
}

/// What a client has sent, and what it has got.
struct Client {
    stored: u64,
    retrieved: u64,
    done: u64,
    sent: u64,
    sent_at: Instant,
}

impl Client {
    fn new() -> Self {
        Self { stored: 0, retrieved: 0, done: 0, sent: 0, sent_at: Instant::now() }
    }

    fn is_done(&self) -> bool {
        self.done == self.sent
    }

    fn send(&mut self, connection: &mut Connection, load: &mut Load, units: u64) {
        for _ in 0..units {
            if load.stores {
                let key = &load.keys[load.random.below(load.keys.len())];
                connection.protocol.store(&mut connection.out, key.as_bytes(), &load.value);
            }
            let key = &load.keys[load.random.below(load.keys.len())];
            connection.protocol.retrieve(&mut connection.out, key.as_bytes());
        }
        self.sent += units;
        self.sent_at = Instant::now();
    }
}
