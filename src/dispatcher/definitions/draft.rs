use std::time::Duration;

use super::definition::UnknownKey;
use super::error::Fault;
use super::ini::{Key, Place, Section};
use super::rule::{Kind, Presence, Rule};
use crate::dispatcher::{FromValue, Part};

/// The keys of a section, of which a rule is made.
#[derive(Default)]
pub(super) struct Draft<'a> {
    name: String,
    kind: Option<&'a Key>,
    flags: Option<&'a Key>,
    description: Option<&'a Key>,
    format: Option<&'a Key>,
    values: Option<&'a Key>,
    minimum: Option<&'a Key>,
    maximum: Option<&'a Key>,
    length: Option<&'a Key>,
    default: Option<&'a Key>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(section: &'a Section, unknown: &mut Vec<UnknownKey>) -> Result<Self, (Place, Fault)> {
        let name = parameter_name(section);
        if Part::Parameter.check(&name).is_err() {
            return Err((section.place, Fault::Name(section.name.clone())));
        }
        let mut draft = Self { name, ..Self::default() };
        for key in &section.keys {
            let slot = match &key.name[..] {
                "type" => &mut draft.kind,
                "flags" => &mut draft.flags,
                "description" => &mut draft.description,
                "format" => &mut draft.format,
                "values" => &mut draft.values,
                "minimum" => &mut draft.minimum,
                "maximum" => &mut draft.maximum,
                "maximum-length" => &mut draft.length,
                "default" => &mut draft.default,
                _ => {
                    unknown.push(UnknownKey::new(key));
                    continue;
                }
            };
            *slot = Some(key);
        }
        Ok(draft)
    }

    pub(super) fn finish(self) -> Result<Rule, (Place, Fault)> {
        let (presence, may_be_empty) = self.presence()?;
        let kind = self.kind()?;
        let length_max = self.length.map(number).transpose()?;
        let mut rule = Rule {
            name: self.name,
            presence,
            may_be_empty,
            kind,
            length_max,
            default: None,
            description: self.description.map(|key| key.value.clone()).unwrap_or_default(),
        };
        if let Some(key) = self.default {
            let fault = if rule.presence != Presence::Optional {
                Some(Fault::DefaultNotOptional)
            } else {
                rule.check(Some(key.value.as_bytes())).err().map(|_| Fault::Default)
            };
            if let Some(fault) = fault {
                return Err((key.value_place, fault));
            }
            rule.default = Some(key.value.clone());
        }
        Ok(rule)
    }

    fn presence(&self) -> Result<(Presence, bool), (Place, Fault)> {
        let Some(key) = self.flags else { return Ok((Presence::Required, true)) };
        let (mut presence, mut may_be_empty) = (Presence::Optional, false);
        for flag in list(key) {
            let new = match flag {
                "required" => Presence::Required,
                "forbidden" => Presence::Forbidden,
                "empty" => {
                    may_be_empty = true;
                    continue;
                }
                "optional" | "defined" | "allowed" => continue,
                _ => {
                    return Err(wrong_choice(
                        key,
                        flag,
                        "required, optional, empty, forbidden, defined, allowed",
                    ));
                }
            };
            if presence != Presence::Optional && presence != new {
                return Err((key.value_place, Fault::Contradiction));
            }
            presence = new;
        }
        Ok((presence, may_be_empty))
    }

    fn kind(&self) -> Result<Kind, (Place, Fault)> {
        let kind = match self.kind.map(|key| (key, &key.value[..])) {
            None | Some((_, "default" | "string")) => self.string_kind()?,
            Some((_, "integer")) => {
                let (min, max) = self.range(i64::MIN, i64::MAX)?;
                Kind::Integer { min, max }
            }
            Some((_, "address")) => Kind::Address,
            Some((_, "timespec")) => Kind::Timespec,
            Some((key, value)) => {
                return Err(wrong_choice(key, value, "default, string, integer, address, timespec"));
            }
        };
        let is_string = matches!(self.kind.map(|key| &key.value[..]), None | Some("default" | "string"));
        let has_range = matches!(kind, Kind::Integer { .. } | Kind::Duration { .. });
        let out_of_place = [
            self.format.filter(|_| !is_string),
            self.values.filter(|_| !is_string || self.format.is_some()),
            self.minimum.filter(|_| !has_range),
            self.maximum.filter(|_| !has_range),
        ];
        match out_of_place.into_iter().flatten().next() {
            Some(key) => Err((key.place, Fault::DoesNotApply)),
            None => Ok(kind),
        }
    }

    fn string_kind(&self) -> Result<Kind, (Place, Fault)> {
        if let Some(key) = self.values {
            let possible: Vec<_> = list(key).map(str::to_owned).collect();
            return match possible.is_empty() {
                true => Err((key.value_place, Fault::NoValues)),
                false => Ok(Kind::OneOf(possible)),
            };
        }
        Ok(match self.format.map(|key| (key, &key.value[..])) {
            None => Kind::Any,
            Some((_, "text")) => Kind::Text,
            Some((_, "boolean")) => Kind::Boolean,
            Some((_, "name")) => Kind::Name,
            Some((_, "duration")) => {
                let (min, max) = self.range(Duration::ZERO, Duration::MAX)?;
                Kind::Duration { min, max }
            }
            Some((key, value)) => return Err(wrong_choice(key, value, "text, boolean, duration, name")),
        })
    }

    fn range<T: FromValue + PartialOrd>(&self, min: T, max: T) -> Result<(T, T), (Place, Fault)> {
        let min = self.minimum.map(number).transpose()?.unwrap_or(min);
        let max = match self.maximum {
            None => max,
            Some(key) => match number(key)? {
                max if max < min => return Err((key.value_place, Fault::Contradiction)),
                max => max,
            },
        };
        Ok((min, max))
    }
}

fn number<T: FromValue>(key: &Key) -> Result<T, (Place, Fault)> {
    T::from_value(key.value.as_bytes()).map_err(|error| (key.value_place, Fault::Value(error)))
}

fn list(key: &Key) -> impl Iterator<Item = &str> {
    key.value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(super) fn wrong_choice(key: &Key, value: &str, possible: &'static str) -> (Place, Fault) {
    (key.value_place, Fault::Choice { value: value.to_owned(), possible })
}

/// The name of the parameter that a section is about.
pub(super) fn parameter_name(section: &Section) -> String {
    section.name.replace('-', "_")
}
