//! Connections to other servers.

use std::collections::HashSet;

use super::output::Output;
use super::sessions::{Link, Role};
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
        if self.sessions.get(slot).link.is_none() {
            let names: HashSet<_> = self.topics.names(slot).cloned().collect();
            self.topics.leave(slot);
            self.sessions.get_mut(slot).link = Some(Box::new(Link { last_heard: now, names }));
            self.sessions.enter(slot, Role::Link);
        }
    }

    /// The client is an ordinary one again.
    pub(super) fn end_link(&mut self, slot: usize) {
        let session = self.sessions.get_mut(slot);
        let key = session.key;
        if let Some(link) = session.link.take() {
            self.sessions.leave(slot, Role::Link);
            for name in link.names {
                self.topics.listen(&name, key, slot);
            }
        }
    }
}
