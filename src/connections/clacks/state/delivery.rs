//! Lines on their way out, and the ends of connections.

use super::State;
use super::login::Login;
use super::output::{Closing, Event, Output};
use super::sessions::Role;

impl<K: Copy + Eq> State<K> {
    pub(super) fn tell_monitors(&mut self, line: &[&[u8]], out: &mut impl Output<K>) {
        self.send_group(Role::Monitor, None, line, out);
    }

    pub(super) fn send_group(
        &mut self,
        role: Role,
        except: Option<K>,
        line: &[&[u8]],
        out: &mut impl Output<K>,
    ) {
        let group = self.sessions.group(role);
        out.fan_out(group.keys(), except, line, &mut self.refused);
        if !self.refused.is_empty() {
            let full = self.refused.drain(..).filter_map(|at| group.slots().get(at).copied()).collect();
            self.overflow_all(full, out);
        }
    }

    pub(super) fn reply(&mut self, slot: usize, line: &[&[u8]], out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        if !session.is_closing {
            let taken = out.send(session.key, line);
            self.overflow_unless(taken, slot, out);
        }
    }

    pub(super) fn deny(&mut self, slot: usize, out: &mut impl Output<K>) {
        self.counters.refused += 1;
        self.reply(slot, &[b"OVERHEAD E permission_denied"], out);
    }

    /// Logs a trouble that a client can make as often as it likes.
    pub(super) fn report<'a>(
        &'a mut self,
        slot: usize,
        event: impl Fn(&'a [u8]) -> Event<'a>,
        out: &mut impl Output<K>,
    ) {
        let session = self.sessions.get_mut(slot);
        if session.reports_left > 0 {
            session.reports_left -= 1;
            out.log(&event(&session.cid));
        }
    }

    #[inline]
    pub(super) fn overflow_unless(&mut self, taken: bool, slot: usize, out: &mut impl Output<K>) {
        if !taken {
            self.overflow_all(vec![slot], out);
        }
    }

    pub(super) fn overflow_all(&mut self, slots: Vec<usize>, out: &mut impl Output<K>) {
        for slot in slots {
            let session = self.sessions.get(slot);
            if !session.is_closing {
                self.counters.queues_full += 1;
                out.log(&Event::QueueFull { cid: &session.cid });
                self.close(slot, Closing::Now, out);
            }
        }
    }

    /// Ends a connection with an empty line and a word.
    pub(super) fn dismiss(&mut self, slot: usize, word: &[u8], out: &mut impl Output<K>) {
        self.reply(slot, &[], out);
        self.reply(slot, &[word], out);
        self.close(slot, Closing::Flushed, out);
    }

    pub(super) fn close(&mut self, slot: usize, how: Closing, out: &mut impl Output<K>) {
        if !self.sessions.get(slot).is_closing {
            self.detach(slot, out);
            out.close(self.sessions.get(slot).key, how);
        }
    }

    pub(super) fn detach(&mut self, slot: usize, out: &mut impl Output<K>) {
        if self.sessions.get(slot).is_closing {
            return;
        }
        self.leave_tree(slot, out);
        self.topics.leave(slot);
        let session = self.sessions.get(slot);
        if let Some(Login::Waits { .. }) = session.login {
            self.failures.has_waited(session.peer);
        }
        self.sessions.start_closing(slot);
    }
}
