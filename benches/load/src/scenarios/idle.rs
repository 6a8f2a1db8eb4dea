//! What servers do while nothing happens.

use super::parameters::Parameters;
use super::{Kind, Scenario, Unit};
use crate::crew::Crew;
use crate::failure::Failure;
use crate::machine::{memory, process_ns, wake_ups};
use crate::sample::Sample;
use crate::target::Target;
use std::thread;
use std::time::Duration;

/// What follows logins and subscriptions is over.
const SETTLING: Duration = Duration::from_secs(2);

/// What servers do while their clients are there and nothing happens; all of them at the same time.
#[derive(Debug, Clone)]
pub(crate) struct Idle {
    clients: usize,
    seconds: usize,
}

impl Idle {
    pub(super) fn scenario(parameters: &mut Parameters) -> Result<Scenario, String> {
        let (clients, seconds) = (parameters.take("n", 100)?, parameters.take("seconds", 20)?);
        let title = format!("{clients} idle clients for {seconds} s");
        Ok(Scenario { title, unit: Unit::CpuMs, kind: Kind::Idle(Self { clients, seconds }) })
    }

    /// A sample of each of the targets.
    pub(crate) fn run(&self, targets: &[Target]) -> Vec<Result<Sample, Failure>> {
        let crews: Vec<Result<(Crew, i32), Failure>> =
            targets.iter().map(|target| self.crew(target)).collect();
        thread::sleep(SETTLING);
        let look = || -> Vec<_> {
            let of = |process| (process_ns(process), wake_ups(process), memory(process));
            crews
                .iter()
                .map(|crew| crew.as_ref().map(|(_, process)| of(*process)).map_err(Clone::clone))
                .collect()
        };
        let before = look();
        thread::sleep(Duration::from_secs(self.seconds as u64));
        let sample = |(before, after)| {
            let ((before_ns, before_count, _), (after_ns, after_count, bytes)): ((u64, u64, u64), _) =
                (before?, after?);
            let cpu_ms = (after_ns - before_ns) as f64 / 1e6;
            let per_second = (after_count - before_count) as f64 / self.seconds as f64;
            let more =
                vec![("CPU ms", cpu_ms), ("wake-ups/s", per_second), ("memory, MB", bytes as f64 / 1e6)];
            Ok(Sample { value: cpu_ms, more, ..Sample::default() })
        };
        before.into_iter().zip(look()).map(sample).collect()
    }

    fn crew(&self, target: &Target) -> Result<(Crew, i32), Failure> {
        let mut crew = Crew::new()?;
        crew.open(target, 0, self.clients)?;
        if target.protocol.has_topics() {
            for client in 0..self.clients {
                crew.subscribe(client, &[format!("idle{client}")])?;
            }
        }
        let process = crew.process(target).ok_or(Failure::Server("no process is known".to_owned()))?;
        Ok((crew, process))
    }
}
