//! Looking for the end of something short: to call `memchr` for it would take longer than all else that is done with a message of
//! usual size.

/// How long a text is up to the first byte that can't be in a server, service or command: white space, a control character, `:` or
/// `/`.
#[inline]
pub(super) fn head_length(text: &[u8]) -> usize {
    length(text, &IN_HEAD)
}

/// How long a text is up to the first byte that can't be in the name of a parameter: all but letters, digits and `_`.
#[inline]
pub(super) fn name_length(text: &[u8]) -> usize {
    length(text, &IN_NAME)
}

/// How long a text is up to the first byte that is not in a table.
#[inline]
fn length(text: &[u8], table: &[bool; 256]) -> usize {
    let mut length = 0;
    while let Some(&byte) = text.get(length)
        && table[usize::from(byte)]
    {
        length += 1;
    }
    length
}

/// The first place of a byte, if it is in the text.
#[inline]
pub(super) fn find(byte: u8, text: &[u8]) -> Option<usize> {
    /// A word with a one in each byte.
    const ONES: u64 = u64::MAX / 255;
    /// From here on `memchr` is faster.
    const WORDS_MAX: usize = 4;
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().take(WORDS_MAX).enumerate() {
        // A byte that is the wanted one becomes 0: then its highest bit is found, and that of none before it.
        let differences = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let found = differences.wrapping_sub(ONES) & !differences & (ONES << 7);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    if words.len() > WORDS_MAX {
        let seen = WORDS_MAX * 8;
        return memchr::memchr(byte, text.get(seen..)?).map(|at| seen + at);
    }
    rest.iter().position(|&other| other == byte).map(|at| words.len() * 8 + at)
}

/// What can be in a server, service or command.
const IN_HEAD: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        table[byte] = false;
        byte += 1;
    }
    table[0x7f] = false;
    table[b':' as usize] = false;
    table[b'/' as usize] = false;
    table
};

/// What can be in the name of a parameter.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of texts of many lengths, between bytes that are none of those looked for.
    fn check(filling: u8, length: impl Fn(&[u8]) -> usize, matches: impl Fn(u8) -> bool) {
        for size in (0..20).chain(30..36) {
            let text = vec![filling; size];
            assert_eq!(length(&text), size);
            for at in 0..size {
                for byte in 0..=u8::MAX {
                    let mut text = text.clone();
                    text[at] = byte;
                    let expected = if matches(byte) { at } else { size };
                    assert_eq!(length(&text), expected, "{byte:#x} at {at} of {size}");
                    // Of two the first counts.
                    text[at..].fill(byte);
                    assert_eq!(length(&text), expected, "{byte:#x} from {at} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_head_ends_at_what_separates_its_parts() {
        let ends = |byte: u8| byte <= b' ' || matches!(byte, b':' | b'/' | 0x7f);
        check(b'A', head_length, ends);
        check(0xff, head_length, ends);
    }

    #[test]
    fn a_name_ends_at_what_is_no_letter_digit_or_underscore() {
        let ends = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'_';
        check(b'_', name_length, ends);
        check(b'z', name_length, ends);
    }

    #[test]
    fn a_byte_is_found_where_it_is_first() {
        for wanted in [b';', 0, 0xff, b'='] {
            let length = |text: &[u8]| find(wanted, text).unwrap_or(text.len());
            check(wanted ^ 1, length, |byte| byte == wanted);
            check(wanted ^ 0x80, length, |byte| byte == wanted);
        }
    }
}
