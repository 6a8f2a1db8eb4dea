//! A double out of decimal digits, rounded as the reference server's language rounds.
//!
//! That is not always to the nearest double: 17 digits count, the parts before and behind the point are
//! scaled each for itself, and powers of ten are made by multiplying. The last bit of what comes out shows
//! in a counter once most of its digits have cancelled out, so the steps are followed one by one.

/// Digits beyond these only round the last of them.
const SIGNIFICANT_MAX: u32 = 17;

/// The largest power of ten that a double holds.
const EXPONENT_MAX: u32 = 308;

/// Exponents beyond this say nothing but "too large" or "too small", also after 2⁶³ digits.
const EXPONENT_LIMIT: i64 = 1 << 40;

/// The value of the unsigned decimal number that the text begins with: digits, point, exponent. 0 if there is none.
pub(super) fn magnitude(text: &[u8]) -> f64 {
    let mut whole = Part::default();
    let mut fraction = Part::default();
    // Powers of ten that the digits before the point still need, and those behind it have too many.
    let mut skipped_whole = 0i64;
    let mut scale_fraction = 0i64;
    let mut significant = 0u32;
    let mut has_point = false;
    let mut previous = 0u8;
    let mut rest = text;

    loop {
        match rest {
            [digit @ b'0'..=b'9', after @ ..] => {
                rest = after;
                let digit = digit - b'0';
                let before = std::mem::replace(&mut previous, digit);
                scale_fraction += i64::from(has_point);
                if significant == 0 && digit == 0 {
                    continue;
                }
                significant += 1;
                let part = if has_point { &mut fraction } else { &mut whole };
                if significant <= SIGNIFICANT_MAX {
                    part.push(digit);
                    continue;
                }
                if digit > 5 || digit == 5 && before % 2 == 1 {
                    part.digits += 1;
                }
                let after = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                if has_point {
                    scale_fraction -= 1;
                } else {
                    skipped_whole += 1 + after as i64;
                }
                rest = rest.get(after..).unwrap_or_default();
            }
            [b'.', after @ ..] if !has_point => {
                has_point = true;
                rest = after;
                if significant > SIGNIFICANT_MAX {
                    let skipped = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                    rest = rest.get(skipped..).unwrap_or_default();
                    break;
                }
            }
            _ => break,
        }
    }

    let exponent = exponent(rest);
    let value = scaled(whole.digits as f64, exponent + skipped_whole);
    if has_point { value + scaled(fraction.digits as f64, exponent - scale_fraction) } else { value }
}

/// The digits on one side of the point: at most 17, so 64 bits hold them.
#[derive(Default)]
struct Part {
    digits: u64,
}

impl Part {
    fn push(&mut self, digit: u8) {
        self.digits = self.digits * 10 + u64::from(digit);
    }
}

fn exponent(text: &[u8]) -> i64 {
    let Some((b'e' | b'E', text)) = text.split_first() else { return 0 };
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    sign * digits.fold(0, |n, digit| (n * 10 + i64::from(digit - b'0')).min(EXPONENT_LIMIT))
}

/// `value` × 10^`exponent`.
fn scaled(mut value: f64, exponent: i64) -> f64 {
    if value == 0.0 || exponent == 0 {
        return value;
    }
    let mut bits = exponent.unsigned_abs();
    if exponent < 0 {
        // The power itself would be infinite where the quotient is not yet 0.
        while value != 0.0 && bits > u64::from(EXPONENT_MAX) {
            value /= 10.0;
            bits -= 1;
        }
        if value == 0.0 {
            return value;
        }
    }
    let mut result = 1.0;
    let mut power = 10.0;
    while bits != 0 {
        if bits & 1 == 1 {
            result *= power;
        }
        bits >>= 1;
        power *= power;
    }
    if exponent < 0 { value / result } else { value * result }
}
