//! What has come from a server.

use std::ops::AddAssign;

/// What has come from a server, counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Signals that a listener has received.
    pub(crate) messages: u64,
    /// Commands that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Answers to requests for a value, those that say there is none included.
    pub(crate) values: u64,
    /// Of them, those that say there is none.
    pub(crate) missing: u64,
    /// Answers to what asks whether everything before it is done.
    pub(crate) synchronized: u64,
    /// Subscriptions that were acknowledged.
    pub(crate) subscribed: u64,
    /// Bytes of the values in messages and answers.
    pub(crate) bytes: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.acknowledged += more.acknowledged;
        self.values += more.values;
        self.missing += more.missing;
        self.synchronized += more.synchronized;
        self.subscribed += more.subscribed;
        self.bytes += more.bytes;
    }
}
