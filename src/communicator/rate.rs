//! How fast something may be done.

use super::slot::nanos;
use std::time::Duration;

/// So much in an interval: that much at once, and then evenly as much in each interval. It is measured by the loop's
/// clock.
///
/// ```
/// use eventdispatcher::Rate;
/// use std::time::Duration;
///
/// // At most 64 KiB at once, and 64 KiB in a second.
/// assert_eq!(Rate::per_second(64 << 10), Rate { amount: 64 << 10, interval: Duration::from_secs(1) });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How much; 0 counts as 1.
    pub amount: u64,
    /// In which time.
    pub interval: Duration,
}

impl Rate {
    /// So much in each second.
    pub fn per_second(amount: u64) -> Self {
        Self { amount, interval: Duration::from_secs(1) }
    }

    fn amount(self) -> u128 {
        u128::from(self.amount.max(1))
    }

    fn interval(self) -> u64 {
        nanos(self.interval).max(1)
    }

    /// How long it takes to get back this much, rounded up.
    fn time_for(self, amount: u64) -> u64 {
        let time = (u128::from(amount) * u128::from(self.interval())).div_ceil(self.amount());
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

/// How fast a connection may be. `None` is as fast as it goes, which is the default of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes written, before any layer (TLS) adds its own. What has to wait stands in the queue, with its limits;
    /// [`Timeouts::linger`](crate::Timeouts::linger) goes on meanwhile. They leave in pieces of a sixteenth of the amount
    /// or so, so that a low rate wakes the loop seldom.
    pub output: Option<Rate>,
    /// Clients that a listener accepts. The next ones wait in the kernel's queue. (The others of these settings go from a
    /// listener to its clients.)
    pub accept: Option<Rate>,
}

/// What was used of a [`Rate`], and whether somebody waits for more. By the clock of whoever asks, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// When all that was used is there again.
    full_at: u64,
    /// Nothing is done before.
    pub(crate) until: Option<u64>,
}

impl Bucket {
    /// How much may be done now.
    pub(crate) fn available(&self, rate: Rate, now: u64) -> u64 {
        let interval = rate.interval();
        let left = interval - self.full_at.saturating_sub(now).min(interval);
        u64::try_from(u128::from(left) * rate.amount() / u128::from(interval)).unwrap_or(u64::MAX)
    }

    /// Counts what was done, which may have been too much.
    pub(crate) fn take(&mut self, rate: Rate, now: u64, amount: u64) {
        self.full_at = self.full_at.max(now).saturating_add(rate.time_for(amount));
    }

    /// Whether so much, but not more than ever is available at once, may be done now; else it waits until then.
    pub(crate) fn may(&mut self, rate: Rate, now: u64, amount: u64) -> bool {
        let amount = amount.min(rate.amount.max(1));
        if self.available(rate, now) >= amount {
            return true;
        }
        let spare = rate.interval().saturating_sub(rate.time_for(amount));
        self.until = Some(self.full_at.saturating_sub(spare).max(now.saturating_add(1)));
        false
    }

    /// Another rate holds from now on. Whether somebody has waited.
    pub(crate) fn reset(&mut self, rate: Option<Rate>, now: u64) -> bool {
        self.full_at = self.full_at.min(now.saturating_add(rate.map_or(0, Rate::interval)));
        self.until.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_much_as_the_amount_at_once_and_then_evenly() {
        let rate = Rate { amount: 1000, interval: Duration::from_nanos(2000) };
        let mut bucket = Bucket::default();
        // At a time, what is available, what is taken, and when 100 are there again if they are not.
        for (now, available, taken, waits) in [
            (50, 1000, 0, None),
            (50, 1000, 400, None),
            (50, 600, 600, Some(250)),
            (249, 99, 0, Some(250)),
            (250, 100, 50, Some(350)),
            (350, 100, 0, None),
            (5000, 1000, 1500, Some(6200)), // more than there was
            (6000, 0, 0, Some(6200)),
            (6200, 100, 0, None),
        ] {
            assert_eq!(bucket.available(rate, now), available, "at {now}");
            bucket.take(rate, now, taken);
            bucket.until = None;
            let may = bucket.may(rate, now, 100);
            assert_eq!((may, bucket.until), (waits.is_none(), waits), "at {now}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_neither_too_short_nor_without_end(
            amount in any::<u64>(), interval in any::<u64>(), now in any::<u64>(), used in any::<u64>(), want in any::<u64>()
        ) {
            let rate = Rate { amount, interval: Duration::from_nanos(interval) };
            let mut bucket = Bucket::default();
            bucket.take(rate, now, used.min(amount));
            if !bucket.may(rate, now, want) {
                let until = bucket.until.expect("it waits");
                prop_assert!(until > now || now == u64::MAX);
                prop_assert!(until == u64::MAX || bucket.may(rate, until, want));
            }
            bucket.reset(Some(Rate::per_second(1)), now);
            prop_assert!(now > u64::MAX - 2_000_000_000 || bucket.available(Rate::per_second(1), now + 1_000_000_000) == 1);
        }
    }
}
