//! Patterns for keys.

use std::fmt;

/// A pattern in which `*` stands for any text, `?` for one character, `[…]` for one of some characters; `\` takes its meaning
/// from the character after it.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Debug)]
enum Part {
    Any,
    One,
    This(u32),
    Set { except: bool, ranges: Vec<(u32, u32)> },
}

/// What is wrong with a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadGlob(&'static str);

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern {}", self.0)
    }
}

impl Glob {
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, BadGlob> {
        let mut rest = characters(pattern);
        let mut parts = Vec::new();
        while let Some(c) = rest.next() {
            parts.push(match char::from_u32(c) {
                // Several are no more than one.
                Some('*') if matches!(parts.last(), Some(Part::Any)) => continue,
                Some('*') => Part::Any,
                Some('?') => Part::One,
                Some('[') => set(&mut rest)?,
                Some('\\') => Part::This(rest.next().ok_or(BadGlob("ends with \\"))?),
                _ => Part::This(c),
            });
        }
        Ok(Self(parts))
    }

    /// Whether the whole of `name` matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let name: Vec<u32> = characters(name).collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on when what was tried does not fit: the last `*` takes one character more. No earlier one need be
        // tried again.
        let mut retry = None;
        loop {
            match (self.0.get(part), name.get(at)) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    part += 1;
                    retry = Some((part, at));
                }
                (Some(one), Some(&c)) if one.takes(c) => (part, at) = (part + 1, at + 1),
                _ => match retry {
                    Some((after, from)) if from < name.len() => {
                        retry = Some((after, from + 1));
                        (part, at) = (after, from + 1);
                    }
                    _ => return false,
                },
            }
        }
    }
}

impl Part {
    fn takes(&self, c: u32) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::This(this) => *this == c,
            Self::Set { except, ranges } => {
                ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != *except
            }
        }
    }
}

/// What stands between `[` and `]`.
fn set(rest: &mut impl Iterator<Item = u32>) -> Result<Part, BadGlob> {
    const OPEN: BadGlob = BadGlob("has a [ without its ]");
    const CLOSE: u32 = ']' as u32;
    let mut c = rest.next().ok_or(OPEN)?;
    let except = c == '!' as u32 || c == '^' as u32;
    if except {
        c = rest.next().ok_or(OPEN)?;
    }
    let mut ranges = Vec::new();
    // A ] right at the beginning is one of the characters.
    loop {
        if c == '\\' as u32 {
            c = rest.next().ok_or(OPEN)?;
        }
        let first = c;
        c = rest.next().ok_or(OPEN)?;
        let mut last = first;
        if c == '-' as u32 {
            c = rest.next().ok_or(OPEN)?;
            if c == CLOSE {
                // A - right at the end, too.
                ranges.push(('-' as u32, '-' as u32));
            } else {
                if c == '\\' as u32 {
                    c = rest.next().ok_or(OPEN)?;
                }
                last = c;
                c = rest.next().ok_or(OPEN)?;
            }
        }
        if last < first {
            return Err(BadGlob("has a range in [] whose end is before its beginning"));
        }
        ranges.push((first, last));
        if c == CLOSE {
            return Ok(Part::Set { except, ranges });
        }
    }
}

/// The characters of a text; bytes that are none come as numbers beyond all characters.
fn characters(text: &[u8]) -> impl Iterator<Item = u32> {
    text.utf8_chunks().flat_map(|chunk| {
        let bad = chunk.invalid().iter().map(|&byte| 0x11_0000 + u32::from(byte));
        chunk.valid().chars().map(u32::from).chain(bad)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let glob = Glob::new(pattern.as_bytes()).unwrap();
        for (names, expected) in [(yes, true), (no, false)] {
            for name in names {
                assert_eq!(glob.matches(name.as_bytes()), expected, "{pattern} and {name}");
            }
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        check("", &[""], &["a"]);
        check("a", &["a"], &["", "ab", "ba", "A"]);
        check("*", &["", "a", "a/b.c d"], &[]);
        check("a*", &["a", "ab", "a*"], &["", "ba"]);
        check("*a", &["a", "ba", "aa", "aba"], &["", "ab"]);
        check("a*b*c", &["abc", "aXbYc", "abbcc", "abcbc"], &["ab", "acb", "abcd"]);
        check("**a**", &["a", "xax"], &["", "x"]);
        check("?", &["a", "ä", "€", "😀"], &["", "ab"]);
        check("?*", &["a", "ab"], &[""]);
    }

    #[test]
    fn sets_have_ranges_and_exceptions() {
        check("[abc]", &["a", "c"], &["d", "", "ab", "-"]);
        check("[a-cx]", &["a", "b", "c", "x"], &["d", "-"]);
        check("[!a-c]", &["d", "!", "ä"], &["a", "b", ""]);
        check("[^a]", &["b", "^"], &["a"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[!]a]", &["b"], &["]", "a"]);
        check("[a-]", &["a", "-"], &["b"]);
        check(r"[\]\\]", &["]", r"\"], &["a"]);
        check("[ä-ü]*", &["ö1"], &["a"]);
        check("x[0-9][0-9]", &["x07"], &["x7", "x0a"]);
    }

    #[test]
    fn a_backslash_takes_a_meaning_away() {
        check(r"\*", &["*"], &["a", ""]);
        check(r"\[a]", &["[a]"], &["a"]);
        check(r"\\", &[r"\"], &[r"\\"]);
        check("[*]", &["*"], &["a"]);
    }

    #[test]
    fn bytes_that_are_no_text_count_as_characters() {
        let glob = Glob::new(b"a?[\xfe]*").unwrap();
        assert!(glob.matches(b"a\xff\xfe") && glob.matches(b"a\xc3\xfe\xff"));
        assert!(!glob.matches(b"a\xff\xff"));
    }

    #[test]
    fn a_pattern_without_an_end_is_refused() {
        for (pattern, error) in [
            ("[", "has a [ without its ]"),
            ("a[b", "has a [ without its ]"),
            ("[]", "has a [ without its ]"),
            ("[!", "has a [ without its ]"),
            ("[a-", "has a [ without its ]"),
            (r"[\", "has a [ without its ]"),
            (r"a\", r"ends with \"),
            ("[b-a]", "has a range in [] whose end is before its beginning"),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes()).unwrap_err(), BadGlob(error), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let glob = Glob::new("a*".repeat(2000).as_bytes()).unwrap();
        assert!(glob.matches("a".repeat(4000).as_bytes()));
        let name = "a".repeat(4000);
        assert!(!Glob::new(format!("{}b", "a*".repeat(2000)).as_bytes()).unwrap().matches(name.as_bytes()));
    }
}
