//! How old entries are, by a wall clock that may be set.
//!
//! A clock that is set forward, by an hour or from 1970 to today, makes nothing older. Until an entry that was there before could
//! have become too old by the monotonic clock, ages count as if the clock had not been set. Entries that are newer live longer
//! by that, but never shorter.

use super::Now;
use std::time::Duration;

/// By how many seconds two clocks go apart between two looks without one having been set.
const DRIFT: f64 = 10.0;

/// The wall clock as ages are counted by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ages {
    last: Option<Now>,
    /// So many seconds it was set forward lately, and when that was last, on the monotonic clock.
    ahead: f64,
    set: Duration,
}

impl Ages {
    /// Looks at both clocks. Nothing is kept for longer than `longest` because of its age.
    pub(super) fn look(&mut self, now: Now, longest: Duration) {
        if let Some(last) = self.last.replace(now) {
            let passed = now.monotonic.saturating_sub(last.monotonic).as_secs_f64();
            let jump = now.unix - last.unix - passed;
            if jump > DRIFT {
                if now.monotonic.saturating_sub(self.set) >= longest {
                    self.ahead = 0.0;
                }
                (self.ahead, self.set) = (self.ahead + jump, now.monotonic);
            } else if jump < -DRIFT {
                // Back where it was, or nearer to it.
                self.ahead = (self.ahead + jump).max(0.0);
            }
        }
    }

    /// From when on entries are kept that may be so old: Unix time.
    pub(super) fn before(&self, now: Now, age: Duration) -> f64 {
        let is_recent = now.monotonic.saturating_sub(self.set) < age;
        let ahead = if is_recent { self.ahead } else { 0.0 };
        now.unix - ahead - age.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What is kept after such jumps, each with the seconds that pass before it, as seconds of age by the right clock.
    fn kept(steps: &[(u64, f64)]) -> f64 {
        let (mut ages, mut now) = (Ages::default(), Now { unix: 1_795_000_000.0, monotonic: HOUR });
        ages.look(now, HOUR);
        for (pass, jump) in steps {
            now.monotonic += Duration::from_secs(*pass);
            now.unix += *pass as f64 + jump;
            ages.look(now, HOUR);
        }
        now.unix - ages.before(now, HOUR)
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_nothing_older() {
        for (steps, expected) in [
            (&[(60, 0.0), (60, 0.0)][..], 3600.0),
            // A clock that runs fast, or is moved gently.
            (&[(60, 0.5), (60, 0.5)], 3600.0),
            (&[(60, 7200.0)], 10_800.0),
            (&[(60, 7200.0), (1800, 100.0)], 10_900.0),
            // From 1970 to today.
            (&[(60, 1.7e9)], 3600.0 + 1.7e9),
            // What was there before is old by now.
            (&[(60, 7200.0), (3599, 0.0)], 10_800.0),
            (&[(60, 7200.0), (3600, 0.0)], 3600.0),
            (&[(60, 7200.0), (3600, 20.0)], 3620.0),
            // Set back again, and further.
            (&[(60, 7200.0), (60, -7200.0)], 3600.0),
            (&[(60, 7200.0), (60, -9000.0)], 3600.0),
            (&[(60, -7200.0)], 3600.0),
            (&[(60, -7200.0), (60, 7200.0)], 10_800.0),
        ] {
            let kept = kept(steps);
            assert!((kept - expected).abs() < 0.01, "{steps:?}: {kept}");
        }
    }
}
