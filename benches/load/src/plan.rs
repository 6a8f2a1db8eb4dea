//! The command line.

use crate::scenarios::Scenario;
use crate::target::Target;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: load [OPTIONS] --target TARGET… SCENARIO…

Prints medians of interleaved rounds as Markdown. To be run on a core of its own.

  --title TEXT    above the table
  --rounds N      of each scenario, 5 if not said
  --seconds S     of each measurement, 0.5 if not said
  --patience S    so long, in all, may be waited and measured again because others disturb, 30 if not said
  --cpu           a second table: CPU time of the server for each operation
  --target NAME;proto=clacks|redis|memcached|mqtt|nats;unix=PATH|tcp=HOST:PORT|tls=HOST:PORT
           [;user=…;pass=…][;pidfile=FILE][;role=peer|reference|subject][;follower=PATH]

Scenarios, with what they have if nothing is said:
  fan-out:n=1,size=32,window=256     one publisher, n listeners
  latency:n=1,size=32                one signal at a time
  ingest:size=32,store=0             signals without listeners, or values to be stored
  cache:clients=1,depth=1,size=32,keys=10000,get=0,latency=0
  topics:topics=10000,clients=100,window=256
  clients:n=10000                    memory and latency beside idle clients
  idle:n=100,seconds=20              CPU time and wake-ups";

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) title: Option<String>,
    pub(crate) rounds: usize,
    pub(crate) length: Duration,
    pub(crate) patience: Duration,
    pub(crate) tells_cpu: bool,
    pub(crate) targets: Vec<Target>,
    pub(crate) scenarios: Vec<Scenario>,
}

impl Plan {
    /// Reads the arguments of the command line.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut plan = Self {
            title: None,
            rounds: 5,
            length: Duration::from_millis(500),
            patience: Duration::from_secs(30),
            tells_cpu: false,
            targets: Vec::new(),
            scenarios: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} takes a value"));
            match &*argument {
                "--title" => plan.title = Some(value()?),
                "--rounds" => {
                    plan.rounds = value()?
                        .parse()
                        .ok()
                        .filter(|rounds| (1..=1000).contains(rounds))
                        .ok_or("--rounds takes a number from 1 to 1000")?;
                }
                "--seconds" => plan.length = seconds(&value()?)?,
                "--patience" => plan.patience = seconds(&value()?)?,
                "--cpu" => plan.tells_cpu = true,
                "--target" => plan.targets.push(Target::parse(&value()?)?),
                option if option.starts_with('-') => return Err(format!("{option} is no option")),
                scenario => plan.scenarios.push(Scenario::parse(scenario)?),
            }
        }
        if plan.targets.is_empty() || plan.scenarios.is_empty() {
            return Err("a target and a scenario are needed".to_owned());
        }
        Ok(plan)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("{text:?} is not a time from 0 to 3600 s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        Plan::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_command_line_is_understood_or_refused() {
        let target = "--target a;proto=clacks;unix=/tmp/s;user=u;pass=p;role=subject";
        let plan = parse(&format!("--rounds 3 {target} fan-out:n=10 idle cache:get=1,depth=64")).unwrap();
        assert_eq!((plan.rounds, plan.targets.len(), plan.scenarios.len()), (3, 1, 3));
        assert_eq!(plan.scenarios[0].title, "fan-out 1 → 10, delivered/s");
        for (bad, told) in [
            ("fan-out".to_owned(), "a target"),
            (target.to_owned(), "a scenario"),
            (format!("{target} nonsense"), "nonsense"),
            (format!("{target} fan-out:n=0"), "at least 1"),
            (format!("{target} fan-out:m=1"), "m is unknown"),
            (format!("{target} --rounds 0 idle"), "--rounds"),
            (format!("{target} --seconds NaN idle"), "NaN"),
            (format!("{target} --what idle"), "--what"),
            ("--target a;proto=x;unix=/s idle".to_owned(), "proto=x"),
            ("--target a;proto=redis idle".to_owned(), "unix="),
            ("--target".to_owned(), "takes a value"),
        ] {
            let error = parse(&bad).unwrap_err();
            assert!(error.contains(told), "{bad}: {error}");
        }
    }
}
