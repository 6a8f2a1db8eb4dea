//! What each command does.

use super::links::Change;
use super::node::NodeId;
use super::output::{Closing, Event, Output};
use super::sessions::{List, Ping, Role};
use super::users::Permissions;
use super::{Now, State};
use crate::connections::clacks::flags::Flags;
use crate::connections::clacks::number::Operand;
use crate::connections::clacks::protocol::{Command, Overhead, Pair, Step};
use crate::connections::clacks::store::Full;

/// The longest client name that is kept, in bytes: the rest is cut off.
const CLIENT_NAME_MAX: usize = 1024;

impl<K: Copy + Eq> State<K> {
    /// Until the login, all but the login and a name is ignored.
    pub(super) fn before_login(
        &mut self,
        slot: usize,
        command: Command<'_>,
        now: Now,
        out: &mut impl Output<K>,
    ) {
        let is_master = self.sessions.get(slot).is_master;
        match command {
            Command::Clacks(name) => self.rename(slot, name),
            Command::Overhead(Overhead { flags, value }) if flags.contains(Flags::AUTH) => {
                self.log_in(slot, value, now, out);
            }
            Command::Overhead(Overhead { flags, value })
                if is_master && (flags.contains(Flags::AUTH_FAILED) || flags.contains(Flags::ERROR)) =>
            {
                self.refused_by_master(slot, value, out);
            }
            _ => {}
        }
    }

    /// Does what a line of a client that has logged in asks for.
    pub(super) fn execute(
        &mut self,
        slot: usize,
        line: &[u8],
        command: Command<'_>,
        now: Now,
        out: &mut impl Output<K>,
    ) {
        let session = self.sessions.get_mut(slot);
        let allowed = session.permissions.allow(needed(&command));
        if let Some(link) = &mut session.link {
            link.heard = now;
        }
        let is_link = session.link.is_some();
        // A monitor sees the line that makes it one, and not the line that ends it.
        match command {
            // Linked servers are never shown what clients do.
            Command::Monitor if allowed && !is_link => self.sessions.enter(slot, Role::Monitor),
            Command::Unmonitor if allowed => self.sessions.leave(slot, Role::Monitor),
            _ => {}
        }
        if !self.sessions.group(Role::Monitor).is_empty() && is_shown(&command) {
            let cid = self.sessions.get(slot).cid.clone();
            self.tell_monitors(&[b"DEBUG ", &cid, b"=", line], out);
            // It may have been the sender's own queue that had no room for this.
            if self.sessions.get(slot).is_closing {
                return;
            }
        }
        if !allowed {
            return self.deny(slot, out);
        }
        self.counters.carried_out(&command);

        match command {
            Command::Set(Pair { name, .. }) | Command::Notify(name) => {
                self.deliver(slot, name, &[line], out);
                self.forward(slot, &[line], out);
            }
            Command::SetAndStore(pair) => {
                let stored = self.store.store(pair.name, pair.value, now.unix);
                if self.has_taken(slot, stored, out) {
                    let set: [&[u8]; 4] = [b"SET ", pair.name, b"=", pair.value];
                    self.deliver(slot, pair.name, &set, out);
                    let change = Change { key: pair.name, line: &[line], signal: Some(&set) };
                    self.forward_change(slot, &change, out);
                }
            }
            Command::Store(pair) => {
                let stored = self.store.store(pair.name, pair.value, now.unix);
                self.stored(slot, stored, pair.name, line, out);
            }
            Command::Remove(key) => {
                let stored = self.store.remove(key, now.unix);
                self.stored(slot, stored, key, line, out);
            }
            Command::Increment(Step { key, step }) => {
                let stored = self.store.increment(key, step.map_or(Operand::ONE, Operand::step), now.unix);
                self.stored(slot, stored, key, line, out);
            }
            Command::Decrement(Step { key, step }) => {
                let stored = self.store.decrement(key, step.map_or(Operand::ONE, Operand::step), now.unix);
                self.stored(slot, stored, key, line, out);
            }
            Command::KeySync(entry) => {
                self.sessions.get_mut(slot).ping = Ping { last: now, is_expected: true };
                self.sync_key(slot, &entry, line, out);
            }
            Command::ClearCache => {
                self.store.clear();
                out.tidy_soon();
                self.forward(slot, &[line], out);
            }
            Command::Retrieve(key) => {
                let to = self.sessions.get(slot).key;
                let taken = match self.store.retrieve(key, now.unix) {
                    Some(value) => {
                        self.counters.hits += 1;
                        out.send(to, &[b"RETRIEVED ", key, b"=", value])
                    }
                    None => {
                        self.counters.misses += 1;
                        out.send(to, &[b"NOTRETRIEVED ", key])
                    }
                };
                self.overflow_unless(taken, slot, out);
            }
            Command::KeyList => self.start_list(slot, List::Keys(None), out),
            Command::ClientList => self.start_list(slot, List::Clients(None), out),
            Command::Status => self.tell_status(slot, now, out),
            Command::Listen(name) => self.listen(slot, name, out),
            Command::Unlisten(name) => self.topics.unlisten(name, slot),
            Command::Flush(id) => self.reply(slot, &[b"FLUSHED ", id], out),
            Command::Ping => {
                self.sessions.get_mut(slot).ping = Ping { last: now, is_expected: true };
            }
            Command::NoPing => {
                if !self.sessions.has(slot, Role::Link) {
                    self.sessions.get_mut(slot).ping.is_expected = false;
                }
            }
            Command::ClientDisconnect(cid) => {
                if let Some(other) = self.sessions.by_cid(cid) {
                    out.log(&Event::Disconnects { cid: &self.sessions.get(slot).cid, other: cid });
                    self.dismiss(other, b"QUIT", out);
                }
            }
            Command::Quit => self.close(slot, Closing::Flushed, out),
            Command::Timeout if self.sessions.has(slot, Role::Link) => {
                self.close(slot, Closing::Flushed, out)
            }
            Command::Timeout | Command::Unknown(_) => {
                self.reply(slot, &[b"OVERHEAD E unknown_command ", line], out);
            }
            Command::Clacks(name) => self.rename(slot, name),
            Command::Overhead(overhead) => self.overhead(slot, overhead, now, out),
            Command::Monitor | Command::Unmonitor | Command::Flushed(_) | Command::Nop => {}
        }
    }

    /// Delivers a signal to those who listen.
    fn deliver(&mut self, slot: usize, name: &[u8], delivered: &[&[u8]], out: &mut impl Output<K>) {
        if let Some(listeners) = self.topics.listeners(name) {
            let sender = self.sessions.get(slot).key;
            self.counters.deliveries += listeners.keys().len() as u64;
            out.fan_out(listeners.keys(), Some(sender), delivered, &mut self.refused);
            if !self.refused.is_empty() {
                let full =
                    self.refused.drain(..).filter_map(|at| listeners.slots().get(at).copied()).collect();
                self.overflow_all(full, out);
            }
        }
    }

    /// What follows a change of the cache that is passed on.
    fn stored(
        &mut self,
        slot: usize,
        stored: Result<(), Full>,
        key: &[u8],
        line: &[u8],
        out: &mut impl Output<K>,
    ) {
        if self.has_taken(slot, stored, out) {
            self.forward_change(slot, &Change { key, line: &[line], signal: None }, out);
        }
    }

    fn has_taken(&mut self, slot: usize, stored: Result<(), Full>, out: &mut impl Output<K>) -> bool {
        if stored.is_err() {
            self.report(slot, |cid| Event::CacheFull { cid }, out);
            self.reply(slot, &[b"OVERHEAD E cache_full"], out);
        }
        stored.is_ok()
    }

    fn listen(&mut self, slot: usize, name: &[u8], out: &mut impl Output<K>) {
        let key = self.sessions.get(slot).key;
        if self.topics.listen(name, key, slot, self.settings.names_bytes_max).is_err() {
            self.report(slot, |cid| Event::TooManyNames { cid }, out);
            self.reply(slot, &[b"OVERHEAD E too_many_names"], out);
        }
    }

    fn rename(&mut self, slot: usize, name: &[u8]) {
        // A semicolon would end the field in a client list.
        let name = name.iter().take(CLIENT_NAME_MAX);
        let session = self.sessions.get_mut(slot);
        session.info = name.map(|&b| if b == b';' { b'_' } else { b }).collect();
        // Of a master its path tells it.
        if !session.is_master {
            session.node = NodeId::find(&session.info);
        }
    }
}

/// What a command needs. `OVERHEAD` depends on its flags, and looks for itself.
fn needed(command: &Command<'_>) -> Permissions {
    match command {
        Command::Notify(_)
        | Command::Set(_)
        | Command::Store(_)
        | Command::SetAndStore(_)
        | Command::Remove(_)
        | Command::Increment(_)
        | Command::Decrement(_) => Permissions::WRITE,
        Command::Listen(_) | Command::Unlisten(_) | Command::Retrieve(_) | Command::KeyList => {
            Permissions::READ
        }
        Command::ClearCache
        | Command::Monitor
        | Command::Unmonitor
        | Command::ClientList
        | Command::Status
        | Command::ClientDisconnect(_) => Permissions::MANAGE,
        Command::KeySync(_) => Permissions::INTERCLACKS,
        Command::Flush(_)
        | Command::Flushed(_)
        | Command::Ping
        | Command::NoPing
        | Command::Quit
        | Command::Timeout
        | Command::Nop
        | Command::Clacks(_)
        | Command::Overhead(_)
        | Command::Unknown(_) => Permissions::NONE,
    }
}

/// Do monitors see the line?
fn is_shown(command: &Command<'_>) -> bool {
    match command {
        Command::Clacks(_) => false,
        Command::Overhead(Overhead { flags, .. }) => {
            !flags.contains(Flags::AUTH) && !flags.contains(Flags::NO_LOGGING)
        }
        _ => true,
    }
}
