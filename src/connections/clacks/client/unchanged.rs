//! What was signalled last, for clients that do not say the same twice.

use super::event::Event;
use std::collections::HashMap;

/// As many names are remembered at most, and as many bytes of names and values; beyond them it begins anew.
const MOST_NAMES: usize = 1 << 16;
const MOST_BYTES: usize = 16 << 20;

/// The value that everybody has heard last of each name, as far as this client knows: it has sent it itself, on this
/// connection, and heard no other one.
#[derive(Debug, Default)]
pub(super) struct Unchanged {
    on: bool,
    values: HashMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

impl Unchanged {
    /// Begins or ends to remember. What was is forgotten.
    pub(super) fn turn(&mut self, on: bool) {
        *self = Self { on, ..Self::default() };
    }

    /// Need this not be sent?
    pub(super) fn is(&self, name: &[u8], value: &[u8]) -> bool {
        self.on && self.values.get(name).is_some_and(|known| **known == *value)
    }

    /// This was sent.
    pub(super) fn sent(&mut self, name: &[u8], value: &[u8]) {
        if !self.on {
            return;
        }
        self.forget(name);
        if self.values.len() >= MOST_NAMES || self.bytes + name.len() + value.len() > MOST_BYTES {
            self.forget_all();
        }
        if name.len() + value.len() <= MOST_BYTES {
            self.bytes += name.len() + value.len();
            self.values.insert(name.into(), value.into());
        }
    }

    /// Another client has signalled something.
    pub(super) fn hears(&mut self, event: &Event) {
        if let Event::Set { name, value } = event
            && !self.is(name, value)
        {
            self.forget(name);
        }
    }

    pub(super) fn forget(&mut self, name: &[u8]) {
        if let Some((name, value)) = self.values.remove_entry(name) {
            self.bytes -= name.len() + value.len();
        }
    }

    /// Who listens now has heard nothing yet.
    pub(super) fn forget_all(&mut self) {
        self.turn(self.on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> Unchanged {
        let mut unchanged = Unchanged::default();
        unchanged.turn(true);
        unchanged
    }

    #[track_caller]
    fn check(unchanged: &Unchanged, name: &str, value: &str, wanted: bool) {
        assert_eq!(unchanged.is(name.as_bytes(), value.as_bytes()), wanted);
        let bytes: usize = unchanged.values.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert_eq!(unchanged.bytes, bytes);
    }

    #[test]
    fn only_what_was_said_last_need_not_be_said() {
        let mut unchanged = on();
        check(&unchanged, "n", "1", false);
        unchanged.sent(b"n", b"1");
        check(&unchanged, "n", "1", true);
        check(&unchanged, "n", "2", false);
        check(&unchanged, "other", "1", false);
        unchanged.sent(b"n", b"longer");
        check(&unchanged, "n", "1", false);
        check(&unchanged, "n", "longer", true);
        unchanged.forget_all();
        check(&unchanged, "n", "longer", false);
    }

    #[test]
    fn what_others_say_counts() {
        let mut unchanged = on();
        unchanged.sent(b"n", b"1");
        unchanged.hears(&Event::Set { name: b"n".to_vec(), value: b"1".to_vec() });
        unchanged.hears(&Event::Set { name: b"m".to_vec(), value: b"2".to_vec() });
        check(&unchanged, "n", "1", true);
        check(&unchanged, "m", "2", false);
        unchanged.hears(&Event::Set { name: b"n".to_vec(), value: b"2".to_vec() });
        check(&unchanged, "n", "1", false);
    }

    #[test]
    fn nothing_is_remembered_unless_asked_for() {
        let mut unchanged = Unchanged::default();
        unchanged.sent(b"n", b"1");
        check(&unchanged, "n", "1", false);
    }

    #[test]
    fn it_has_bounds() {
        let mut unchanged = on();
        for n in 0..=MOST_NAMES {
            unchanged.sent(n.to_string().as_bytes(), b"1");
        }
        assert_eq!(unchanged.values.len(), 1);
        check(&unchanged, &MOST_NAMES.to_string(), "1", true);
        unchanged.sent(b"large", &vec![b'x'; MOST_BYTES - 5]);
        assert_eq!(unchanged.values.len(), 1);
        unchanged.sent(b"larger", &vec![b'x'; MOST_BYTES - 5]);
        assert_eq!(unchanged.values.len(), 0);
        check(&unchanged, "larger", "", false);
    }
}
