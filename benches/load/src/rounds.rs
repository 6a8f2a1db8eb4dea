//! Rounds, interleaved.

use crate::failure::Failure;
use crate::machine::wait_until_quiet;
use crate::plan::Plan;
use crate::sample::Sample;
use crate::scenarios::Scenario;
use crate::target::Target;
use std::time::{Duration, Instant};

/// A round is dirty if other processes have taken more of a core than that.
const DIRTY: f64 = 0.1;
/// A dirty round is measured again at most so often.
const AGAIN: usize = 2;
const QUIET: Duration = Duration::from_secs(3);

/// What the rounds with one server have brought.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) median: Option<Sample>,
    pub(crate) dirty: usize,
    pub(crate) failure: Option<Failure>,
    samples: Vec<Sample>,
}

/// How long may still be waited, and measured again, because others disturb.
#[derive(Debug)]
pub(crate) struct Patience(pub(crate) Duration);

/// Measures a scenario with all servers, in each round in another order.
pub(crate) fn run(scenario: &Scenario, plan: &Plan, patience: &mut Patience) -> Vec<Outcome> {
    let targets = &plan.targets;
    let mut outcomes: Vec<Outcome> = targets.iter().map(|_| Outcome::default()).collect();
    if let Some(idle) = scenario.idle() {
        for (outcome, result) in outcomes.iter_mut().zip(idle.run(targets)) {
            outcome.take(result.map(|sample| (sample, false)));
        }
    } else {
        // Each of many clients has its own memory already: a second round would not see it come.
        let rounds = if scenario.has_columns() { 1 } else { plan.rounds };
        for round in 0..rounds {
            for turn in 0..targets.len() {
                let at = (turn + round) % targets.len();
                let outcome = &mut outcomes[at];
                if outcome.failure.is_none() && scenario.suits(&targets[at]) {
                    outcome.take(measure(scenario, &targets[at], plan.length, patience));
                }
            }
        }
    }
    for outcome in &mut outcomes {
        outcome.median = Sample::median(&outcome.samples);
    }
    outcomes
}

impl Outcome {
    fn take(&mut self, result: Result<(Sample, bool), Failure>) {
        match result {
            Ok((sample, is_dirty)) => {
                self.dirty += usize::from(is_dirty);
                self.samples.push(sample);
            }
            Err(failure) => self.failure = Some(failure),
        }
    }
}

/// One sample, the least dirty of some, and whether it is dirty still.
fn measure(
    scenario: &Scenario,
    target: &Target,
    length: Duration,
    patience: &mut Patience,
) -> Result<(Sample, bool), Failure> {
    let mut best = scenario.run(target, length)?;
    for _ in 0..AGAIN {
        if best.others <= DIRTY || patience.0.is_zero() {
            break;
        }
        let began = Instant::now();
        wait_until_quiet(QUIET.min(patience.0));
        let again = scenario.run(target, length)?;
        patience.0 = patience.0.saturating_sub(began.elapsed());
        if again.others < best.others {
            best = again;
        }
    }
    let is_dirty = best.others > DIRTY;
    Ok((best, is_dirty))
}
