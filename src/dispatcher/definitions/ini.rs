//! Files of sections, keys and values.
//!
//! `[section]`, then `key = value`; white space around each of them means nothing, nor does one pair of
//! quotes around a value. Lines that begin with `#` or `;` are comments. A line that ends with `\` goes on
//! in the next one. Before the first section, lines that are no key are free text.

use super::error::Fault;

/// A line and a column, both from 1; a column is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Debug)]
pub(super) struct Ini {
    /// What is before the first section.
    pub(super) keys: Vec<Key>,
    pub(super) sections: Vec<Section>,
}

#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) keys: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Key {
    /// With dashes for underscores: both mean the same.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) value: String,
    /// Where the value begins.
    pub(super) value_place: Place,
}

impl Ini {
    pub(super) fn parse(text: &str) -> Result<Self, (Place, Fault)> {
        let mut ini = Self { keys: Vec::new(), sections: Vec::new() };
        let mut lines = text.split('\n').enumerate();
        while let Some((index, line)) = lines.next() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            let place = |rest: &str| place(index, line, rest);
            let content = line.trim();
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = content.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or((place(content), Fault::Section))?.trim();
                let (name, place) = (name.to_owned(), place(name));
                ini.sections.push(Section { name, place, keys: Vec::new() });
                continue;
            }
            let Some((name, value)) = content.split_once('=') else {
                if ini.sections.is_empty() {
                    continue;
                }
                return Err((place(content), Fault::NoKey));
            };
            if name.trim().is_empty() {
                return Err((place(content), Fault::NoKey));
            }
            let mut key = Key {
                name: name.trim().replace('_', "-"),
                place: place(name),
                value: value.trim().to_owned(),
                value_place: place(value.trim()),
            };
            while let Some(stay) = key.value.strip_suffix('\\') {
                key.value.truncate(stay.len());
                key.value.push_str(lines.next().map_or("", |(_, line)| line.trim()));
            }
            key.value = unquote(key.value);
            let keys = ini.sections.last_mut().map_or(&mut ini.keys, |section| &mut section.keys);
            if let Some(other) = keys.iter().find(|other| other.name == key.name) {
                return Err((key.place, Fault::Repeated { first: other.place.line }));
            }
            keys.push(key);
        }
        Ok(ini)
    }
}

/// Where `rest`, which is a part of `line`, begins.
fn place(index: usize, line: &str, rest: &str) -> Place {
    let before = (rest.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    let column = line.get(..before).map_or(0, |before| before.chars().count());
    Place { line: index + 1, column: column + 1 }
}

fn unquote(value: String) -> String {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.to_owned();
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, as `line:column name=value` in the order of the file.
    fn shown(text: &str) -> Vec<String> {
        let ini = Ini::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
        let key = |key: &Key| {
            let Key { name, place, value, value_place } = key;
            let Place { line, column } = place;
            format!("{line}:{column} {name}={value}@{}", value_place.column)
        };
        let mut all: Vec<_> = ini.keys.iter().map(key).collect();
        for section in &ini.sections {
            let Place { line, column } = section.place;
            all.push(format!("{line}:{column} [{}]", section.name));
            all.extend(section.keys.iter().map(key));
        }
        all
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(shown(text), expected, "{text:?}");
    }

    #[test]
    fn sections_hold_keys() {
        check("", &[]);
        check("a=1\n[s]\nb = 2\n", &["1:1 a=1@3", "2:2 [s]", "3:1 b=2@5"]);
        check("[ s ]\r\n  b=\t2 \r\n[t]", &["1:3 [s]", "2:3 b=2@6", "3:2 [t]"]);
        check("# x=1\n ; y=2\n\n[s]\n", &["4:2 [s]"]);
        check(
            "[s]\nmaximum_length=1\nb=\nc=x=y",
            &["1:2 [s]", "2:1 maximum-length=1@16", "3:1 b=@3", "4:1 c=x=y@3"],
        );
        check("free text\n[s]", &["2:2 [s]"]);
        check("é=ü", &["1:1 é=ü@3"]);
    }

    #[test]
    fn values_have_quotes_and_go_on() {
        check("a=\" x \"", &["1:1 a= x @3"]);
        check("a='x\"'", &["1:1 a=x\"@3"]);
        check("a=\"", &["1:1 a=\"@3"]);
        check("a=one \\\n  two \\\nthree\nb=1", &["1:1 a=one two three@3", "4:1 b=1@3"]);
        check("a=end\\", &["1:1 a=end@3"]);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let check = |text: &str, line, column, fault| {
            assert_eq!(Ini::parse(text).unwrap_err(), (Place { line, column }, fault), "{text:?}");
        };
        check("[s]\n [t", 2, 2, Fault::Section);
        check("[s] x", 1, 1, Fault::Section);
        check("[s]\n text", 2, 2, Fault::NoKey);
        check("[s]\n = 1", 2, 2, Fault::NoKey);
        check("[s]\na=1\nb=1\n a=2", 4, 2, Fault::Repeated { first: 2 });
        check("a-b=1\na_b=2", 2, 1, Fault::Repeated { first: 1 });
    }
}
