//! CPU time, random numbers that are the same each time, and tables of medians.

use rustix::time::{ClockId, clock_gettime};
use std::fmt;

/// The CPU time that this thread has used, in nanoseconds.
pub(crate) fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The thread's own CPU time of `work`, in nanoseconds for each of `count` operations.
pub(crate) fn per_operation(count: usize, work: impl FnOnce()) -> f64 {
    let before = cpu();
    work();
    (cpu() - before) / count as f64
}

/// Marsaglia's xorshift: the same numbers in each run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Samples by row and column, in the order in which they first came.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

/// Its column, and its samples.
type Cell = (usize, Vec<f64>);

impl Table {
    pub(crate) fn add(&mut self, row: &str, column: &str, sample: f64) {
        let column = self.columns.iter().position(|name| name == column).unwrap_or_else(|| {
            self.columns.push(column.to_owned());
            self.columns.len() - 1
        });
        let row = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let cells = &mut self.rows[row].1;
        match cells.iter_mut().find(|(at, _)| *at == column) {
            Some((_, samples)) => samples.push(sample),
            None => cells.push((column, vec![sample])),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:<28} |", "")?;
        for column in &self.columns {
            write!(f, " {column:>14} |")?;
        }
        write!(f, "\n|{}|", "-".repeat(30))?;
        for _ in &self.columns {
            write!(f, "{}:|", "-".repeat(15))?;
        }
        writeln!(f)?;
        for (name, cells) in &self.rows {
            write!(f, "| {name:<28} |")?;
            for column in 0..self.columns.len() {
                match cells.iter().find(|(at, _)| *at == column) {
                    Some((_, samples)) => write!(f, " {:>14.0} |", median(samples))?,
                    None => write!(f, " {:>14} |", "–")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 }
}
