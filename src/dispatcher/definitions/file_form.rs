use std::fmt;
use std::time::Duration;

use super::definition::Definition;
use super::rule::{Kind, Presence, Rule};
use crate::dispatcher::ToValue;

/// As the file of a definition, which is read as the same definition. Comments, keys that mean nothing and whatever is said anyway
/// are not in it.
impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refuses_unknown() {
            f.write_str("unknown-parameters = refused\n")?;
        }
        for (index, rule) in self.rules().iter().enumerate() {
            if index > 0 || self.refuses_unknown() {
                f.write_str("\n")?;
            }
            writeln!(f, "{rule}")?;
        }
        Ok(())
    }
}

/// As a section of the file of a definition.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.name)?;
        if !self.description.is_empty() {
            write!(f, "\ndescription = {}", Quoted(&self.description))?;
        }
        write_kind(&self.kind, f)?;
        match (self.presence, self.may_be_empty) {
            (Presence::Required, true) => {}
            (presence, true) => write!(f, "\nflags = {}, empty", flag(presence))?,
            (presence, false) => write!(f, "\nflags = {}", flag(presence))?,
        }
        if let Some(limit) = self.length_max {
            write!(f, "\nmaximum-length = {limit}")?;
        }
        if let Some(default) = &self.default {
            write!(f, "\ndefault = {}", Quoted(default))?;
        }
        Ok(())
    }
}

/// The keys that say what a value may be, each behind a line end.
fn write_kind(kind: &Kind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match kind {
        Kind::Any => Ok(()),
        Kind::Text => f.write_str("\nformat = text"),
        Kind::Boolean => f.write_str("\nformat = boolean"),
        Kind::Name => f.write_str("\nformat = name"),
        Kind::Address => f.write_str("\ntype = address"),
        Kind::Timespec => f.write_str("\ntype = timespec"),
        Kind::OneOf(possible) => write!(f, "\nvalues = {}", Quoted(&possible.join(", "))),
        Kind::Integer { min, max } => {
            f.write_str("\ntype = integer")?;
            limits(f, (*min > i64::MIN).then_some(min), (*max < i64::MAX).then_some(max))
        }
        Kind::Duration { min, max } => {
            f.write_str("\nformat = duration")?;
            limits(f, (!min.is_zero()).then_some(min), (*max < Duration::MAX).then_some(max))
        }
    }
}

fn limits<T: ToValue>(f: &mut fmt::Formatter<'_>, min: Option<&T>, max: Option<&T>) -> fmt::Result {
    for (name, limit) in [("minimum", min), ("maximum", max)] {
        let Some(limit) = limit else { continue };
        let mut value = Vec::new();
        limit.to_value(&mut value);
        write!(f, "\n{name} = {}", String::from_utf8_lossy(&value))?;
    }
    Ok(())
}

fn flag(presence: Presence) -> &'static str {
    match presence {
        Presence::Required => "required",
        Presence::Optional => "optional",
        Presence::Forbidden => "forbidden",
    }
}

/// A value in quotes if it would be read as another one without.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value) = self;
        let plain = value.trim() == *value && !value.ends_with(['\\', '"', '\'']);
        if plain { f.write_str(value) } else { write!(f, "\"{value}\"") }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Definition {
        Definition::parse("X", text, Path::new("X.conf")).unwrap()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let check = |text: &str, written: &str| {
            let definition = parse(text);
            assert_eq!(definition.to_string(), written);
            assert_eq!(parse(written).rules(), definition.rules());
            assert_eq!(parse(written).refuses_unknown(), definition.refuses_unknown());
        };
        check("", "");
        check("unknown-parameters=refused", "unknown-parameters = refused\n");
        check("free text\n[a-b]\nsurprise=1", "[a_b]\n");
        check("[a]\nflags=empty\n[b]\nflags=", "[a]\nflags = optional, empty\n\n[b]\nflags = optional\n");
        check("[a]\nflags=required,empty", "[a]\n");
        check("[a]\nflags=required", "[a]\nflags = required\n");
        check("[a]\nformat=text\ndescription=one \\\n two", "[a]\ndescription = one two\nformat = text\n");
        check("[a]\nformat=boolean", "[a]\nformat = boolean\n");
        check("[a]\nformat=name\nmaximum-length=0x10", "[a]\nformat = name\nmaximum-length = 16\n");
        check("[a]\ntype=address", "[a]\ntype = address\n");
        check("[a]\ntype=timespec", "[a]\ntype = timespec\n");
        check("[a]\ntype=integer", "[a]\ntype = integer\n");
        check("[a]\ntype=integer\nminimum=-5", "[a]\ntype = integer\nminimum = -5\n");
        check("[a]\nformat=duration\nmaximum=1.5m", "[a]\nformat = duration\nmaximum = 90\n");
        check("[a]\nvalues=a,,b c", "[a]\nvalues = a, b c\n");
        check("[a]\nvalues='\"a\",b\"'", "[a]\nvalues = \"\"a\", b\"\"\n");
        for default in ["' '", "\"x\\\"", "'\"'", "\"'\"", "''"] {
            let text = format!("[a]\nflags=optional,empty\ndefault={default}");
            assert_eq!(parse(&parse(&text).to_string()).rules(), parse(&text).rules(), "{default}");
        }
    }

    #[test]
    fn the_definitions_of_the_library_are_written_as_they_are_read() {
        for (command, text) in super::super::built_in_files() {
            let definition = Definition::parse(command, text, Path::new(command)).unwrap();
            let written = definition.to_string();
            let read = Definition::parse(command, &written, Path::new(command)).unwrap();
            assert_eq!(read, definition, "{written}");
        }
    }
}
