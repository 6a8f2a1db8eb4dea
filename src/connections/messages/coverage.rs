//! Which messages were ever received, sent and refused.

use crate::dispatcher::ByCommand;

/// So many commands have a count of their own; more are counted together.
const COMMANDS_MAX: usize = 1024;
/// A command with more bytes has no count of its own.
const COMMAND_LENGTH_MAX: usize = 64;

/// How many messages of each command were received, sent and refused: what a test, or an operator, has not seen yet.
///
/// What a peer makes up has no count of its own: only commands that the program sends, handles by name, or has a
/// definition for; so a peer can neither fill the memory nor crowd out the others. A message that is passed on as it came is still
/// the peer's.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    commands: ByCommand<Counts>,
    others: Counts,
    bad_lines: u64,
}

/// How many messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Were received, those that were refused included.
    pub received: u64,
    /// Were sent by the dispatcher, or through it.
    pub sent: u64,
    /// Were refused: their parameters were not as they are defined.
    pub refused: u64,
}

impl Coverage {
    /// The counts of a command; all 0 if it has none.
    #[must_use]
    pub fn get(&self, command: &str) -> Counts {
        self.commands.get(command).copied().unwrap_or_default()
    }

    /// All commands that were received or sent, sorted.
    #[must_use]
    pub fn commands(&self) -> Vec<(&str, Counts)> {
        let mut all: Vec<_> = self.commands.iter().map(|(command, counts)| (&**command, *counts)).collect();
        all.sort_unstable_by_key(|(command, _)| *command);
        all
    }

    /// Messages whose commands have no count of their own.
    #[must_use]
    pub fn others(&self) -> Counts {
        self.others
    }

    /// Lines and datagrams that were no message.
    #[must_use]
    pub fn bad_lines(&self) -> u64 {
        self.bad_lines
    }

    /// `known` says whether a command is one of the program's, when it comes for the first time.
    pub(super) fn received(&mut self, command: &str, known: impl FnOnce() -> bool) {
        self.count(command, known, |counts| counts.received += 1);
    }

    /// As [`received`](Self::received).
    pub(super) fn sent(&mut self, command: &str, times: usize, known: impl FnOnce() -> bool) {
        self.count(command, known, |counts| counts.sent += times as u64);
    }

    /// A message that was counted as received.
    pub(super) fn refused(&mut self, command: &str) {
        self.count(command, || false, |counts| counts.refused += 1);
    }

    pub(super) fn bad_line(&mut self) {
        self.bad_lines += 1;
    }

    fn count(&mut self, command: &str, known: impl FnOnce() -> bool, add: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.commands.get_mut(command) {
            add(counts);
        } else if self.commands.len() < COMMANDS_MAX && command.len() <= COMMAND_LENGTH_MAX && known() {
            add(self.commands.entry(command.into()).or_default());
        } else {
            add(&mut self.others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_program_have_counts_of_their_own() {
        let mut coverage = Coverage::default();
        coverage.received("STOP", || true);
        coverage.received("STOP", || panic!("it is known already"));
        coverage.refused("STOP");
        coverage.sent("ALIVE", 3, || true);
        assert_eq!(coverage.get("STOP"), Counts { received: 2, sent: 0, refused: 1 });
        let commands: Vec<_> = coverage.commands().iter().map(|(command, _)| *command).collect();
        assert_eq!(commands, ["ALIVE", "STOP"]);
        assert_eq!(coverage.others(), Counts::default());
    }

    #[test]
    fn what_a_peer_makes_up_is_counted_together() {
        let mut coverage = Coverage::default();
        coverage.received("MADE_UP", || false);
        coverage.received(&"X".repeat(COMMAND_LENGTH_MAX + 1), || true);
        coverage.refused("MADE_UP");
        assert_eq!(coverage.commands(), []);
        assert_eq!(coverage.others(), Counts { received: 2, sent: 0, refused: 1 });
        assert_eq!(coverage.get("MADE_UP"), Counts::default());
    }

    #[test]
    fn there_is_a_limit_whoever_names_the_commands() {
        let mut coverage = Coverage::default();
        for number in 0..COMMANDS_MAX + 7 {
            coverage.sent(&format!("EVENT{number}"), 1, || true);
        }
        assert_eq!(coverage.commands().len(), COMMANDS_MAX);
        assert_eq!(coverage.others().sent, 7);
        coverage.sent("EVENT0", 1, || true);
        assert_eq!(coverage.get("EVENT0").sent, 2);
    }
}
