//! What was measured, as a table or as JSON.

use super::Row;
use crate::arguments::Bench;
use crate::failure::Failure;
use crate::json::Object;
use crate::output::Output;
use hdrhistogram::Histogram;
use std::io;
use std::time::Duration;

/// The longest time that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(600);

/// What one generator did, or all of them together.
pub(super) struct Measurement {
    pub(super) messages: u64,
    elapsed: Duration,
    /// Per second, of all generators.
    rate: f64,
    /// In nanoseconds.
    latencies: Histogram<u64>,
}

impl Measurement {
    pub(super) fn nothing() -> Result<Self, Failure> {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
        let latencies = Histogram::new_with_bounds(1, longest, 3)
            .map_err(|error| Failure::System(io::Error::other(error)))?;
        Ok(Self { messages: 0, elapsed: Duration::ZERO, rate: 0.0, latencies })
    }

    /// Notes that it took `time`, for so many.
    pub(super) fn latency(&mut self, time: Duration, count: u64) {
        self.latencies.saturating_record_n(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), count);
    }

    /// The time is over.
    pub(super) fn ran(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        self.rate = self.messages as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    }

    /// What another generator did at the same time.
    pub(super) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.rate += other.rate;
        // Both have the same bounds, so that nothing can be out of them.
        let added = self.latencies.add(&other.latencies);
        debug_assert!(added.is_ok());
    }

    /// In microseconds: p50, p90, p99, p99.9, the longest.
    fn latencies(&self) -> [f64; 5] {
        let quantile = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        [quantile(0.5), quantile(0.9), quantile(0.99), quantile(0.999), self.latencies.max() as f64 / 1e3]
    }
}

/// Rows, printed as they come.
pub(super) struct Report {
    output: Output,
    json: bool,
    size: usize,
    generators: usize,
}

impl Report {
    pub(super) fn new(bench: &Bench) -> Result<Self, Failure> {
        let (size, generators) = (bench.size, bench.generators);
        let mut report = Self { output: Output::new(), json: bench.json, size, generators };
        if !bench.json {
            let text = format!("values of {size} bytes, {generators} generator(s); latencies in µs\n");
            report.output.text(text.as_bytes())?;
            let names = ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>9}"));
            let head = format!("{:<40}{:>14}{:>9}{}\n", "", "messages/s", "MB/s", names.concat());
            report.output.text(head.as_bytes())?;
            report.output.flush()?;
        }
        Ok(report)
    }

    pub(super) fn row(&mut self, row: &Row, measured: &Measurement) -> Result<(), Failure> {
        let line = if self.json { self.object(row, measured) } else { self.line(row, measured) };
        self.output.line(&[line.as_bytes()])?;
        self.output.flush()
    }

    /// Megabytes of values a second.
    fn megabytes(&self, measured: &Measurement) -> f64 {
        measured.rate * self.size as f64 / 1e6
    }

    fn line(&self, row: &Row, measured: &Measurement) -> String {
        let latencies = measured.latencies().map(|time| format!("{time:>9.1}")).concat();
        let (rate, megabytes) = (grouped(measured.rate.round()), self.megabytes(measured));
        format!("{:<40}{rate:>14}{megabytes:>9.1}{latencies}", row.title())
    }

    fn object(&self, row: &Row, measured: &Measurement) -> String {
        let (scenario, counts) = match row {
            Row::FanOut { listeners } => ("fan-out", vec![("listeners", *listeners)]),
            Row::IngestSet => ("ingest-set", vec![]),
            Row::IngestStore => ("ingest-store", vec![]),
            Row::Cache { clients, depth } => ("cache", vec![("clients", *clients), ("depth", *depth)]),
            Row::LatencySet => ("latency-set", vec![]),
            Row::LatencyRetrieve => ("latency-retrieve", vec![]),
        };
        let object = Object::new().text("scenario", scenario.as_bytes());
        let object = counts.into_iter().fold(object, |object, (name, count)| object.plain(name, count));
        let object = object
            .plain("size", self.size)
            .plain("generators", self.generators)
            .plain("seconds", measured.elapsed.as_secs_f64())
            .plain("messages", measured.messages)
            .plain("messages_per_s", measured.rate.round())
            .plain("mb_per_s", (self.megabytes(measured) * 10.0).round() / 10.0);
        let names = ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"];
        let latencies = names.into_iter().zip(measured.latencies());
        latencies.fold(object, |object, (name, time)| object.plain(name, time)).line()
    }
}

/// A whole number with a space after each group of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    String::from_utf8_lossy(&groups.join(&b' ')).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_add_up_and_latencies_are_merged() {
        let mut sum = Measurement::nothing().unwrap();
        for (messages, micros) in [(1000, 10), (500, 30)] {
            let mut one = Measurement::nothing().unwrap();
            one.messages = messages;
            one.latency(Duration::from_micros(micros), messages);
            one.ran(Duration::from_millis(500));
            sum.add(&one);
        }
        assert_eq!((sum.messages, sum.rate, sum.elapsed), (1500, 3000.0, Duration::from_millis(500)));
        let [p50, p90, .., max] = sum.latencies();
        for (time, expected) in [(p50, 10.0), (p90, 30.0), (max, 30.0)] {
            assert!((time - expected).abs() < 0.1, "{time} is not about {expected}");
        }
    }

    #[test]
    fn digits_stand_in_groups() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1000.0, "1 000"), (1234567.0, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
