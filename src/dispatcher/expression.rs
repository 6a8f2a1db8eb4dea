use std::rc::Rc;

use regex_lite::Regex;

use super::template::Captures;

/// A regular expression for a whole command.
pub(super) struct Expression {
    /// As it is written.
    pub(super) text: Box<str>,
    regex: Regex,
    /// Of the groups that have one, and where they stand among all.
    names: Rc<[Box<str>]>,
    groups: Vec<usize>,
}

impl Expression {
    /// The error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let regex = Regex::new(&format!(r"\A(?:{text})\z")).map_err(|error| error.to_string())?;
        // One alone: what could leave the brackets around it is none.
        Regex::new(text).map_err(|error| error.to_string())?;
        let named = regex.capture_names().enumerate();
        let (groups, names): (Vec<_>, Vec<Box<str>>) =
            named.filter_map(|(group, name)| Some((group, name?.into()))).unzip();
        Ok(Self { text: text.into(), regex, names: names.into(), groups })
    }

    pub(super) fn matches<'m>(&self, command: &'m str) -> Option<Captures<'m>> {
        if self.groups.is_empty() {
            return self.regex.is_match(command).then(Captures::default);
        }
        let found = self.regex.captures(command)?;
        let value = |group: &usize| {
            let text = found.get(*group).map_or("", |group| group.as_str());
            (text, text.parse().ok())
        };
        Some(Captures::new(&self.names, self.groups.iter().map(value).collect()))
    }
}
