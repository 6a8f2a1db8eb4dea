//! Commands as fast as the server takes them.

use super::parameters::Parameters;
use super::{Kind, Scenario, in_unit, of_size, phases, unit_of, value};
use crate::connection::Connection;
use crate::crew::Crew;
use crate::failure::Failure;
use crate::machine::Account;
use crate::protocol::Protocol;
use crate::sample::Sample;
use crate::target::{Address, Target};
use std::time::{Duration, Instant};

const BATCH_BYTES: usize = 64 * 1024;
const TOPIC: &[u8] = b"benchtopic";
/// The topic that the listener at a follower has.
const LAST: &str = "benchlast";
/// Different keys of what is stored.
const KEYS: usize = 10_000;
const SENDER: usize = 0;
/// The listener at the follower, if there is one.
const LISTENER: usize = 1;

/// Signals that nobody listens to, or values that are stored, as fast as the server takes them. The time ends once the server has
/// answered what asks whether everything is done; with a follower, once the last signal has come from there.
#[derive(Debug, Clone)]
pub(super) struct Ingest {
    size: usize,
    /// Values are stored instead of published.
    stores: bool,
}

impl Ingest {
    pub(super) fn scenario(parameters: &mut Parameters) -> Result<Scenario, String> {
        let ingest = Self { size: parameters.take("size", 32)?, stores: parameters.take_flag("store") };
        let what = if ingest.stores { "values stored" } else { "signals without a listener" };
        let title = format!("ingest of {what}{}/s", of_size(ingest.size));
        Ok(Scenario { title, unit: unit_of(ingest.size), kind: Kind::Ingest(ingest) })
    }

    pub(super) fn suits(&self, protocol: Protocol) -> bool {
        if self.stores { protocol.has_cache() } else { protocol.has_topics() }
    }

    pub(super) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        if !self.suits(target.protocol) {
            return Err(Failure::Unsuited);
        }
        let mut crew = Crew::new()?;
        crew.open(target, 0, 1)?;
        if let Some(follower) = &target.follower {
            let follower = Target { address: Address::Unix(follower.clone()), ..target.clone() };
            crew.open(&follower, 1, 1)?;
            crew.subscribe(LISTENER, &[LAST.to_owned()])?;
        }
        let process = crew.process(target);
        let batch = Batch::new(target.protocol, self.stores, self.size);
        send(&mut crew, &batch, phases::warm_up(length))?;
        let account = Account::open(process);
        let sent = send(&mut crew, &batch, length)?;
        Ok(in_unit(Sample::rate(sent, &account.close()), self.size))
    }
}

/// Sends for that time, waits until it is done, and says how much it was.
fn send(crew: &mut Crew, batch: &Batch, length: Duration) -> Result<u64, Failure> {
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < length {
        if crew.connections[SENDER].is_flushed() {
            crew.connections[SENDER].out.extend_from_slice(&batch.bytes);
            crew.flush(SENDER)?;
            sent += batch.count;
        }
        // Answers are read in between, or the server could not write them.
        let must_wait = !crew.connections[SENDER].is_flushed();
        if must_wait || batch.is_answered {
            crew.turn(must_wait, |_, _| {})?;
        }
    }
    while !crew.connections[SENDER].is_flushed() {
        crew.turn(true, |_, _| {})?;
    }
    if crew.connections.len() > LISTENER {
        let Connection { protocol, out, .. } = &mut crew.connections[SENDER];
        protocol.publish(out, LAST.as_bytes(), b"");
        crew.flush(SENDER)?;
        let mut has_come = false;
        while !has_come {
            crew.turn(true, |at, tally| has_come |= at == LISTENER && tally.messages > 0)?;
        }
    } else {
        crew.synchronize(SENDER)?;
    }
    Ok(sent)
}

/// Many commands.
struct Batch {
    bytes: Vec<u8>,
    count: u64,
    is_answered: bool,
}

impl Batch {
    fn new(protocol: Protocol, stores: bool, size: usize) -> Self {
        let value = value(size);
        let (mut bytes, mut count) = (Vec::new(), 0);
        while bytes.len() < BATCH_BYTES {
            if stores {
                // Spread over all keys, in no order.
                let key = format!("key{:05}", (count as usize * 7919) % KEYS);
                protocol.store(&mut bytes, key.as_bytes(), &value);
            } else {
                protocol.publish(&mut bytes, TOPIC, &value);
            }
            count += 1;
        }
        let is_answered = protocol == Protocol::Redis || (stores && protocol.acknowledges_stores());
        Self { bytes, count, is_answered }
    }
}
