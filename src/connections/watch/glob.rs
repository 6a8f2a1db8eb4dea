//! Patterns for names in a folder.

/// Whether the whole of `name` matches `pattern`: `*` is any text, `?` one byte, `[a-z]` one of some, `[!a-z]` none of
/// them, `\` takes the meaning from what follows. A `[` without its `]` is itself. As in a shell, a dot at the beginning must
/// be written.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at, mut part) = (0, 0);
    // Where to go on when what was tried does not fit: the last `*` takes one more. No earlier one need be tried again.
    let mut retry = None;
    loop {
        let rest = pattern.get(part..).unwrap_or_default();
        if rest.first() == Some(&b'*') {
            part += 1;
            retry = Some((part, at));
            continue;
        }
        match (one(rest, name.get(at).copied()), at == name.len()) {
            (Some(length), false) => (part, at) = (part + length, at + 1),
            (_, true) if rest.is_empty() => return true,
            _ => match &mut retry {
                Some((after, from)) if *from < name.len() => {
                    *from += 1;
                    (part, at) = (*after, *from);
                }
                _ => return false,
            },
        }
    }
}

/// How long the first part of a pattern is, if `byte` fits it.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    let byte = byte?;
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [b'[', ref rest @ ..] => match class(rest) {
            Some((inside, length)) => fits(inside, byte).then_some(length + 1),
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (literal == byte).then_some(1),
    }
}

/// What stands between brackets, and how long it is with the closing one, which may stand first as itself.
fn class(rest: &[u8]) -> Option<(&[u8], usize)> {
    let first = usize::from(matches!(rest.first(), Some(b'!' | b'^')));
    let end = rest.iter().skip(first + 1).position(|&byte| byte == b']')? + first + 1;
    Some((&rest[..end], end + 1))
}

fn fits(inside: &[u8], byte: u8) -> bool {
    let (except, mut rest) = match inside {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, inside),
    };
    let mut found = false;
    loop {
        match *rest {
            [] => return found != except,
            [from, b'-', to, ref more @ ..] => {
                found |= (from..=to).contains(&byte);
                rest = more;
            }
            [this, ref more @ ..] => {
                found |= this == byte;
                rest = more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("a.conf", &["a.conf"], &["a.con", "a.conff", "A.conf", ""]),
            ("*.conf", &["a.conf", "a.b.conf"], &[".conf", ".a.conf", "a.conf~", "conf"]),
            (".*", &[".", ".a"], &["a", ""]),
            ("*", &["a", "é"], &[".a"]),
            ("a?c", &["abc", "a?c"], &["ac", "abbc"]),
            ("[a-cx]1", &["a1", "c1", "x1"], &["d1", "-1", "1"]),
            ("[!a-c]1", &["d1", "-1"], &["a1", "c1"]),
            ("[]x]", &["]", "x"], &["a", ""]),
            ("[a", &["[a"], &["a"]),
            ("\\*x", &["*x"], &["ax"]),
            ("*a*b*c", &["abc", "xaxbxc", "aabbcc"], &["acb", "ab", "abcd"]),
            ("", &[""], &["a"]),
        ];
        for (pattern, yes, no) in cases {
            for name in *yes {
                assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
            for name in *no {
                assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_more_than_quadratic_time() {
        let pattern = "*a".repeat(1000);
        let name = "a".repeat(999) + &"b".repeat(1000);
        assert!(!matches(pattern.as_bytes(), name.as_bytes()));
    }
}
