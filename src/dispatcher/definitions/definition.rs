use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::draft::{Draft, parameter_name, wrong_choice};
use super::error::{DefinitionError, Fault};
use super::ini::{Ini, Key, Place};
use super::problem::{PROBLEMS_MAX, Problem, ProblemFault};
use super::rule::Rule;
use crate::dispatcher::{
    CACHE, Message, MessageRef, REPLY_TO, SECRET_CODE, SERIAL, TRANSMISSION_REPORT, VERSION,
};

/// A file with more bytes is none of a definition.
const FILE_MAX: usize = 1 << 16;

/// What the parameters of a command have to be.
///
/// A definition is read from a file, in the format of the C++ library:
///
/// ```ini
/// # A key before the first section is about the message: only here.
/// unknown-parameters = refused
///
/// [speed]
/// description = how fast it goes
/// type = integer
/// flags = optional
/// minimum = 0
/// maximum = 300
/// default = 50
/// ```
///
/// A section is a parameter; a dash in its name is an underscore. Its keys:
///
/// | key | value |
/// |---|---|
/// | `type` | `default` or `string` (any bytes), `integer`, `address`, `timespec` |
/// | `flags` | a list of `required`, `optional`, `empty` (may be empty), `forbidden`; also `defined` and `allowed`, which mean nothing. Without the key: `required, empty` |
/// | `description` | what it is for |
/// | `format` | how a `string` is written: `text` (UTF-8), `boolean`, `duration`, `name` |
/// | `values` | a `string` is one of these, in a list |
/// | `minimum`, `maximum` | of an `integer` or a `duration` |
/// | `maximum-length` | in bytes |
/// | `default` | what it is if it is missing; it has to be `optional` |
///
/// The C++ library knows the first three, and reads over the others; so it does over the key before the
/// first section, `unknown-parameters` = `accepted` or `refused`. A file can therefore serve both.
/// What is refused never includes the parameters that any message may have: `version`, `serial`,
/// `secret_code`, `reply_to`, `cache`, `transmission_report`, and those of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    command: String,
    refuses_unknown: bool,
    /// Sorted by name.
    rules: Vec<Rule>,
    unknown_keys: Vec<UnknownKey>,
}

/// A key in the file of a definition that means nothing. That is no error: it may be from a newer version;
/// but most often it is misspelt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownKey {
    /// Its name.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
}

impl Definition {
    /// Reads the definition of a command from its file, which has at most 64 KiB.
    ///
    /// # Errors
    /// When the file can't be read, or with the first thing that is wrong in it.
    pub fn load(command: &str, file: &Path) -> Result<Self, DefinitionError> {
        let fail = |error| DefinitionError::Read { file: file.to_owned(), error };
        // Opening a named pipe could take for ever.
        let found = std::fs::metadata(file).map_err(fail)?;
        if !found.is_file() && !found.is_dir() {
            return Err(fail(std::io::Error::other("this is no ordinary file")));
        }
        let mut bytes = Vec::new();
        let mut opened = File::open(file).map_err(fail)?.take(FILE_MAX as u64 + 1);
        opened.read_to_end(&mut bytes).map_err(fail)?;
        let start = Place { line: 1, column: 1 };
        if bytes.len() > FILE_MAX {
            return Err(DefinitionError::format(file.to_owned(), start, Fault::TooLong(FILE_MAX)));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            DefinitionError::format(file.to_owned(), Place { line, column }, Fault::NotUtf8)
        })?;
        Self::parse(command, text, file)
    }

    /// Reads the definition of a command from the text of its file; `file` is for errors.
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn parse(command: &str, text: &str, file: &Path) -> Result<Self, DefinitionError> {
        Self::read(command, text)
            .map_err(|(place, fault)| DefinitionError::format(PathBuf::from(file), place, fault))
    }

    fn read(command: &str, text: &str) -> Result<Self, (Place, Fault)> {
        let ini = Ini::parse(text)?;
        let mut definition = Self {
            command: command.to_owned(),
            refuses_unknown: false,
            rules: Vec::new(),
            unknown_keys: Vec::new(),
        };
        for key in &ini.keys {
            match (&key.name[..], &key.value[..]) {
                ("unknown-parameters", "refused") => definition.refuses_unknown = true,
                ("unknown-parameters", "accepted") => definition.refuses_unknown = false,
                ("unknown-parameters", _) => return Err(wrong_choice(key, &key.value, "accepted, refused")),
                ("description", _) => {}
                _ => definition.unknown_keys.push(UnknownKey::new(key)),
            }
        }
        for section in &ini.sections {
            let rule = Draft::new(section, &mut definition.unknown_keys)?.finish()?;
            match definition.rules.binary_search_by(|other| other.name.cmp(&rule.name)) {
                Err(index) => definition.rules.insert(index, rule),
                Ok(_) => {
                    let mut same = ini.sections.iter().filter(|other| parameter_name(other) == rule.name);
                    let first = same.next().map_or(0, |first| first.place.line);
                    return Err((section.place, Fault::Repeated { first }));
                }
            }
        }
        Ok(definition)
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What is said about each parameter, sorted by name.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a message with a parameter that is not defined is wrong.
    #[must_use]
    pub fn refuses_unknown(&self) -> bool {
        self.refuses_unknown
    }

    /// Keys that mean nothing.
    #[must_use]
    pub fn unknown_keys(&self) -> &[UnknownKey] {
        &self.unknown_keys
    }

    /// Checks a message.
    ///
    /// # Errors
    /// With what is wrong, up to 16 things.
    pub fn check(&self, message: MessageRef<'_>) -> Result<(), Vec<Problem>> {
        let wrong = self.rules.iter().filter_map(|rule| {
            let fault = rule.check(message.get(&rule.name).as_deref()).err()?;
            Some(Problem::new(&rule.name, fault))
        });
        let unknown = self.refuses_unknown.then(|| message.parameters()).into_iter().flatten();
        let unknown = unknown
            .filter(|(name, _)| self.rule(name).is_none() && !is_common(name))
            .map(|(name, _)| Problem::new(name, ProblemFault::Unknown));
        let problems: Vec<_> = wrong.chain(unknown).take(PROBLEMS_MAX).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The message with the defaults of what is missing; nothing if none is.
    #[must_use]
    pub fn complete(&self, message: MessageRef<'_>) -> Option<Message> {
        let missing = |rule: &&Rule| rule.default.is_some() && !message.has(&rule.name);
        self.rules.iter().find(missing)?;
        let mut completed = message.to_message();
        for rule in self.rules.iter().filter(missing) {
            // The name was checked when the file was read.
            let _ = completed.set(&rule.name, rule.default.as_deref().unwrap_or_default());
        }
        Some(completed)
    }

    /// What is said about a parameter.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        let index = self.rules.binary_search_by(|rule| rule.name.as_str().cmp(name)).ok()?;
        self.rules.get(index)
    }
}

/// Whether any message may have this parameter.
fn is_common(name: &str) -> bool {
    matches!(name, VERSION | SERIAL | SECRET_CODE | REPLY_TO | CACHE | TRANSMISSION_REPORT)
        || name.starts_with("broadcast_")
}

impl UnknownKey {
    pub(super) fn new(key: &Key) -> Self {
        Self { name: key.name.clone(), line: key.place.line, column: key.place.column }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::{Kind, Presence};
    use super::*;

    fn parse(text: &str) -> Result<Definition, String> {
        Definition::parse("X", text, Path::new("X.conf")).map_err(|error| error.to_string())
    }

    /// Checks a message of these parameters against a definition.
    fn check(definition: &str, parameters: &str, expected: &[&str]) {
        let definition = parse(definition).unwrap();
        let text = format!("X {parameters}");
        let message = MessageRef::parse(text.as_bytes()).unwrap();
        let problems = definition.check(message).err().unwrap_or_default();
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{definition:?} {text}");
    }

    #[test]
    fn flags_say_what_has_to_be_there() {
        let table = [
            // flags, missing, empty, with a value
            ("", &["a is missing"][..], &[][..], &[][..]),
            ("flags =", &[], &["a is empty"], &[]),
            ("flags = optional", &[], &["a is empty"], &[]),
            ("flags = defined, allowed", &[], &["a is empty"], &[]),
            ("flags = optional,empty", &[], &[], &[]),
            ("flags = required", &["a is missing"], &["a is empty"], &[]),
            ("flags = required, empty", &["a is missing"], &[], &[]),
            ("flags = forbidden", &[], &["a may not be there"], &["a may not be there"]),
        ];
        for (flags, missing, empty, value) in table {
            let definition = format!("[a]\n{flags}");
            check(&definition, "", missing);
            check(&definition, "a=", empty);
            check(&definition, "a=1", value);
        }
    }

    #[test]
    fn types_say_what_a_value_may_be() {
        let table = [
            ("type = default", &["\\xff", "any thing"][..], &[][..]),
            ("type = string", &["\\xff"], &[]),
            ("format = text", &["é"], &[]),
            (
                "type = integer",
                &["0x1F", "-5", "010", "9223372036854775807"],
                &["x", "5 ", "1.5", "9223372036854775808"],
            ),
            ("type = integer\nminimum = -1\nmaximum = 0x10", &["-1", "0", "16"], &["-2", "17", "a"]),
            ("type = integer\nminimum = 5", &["5", "9223372036854775807"], &["4"]),
            (
                "type = address",
                &["1.2.3.4", "1.2.3.4:80", "::1", "[::1]", "[::1]:80"],
                &["localhost", "1.2.3", "1.2.3.4:99999", "/tmp/x"],
            ),
            ("type = timespec", &["5", "5.123456789"], &["5.", "noon", "1.1234567890"]),
            ("format = boolean", &["true", "false"], &["yes", "1", "TRUE"]),
            ("format = name", &["web_1", "_X"], &["web-1", "1a"]),
            ("format = duration", &["0", "90", "1.5h", "100000w"], &["-1", "soon", "1y"]),
            ("format = duration\nminimum = 10\nmaximum = 1d", &["10", "24h"], &["9.9", "86401"]),
            ("values = red, green ,blue", &["red", "green", "blue"], &["Red", "re", "red,green"]),
            ("maximum-length = 3", &["abc"], &["abcd"]),
            ("type = integer\nmaximum-length = 3", &["123"], &["1234"]),
        ];
        for (keys, right, wrong) in table {
            let definition = parse(&format!("[a]\n{keys}")).unwrap();
            let is_right = |value: &str| definition.rules()[0].check(Some(value.as_bytes())).is_ok();
            for value in right {
                assert!(is_right(value), "{keys}: {value}");
            }
            for value in wrong {
                assert!(!is_right(value), "{keys}: {value}");
            }
        }
        let text = parse("[a]\nformat = text").unwrap();
        assert!(text.rules()[0].check(Some(b"\xff")).is_err());
    }

    #[test]
    fn every_problem_is_found() {
        let definition = "[a]\n[b]\ntype=integer\n[c]\nflags=forbidden\n[d]\nflags=optional";
        check(
            definition,
            "b=x;c=1;d=;e=1",
            &[
                "a is missing",
                "b is not a whole number of 64 bits: see byte 0",
                "c may not be there",
                "d is empty",
            ],
        );
        check(definition, "a=;b=7;e=1", &[]);
        // The last of two counts.
        check(definition, "a=;b=x;b=7", &[]);
        check(definition, "a=;b=7;b=x", &["b is not a whole number of 64 bits: see byte 0"]);
    }

    #[test]
    fn what_is_not_known_may_be_refused() {
        let definition = "unknown-parameters = refused\n[my-name]\n";
        check(definition, "my_name=1", &[]);
        check(definition, "my_name=1;other=2;z=3", &["other is not known", "z is not known"]);
        check(&definition.replace("refused", "accepted"), "my_name=1;other=2", &[]);
        let common = "broadcast_hops=1;cache=no;my_name=;reply_to=x;secret_code=s;\
                      transmission_report=failure;version=1";
        check(definition, common, &[]);
        let many: String = (0..1000).map(|number| format!("n{number}=;")).collect();
        let text = format!("X {many}");
        let message = MessageRef::parse(text.as_bytes()).unwrap();
        assert_eq!(parse(definition).unwrap().check(message).unwrap_err().len(), PROBLEMS_MAX);
    }

    #[test]
    fn what_is_missing_has_a_default() {
        let definition = "[a]\nflags=optional\ndefault=5\ntype=integer\n[b]\nflags=optional,empty\ndefault=";
        let definition = parse(definition).unwrap();
        let complete = |text: &str| {
            let message = definition.complete(MessageRef::parse(text.as_bytes()).unwrap())?;
            Some(String::from_utf8(message.view().to_text().unwrap()).unwrap())
        };
        assert_eq!(complete("X").as_deref(), Some("X a=5;b="));
        assert_eq!(complete("X a=1;c=2").as_deref(), Some("X a=1;b=;c=2"));
        assert_eq!(complete("X a=1;b=2"), None);
        assert_eq!(definition.rule("a").and_then(Rule::default), Some("5"));
    }

    #[test]
    fn a_definition_tells_what_it_says() {
        let text = "[max-speed]\ndescription = how fast\ntype = integer\nminimum = 1\nflags = optional\n\
                    units = km/h\n[a]\nminimun = 7\ntype = integer\nmaximum-length = 9";
        let definition = parse(text).unwrap();
        let names: Vec<_> = definition.rules().iter().map(Rule::name).collect();
        assert_eq!(names, ["a", "max_speed"]);
        let rule = definition.rule("max_speed").unwrap();
        assert_eq!(rule.description(), "how fast");
        assert_eq!(rule.presence(), Presence::Optional);
        assert!(!rule.may_be_empty());
        assert_eq!(rule.kind(), &Kind::Integer { min: 1, max: i64::MAX });
        assert_eq!(definition.rule("a").unwrap().length_max(), Some(9));
        let unknown: Vec<_> =
            definition.unknown_keys().iter().map(|key| (&key.name[..], key.line, key.column)).collect();
        assert_eq!(unknown, [("units", 6, 1), ("minimun", 8, 1)]);
        assert!(!definition.refuses_unknown());
    }

    #[test]
    fn what_is_wrong_in_a_file_has_a_place() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap_err(), format!("X.conf:{expected}"), "{text:?}");
        };
        check("[a]\nx", "2:1: expected \"key = value\", \"[name]\" or a comment");
        check("[a]\n[b]\n [a]", "3:3: this is in line 1 already");
        check("[a-b]\n[a_b]", "2:2: this is in line 1 already");
        check("[a]\ntype=string\n type = string", "3:2: this is in line 2 already");
        check("[a.b]", "1:2: a parameter can't be called \"a.b\"");
        check("[]", "1:2: a parameter can't be called \"\"");
        check("[a]\ntype = float", "2:8: \"float\" is none of default, string, integer, address, timespec");
        check(
            "[a]\nflags = required, must",
            "2:9: \"must\" is none of required, optional, empty, forbidden, defined, allowed",
        );
        check("[a]\nflags=required,forbidden", "2:7: this contradicts what is before it");
        check("[a]\nformat=email", "2:8: \"email\" is none of text, boolean, duration, name");
        check("unknown-parameters=no", "1:20: \"no\" is none of accepted, refused");
        check("[a]\nminimum=1", "2:1: this means nothing for a parameter of this type");
        check("[a]\ntype=address\nvalues=1", "3:1: this means nothing for a parameter of this type");
        check("[a]\ntype=integer\nformat=text", "3:1: this means nothing for a parameter of this type");
        check("[a]\nformat=text\nvalues=x", "3:1: this means nothing for a parameter of this type");
        check("[a]\nvalues= , ", "2:9: there is no value in the list");
        check("[a]\ntype=integer\nminimum=x", "3:9: this is not a whole number of 64 bits: see byte 0");
        check("[a]\ntype=integer\nminimum=5\nmaximum=4", "4:9: this contradicts what is before it");
        check(
            "[a]\nmaximum-length=-1",
            "2:16: this is not a whole number of the machine's size, not negative: see byte 0",
        );
        check(
            "[a]\ndefault=1",
            "2:9: only a parameter that may be missing has a default: it needs \"flags = optional\"",
        );
        check(
            "[a]\nflags=optional\ntype=integer\ndefault=x",
            "4:9: the default is not what the parameter may be",
        );
        check("[a]\nflags=optional\ndefault=", "3:9: the default is not what the parameter may be");
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "([\\[\\]=#;\\\\\"' a\n-]|type|integer|flags|minimum|default|é){0,30}") {
            if let Err(error) = Definition::parse("X", &text, Path::new("X.conf")) {
                let DefinitionError::Format { line, column, .. } = error else { panic!("{error}") };
                let lines: Vec<_> = text.split('\n').collect();
                prop_assert!(line <= lines.len(), "{}", error);
                prop_assert!(column <= lines[line - 1].chars().count() + 1, "{}", error);
            }
        }
    }
}
