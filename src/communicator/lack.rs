//! A system that has no memory for letting the loop wait.

/// So long a loop tries again, in nanoseconds.
const LASTS_MAX: u64 = 10_000_000_000;
/// So long it rests between two tries: first, and last.
const REST_MIN: u64 = 1_000_000;
const REST_MAX: u64 = 250_000_000;
/// What lies between two tries counts up to this: for longer nobody has asked the poll, which is no failure.
const GAP_MAX: u64 = 2 * REST_MAX;

/// For how long the poll has failed for want of memory, each time that it was asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lack {
    last: Option<u64>,
    lasts: u64,
}

impl Lack {
    /// It has failed again. After how long it is to be asked again, in nanoseconds; `None`: that was tried for long enough.
    pub(super) fn goes_on(&mut self, now: u64) -> Option<u64> {
        let gap = now.saturating_sub(self.last.replace(now).unwrap_or(now));
        self.lasts += gap.min(GAP_MAX);
        if self.lasts < LASTS_MAX {
            return Some(self.lasts.clamp(REST_MIN, REST_MAX));
        }
        // Who runs the loop again all the same begins anew.
        *self = Self::default();
        None
    }

    /// It has failed for the first time since it was well.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_in_growing_pauses_and_given_up_in_the_end() {
        let mut lack = Lack::default();
        let start = 5_000_000_000;
        let (mut now, mut rests) = (start, Vec::new());
        assert!(lack.is_new());
        while let Some(rest) = lack.goes_on(now) {
            assert!(!lack.is_new() && rests.len() < 100, "{rests:?}");
            rests.push(rest);
            now += rest;
        }
        assert_eq!(rests[..4], [1, 1, 2, 4].map(|ms| ms * 1_000_000));
        assert_eq!(rests.last(), Some(&REST_MAX));
        assert!((LASTS_MAX..LASTS_MAX + REST_MAX).contains(&(now - start)));
        assert!(lack.is_new() && lack.goes_on(now).is_some(), "the loop may be run again");
    }

    #[test]
    fn time_in_which_nobody_asks_is_no_lack() {
        let mut lack = Lack::default();
        for hours in 0..10 {
            assert!(lack.goes_on(hours * 3_600_000_000_000).is_some());
        }
    }
}
