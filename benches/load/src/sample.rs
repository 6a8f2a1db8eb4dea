//! One measurement.

use crate::machine::Spent;
use std::time::Duration;

/// One measurement, or the medians of several.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// What the scenario is about, in its [unit](crate::scenarios::Unit).
    pub(crate) value: f64,
    /// The 99th percentile, where the value is the median of latencies; in µs.
    pub(crate) p99_us: Option<f64>,
    /// CPU time of the server for each operation.
    pub(crate) server_ns: Option<f64>,
    /// Cores that other processes took.
    pub(crate) others: f64,
    /// What else there is to say, by column.
    pub(crate) more: Vec<(&'static str, f64)>,
}

impl Sample {
    /// A rate.
    pub(crate) fn rate(operations: u64, spent: &Spent) -> Self {
        let operations = operations as f64;
        Self {
            value: operations / spent.seconds,
            server_ns: spent.server_ns.map(|ns| ns / operations.max(1.0)),
            others: spent.others,
            ..Self::default()
        }
    }

    /// Of a rate, the latencies.
    pub(crate) fn into_latency(self, latencies: &mut [Duration]) -> Self {
        let p99_us = Some(percentile_us(latencies, 0.99));
        Self { value: percentile_us(latencies, 0.5), p99_us, ..self }
    }

    /// The median of each figure.
    pub(crate) fn median(samples: &[Self]) -> Option<Self> {
        let first = samples.first()?;
        let of = |figure: &dyn Fn(&Self) -> Option<f64>| median(samples.iter().filter_map(figure).collect());
        let more = first.more.iter().enumerate().filter_map(|(at, (name, _))| {
            Some((*name, of(&|sample| sample.more.get(at).map(|(_, figure)| *figure))?))
        });
        Some(Self {
            value: of(&|sample| Some(sample.value))?,
            p99_us: of(&|sample| sample.p99_us),
            server_ns: of(&|sample| sample.server_ns),
            others: of(&|sample| Some(sample.others))?,
            more: more.collect(),
        })
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    if figures.len() % 2 == 1 {
        return Some(upper);
    }
    Some((figures.get(figures.len() / 2 - 1)? + upper) / 2.0)
}

fn percentile_us(latencies: &mut [Duration], share: f64) -> f64 {
    if latencies.is_empty() {
        return 0.0;
    }
    let at = ((latencies.len() as f64 * share) as usize).min(latencies.len() - 1);
    latencies.select_nth_unstable(at).1.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (figures, expected) in [
            (vec![], None),
            (vec![7.0], Some(7.0)),
            (vec![9.0, 1.0], Some(5.0)),
            (vec![3.0, 9.0, 1.0], Some(3.0)),
        ] {
            assert_eq!(median(figures.clone()), expected, "{figures:?}");
        }
    }

    #[test]
    fn percentiles_are_of_the_slowest() {
        let mut latencies: Vec<_> = (0..1000).rev().map(Duration::from_micros).collect();
        assert_eq!(percentile_us(&mut latencies, 0.5).round(), 500.0);
        assert_eq!(percentile_us(&mut latencies, 0.99).round(), 990.0);
        assert_eq!(percentile_us(&mut [], 0.5), 0.0);
    }
}
