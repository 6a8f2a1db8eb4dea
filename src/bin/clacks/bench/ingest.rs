//! One client that only sends; the server says with FLUSHED how far it is.

use super::generator::{Load, Traffic};
use super::{key, keys, value};
use std::collections::VecDeque;
use std::time::Instant;

/// The length of a batch, in bytes.
const BATCH: usize = 64 << 10;
/// So many batches are under way.
const WINDOW: usize = 16;
/// As much is under way at most, in bytes.
const UNDER_WAY: usize = 4 << 20;

pub(super) struct Ingest {
    /// Each with how many lines it has, beside the FLUSH at its end.
    batches: Vec<(Vec<u8>, usize)>,
    window: usize,
    /// Which is next.
    next: usize,
    /// When those under way were sent, and with how many lines.
    under_way: VecDeque<(Instant, usize)>,
}

impl Ingest {
    /// Signals to which nobody listens.
    pub(super) fn set(prefix: &str, size: usize) -> Self {
        let line = format!("SET {prefix}signal={}\r\n", value(size));
        Self::new(&[line])
    }

    /// Values under many keys.
    pub(super) fn store(prefix: &str, size: usize) -> Self {
        let value = value(size);
        let lines = (0..keys(size)).map(|number| format!("STORE {}={value}\r\n", key(prefix, number)));
        Self::new(&lines.collect::<Vec<_>>())
    }

    /// All lines have the same length.
    fn new(lines: &[String]) -> Self {
        let length = lines.iter().map(String::len).max().unwrap_or_default().max(1);
        let per_batch = (BATCH / length).max(1);
        // So that all batches are full.
        let all = lines.iter().cycle().take(lines.len().next_multiple_of(per_batch));
        let all: Vec<&str> = all.map(String::as_str).collect();
        let batches = all.chunks(per_batch).map(|lines| {
            let text = lines.concat() + "FLUSH b\r\n";
            (text.into_bytes(), lines.len())
        });
        let window = (UNDER_WAY / (per_batch * length)).clamp(1, WINDOW);
        Self { batches: batches.collect(), window, next: 0, under_way: VecDeque::new() }
    }

    fn send(&mut self, traffic: &mut Traffic<'_>) {
        if let Some((bytes, lines)) = self.batches.get(self.next) {
            traffic.send(0, bytes);
            self.under_way.push_back((traffic.now, *lines));
        }
        self.next = (self.next + 1) % self.batches.len().max(1);
    }
}

impl Load for Ingest {
    fn connections(&self) -> usize {
        1
    }

    fn opening(&self, _: usize) -> Vec<u8> {
        Vec::new()
    }

    fn reply_length(&self) -> usize {
        b"FLUSHED b\r\n".len()
    }

    fn begin(&mut self, traffic: &mut Traffic<'_>) {
        for _ in 0..self.window {
            self.send(traffic);
        }
    }

    fn replies(&mut self, _: usize, lines: usize, traffic: &mut Traffic<'_>) {
        for _ in 0..lines {
            let Some((sent, count)) = self.under_way.pop_front() else { return };
            traffic.done(count);
            traffic.latency(sent, 1);
            self.send(traffic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_are_stored_in_batches_of_the_same_length() {
        for size in [1, 32, 1000, 100_000] {
            let ingest = Ingest::store("p/", size);
            let (first, lines) = &ingest.batches[0];
            assert!(first.len() >= BATCH / 2 || *lines == 1, "{size}: {} bytes", first.len());
            let mut stored = std::collections::HashSet::new();
            for (bytes, count) in &ingest.batches {
                assert_eq!((bytes.len(), count), (first.len(), lines));
                let text = std::str::from_utf8(bytes).unwrap().strip_suffix("FLUSH b\r\n").unwrap();
                let names = text.lines().map(|line| line.strip_prefix("STORE ").unwrap().split('=').next());
                stored.extend(names.map(|name| name.unwrap().to_owned()));
            }
            assert_eq!(stored.len(), keys(size), "{size}");
            assert!(ingest.window * first.len() <= UNDER_WAY + BATCH);
        }
    }
}
