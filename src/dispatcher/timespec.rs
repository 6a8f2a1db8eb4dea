use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::value::{FromValue, ToValue, ValueError};

const NANOS: u32 = 1_000_000_000;
const EXPECTED: &str = "a time in seconds with at most 9 decimals";

/// A point in time or a span, in seconds and nanoseconds, as messages carry it: `1712.5`.
///
/// As a point in time it counts from 1970-01-01 00:00:00 UTC. `{}` writes no more decimals than needed;
/// `{:.9}` always writes nine, `{:.3}` three (the rest is cut off, not rounded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: u32,
}

impl Timespec {
    /// `seconds` plus `nanoseconds`, which count forwards even if `seconds` is negative.
    /// `None` if there are 10⁹ nanoseconds or more.
    #[must_use]
    pub fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        (nanoseconds < NANOS).then_some(Self { seconds, nanoseconds })
    }

    /// The whole seconds, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// What comes on top of the whole seconds: 0 to 999,999,999.
    #[must_use]
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// As a point in time; `None` if the system can't express it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let start =
            if self.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        start?.checked_add(Duration::from_nanos(u64::from(self.nanoseconds)))
    }

    fn from_nanoseconds(total: i128) -> Option<Self> {
        let nanos = i128::from(NANOS);
        let seconds = i64::try_from(total.div_euclid(nanos)).ok()?;
        let nanoseconds = u32::try_from(total.rem_euclid(nanos)).ok()?;
        Some(Self { seconds, nanoseconds })
    }

    fn to_nanoseconds(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS) + i128::from(self.nanoseconds)
    }
}

/// Saturates at ±292 thousand million years.
impl From<SystemTime> for Timespec {
    fn from(time: SystemTime) -> Self {
        let total = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(error) => -i128::try_from(error.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        let limit = if total < 0 { i64::MIN } else { i64::MAX };
        Self::from_nanoseconds(total).unwrap_or(Self { seconds: limit, nanoseconds: 0 })
    }
}

impl fmt::Display for Timespec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.to_nanoseconds();
        let (whole, fraction) =
            (total.unsigned_abs() / u128::from(NANOS), total.unsigned_abs() % u128::from(NANOS));
        let sign = if total < 0 { "-" } else { "" };
        let digits = format_digits(fraction);
        let digits = std::str::from_utf8(&digits).unwrap_or_default();
        let digits = match f.precision() {
            Some(places) => digits.get(..places).unwrap_or(digits),
            None => digits.trim_end_matches('0'),
        };
        match digits {
            "" => write!(f, "{sign}{whole}"),
            _ => write!(f, "{sign}{whole}.{digits}"),
        }
    }
}

/// Nine decimal digits.
fn format_digits(mut fraction: u128) -> [u8; 9] {
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit += (fraction % 10) as u8;
        fraction /= 10;
    }
    digits
}

impl FromStr for Timespec {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::from_value(text.as_bytes())
    }
}

impl ToValue for Timespec {
    fn to_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
    }
}

impl FromValue for Timespec {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        let error = |at| ValueError::new(EXPECTED, at);
        let negative = bytes.first() == Some(&b'-');
        let mut total: i128 = 0;
        let mut at = usize::from(negative);
        let mut digits = 0;
        // How much the digit before the one that is read was worth, once the point has been met.
        let mut worth: Option<i128> = None;
        while let Some(&byte) = bytes.get(at) {
            match (byte, worth) {
                (b'0'..=b'9', None) => {
                    let whole = i128::from(byte - b'0') * i128::from(NANOS);
                    total = total.checked_mul(10).and_then(|n| n.checked_add(whole)).ok_or(error(at))?;
                    digits += 1;
                }
                (b'0'..=b'9', Some(before)) if before > 1 => {
                    worth = Some(before / 10);
                    let part = i128::from(byte - b'0') * (before / 10);
                    total = total.checked_add(part).ok_or(error(at))?;
                    digits += 1;
                }
                (b'.', None) if digits > 0 => {
                    worth = Some(i128::from(NANOS));
                    digits = 0;
                }
                _ => return Err(error(at)),
            }
            at += 1;
        }
        if digits == 0 {
            return Err(error(at));
        }
        Self::from_nanoseconds(if negative { -total } else { total }).ok_or(error(0))
    }
}

/// A number of seconds that may have decimals, or of what a letter behind it says: `s`, `m` (minutes),
/// `h`, `d` (days), `w` (weeks).
impl FromValue for Duration {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        let error = |at| ValueError::new("a span of time such as 90, 1.5h or 2d", at);
        let (number, unit) = match bytes.split_last() {
            Some((b's', number)) => (number, 1),
            Some((b'm', number)) => (number, 60),
            Some((b'h', number)) => (number, 3600),
            Some((b'd', number)) => (number, 86_400),
            Some((b'w', number)) => (number, 604_800),
            _ => (bytes, 1),
        };
        let time = Timespec::from_value(number).map_err(|inner| error(inner.at))?;
        let whole = u64::try_from(time.seconds).map_err(|_| error(0))?;
        let span = Self::new(whole, time.nanoseconds).checked_mul(unit);
        // More seconds than this could not be written so that they can be read.
        span.filter(|span| i64::try_from(span.as_secs()).is_ok()).ok_or(error(0))
    }
}

/// As seconds.
impl ToValue for Duration {
    fn to_value(&self, out: &mut Vec<u8>) {
        let fraction = format_digits(u128::from(self.subsec_nanos()));
        let length = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        self.as_secs().to_value(out);
        if length > 0 {
            out.push(b'.');
            out.extend_from_slice(&fraction[..length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_more_decimals_than_needed() {
        let check = |seconds, nanoseconds, short: &str, long: &str| {
            let time = Timespec::new(seconds, nanoseconds).unwrap();
            assert_eq!(time.to_string(), short);
            assert_eq!(format!("{time:.9}"), long);
            assert_eq!(short.parse(), Ok(time), "{short}");
            assert_eq!(long.parse(), Ok(time), "{long}");
        };
        check(1712, 500_000_000, "1712.5", "1712.500000000");
        check(1712, 0, "1712", "1712.000000000");
        check(0, 1, "0.000000001", "0.000000001");
        check(-1, 500_000_000, "-0.5", "-0.500000000");
        check(-3, 0, "-3", "-3.000000000");
        check(i64::MIN, 0, "-9223372036854775808", "-9223372036854775808.000000000");
        check(i64::MAX, 999_999_999, "9223372036854775807.999999999", "9223372036854775807.999999999");
        assert_eq!(format!("{:.3}", Timespec::new(1, 999_999_999).unwrap()), "1.999");
        assert_eq!(format!("{:.0}", Timespec::new(1, 999_999_999).unwrap()), "1");
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_place() {
        let check = |text: &str, at| {
            assert_eq!(text.parse::<Timespec>(), Err(ValueError::new(EXPECTED, at)), "{text:?}");
        };
        check("", 0);
        check("-", 1);
        check("xyz", 0);
        check("5.", 2);
        check(".5", 0);
        check("1.2.3", 3);
        check("1.0000000001", 11);
        check(" 1", 0);
        check("1 ", 1);
        check("9223372036854775808", 0);
        check(&"9".repeat(60), 29);
        // One nanosecond more than fits 128 bits.
        check("170141183460469231731687303715.884105728", 39);
        assert_eq!(Timespec::new(0, NANOS), None);
    }

    #[test]
    fn spans_have_units() {
        let check = |text: &str, expected: Option<Duration>| {
            assert_eq!(Duration::from_value(text.as_bytes()).ok(), expected, "{text:?}");
        };
        check("90", Some(Duration::from_secs(90)));
        check("0.25s", Some(Duration::from_millis(250)));
        check("2m", Some(Duration::from_secs(120)));
        check("1.5h", Some(Duration::from_secs(5400)));
        check("1d", Some(Duration::from_secs(86_400)));
        check("1w", Some(Duration::from_secs(604_800)));
        check("", None);
        check("h", None);
        check("-1s", None);
        check("1 s", None);
        check("1y", None);
        check("9223372036854775807w", None);
        for span in [Duration::ZERO, Duration::from_millis(90_250), Duration::from_nanos(7)] {
            let mut out = Vec::new();
            span.to_value(&mut out);
            assert_eq!(Duration::from_value(&out), Ok(span));
        }
    }

    #[test]
    fn times_of_the_system_come_back() {
        for time in [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
            UNIX_EPOCH - Duration::new(5, 250_000_000),
        ] {
            assert_eq!(Timespec::from(time).to_system_time(), Some(time));
        }
    }

    proptest! {
        #[test]
        fn any_time_is_read_as_written(seconds: i64, nanoseconds in 0..NANOS) {
            let time = Timespec::new(seconds, nanoseconds).unwrap();
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
