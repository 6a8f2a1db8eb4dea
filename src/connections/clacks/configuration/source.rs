use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use memchr::{memchr, memmem};

use super::problems::Place;

/// The longest configuration that is read, in bytes, before and after the replacement of variables: 1 MiB.
pub const MAX_LENGTH: usize = 1 << 20;

/// A configuration's text with its variables replaced, and where each byte of it came from.
///
/// Each occurrence of the name of an environment variable that begins with `PC_` is replaced by its
/// value; where names overlap, the longest wins. Values are not searched again.
#[derive(Debug)]
pub(super) struct Source<'a> {
    original: &'a [u8],
    replaced: Vec<u8>,
    /// In the order of both texts; never empty; the last is the (empty) end.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Where it begins in the replaced text.
    at: usize,
    /// Where it, or the name that it replaces, begins in the original.
    from: usize,
    /// The variable whose value it is.
    variable: Option<Arc<str>>,
}

/// A stretch of the original: plain, or the name of a variable with its value.
struct Stretch<'v> {
    start: usize,
    end: usize,
    variable: Option<(&'v [u8], &'v [u8])>,
}

/// The replaced text is longer than [`MAX_LENGTH`]; where in the source is known.
#[derive(Debug)]
pub(super) struct TooLong {
    pub(super) place: Place,
}

impl<'a> Source<'a> {
    /// Replaces the variables of `environment` in `original`.
    pub(super) fn new(original: &'a [u8], environment: &[(OsString, OsString)]) -> Result<Self, TooLong> {
        let mut source = Self { original, replaced: Vec::with_capacity(original.len()), pieces: Vec::new() };
        for stretch in stretches(original, environment) {
            let text = match stretch.variable {
                Some((_, value)) => value,
                None => original.get(stretch.start..stretch.end).unwrap_or_default(),
            };
            let variable = stretch.variable.map(|(name, _)| String::from_utf8_lossy(name).into());
            source.pieces.push(Piece { at: source.replaced.len(), from: stretch.start, variable });
            if source.replaced.len() + text.len() > MAX_LENGTH {
                let at = source.replaced.len();
                return Err(TooLong { place: source.place(at) });
            }
            source.replaced.extend_from_slice(text);
        }
        let end = Piece { at: source.replaced.len(), from: original.len(), variable: None };
        source.pieces.push(end);
        Ok(source)
    }

    /// The replaced text.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.replaced
    }

    /// Where the byte `at` of the replaced text stands in the original.
    pub(super) fn place(&self, at: usize) -> Place {
        let mut places = self.places(&[at]);
        places.pop().unwrap_or_else(|| Place::new(1, 1, None))
    }

    /// The same for many, in one pass over the text; in the order of `positions`.
    pub(super) fn places(&self, positions: &[usize]) -> Vec<Place> {
        let mut places = vec![Place::new(1, 1, None); positions.len()];
        let mut order: Vec<usize> = (0..positions.len()).collect();
        order.sort_by_key(|&i| positions[i]);
        let (mut done, mut line, mut column) = (0, 1, 1);
        for i in order {
            let (from, variable) = self.origin(positions[i]);
            for &byte in self.original.get(done..from).unwrap_or_default() {
                match byte {
                    b'\n' => (line, column) = (line + 1, 1),
                    // The second and later bytes of a character of UTF-8.
                    0x80..=0xbf => {}
                    _ => column += 1,
                }
            }
            done = done.max(from);
            places[i] = Place::new(line, column, variable);
        }
        places
    }

    fn origin(&self, at: usize) -> (usize, Option<Arc<str>>) {
        let after = self.pieces.partition_point(|piece| piece.at <= at);
        match after.checked_sub(1).and_then(|i| self.pieces.get(i)) {
            Some(Piece { from, variable: Some(variable), .. }) => (*from, Some(variable.clone())),
            Some(piece) => ((piece.from + (at - piece.at)).min(self.original.len()), None),
            None => (0, None),
        }
    }
}

/// Cuts `original` at the names of variables, the longest names first.
fn stretches<'v>(original: &[u8], environment: &'v [(OsString, OsString)]) -> Vec<Stretch<'v>> {
    let mut all = vec![Stretch { start: 0, end: original.len(), variable: None }];
    if memmem::find(original, b"PC_").is_none() {
        return all;
    }
    let variables: BTreeMap<_, _> = environment
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .filter(|(name, _)| name.starts_with(b"PC_"))
        .map(|(name, value)| ((usize::MAX - name.len(), name), value))
        .collect();
    for ((_, name), value) in variables {
        let finder = memmem::Finder::new(name);
        let mut cut = Vec::with_capacity(all.len());
        for stretch in all {
            if stretch.variable.is_some() {
                cut.push(stretch);
                continue;
            }
            let mut start = stretch.start;
            let plain = original.get(stretch.start..stretch.end).unwrap_or_default();
            for found in finder.find_iter(plain) {
                let found = stretch.start + found;
                cut.push(Stretch { start, end: found, variable: None });
                start = found + name.len();
                cut.push(Stretch { start: found, end: start, variable: Some((name, value)) });
            }
            cut.push(Stretch { start, end: stretch.end, variable: None });
        }
        all = cut;
    }
    all
}

/// The byte at which the character `column` (from 1) of line `line` (from 1) of `text` begins.
pub(super) fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match memchr(b'\n', text.as_bytes().get(start..).unwrap_or_default()) {
            Some(end) => start += end + 1,
            None => return text.len(),
        }
    }
    let rest = text.get(start..).unwrap_or_default();
    rest.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        variables.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_longest_names_are_replaced_first_and_values_are_left_alone() {
        let variables = environment(&[
            ("PC_A", "<a>"),
            ("PC_AB", "long"),
            ("HOME", "no"),
            ("PC_EMPTY", ""),
            ("PC_SELF", "PC_A"),
            ("PC_XPC_", "short"),
            ("PC_LONGLONG", "longest"),
        ]);
        let check = |text: &str, wanted: &str| {
            let source = Source::new(text.as_bytes(), &variables).unwrap();
            assert_eq!(String::from_utf8_lossy(source.bytes()), wanted, "from {text:?}");
        };
        check("", "");
        check("nothing to do: HOME PC_ pc_a", "nothing to do: HOME PC_ pc_a");
        check("PC_A", "<a>");
        check("PC_AB", "long");
        check("PC_ABPC_A,PC_AC", "long<a>,<a>C");
        check("xPC_EMPTYy", "xy");
        check("PC_SELF", "PC_A");
        check("PC_PC_A", "PC_<a>");
        check("PC_XPC_LONGLONG", "PC_Xlongest");
    }

    #[test]
    fn places_are_those_of_the_original() {
        let variables = environment(&[("PC_X", "1\n2\n3"), ("PC_NONE", ""), ("PC_L", "a")]);
        let check = |text: &str, mark: &str, line: usize, column: usize, variable: Option<&str>| {
            let source = Source::new(text.as_bytes(), &variables).unwrap();
            let at = memmem::find(source.bytes(), mark.as_bytes()).expect(mark);
            let wanted = Place::new(line, column, variable.map(Arc::from));
            assert_eq!(source.place(at), wanted, "{mark:?} in {text:?}");
        };
        check("a\n bc", "a", 1, 1, None);
        check("a\n bc", "b", 2, 2, None);
        check("é\u{20ac}\tb", "b", 1, 4, None);
        check("x PC_X y", "1", 1, 3, Some("PC_X"));
        check("x PC_X y", "3", 1, 3, Some("PC_X"));
        check("x PC_X y", " y", 1, 7, None);
        check("PC_X\nPC_X\n PC_NONE PC_L!", "!", 3, 14, None);
        check("PC_NONEPC_NONEx", "x", 1, 15, None);
        check("PC_LPC_NONE", "a", 1, 1, Some("PC_L"));
    }

    #[test]
    fn the_end_has_a_place_too() {
        let variables = environment(&[("PC_X", "value")]);
        let source = Source::new(b"a\nPC_X", &variables).unwrap();
        let end = source.bytes().len();
        assert_eq!(source.place(end), Place::new(2, 5, None));
        assert_eq!(source.place(end + 100), Place::new(2, 5, None));
        assert_eq!(
            source.places(&[end, 0, 2]),
            [Place::new(2, 5, None), Place::new(1, 1, None), Place::new(2, 1, Some("PC_X".into()))]
        );
    }

    #[test]
    fn a_text_that_grows_over_the_limit_is_refused_where_it_does() {
        let value = "v".repeat(MAX_LENGTH / 2);
        let variables = environment(&[("PC_X", &value)]);
        let text = b"PC_X\n PC_X\n  PC_X";
        assert_eq!(Source::new(text, &variables).unwrap_err().place.line(), 2);
        assert!(Source::new(&text[..5], &variables).is_ok());
    }

    #[test]
    fn an_offset_is_found_by_line_and_column() {
        let check = |text: &str, line, column, wanted| {
            assert_eq!(offset_of(text, line, column), wanted, "{line}:{column} of {text:?}");
        };
        check("", 1, 1, 0);
        check("abc", 1, 3, 2);
        check("é\nüx", 2, 2, 5);
        check("é\nüx", 2, 9, 6);
        check("é\nüx", 7, 1, 6);
        check("abc", 0, 0, 0);
    }
}
