use std::fmt;

use super::pattern::Pattern;

/// When an entry is tried: 0 first, 15 last; entries of one priority in the order of their addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Before all others: 0.
    pub const MIN: Self = Self(0);
    /// For entries that only look on, and let others act: 0.
    pub const CALLBACK: Self = Self(0);
    /// Unless it is said: 7.
    pub const DEFAULT: Self = Self(7);
    /// For the built-in commands, so that a service can have its own: 10.
    pub const SYSTEM: Self = Self(10);
    /// After all others: 15.
    pub const MAX: Self = Self(15);

    /// A priority from 0 to 15; nothing for others.
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        Some(Self(priority)).filter(|priority| *priority <= Self::MAX)
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What entries have in common that are removed together: see
/// [`Table::new_tag`](super::Table::new_tag).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What happens after an entry has acted on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flow {
    /// No other entry gets the message (`MATCH_TRUE` of the C++ library).
    #[default]
    Stop,
    /// The next entry that matches gets it too (`MATCH_CALLBACK`).
    GoOn,
}

/// What is put into a [`Table`](super::Table): which messages, what to do with them, when.
#[derive(Debug, Clone)]
#[must_use]
pub struct Entry<A> {
    pub(super) pattern: Pattern,
    pub(super) action: A,
    pub(super) priority: Priority,
    pub(super) flow: Flow,
    pub(super) tag: Option<Tag>,
}

impl<A> Entry<A> {
    /// At the default priority, and no other entry gets the message after it.
    pub fn new(pattern: Pattern, action: A) -> Self {
        Self { pattern, action, priority: Priority::DEFAULT, flow: Flow::Stop, tag: None }
    }

    /// Is tried at another priority.
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Other entries get the message too.
    pub fn go_on(self) -> Self {
        Self { flow: Flow::GoOn, ..self }
    }

    /// Is removed with all others of this tag.
    pub fn tag(self, tag: Tag) -> Self {
        Self { tag: Some(tag), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_0_to_15() {
        assert_eq!(Priority::new(15), Some(Priority::MAX));
        assert_eq!(Priority::new(16), None);
        assert_eq!(
            [Priority::MIN, Priority::CALLBACK, Priority::DEFAULT, Priority::SYSTEM].map(Priority::get),
            [0, 0, 7, 10]
        );
    }
}
