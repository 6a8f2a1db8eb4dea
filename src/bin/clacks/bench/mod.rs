//! `bench`: how much a server does, and how fast it answers.
//!
//! A generator is a thread with a loop of this library and some connections. It sends batches that were encoded before, and
//! counts the lines that come back instead of taking each apart; a window of what is under way keeps it from running
//! ahead of the server. After a warm-up, what is done in a measured time is counted.

mod cache;
mod codec;
mod fan_out;
mod generator;
mod ingest;
mod report;

use crate::arguments::{Bench, Connection, Scenario};
use crate::failure::Failure;
use cache::Cache;
use eventdispatcher::connections::clacks::client::ClientOptions;
use fan_out::FanOut;
use generator::{Load, Times};
use ingest::Ingest;
use report::{Measurement, Report};
use std::thread;

/// Before the names of all keys and signals. Keys are removed afterwards.
const PREFIX: &str = "clacks-bench";
/// As many keys are used at most.
const KEYS: usize = 10_000;
/// As much is kept under them at most, in bytes.
const KEPT: usize = 16 << 20;

pub(crate) fn bench(bench: &Bench, connection: &Connection) -> Result<(), Failure> {
    let options = connection.options("bench")?;
    let times = Times { seconds: bench.seconds, timeout: connection.timeout };
    let mut report = Report::new(bench)?;
    for row in Row::all(bench) {
        let measured = row.measure(bench, &options, &times);
        // Also after a failure or an interruption, if that is possible.
        let cleaned = if row.stores() { clean(bench, &options) } else { Ok(()) };
        report.row(&row, &measured?)?;
        cleaned?;
    }
    Ok(())
}

/// One line of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    FanOut { listeners: usize },
    IngestSet,
    IngestStore,
    Cache { clients: usize, depth: usize },
    LatencySet,
    LatencyRetrieve,
}

impl Row {
    fn all(bench: &Bench) -> Vec<Self> {
        const ALL: [Scenario; 4] = [Scenario::FanOut, Scenario::Ingest, Scenario::Cache, Scenario::Latency];
        let chosen = if bench.scenarios.is_empty() { &ALL[..] } else { &bench.scenarios };
        let rows = |scenario: &Scenario| match scenario {
            Scenario::FanOut => vec![Self::FanOut { listeners: bench.listeners }],
            Scenario::Ingest => vec![Self::IngestSet, Self::IngestStore],
            Scenario::Cache => {
                let depths = bench.depths.iter();
                depths.map(|&depth| Self::Cache { clients: bench.clients, depth }).collect()
            }
            Scenario::Latency => vec![Self::LatencySet, Self::LatencyRetrieve],
        };
        chosen.iter().flat_map(rows).collect()
    }

    fn title(self) -> String {
        match self {
            Self::FanOut { listeners } => format!("fan-out to {listeners} listeners"),
            Self::IngestSet => "ingest of SET".to_owned(),
            Self::IngestStore => "ingest of STORE".to_owned(),
            Self::Cache { clients, depth } => format!("STORE and RETRIEVE, {clients} clients, depth {depth}"),
            Self::LatencySet => "one SET at a time to a listener".to_owned(),
            Self::LatencyRetrieve => "one RETRIEVE at a time".to_owned(),
        }
    }

    /// Whether keys are left behind.
    fn stores(self) -> bool {
        matches!(self, Self::IngestStore | Self::Cache { .. } | Self::LatencyRetrieve)
    }

    fn load(self, bench: &Bench, prefix: &str) -> Box<dyn Load> {
        let size = bench.size;
        match self {
            Self::FanOut { listeners } => Box::new(FanOut::new(prefix, size, listeners, bench.window)),
            Self::LatencySet => Box::new(FanOut::new(prefix, size, 1, 1)),
            Self::IngestSet => Box::new(Ingest::set(prefix, size)),
            Self::IngestStore => Box::new(Ingest::store(prefix, size)),
            Self::Cache { clients, depth } => Box::new(Cache::pairs(prefix, size, clients, depth)),
            Self::LatencyRetrieve => Box::new(Cache::retrieve(prefix, size)),
        }
    }

    /// Runs all generators, each with everything of its own.
    fn measure(self, bench: &Bench, options: &ClientOptions, times: &Times) -> Result<Measurement, Failure> {
        thread::scope(|scope| {
            let generators: Vec<_> = prefixes(bench)
                .map(|prefix| {
                    let generate = move || generator::run(self.load(bench, &prefix), options, times);
                    thread::Builder::new().spawn_scoped(scope, generate).map_err(Failure::System)
                })
                .collect();
            let mut sum = Measurement::nothing()?;
            for generator in generators {
                let measured = generator?.join();
                let failed = |_| Failure::System(std::io::Error::other("a generator has panicked"));
                sum.add(&measured.map_err(failed)??);
            }
            Ok(sum)
        })
    }
}

/// Where the names of each generator begin.
fn prefixes(bench: &Bench) -> impl Iterator<Item = String> + use<> {
    let pid = std::process::id();
    (0..bench.generators).map(move |generator| format!("{PREFIX}/{pid}-{generator}/"))
}

/// How many keys are used for values of `size` bytes.
fn keys(size: usize) -> usize {
    (KEPT / size.max(1)).clamp(1, KEYS)
}

/// A key; all have the same length.
fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}{number:05}")
}

/// A value of `size` bytes.
fn value(size: usize) -> String {
    "abcdefghijklmnopqrstuvwxyz".chars().cycle().take(size).collect()
}

/// Removes the keys of all generators.
fn clean(bench: &Bench, options: &ClientOptions) -> Result<(), Failure> {
    let mut client = options.connect_blocking()?;
    for prefix in prefixes(bench) {
        for number in 0..keys(bench.size) {
            client.send_raw(format!("REMOVE {}", key(&prefix, number)).as_bytes())?;
        }
        client.flush()?;
    }
    Ok(())
}
