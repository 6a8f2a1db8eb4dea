//! When a connection that was lost, or that could not be made, is tried again: a function of times and of chance
//! that are passed in.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// As many values a list holds at most.
const MOST_VALUES: usize = 254;
/// Growing doubles the pause up to this often: the cap is reached before.
const MOST_DOUBLINGS: u32 = 62;

/// The pauses between attempts to connect.
///
/// # A list
/// `"-10,1,2,4,60".parse()` is a list of durations, as the C++ library has it. Each is a number of seconds (`5`, `1.5`),
/// or has units: `2m`, `1h 30m`, `1d`; `s`, `m`, `h`, `d`, `w`, `month` (30 days) and `y` (365 days).
///
/// - A first value that is negative is waited for before the first attempt; otherwise that is made at once.
/// - Each attempt takes the next value: so long after the **start** of an attempt the next one is made, as soon as that has
///   failed, or the connection was lost. A connection that was there for longer than the pause is therefore tried again at once,
///   and one that is accepted and ended at once is not tried more often than the pauses say.
/// - Values come in order, the last one stays. After each success they begin anew, from the first one if
///   that is positive or the only one, from the second one otherwise.
/// - A single `0` is one attempt, ever.
///
/// | list | before the first attempt | then |
/// |---|---|---|
/// | `60` | – | 60, 60 … |
/// | `-10,1,2,4,60` | 10 | 1, 2, 4, 60, 60 … |
/// | `1,5` | – | 1, 5, 5 … |
/// | `0,3,6` | – | 3, 6, 6 … |
/// | `-5` | 5 | 5, 5 … |
/// | `0` | – | nothing |
///
/// # Growing
/// [`Pauses::growing`] doubles the pause with each failure, up to a cap, and makes it shorter by chance, so that many clients
/// of one server that comes back do not come back in step. Such a pause counts from the **end** of the attempt, or from the loss of
/// the connection. It begins anew after a connection that was there for a [stable](Self::stable) time.
///
/// ```
/// use eventdispatcher::Pauses;
/// use std::time::Duration;
///
/// let as_in_a_configuration: Pauses = "-10,1,2,4,60".parse()?;
/// let gentle = Pauses::growing(Duration::from_millis(100), Duration::from_secs(60));
/// assert_eq!("1,,2".parse::<Pauses>().unwrap_err().to_string(), "pause 2 \"\": a duration is missing");
/// # let _ = (as_in_a_configuration, gentle);
/// # Ok::<(), eventdispatcher::PausesError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pauses(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    List {
        before: Duration,
        /// Never empty.
        values: Vec<Duration>,
        /// Where the values begin anew.
        restart: usize,
    },
    Growing {
        first: Duration,
        cap: Duration,
        /// At most this part of a pause, in percent, is taken off by chance.
        jitter_percent: u8,
        stable: Duration,
    },
}

/// Growing from 250 ms to 60 s.
impl Default for Pauses {
    fn default() -> Self {
        Self::growing(Duration::from_millis(250), Duration::from_secs(60))
    }
}

impl Pauses {
    /// At once, and then each `period` from the start of an attempt to the next one, as the list with this one value.
    /// A period of 0 is taken for 1 ms.
    pub fn every(period: Duration) -> Self {
        let period = period.max(Duration::from_millis(1));
        Self(Kind::List { before: Duration::ZERO, values: vec![period], restart: 0 })
    }

    /// One attempt, ever, as the list `0`.
    pub fn never() -> Self {
        Self(Kind::List { before: Duration::ZERO, values: vec![Duration::ZERO], restart: 0 })
    }

    /// At once, then after `first`, twice that, four times …, up to `cap`. Up to half of a pause is taken off by
    /// chance. It begins anew after a connection that was there for 10 s. A `first` of 0 is taken for 1 ms.
    pub fn growing(first: Duration, cap: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        let stable = Duration::from_secs(10);
        Self(Kind::Growing { first, cap: cap.max(first), jitter_percent: 50, stable })
    }

    /// Sets how much of a pause is taken off by chance at most, in percent: 0 … 100. Without effect on a list.
    #[must_use]
    pub fn jitter(mut self, percent: u8) -> Self {
        if let Kind::Growing { jitter_percent, .. } = &mut self.0 {
            *jitter_percent = percent.min(100);
        }
        self
    }

    /// Sets for how long a connection must have been there for the pauses to begin anew. Without effect on a list.
    #[must_use]
    pub fn stable(mut self, time: Duration) -> Self {
        if let Kind::Growing { stable, .. } = &mut self.0 {
            *stable = time;
        }
        self
    }
}

/// A list that can't be read: which value, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausesError {
    /// Counted from 1.
    place: usize,
    text: String,
    problem: &'static str,
}

impl fmt::Display for PausesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pause {} {:?}: {}", self.place, self.text, self.problem)
    }
}

impl std::error::Error for PausesError {}

impl FromStr for Pauses {
    type Err = PausesError;

    fn from_str(text: &str) -> Result<Self, PausesError> {
        let mut values: Vec<Duration> = Vec::new();
        let (mut before, mut restart) = (Duration::ZERO, 0);
        for (n, value) in text.split(',').enumerate() {
            let wrong = |problem| PausesError { place: n + 1, text: shortened(value), problem };
            if n == MOST_VALUES {
                return Err(wrong("a list has at most 254 values"));
            }
            let trimmed = value.trim();
            let positive = trimmed.strip_prefix('-');
            let pause = duration(positive.unwrap_or(trimmed)).map_err(wrong)?;
            if n > 0 && pause.is_zero() {
                return Err(wrong("only the first pause may be 0"));
            }
            if n == 0 && positive.is_some() {
                before = pause;
            }
            let first_is_positive = before.is_zero() && values.first().is_some_and(|first| !first.is_zero());
            if n == 1 && !first_is_positive {
                restart = 1;
            }
            values.push(pause);
        }
        Ok(Self(Kind::List { before, values, restart }))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Numbers with units, or without: then it is seconds.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is missing");
    }
    let mut total = 0u128;
    while !rest.is_empty() {
        let (number, behind) = split(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        let (unit, behind) = split(behind.trim_start(), |byte| byte.is_ascii_alphabetic());
        let seconds = match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "month" => 30 * 86_400,
            "y" => 365 * 86_400,
            _ => return Err("the units are s, m, h, d, w, month and y"),
        };
        total = total.saturating_add(nanoseconds(number)?.saturating_mul(seconds));
        rest = behind.trim_start();
    }
    match u64::try_from(total) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(_) => Err("the duration is too long"),
    }
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// Of a number of seconds with up to nine decimals.
fn nanoseconds(number: &str) -> Result<u128, &'static str> {
    const PROBLEM: &str = "a number has digits and at most 9 decimals";
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) || decimals.len() > 9
    {
        return Err(PROBLEM);
    }
    let value = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let whole = value(whole).ok_or("the duration is too long")?;
    let fraction = value(decimals).ok_or(PROBLEM)? * 10u64.pow(9 - decimals.len() as u32);
    Ok(u128::from(whole) * 1_000_000_000 + u128::from(fraction))
}

/// Where one connection is among its pauses. Times are nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    pauses: Pauses,
    /// The next value of a list, or how often the pause was doubled.
    index: usize,
    random: u64,
    /// When the last attempt was started.
    started: u64,
    /// What holds from then on, of a list; `None`: no more attempts.
    pause: Option<u64>,
    /// When the last attempt succeeded, if it did.
    connected: Option<u64>,
}

impl Backoff {
    /// `random` makes the chance of jitter.
    pub(crate) fn new(pauses: Pauses, random: u64) -> Self {
        let index = pauses.first_index();
        Self { pauses, index, random, started: 0, pause: None, connected: None }
    }

    /// What is waited for before the first attempt.
    pub(crate) fn before(&self) -> u64 {
        match &self.pauses.0 {
            Kind::List { before, .. } => nanos(*before),
            Kind::Growing { .. } => 0,
        }
    }

    /// An attempt begins.
    pub(crate) fn started(&mut self, now: u64) {
        (self.started, self.connected) = (now, None);
        if let Kind::List { values, .. } = &self.pauses.0 {
            let last = values.len() - 1;
            let value = values.get(self.index.min(last)).copied().unwrap_or_default();
            self.pause = Some(nanos(value)).filter(|&pause| pause > 0);
            self.index = (self.index + 1).min(last);
        }
    }

    /// It has succeeded.
    pub(crate) fn connected(&mut self, now: u64) {
        self.connected = Some(now);
        if matches!(self.pauses.0, Kind::List { .. }) {
            self.index = self.pauses.first_index();
        }
    }

    /// It has failed, or what came of it was lost: when the next one is made, if ever.
    pub(crate) fn ended(&mut self, now: u64) -> Option<u64> {
        let (first, cap, jitter_percent, stable) = match self.pauses.0 {
            Kind::List { .. } => return self.pause.map(|pause| now.max(self.started.saturating_add(pause))),
            Kind::Growing { first, cap, jitter_percent, stable } => (first, cap, jitter_percent, stable),
        };
        if self.connected.is_some_and(|since| now.saturating_sub(since) >= nanos(stable)) {
            self.index = 0;
        }
        let doublings = u32::try_from(self.index).unwrap_or(u32::MAX).min(MOST_DOUBLINGS);
        let pause = nanos(first).saturating_mul(1 << doublings).min(nanos(cap));
        self.index += 1;
        let most = u128::from(pause) * u128::from(jitter_percent) / 100;
        let off = (u128::from(self.next_random()) * (most + 1)) >> 64; // at most `most`
        Some(now.saturating_add(pause - u64::try_from(off).unwrap_or(0)))
    }

    /// splitmix64
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Pauses {
    fn first_index(&self) -> usize {
        match &self.0 {
            Kind::List { restart, .. } => *restart,
            Kind::Growing { .. } => 0,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: f64 = 1e9;

    /// When attempts that fail at once are made, in seconds.
    fn attempts(list: &str, count: usize) -> Vec<f64> {
        let mut backoff = Backoff::new(list.parse().unwrap(), 0);
        let mut now = backoff.before();
        let mut made = Vec::new();
        for _ in 0..count {
            made.push(now as f64 / SECOND);
            backoff.started(now);
            match backoff.ended(now) {
                Some(next) => now = next,
                None => break,
            }
        }
        made
    }

    #[test]
    fn a_list_says_when_attempts_are_made() {
        for (list, expected) in [
            ("60", &[0.0, 60.0, 120.0, 180.0][..]),
            ("-10,1,2,4", &[10.0, 11.0, 13.0, 17.0, 21.0]),
            ("-10,1,2,4,60", &[10.0, 11.0, 13.0, 17.0, 77.0, 137.0]),
            ("1,5", &[0.0, 1.0, 6.0, 11.0]),
            ("0", &[0.0]),
            ("-0", &[0.0]),
            ("0,3,6", &[0.0, 3.0, 9.0, 15.0]),
            ("1m,1h,1.5", &[0.0, 60.0, 3660.0, 3661.5, 3663.0]),
            ("-5", &[5.0, 10.0, 15.0]),
            ("-0.1,0.1,0.2,0.4", &[0.1, 0.2, 0.4, 0.8, 1.2]),
            ("1, -2 ,3", &[0.0, 1.0, 3.0, 6.0, 9.0]),
            ("1h 30m,1w2d", &[0.0, 5400.0, 783_000.0]),
            ("1month,1y", &[0.0, 2_592_000.0, 34_128_000.0]),
        ] {
            assert_eq!(attempts(list, expected.len().max(2)), expected, "{list:?}");
        }
    }

    #[test]
    fn a_list_that_can_not_be_read_says_where_and_why() {
        let many = vec!["1"; 255].join(",");
        for (list, expected) in [
            ("", "pause 1 \"\": a duration is missing"),
            ("1,", "pause 2 \"\": a duration is missing"),
            ("-", "pause 1 \"-\": a duration is missing"),
            ("1,2x", "pause 2 \"2x\": the units are s, m, h, d, w, month and y"),
            ("s", "pause 1 \"s\": a number has digits and at most 9 decimals"),
            (".", "pause 1 \".\": a number has digits and at most 9 decimals"),
            ("1.2.3", "pause 1 \"1.2.3\": a number has digits and at most 9 decimals"),
            ("0.1234567890", "pause 1 \"0.1234567890\": a number has digits and at most 9 decimals"),
            ("--1", "pause 1 \"--1\": a number has digits and at most 9 decimals"),
            ("1;2", "pause 1 \"1;2\": a number has digits and at most 9 decimals"),
            ("600y", "pause 1 \"600y\": the duration is too long"),
            ("99999999999999999999999", "pause 1 \"99999999999999999999999\": the duration is too long"),
            ("5,0", "pause 2 \"0\": only the first pause may be 0"),
            (&many, "pause 255 \"1\": a list has at most 254 values"),
        ] {
            let error = list.parse::<Pauses>().expect_err(list);
            assert_eq!(error.to_string(), expected);
        }
        assert!(vec!["1"; 254].join(",").parse::<Pauses>().is_ok());
    }

    #[test]
    fn a_list_begins_anew_after_a_success() {
        for (list, lost_after, expected) in [
            // It was there for long: at once, then from the first value that counts.
            ("1,5", 100.0, [0.0, 1.0, 6.0]),
            ("-10,1,2,4", 100.0, [0.0, 1.0, 3.0]),
            // It was ended as soon as it was accepted.
            ("60", 0.0, [60.0, 120.0, 180.0]),
            ("0,3,6", 1.0, [2.0, 5.0, 11.0]),
        ] {
            let mut backoff = Backoff::new(list.parse().unwrap(), 0);
            let start = 1_000_000_000_000;
            for n in 0..3 {
                backoff.started(start + n);
                backoff.ended(start + n);
            }
            // The value that holds is the last one now; it does so until the next attempt after a success.
            backoff.started(start);
            backoff.connected(start);
            backoff.ended(start + (1000.0 * SECOND) as u64);
            let start = start + (1000.0 * SECOND) as u64;
            backoff.started(start);
            backoff.connected(start);
            let lost = start + (lost_after * SECOND) as u64;
            let mut next = backoff.ended(lost).unwrap();
            for expected in expected {
                assert_eq!((next - lost) as f64 / SECOND, expected, "{list:?}");
                backoff.started(next);
                next = backoff.ended(next).unwrap();
            }
        }
    }

    #[test]
    fn a_single_zero_ends_with_the_first_connection_too() {
        let mut backoff = Backoff::new(Pauses::never(), 0);
        backoff.started(0);
        backoff.connected(5);
        assert_eq!(backoff.ended(1_000_000), None);
    }

    #[test]
    fn an_attempt_that_takes_long_is_followed_at_once() {
        let mut backoff = Backoff::new("1,5".parse().unwrap(), 0);
        backoff.started(0);
        assert_eq!(backoff.ended(30_000_000_000), Some(30_000_000_000));
    }

    #[test]
    fn growing_pauses_double_up_to_the_cap() {
        let pauses = Pauses::growing(Duration::from_millis(100), Duration::from_secs(1)).jitter(0);
        let mut backoff = Backoff::new(pauses, 7);
        let (mut now, mut seen) = (backoff.before(), Vec::new());
        for _ in 0..6 {
            backoff.started(now);
            let next = backoff.ended(now).unwrap();
            seen.push((next - now) / 1_000_000);
            now = next;
        }
        assert_eq!(seen, [100, 200, 400, 800, 1000, 1000]);
        for _ in 0..100 {
            backoff.started(now);
            assert_eq!(backoff.ended(now), Some(now + 1_000_000_000));
        }
    }

    #[test]
    fn growing_pauses_begin_anew_after_a_stable_time_only() {
        let pauses = Pauses::growing(Duration::from_secs(1), Duration::from_secs(60))
            .jitter(0)
            .stable(Duration::from_secs(10));
        let mut backoff = Backoff::new(pauses, 7);
        let mut pause = |there_for: u64| {
            backoff.started(0);
            backoff.connected(0);
            (backoff.ended(there_for * 1_000_000_000).unwrap() - there_for * 1_000_000_000) / 1_000_000_000
        };
        assert_eq!([0, 0, 9, 10, 0].map(&mut pause), [1, 2, 4, 1, 2]);
    }

    proptest! {
        #[test]
        fn jitter_only_shortens_and_by_no_more_than_said(
            seed in any::<u64>(), first in 1u64..10_000, cap in 1u64..100_000, percent in 0u8..=100, n in 1usize..80,
        ) {
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(cap));
            let mut backoff = Backoff::new(Pauses::growing(first, cap).jitter(percent), seed);
            let cap = cap.max(first);
            let mut whole = first;
            for _ in 0..n {
                backoff.started(0);
                let pause = Duration::from_nanos(backoff.ended(0).unwrap());
                let least = whole.mul_f64(f64::from(100 - percent) / 100.0 * 0.999_999);
                prop_assert!(pause <= whole && pause >= least, "{:?} of {:?}", pause, whole);
                whole = (whole * 2).min(cap);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9., smhdwy]{0,40}") {
            if let Ok(pauses) = text.parse::<Pauses>() {
                let mut backoff = Backoff::new(pauses, 0);
                let mut now = backoff.before();
                for _ in 0..300 {
                    backoff.started(now);
                    match backoff.ended(now) {
                        Some(next) => { prop_assert!(next > now || next == u64::MAX); now = next; }
                        None => break,
                    }
                }
            }
        }
    }
}
