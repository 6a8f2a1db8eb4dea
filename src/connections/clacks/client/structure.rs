//! Structured values, and the YAML that they are on their way.

use super::super::persistence::scalar::{self, NoScalar};
use memchr::{memchr, memmem};
use std::collections::BTreeMap;
use std::fmt;

/// As deep may lists and maps stand in each other.
const DEPTH_MAX: usize = 64;

/// A value with parts. Clients keep it as YAML; what they mean by a text, a number or a word that it holds they know
/// themselves: here all are texts, of any bytes.
///
/// The YAML is that of the reference client's library: block lists and maps, scalars on one line or literal (`|`, `>`),
/// lists and maps on one line (`[a, b]`, `{a: b}`). Tags are skipped; aliases, which would make much out of little,
/// and more than one document are refused.
///
/// ```
/// use eventdispatcher::connections::clacks::client::Structure;
///
/// let read = Structure::from_yaml(b"--- \nname: ada\nlist: \n  - 1\n  - ~\n")?;
/// assert_eq!(read.get("name").and_then(Structure::as_str), Some("ada"));
/// let made = Structure::map([
///     ("list", Structure::list([Structure::from("1"), Structure::Null])),
///     ("name", Structure::from("ada")),
/// ]);
/// assert_eq!(made, read);
/// # Ok::<(), eventdispatcher::connections::clacks::client::YamlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Structure {
    /// Nothing: `~`.
    Null,
    /// A text or a number.
    Text(Vec<u8>),
    /// Parts in their order.
    List(Vec<Structure>),
    /// Parts with names.
    Map(BTreeMap<Vec<u8>, Structure>),
}

/// Why something is no YAML of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    line: usize,
    what: &'static str,
}

impl YamlError {
    /// The line, counted from 1; 0 when it was to be written.
    pub fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for YamlError {}

const TOO_DEEP: &str = "more than 64 lists and maps in each other";

impl Structure {
    /// A list of parts.
    pub fn list(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::List(parts.into_iter().collect())
    }

    /// Parts with names; of those with the same name the last one counts.
    pub fn map<K: Into<Vec<u8>>>(parts: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(parts.into_iter().map(|(name, part)| (name.into(), part)).collect())
    }

    /// The part of a map with this name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&Self> {
        match self {
            Self::Map(parts) => parts.get(name.as_ref()),
            _ => None,
        }
    }

    /// The text, if it is one, and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it is none, or holds what is not understood.
    pub fn from_yaml(text: &[u8]) -> Result<Self, YamlError> {
        Reader::new(text).document()
    }

    /// Writes a document that both readers, this and the reference client's, take for the same.
    ///
    /// # Errors
    /// When lists and maps stand in each other more than 64 deep.
    pub fn to_yaml(&self) -> Result<Vec<u8>, YamlError> {
        let mut out = b"--- ".to_vec();
        match self.small() {
            Some(small) => line(&mut out, small),
            None => {
                out.push(b'\n');
                self.write(&mut out, 0, false, 0)?;
            }
        }
        Ok(out)
    }

    /// What stands on one line.
    fn small(&self) -> Option<Small<'_>> {
        match self {
            Self::Null => Some(Small::As(b"~")),
            Self::Text(text) => Some(Small::Text(text)),
            Self::List(parts) if parts.is_empty() => Some(Small::As(b"[]")),
            Self::Map(parts) if parts.is_empty() => Some(Small::As(b"{}")),
            _ => None,
        }
    }

    /// `begun`: its first line has its indentation already.
    fn write(
        &self,
        out: &mut Vec<u8>,
        indent: usize,
        mut begun: bool,
        depth: usize,
    ) -> Result<(), YamlError> {
        if depth >= DEPTH_MAX {
            return Err(YamlError { line: 0, what: TOO_DEEP });
        }
        let mut start = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut begun) {
                out.resize(out.len() + indent, b' ');
            }
        };
        match self {
            Self::List(parts) => {
                for part in parts {
                    start(out);
                    out.extend_from_slice(b"- ");
                    match part.small() {
                        Some(small) => line(out, small),
                        None => part.write(out, indent + 2, true, depth + 1)?,
                    }
                }
            }
            Self::Map(parts) => {
                for (name, part) in parts {
                    start(out);
                    scalar::write(out, name);
                    out.extend_from_slice(b": ");
                    match part.small() {
                        Some(small) => line(out, small),
                        None => {
                            out.push(b'\n');
                            part.write(out, indent + 2, false, depth + 1)?;
                        }
                    }
                }
            }
            Self::Null | Self::Text(_) => {}
        }
        Ok(())
    }
}

impl From<&str> for Structure {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Structure {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

enum Small<'a> {
    As(&'static [u8]),
    Text(&'a [u8]),
}

fn line(out: &mut Vec<u8>, small: Small<'_>) {
    match small {
        Small::As(text) => out.extend_from_slice(text),
        Small::Text(text) => scalar::write(out, text),
    }
    out.push(b'\n');
}

/// Reads line by line.
struct Reader<'a> {
    /// What is left.
    rest: Option<&'a [u8]>,
    number: usize,
    /// What is left of a line of which the beginning was read: where it stands, and the text.
    begun: Option<(usize, &'a [u8])>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: Some(text), number: 0, begun: None }
    }

    fn error<T>(&self, what: &'static str) -> Result<T, YamlError> {
        Err(YamlError { line: self.number.max(1), what })
    }

    /// The next line as it is, and what is behind it.
    fn raw(&self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let rest = self.rest?;
        Some(match memchr(b'\n', rest) {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
            None if rest.is_empty() => return None,
            None => (rest, None),
        })
    }

    /// Goes past a line.
    fn pass(&mut self, behind: Option<&'a [u8]>) {
        self.rest = behind;
        self.number += 1;
    }

    /// The next line that says something: its indentation and its text.
    fn peek(&mut self) -> Option<(usize, &'a [u8])> {
        if self.begun.is_some() {
            return self.begun;
        }
        loop {
            let (line, behind) = self.raw()?;
            let text = line.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                self.pass(behind);
                continue;
            }
            let indent = line.iter().take_while(|byte| **byte == b' ').count();
            return Some((indent, line.get(indent..).unwrap_or_default()));
        }
    }

    /// Goes past what was peeked at.
    fn take(&mut self) {
        if self.begun.take().is_none()
            && let Some((_, behind)) = self.raw()
        {
            self.pass(behind);
        }
    }

    fn document(mut self) -> Result<Structure, YamlError> {
        let read = match self.peek() {
            None => return self.error("nothing"),
            Some((0, text)) if text == b"---" || text.starts_with(b"--- ") => {
                self.take();
                self.value(text.get(3..).unwrap_or_default(), 0, 0)?
            }
            Some(_) => self.block(0, 0)?,
        };
        match self.peek() {
            Some((0, b"...")) | None => Ok(read),
            Some(_) => {
                self.number += 1;
                self.error("more than one value")
            }
        }
    }

    /// What stands on the next lines, indented by `min` at least.
    fn block(&mut self, min: usize, depth: usize) -> Result<Structure, YamlError> {
        let (indent, text) = match self.peek() {
            Some((indent, text)) if indent >= min => (indent, text),
            _ => return Ok(Structure::Null),
        };
        if depth >= DEPTH_MAX {
            return self.error(TOO_DEEP);
        }
        if is_part(text) {
            self.parts(indent, depth)
        } else if is_named(text) {
            self.named(indent, depth)
        } else {
            self.take();
            self.value(text, min, depth)
        }
    }

    fn parts(&mut self, indent: usize, depth: usize) -> Result<Structure, YamlError> {
        let mut parts = Vec::new();
        while let Some((at, text)) = self.peek() {
            if at != indent || !is_part(text) {
                if at > indent {
                    self.number += 1;
                    return self.error("an indentation that nothing before it has");
                }
                break;
            }
            self.take();
            let inner = text.get(1..).unwrap_or_default();
            let spaces = inner.iter().take_while(|byte| **byte == b' ').count();
            let part = inner.get(spaces..).unwrap_or_default();
            parts.push(if is_part(part) || is_named(part) {
                self.begun = Some((indent + 1 + spaces, part));
                self.block(indent + 1, depth + 1)?
            } else {
                self.value(part, indent + 1, depth + 1)?
            });
        }
        Ok(Structure::List(parts))
    }

    fn named(&mut self, indent: usize, depth: usize) -> Result<Structure, YamlError> {
        let mut parts = BTreeMap::new();
        while let Some((at, text)) = self.peek() {
            if at != indent {
                if at > indent {
                    self.number += 1;
                    return self.error("an indentation that nothing before it has");
                }
                break;
            }
            let (name, value) = match scalar::read_key(text) {
                Ok(pair) => pair,
                Err(_) if is_part(text) || is_end(text) => break,
                Err(NoScalar(what)) => {
                    self.number += 1;
                    return self.error(what);
                }
            };
            self.take();
            let part = match self.peek() {
                // A list may stand below its name.
                Some((at, below)) if value.trim_ascii().is_empty() && at == indent && is_part(below) => {
                    self.deeper(depth)?;
                    self.parts(indent, depth + 1)?
                }
                _ => self.value(value, indent + 1, depth + 1)?,
            };
            parts.insert(name.into_owned(), part);
        }
        Ok(Structure::Map(parts))
    }

    fn deeper(&self, depth: usize) -> Result<(), YamlError> {
        if depth + 1 >= DEPTH_MAX { self.error(TOO_DEEP) } else { Ok(()) }
    }

    /// The value that begins on this line, of which the next ones, if it has more, are indented by `min` at least.
    fn value(&mut self, text: &'a [u8], min: usize, depth: usize) -> Result<Structure, YamlError> {
        let mut text = text.trim_ascii();
        while let Some(b'!' | b'&') = text.first() {
            let end = memchr(b' ', text).unwrap_or(text.len());
            text = text.get(end..).unwrap_or_default().trim_ascii();
        }
        match text.first() {
            None | Some(b'#') => self.block(min, depth),
            Some(b'|' | b'>') => self.literal(text, min),
            Some(b'[' | b'{') => {
                let mut flow = Flow { rest: text, line: self.number };
                let read = flow.value(depth)?;
                match flow.rest.trim_ascii_start().first() {
                    None | Some(b'#') => Ok(read),
                    Some(_) => self.error("text behind a list or map"),
                }
            }
            Some(b'*') => self.error("an alias"),
            Some(b'"' | b'\'') => match scalar::quoted(text) {
                Ok((text, rest)) if matches!(rest.trim_ascii_start().first(), None | Some(b'#')) => {
                    Ok(Structure::Text(text.into_owned()))
                }
                Ok(_) => self.error("text behind the quotes"),
                Err(NoScalar(what)) => self.error(what),
            },
            Some(_) => {
                let end = memmem::find(text, b" #").unwrap_or(text.len());
                self.bare(text.get(..end).unwrap_or(text).trim_ascii_end())
            }
        }
    }

    fn bare(&self, text: &[u8]) -> Result<Structure, YamlError> {
        bare(text).or_else(|NoScalar(what)| self.error(what))
    }

    /// Lines as they are (`|`) or joined (`>`).
    fn literal(&mut self, header: &[u8], min: usize) -> Result<Structure, YamlError> {
        let is_folded = header.first() == Some(&b'>');
        let (mut keep, mut indent) = (None, None);
        for byte in header.iter().skip(1) {
            match byte {
                b'+' | b'-' => keep = Some(*byte == b'+'),
                b'1'..=b'9' => indent = Some(min.saturating_sub(1) + usize::from(byte - b'0')),
                b' ' => {}
                b'#' => break,
                _ => return self.error("an unknown kind of literal text"),
            }
        }
        let mut text = Vec::new();
        // Line ends that are not written before it is known what follows.
        let mut ends = 0;
        while let Some((line, behind)) = self.raw() {
            let spaces = line.iter().take_while(|byte| **byte == b' ').count();
            if spaces == line.len() {
                ends += 1;
                self.pass(behind);
                continue;
            }
            let indent = *indent.get_or_insert(spaces);
            if spaces < indent || spaces < min || (min == 0 && is_end(line)) {
                break;
            }
            match (is_folded && !text.is_empty(), ends) {
                (true, 1) => text.push(b' '),
                (true, ends) => text.resize(text.len() + ends - 1, b'\n'),
                (false, ends) => text.resize(text.len() + ends, b'\n'),
            }
            text.extend_from_slice(line.get(indent..).unwrap_or_default());
            ends = 1;
            self.pass(behind);
        }
        match keep {
            Some(false) => {}
            Some(true) => text.resize(text.len() + ends, b'\n'),
            None if text.is_empty() => {}
            None => text.push(b'\n'),
        }
        Ok(Structure::Text(text))
    }
}

/// A part of a list?
fn is_part(text: &[u8]) -> bool {
    text == b"-" || text.starts_with(b"- ")
}

/// A part of a map?
fn is_named(text: &[u8]) -> bool {
    !text.starts_with(b"#") && scalar::read_key(text).is_ok()
}

/// The end of a document?
fn is_end(text: &[u8]) -> bool {
    text == b"..." || text == b"---" || text.starts_with(b"--- ")
}

fn bare(text: &[u8]) -> Result<Structure, NoScalar> {
    match text {
        b"~" | b"null" | b"Null" | b"NULL" => Ok(Structure::Null),
        _ => Ok(Structure::Text(scalar::read(text)?.into_owned())),
    }
}

/// A list or map on one line.
struct Flow<'a> {
    rest: &'a [u8],
    line: usize,
}

impl Flow<'_> {
    fn error<T>(&self, what: &'static str) -> Result<T, YamlError> {
        Err(YamlError { line: self.line.max(1), what })
    }

    /// Goes past a byte, if it is the next.
    fn passed(&mut self, byte: u8) -> bool {
        let rest = self.rest.trim_ascii_start();
        let behind = rest.strip_prefix(&[byte]);
        self.rest = behind.unwrap_or(rest);
        behind.is_some()
    }

    fn value(&mut self, depth: usize) -> Result<Structure, YamlError> {
        if depth >= DEPTH_MAX {
            return self.error(TOO_DEEP);
        }
        if self.passed(b'[') {
            let mut parts = Vec::new();
            while !self.passed(b']') {
                parts.push(self.value(depth + 1)?);
                self.comma(b']')?;
            }
            return Ok(Structure::List(parts));
        }
        if self.passed(b'{') {
            let mut parts = BTreeMap::new();
            while !self.passed(b'}') {
                let Structure::Text(name) = self.scalar()? else {
                    return self.error("a part without a name");
                };
                if !self.passed(b':') {
                    return self.error("a name without a colon");
                }
                parts.insert(name, self.value(depth + 1)?);
                self.comma(b'}')?;
            }
            return Ok(Structure::Map(parts));
        }
        self.scalar()
    }

    fn comma(&mut self, close: u8) -> Result<(), YamlError> {
        if self.passed(b',') || self.rest.trim_ascii_start().first() == Some(&close) {
            Ok(())
        } else {
            self.error("a list or map that is not closed on its line")
        }
    }

    fn scalar(&mut self) -> Result<Structure, YamlError> {
        let rest = self.rest.trim_ascii_start();
        if let Some(b'"' | b'\'') = rest.first() {
            let (text, behind) = match scalar::quoted(rest) {
                Ok(read) => read,
                Err(NoScalar(what)) => return self.error(what),
            };
            self.rest = behind;
            return Ok(Structure::Text(text.into_owned()));
        }
        let ends = |(at, byte): (usize, &u8)| match byte {
            b',' | b']' | b'}' => true,
            b':' => matches!(rest.get(at + 1), None | Some(b' ' | b',' | b']' | b'}')),
            _ => false,
        };
        let end = rest.iter().enumerate().position(ends).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(end);
        self.rest = behind;
        if text.is_empty() {
            return self.error("a part that is missing");
        }
        bare(text.trim_ascii_end()).or_else(|NoScalar(what)| self.error(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Structure {
        text.into()
    }

    fn map(parts: &[(&str, Structure)]) -> Structure {
        Structure::map(parts.iter().map(|(name, part)| (*name, part.clone())))
    }

    #[track_caller]
    fn check(yaml: &str, wanted: &Structure) {
        assert_eq!(Structure::from_yaml(yaml.as_bytes()).as_ref(), Ok(wanted), "{yaml:?}");
    }

    #[test]
    fn documents_of_other_libraries_are_read() {
        let (a, b) = (text("a"), text("b"));
        let ab = Structure::list([a.clone(), b.clone()]);
        check("--- a\n", &a);
        check("a", &a);
        check("--- ~\n", &Structure::Null);
        check("--- ''\n", &text(""));
        check("--- \n", &Structure::Null);
        check("--- []\n", &Structure::list([]));
        check("--- {}\n\n", &map(&[]));
        check("--- \n- a\n- b\n", &ab);
        check("---\n- a\n-   b\n...\n", &ab);
        check("--- [a, 'b']\n", &ab);
        check("--- \nx: \n  - a\n  - b\ny: b\n", &map(&[("x", ab.clone()), ("y", b.clone())]));
        check("---\nx:\n- a\n- b\ny: b\n", &map(&[("x", ab.clone()), ("y", b.clone())]));
        check(
            "---\nx:\ny:   # said by nobody\n  b # here\n",
            &map(&[("x", Structure::Null), ("y", b.clone())]),
        );
        check(
            "--- \n- x: a\n  y: b\n-\n  x: b\n",
            &Structure::list([map(&[("x", a.clone()), ("y", b.clone())]), map(&[("x", b.clone())])]),
        );
        check(
            "--- \n- - a\n  - b\n- - - a\n",
            &Structure::list([ab.clone(), Structure::list([Structure::list([a.clone()])])]),
        );
        check("--- !!perl/hash:Some::Thing \nx: a\n", &map(&[("x", a.clone())]));
        check(
            "--- &1 {x: a, 'y z': [a, b], u: http://b}\n",
            &map(&[("x", a.clone()), ("y z", ab.clone()), ("u", text("http://b"))]),
        );
        check(
            "--- \nx: |\n  two\n   lines\n\ny: >-\n  one\n  line\n\n  more\n",
            &map(&[("x", text("two\n lines\n")), ("y", text("one line\nmore"))]),
        );
        check("--- |-\n  a\n  b\n", &text("a\nb"));
        check("--- \"a\\tb\\x0A\"\n", &text("a\tb\n"));
        check(
            "x: 1e3\ny: 'null'\nz: null\n",
            &map(&[("x", text("1e3")), ("y", text("null")), ("z", Structure::Null)]),
        );
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_its_line() {
        for (yaml, wanted) in [
            ("", "line 1: nothing"),
            ("--- a\nb\n", "line 2: more than one value"),
            ("--- a\n--- b\n", "line 2: more than one value"),
            ("--- \nx: *1\n", "line 2: an alias"),
            ("--- \nx: \"a\n", "line 2: quotes that are not closed on the line"),
            ("--- \nx: [a\n", "line 2: a list or map that is not closed on its line"),
            ("--- [a] b\n", "line 1: text behind a list or map"),
            ("--- \nx: a\n  y: b\n", "line 3: an indentation that nothing before it has"),
            ("--- \n- a\n  - b\n", "line 3: an indentation that nothing before it has"),
            ("--- \nx: a\nno name\n", "line 3: a key without a colon"),
            ("--- [,]\n", "line 1: a part that is missing"),
            ("--- {a}\n", "line 1: a name without a colon"),
        ] {
            let error = Structure::from_yaml(yaml.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), wanted, "{yaml:?}");
        }
        for deep in ["- ".repeat(100_000), format!("--- {}", "[".repeat(100_000))] {
            let error = Structure::from_yaml(deep.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("line 1: {TOO_DEEP}"));
        }
        let deep = (0..64).fold(text("a"), |inner, _| Structure::list([inner]));
        assert_eq!(Structure::from_yaml(&deep.to_yaml().unwrap()).unwrap(), deep);
        assert_eq!(Structure::list([deep]).to_yaml().unwrap_err().to_string(), TOO_DEEP);
    }

    #[test]
    fn it_is_written_as_the_reference_client_writes_it() {
        let inner = map(&[("b", text("two words")), ("c", Structure::Null)]);
        let all = map(&[
            ("list", Structure::list([text("1"), inner.clone(), Structure::list([text("")])])),
            ("map", inner),
            ("none", Structure::list([])),
        ]);
        let yaml = "--- \nlist: \n  - 1\n  - b: two words\n    c: ~\n  - - ''\nmap: \n  b: two words\n  c: ~\nnone: []\n";
        assert_eq!(String::from_utf8(all.to_yaml().unwrap()).unwrap(), yaml);
        check(yaml, &all);
    }

    fn structures() -> impl Strategy<Value = Structure> {
        let texts = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            "[-a:~ #\\[{|>'\"\n]{0,6}".prop_map(String::into_bytes),
        ];
        let leaf = prop_oneof![Just(Structure::Null), texts.clone().prop_map(Structure::Text)];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Structure::List),
                proptest::collection::btree_map(texts.clone(), inner, 0..5).prop_map(Structure::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(structure in structures()) {
            let yaml = structure.to_yaml().unwrap();
            prop_assert_eq!(Structure::from_yaml(&yaml), Ok(structure), "{}", yaml.escape_ascii());
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in "[-a:~ #\\[\\]{},|>'\"\n!&*0-9]{0,40}") {
            if let Ok(read) = Structure::from_yaml(text.as_bytes()) {
                prop_assert_eq!(Structure::from_yaml(&read.to_yaml().unwrap()), Ok(read));
            }
        }
    }
}
