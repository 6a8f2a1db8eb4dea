//! Arithmetic as the reference server's language does it, so that counters keep their text.
//!
//! Integers are exact from −2⁶³ to 2⁶⁴−1, what leaves that range or has a fraction is a double, doubles show
//! 15 significant digits, and whole doubles become integers again. All of it is fixed by what clients
//! of the published protocol see in `INCREMENT` and `DECREMENT`.

use std::fmt::{self, Write as _};
use std::ops::{Deref, RangeInclusive};

/// A counter's exact value: what arithmetic made, of which a [text](Number::text) may show less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer up to 2⁶³−1.
    Int(i64),
    /// An integer above 2⁶³−1.
    Uint(u64),
    /// A fraction, something too large, an infinity, not a number.
    Float(f64),
}

/// What can be added or subtracted: a number, or what a text counts as.
///
/// A text has two readings, and which one is used depends on the other operand too: `9007199254740993` is
/// exactly that beside an integer, and 9007199254740992 beside a fraction.
#[derive(Debug, Clone, Copy)]
pub struct Operand {
    /// The value, if it takes part in integer arithmetic.
    whole: Option<i128>,
    /// The value in arithmetic of doubles.
    double: f64,
}

/// What integers can hold.
const INTEGERS: RangeInclusive<i128> = i64::MIN as i128..=u64::MAX as i128;

/// Doubles made by arithmetic join the integers again if they are whole and below this.
const JOIN_BELOW: f64 = (1u64 << 53) as f64;

impl Operand {
    /// Nothing: what a missing or removed value counts as.
    pub const ZERO: Self = Self { whole: Some(0), double: 0.0 };
    /// The step of an `INCREMENT` that names none.
    pub const ONE: Self = Self { whole: Some(1), double: 1.0 };

    /// What a stored value counts as: a number if the whole text is one, else 0. Space around it is no harm.
    pub fn stored(text: &[u8]) -> Self {
        Self::number(text).unwrap_or(Self::ZERO)
    }

    /// The value of a text that is a number as a whole.
    pub fn number(text: &[u8]) -> Option<Self> {
        let scan = Scan::new(text);
        scan.is_all_number.then(|| scan.operand())
    }

    /// What a step counts as: the number that the text begins with, else 0.
    pub fn step(text: &[u8]) -> Self {
        Scan::new(text).operand()
    }

    /// The value as a double, for times and the like.
    pub fn to_f64(self) -> f64 {
        self.double
    }
}

impl From<Number> for Operand {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(n) => Self { whole: Some(n.into()), double: n as f64 },
            Number::Uint(n) => Self { whole: Some(n.into()), double: n as f64 },
            Number::Float(x) => {
                let joins = x.abs() < JOIN_BELOW && x.fract() == 0.0;
                Self { whole: joins.then_some(x as i128), double: x }
            }
        }
    }
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        i64::try_from(n).map_or(Self::Uint(n), Self::Int)
    }
}

impl Number {
    /// `left + right`.
    pub fn sum(left: Operand, right: Operand) -> Self {
        match (left.whole, right.whole) {
            (Some(a), Some(b)) => Self::integer(a + b, a as f64 + b as f64),
            _ => Self::Float(left.double + right.double),
        }
    }

    /// `left - right`.
    pub fn difference(left: Operand, right: Operand) -> Self {
        match (left.whole, right.whole) {
            (Some(a), Some(b)) => Self::integer(a - b, a as f64 - b as f64),
            _ => Self::Float(left.double - right.double),
        }
    }

    /// The exact result of integer arithmetic, or, if nothing holds it, a double.
    fn integer(exact: i128, rounded: f64) -> Self {
        if let Ok(n) = i64::try_from(exact) {
            Self::Int(n)
        } else if let Ok(n) = u64::try_from(exact) {
            Self::Uint(n)
        } else if exact < 0 && -exact <= i128::from(u64::MAX) {
            // A magnitude that fits is rounded once, any other result is made of rounded operands.
            Self::Float(exact as f64)
        } else {
            Self::Float(rounded)
        }
    }

    /// The number as it is stored and sent.
    pub fn text(self) -> Text {
        let mut text = Text { bytes: [0; TEXT_MAX], len: 0 };
        // Nothing here is longer than the buffer, and a full buffer only cuts.
        let _ = match self {
            Self::Int(n) => text.write_integer(n < 0, n.unsigned_abs()),
            Self::Uint(n) => text.write_integer(false, n),
            Self::Float(x) => text.write_double(x),
        };
        text
    }
}

/// The longest text: sign, 15 digits with a point, and an exponent, or sign, `0.000` and 15 digits.
const TEXT_MAX: usize = 32;

/// Significant digits of a double.
const DIGITS: usize = 15;

/// A number in text form, without an allocation.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self), f)
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + s.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(s.as_bytes());
        self.len += s.len();
        Ok(())
    }
}

impl Text {
    fn write_integer(&mut self, is_negative: bool, mut magnitude: u64) -> fmt::Result {
        // 2⁶⁴ has 20 digits.
        let mut digits = [b'0'; 20];
        let mut len = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (magnitude % 10) as u8;
            len += 1;
            magnitude /= 10;
            if magnitude == 0 {
                break;
            }
        }
        let digits = digits.get(digits.len() - len..).unwrap_or_default();
        if is_negative {
            self.write_char('-')?;
        }
        self.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }

    /// As C's `%.15g`, but with the names of the three odd values as the reference server writes them,
    /// and without the sign of a zero.
    fn write_double(&mut self, x: f64) -> fmt::Result {
        if x.is_nan() {
            return self.write_str("NaN");
        }
        if x.is_infinite() {
            return self.write_str(if x > 0.0 { "Inf" } else { "-Inf" });
        }
        if x == 0.0 {
            return self.write_str("0");
        }
        let mut scientific = Text { bytes: [0; TEXT_MAX], len: 0 };
        write!(scientific, "{:.*e}", DIGITS - 1, x.abs())?;
        let scientific = std::str::from_utf8(&scientific).map_err(|_| fmt::Error)?;
        let (mantissa, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        if x < 0.0 {
            self.write_char('-')?;
        }
        if exponent < -4 || exponent >= DIGITS as i32 {
            self.write_str(mantissa)?;
            let sign = if exponent < 0 { '-' } else { '+' };
            return write!(self, "e{sign}{:02}", exponent.unsigned_abs());
        }
        if exponent < 0 {
            self.write_str("0.")?;
            for _ in 1..exponent.unsigned_abs() {
                self.write_char('0')?;
            }
            self.write_str(first)?;
            return self.write_str(rest);
        }
        let whole = exponent.unsigned_abs() as usize;
        self.write_str(first)?;
        match rest.split_at_checked(whole) {
            Some((whole, "")) => self.write_str(whole),
            Some((whole, fraction)) => write!(self, "{whole}.{fraction}"),
            None => write!(self, "{rest:0<whole$}"),
        }
    }
}

/// A text taken apart: sign, digits, point, exponent.
struct Scan<'a> {
    /// The unsigned number.
    digits: &'a [u8],
    kind: Kind,
    negative: bool,
    /// Is there nothing but a number, and space around it?
    is_all_number: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Digits only: their value, if 64 bits hold it.
    Integer(Option<u64>),
    /// Digits with a point.
    Decimal,
    /// With an exponent.
    Exponent,
    Infinity,
    NotANumber,
    /// No number at its start.
    Nothing,
}

impl<'a> Scan<'a> {
    fn new(text: &'a [u8]) -> Self {
        if text == b"0 but true" {
            return Self { digits: b"0", kind: Kind::Integer(Some(0)), negative: false, is_all_number: true };
        }
        let text = skip_space(text);
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (kind, rest) = kind(text);
        let is_all_number = kind != Kind::Nothing && skip_space(rest).is_empty();
        let digits = text.get(..text.len() - rest.len()).unwrap_or_default();
        Self { digits, kind, negative, is_all_number }
    }

    fn operand(&self) -> Operand {
        let magnitude = match self.kind {
            Kind::Nothing => 0.0,
            Kind::Infinity => f64::INFINITY,
            Kind::NotANumber => f64::NAN,
            _ => magnitude(self.digits),
        };
        let double = if self.negative { -magnitude } else { magnitude };
        let whole = match self.kind {
            // What has a rest stays a double.
            _ if !self.is_all_number => None,
            Kind::Integer(Some(n)) if self.negative => Some(-i128::from(n)),
            Kind::Integer(Some(n)) => Some(i128::from(n)),
            // A point keeps a number from being whole, an exponent does not. 2⁶⁴ would round to 2⁶⁴−1.
            Kind::Exponent if double.fract() == 0.0 && double.abs() < 2f64.powi(64) => Some(double as i128),
            _ => None,
        };
        Operand { whole: whole.filter(|n| INTEGERS.contains(n)), double }
    }
}

fn skip_space(text: &[u8]) -> &[u8] {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    text.get(text.iter().take_while(|b| is_space(b)).count()..).unwrap_or_default()
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|b| b.is_ascii_digit()).count())
}

/// What number the unsigned text begins with, and what follows it.
fn kind(text: &[u8]) -> (Kind, &[u8]) {
    let (whole, mut rest) = digits(text);
    let mut kind = Kind::Integer(integer(whole));
    let mut has_digit = !whole.is_empty();
    if let [b'.', after @ ..] = rest {
        let (fraction, after) = digits(after);
        has_digit |= !fraction.is_empty();
        kind = Kind::Decimal;
        rest = after;
    }
    if !has_digit {
        return infinity_or_nan(text);
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = match after {
            [b'+' | b'-', after @ ..] => after,
            _ => after,
        };
        let (exponent, after) = digits(after);
        if !exponent.is_empty() {
            return (Kind::Exponent, after);
        }
    }
    (kind, rest)
}

/// The nearest double of a text that is digits, point and exponent.
fn magnitude(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn integer(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

fn infinity_or_nan(text: &[u8]) -> (Kind, &[u8]) {
    let names: [(&[u8], Kind); 3] =
        [(b"infinity", Kind::Infinity), (b"inf", Kind::Infinity), (b"nan", Kind::NotANumber)];
    for (name, kind) in names {
        if let Some((start, rest)) = text.split_at_checked(name.len())
            && start.eq_ignore_ascii_case(name)
        {
            return (kind, rest);
        }
    }
    (Kind::Nothing, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: &str, operator: char, step: &str, expected: &str) {
        let (value, operand) = (Operand::stored(stored.as_bytes()), Operand::step(step.as_bytes()));
        let result = match operator {
            '+' => Number::sum(value, operand),
            _ => Number::difference(value, operand),
        };
        let text = String::from_utf8_lossy(&result.text()).into_owned();
        assert_eq!(text, expected, "{stored:?} {operator} {step:?}: {result:?}");
    }

    #[test]
    fn every_row_of_the_protocol_description_holds() {
        let zeros = ["", "abc", "12abc", "0x10", "1_000", "1e", "0 but true", "-0", "-0.0", "0.0"];
        for stored in zeros {
            check(stored, '+', "0", "0");
            check(stored, '+', "1", "1");
        }
        for (stored, sum) in [
            (" 5", "5"),
            ("5 ", "5"),
            ("+5", "5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("007", "7"),
            ("1e3", "1000"),
            ("inf", "Inf"),
            ("Infinity", "Inf"),
            ("-inf", "-Inf"),
            ("nan", "NaN"),
            ("1e400", "Inf"),
            ("-1e400", "-Inf"),
        ] {
            check(stored, '+', "0", sum);
            check("0", '+', stored, sum);
        }
        for (step, sum) in [("abc", "0"), ("0x10", "0"), ("--2", "0"), (".", "0"), ("3abc", "3"), (" 5", "5")]
        {
            check("0", '+', step, sum);
        }
        check("0.1", '+', "0.2", "0.3");
        check("1", '-', "0.9", "0.1");
        check("0", '+', "0.333333333333333333", "0.333333333333333");
        check("1e15", '+', "0", "1000000000000000");
        check("1e15", '+', "1", "1000000000000001");
        check("1e16", '+', "1", "10000000000000001");
        check("999999999999999.5", '+', "0", "1e+15");
        check("1e15", '+', "0.3", "1e+15");
        check("1e20", '+', "0", "1e+20");
        check("1e-5", '+', "0", "1e-05");
        check("9223372036854775807", '+', "1", "9223372036854775808");
        check("18446744073709551614", '+', "1", "18446744073709551615");
        check("18446744073709551615", '+', "1", "1.84467440737096e+19");
        check("-9223372036854775808", '-', "1", "-9.22337203685478e+18");
        check("0", '-', "9223372036854775808", "-9223372036854775808");
        check("0", '-', "18446744073709551615", "-1.84467440737096e+19");
    }

    #[test]
    fn doubles_are_kept_exact_between_operations() {
        let mut value = Operand::ZERO;
        for _ in 0..10 {
            value = Number::sum(value, Operand::step(b"0.1")).into();
        }
        let result = Number::difference(value, Operand::ONE);
        assert_eq!(*result.text(), *b"-1.11022302462516e-16");
    }

    #[test]
    fn results_are_those_of_the_reference_language() {
        let vectors = include_str!("../../../tests/data/perl-numbers.txt");
        let mut checked = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<String> = line.split('\t').map(|field| field.replace("\\t", "\t")).collect();
            let mut value = Operand::stored(fields[0].as_bytes());
            for operation in fields[1..].chunks(3) {
                let [operator, step, expected] = operation else { panic!("{line}: not in threes") };
                let step = Operand::step(step.as_bytes());
                let result = match operator.as_str() {
                    "+" => Number::sum(value, step),
                    "-" => Number::difference(value, step),
                    other => panic!("{line}: no operator: {other}"),
                };
                let text = String::from_utf8_lossy(&result.text()).into_owned();
                assert_eq!(&text, expected, "{line}: {result:?}");
                value = result.into();
                checked += 1;
            }
        }
        assert!(checked >= 1000, "only {checked} operations");
    }

    #[test]
    fn times_are_numbers_as_a_whole() {
        for (text, time) in [("4000000000.25", 4000000000.25), ("04000000000", 4e9), ("+4e9", 4e9)] {
            assert_eq!(Operand::number(text.as_bytes()).map(Operand::to_f64), Some(time), "{text}");
        }
        for text in ["", "1x", "U", "1e"] {
            assert!(Operand::number(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn doubles_show_fifteen_digits() {
        for (x, text) in [
            (f64::MIN, "-1.79769313486232e+308"),
            (-5e-324, "-4.94065645841247e-324"),
            (-1.23456789012345e-5, "-1.23456789012345e-05"),
            (-0.000123456789012345, "-0.000123456789012345"),
            (-0.0, "0"),
            (100000000000000.5, "100000000000000"),
            (100000000000001.5, "100000000000002"),
            (123456.789, "123456.789"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e100, "1e+100"),
            (10.0, "10"),
            (0.1 + 0.2, "0.3"),
        ] {
            assert_eq!(String::from_utf8_lossy(&Number::Float(x).text()), text);
        }
    }
}
