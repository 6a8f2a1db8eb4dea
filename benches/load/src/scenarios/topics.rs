//! Many topics.

use super::parameters::Parameters;
use super::phases::{Phase, Phases};
use super::random::Random;
use super::{Kind, Scenario, Unit, value};
use crate::crew::Crew;
use crate::failure::Failure;
use crate::sample::Sample;
use crate::target::Target;
use std::time::Duration;

const SIZE: usize = 32;

/// Many topics, each with one listener; signals to random ones.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    topics: usize,
    clients: usize,
    /// So many signals are on their way at most.
    window: u64,
}

impl Topics {
    pub(super) fn scenario(parameters: &mut Parameters) -> Result<Scenario, String> {
        let topics = parameters.take("topics", 10_000)?;
        let clients = parameters.take("clients", 100)?;
        let window = parameters.take("window", 256)? as u64;
        if topics % clients != 0 {
            return Err("each client must have as many topics as the others".to_owned());
        }
        let title = format!("{topics} topics over {clients} clients, random ones, delivered/s");
        Ok(Scenario { title, unit: Unit::Rate, kind: Kind::Topics(Self { topics, clients, window }) })
    }

    pub(super) fn run(&self, target: &Target, length: Duration) -> Result<Sample, Failure> {
        if !target.protocol.has_topics() {
            return Err(Failure::Unsuited);
        }
        let names: Vec<String> = (0..self.topics).map(|topic| format!("topic{topic:05}")).collect();
        let publisher = self.clients;
        let mut crew = Crew::new()?;
        crew.open(target, 0, self.clients + 1)?;
        for client in 0..self.clients {
            let own: Vec<_> = names.iter().skip(client).step_by(self.clients).cloned().collect();
            crew.subscribe(client, &own)?;
        }
        let signals: Vec<Vec<u8>> = names
            .iter()
            .map(|name| {
                let mut signal = Vec::new();
                target.protocol.publish(&mut signal, name.as_bytes(), &value(SIZE));
                signal
            })
            .collect();

        let mut random = Random(88_172_645_463_325_252);
        let mut phases = Phases::begin(length, crew.process(target));
        let (mut sent, mut delivered, mut bytes) = (0, 0, 0);
        let (mut wanted, mut came) = (vec![0_u64; self.clients], vec![0_u64; self.clients]);
        loop {
            match phases.at(delivered) {
                Phase::Over if delivered == sent => break,
                Phase::Over => {}
                _ => {
                    let room = self.window.saturating_sub(sent - delivered);
                    if room >= (self.window / 8).max(1) && crew.connections[publisher].is_flushed() {
                        for _ in 0..room {
                            let topic = random.below(self.topics);
                            wanted[topic % self.clients] += 1;
                            crew.connections[publisher].out.extend_from_slice(&signals[topic]);
                        }
                        sent += room;
                        crew.flush(publisher)?;
                    }
                }
            }
            crew.turn(true, |at, tally| {
                let Some(came) = came.get_mut(at) else { return };
                *came += tally.messages;
                delivered += tally.messages;
                bytes += tally.bytes;
            })?;
        }
        if wanted != came || bytes != delivered * SIZE as u64 {
            return Err(Failure::Server("signals have come to other clients than they should".to_owned()));
        }
        let Some((spent, count)) = phases.measured() else { return Err(Failure::Unsuited) };
        Ok(Sample::rate(count, &spent))
    }
}
