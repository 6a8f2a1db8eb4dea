//! Connections to other servers.

use super::output::Output;
use super::sessions::Role;
use super::{Now, State};

impl<K: Copy + Eq> State<K> {
    /// Passes a line on to every linked server but the one that it came from. All that links share goes
    /// through here.
    pub(super) fn forward(&mut self, origin: usize, line: &[u8], out: &mut impl Output<K>) {
        if !self.sessions.group(Role::Link).is_empty() {
            let except = Some(self.sessions.get(origin).key);
            self.send_group(Role::Link, except, &[line], out);
        }
    }

    /// The client is another server from now on. A link gets every signal; what it listens to is put
    /// aside, so that it gets none twice.
    pub(super) fn start_link(&mut self, slot: usize, now: Now) {
        if !self.sessions.has(slot, Role::Link) {
            self.topics.park(slot);
            self.sessions.get_mut(slot).link_heard = Some(now);
            self.sessions.enter(slot, Role::Link);
        }
    }

    /// The client is an ordinary one again.
    pub(super) fn end_link(&mut self, slot: usize) {
        if self.sessions.has(slot, Role::Link) {
            self.sessions.leave(slot, Role::Link);
            let session = self.sessions.get_mut(slot);
            session.link_heard = None;
            self.topics.unpark(session.key, slot);
        }
    }
}
