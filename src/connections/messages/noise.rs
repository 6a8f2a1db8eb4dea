//! How much a peer can write into our log.

use std::time::Duration;

/// So many lines in a second.
const LINES_MAX: u32 = 20;

/// Lets the log lines that peers cause through, up to a number in each second.
#[derive(Debug, Default)]
pub(super) struct Noise {
    second: u64,
    lines: u32,
    dropped: u64,
}

impl Noise {
    /// Whether a line may be written at `now`; if so, how many could not since the last one.
    pub(super) fn may(&mut self, now: Duration) -> Option<u64> {
        if self.second != now.as_secs() {
            (self.second, self.lines) = (now.as_secs(), 0);
        }
        if self.lines >= LINES_MAX {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines() {
        let mut noise = Noise::default();
        for now in [0, 1, 999] {
            assert_eq!(noise.may(Duration::from_millis(now)), Some(0));
        }
        let more = (0..100).filter(|_| noise.may(Duration::from_millis(999)).is_some()).count();
        assert_eq!(more, LINES_MAX as usize - 3);
        assert_eq!(noise.may(Duration::from_secs(1)), Some(103 - u64::from(LINES_MAX)));
        assert_eq!(noise.may(Duration::from_secs(1)), Some(0));
    }
}
