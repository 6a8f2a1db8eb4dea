//! A system that has no memory for letting the loop wait.

/// So long a loop tries again, in nanoseconds.
const LASTS_MAX: u64 = 10_000_000_000;
/// So long it rests between two tries: first, and last.
const REST_MIN: u64 = 1_000_000;
const REST_MAX: u64 = 250_000_000;

/// Since when the poll has failed for want of memory, each time that it was asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lack {
    since: Option<u64>,
}

impl Lack {
    /// It has failed again. After how long it is to be asked again, in nanoseconds; `None`: that was tried for long enough.
    pub(super) fn goes_on(&mut self, now: u64) -> Option<u64> {
        let lasts = now.saturating_sub(*self.since.get_or_insert(now));
        (lasts < LASTS_MAX).then(|| lasts.clamp(REST_MIN, REST_MAX))
    }

    /// It has failed for the first time since it was well.
    pub(super) fn is_new(&self) -> bool {
        self.since.is_none()
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
    }
}
