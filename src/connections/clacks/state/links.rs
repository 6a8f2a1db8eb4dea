//! Connections to other servers: linked servers form a tree, in which each has one master at most, and share all
//! signals and the whole cache.
//!
//! The slave connects and asks for the link (`OVERHEAD I 1`). The master sends its cache, during which the slave's other
//! clients wait; then the slave sends what the master does not have. From then on both pass on what their clients do.

use std::io::Write as _;
use std::time::Duration;

use super::node::{NodeId, Path};
use super::output::{Closing, Event, Output};
use super::sessions::{Role, Session};
use super::users::Permissions;
use super::{Now, State};
use crate::connections::clacks::line::TOO_LONG;
use crate::connections::clacks::protocol::KeySync;
use crate::connections::clacks::store::{Entry, Merged};

/// The longest way of a line, in seconds, for which clocks are taken to be the same, if they can be.
const SAME_CLOCK: f64 = 0.25;
/// A time is looked at once for all that happens together, in seconds.
const SAME_TURN: f64 = 0.01;

/// What a server is told whose link would close a loop.
const LOOP: &[u8] = b"interclacks_loop";

/// How many entries of the cache are looked at before other connections have their turn.
const EXCHANGE_BUDGET: usize = 1024;

/// What a session has that is a link.
#[derive(Debug)]
pub(super) struct Link {
    /// The last sign of life.
    pub(super) heard: Now,
    /// When the other server was asked for its time, or could first tell it: the time that it tells is not older.
    asked: f64,
    /// When the next `PING` is due.
    next_ping: Duration,
    exchange: Exchange,
    /// Which exchange of caches it is, by which entries are marked that the other server has; not 0.
    number: u32,
    /// The longest line of the exchange, and its key: what to look at if the other server refuses a line.
    longest: (usize, Box<[u8]>),
}

/// How far our cache is sent.
#[derive(Debug)]
enum Exchange {
    /// Not at all: the other server is to send its own one first.
    Awaited,
    /// Up to this key.
    Running(Option<Box<[u8]>>),
    Done,
}

impl Link {
    fn is_exchanging(&self) -> bool {
        !matches!(self.exchange, Exchange::Done)
    }

    /// Does the other server have our entry for the key, so that a change of it is to be told? Else the entry is still to
    /// be sent, as it is then.
    fn has(&self, key: &[u8]) -> bool {
        match &self.exchange {
            Exchange::Awaited => false,
            Exchange::Running(sent) => sent.as_deref().is_some_and(|sent| key <= sent),
            Exchange::Done => true,
        }
    }
}

/// The master has the say: all other connections wait.
#[derive(Debug)]
pub(super) struct Lock {
    /// The session of the master.
    slot: usize,
    since: Duration,
}

/// A change of an entry, as it is passed on.
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    pub(super) line: &'a [&'a [u8]],
    /// What is left of it for a server that is still to be sent the entry.
    pub(super) signal: Option<&'a [&'a [u8]]>,
}

impl<K: Copy + Eq> State<K> {
    /// Passes a line on to every linked server but the one that it came from.
    pub(super) fn forward(&mut self, origin: usize, line: &[&[u8]], out: &mut impl Output<K>) {
        if !self.sessions.group(Role::Link).is_empty() {
            let except = Some(self.sessions.get(origin).key);
            self.send_group(Role::Link, except, line, out);
        }
    }

    /// Passes a change of the cache on to every linked server that has the entry already, but not to the one that it came
    /// from.
    #[inline]
    pub(super) fn forward_change(&mut self, origin: usize, change: &Change<'_>, out: &mut impl Output<K>) {
        if !self.sessions.group(Role::Link).is_empty() {
            self.forward_change_to_all(origin, change, out);
        }
    }

    fn forward_change_to_all(&mut self, origin: usize, change: &Change<'_>, out: &mut impl Output<K>) {
        let links = self.sessions.group(Role::Link).slots();
        let is_exchanging =
            |slot: &usize| self.sessions.get(*slot).link.as_deref().is_some_and(Link::is_exchanging);
        if !links.iter().any(is_exchanging) {
            return self.forward(origin, change.line, out);
        }
        let slots: Vec<usize> = links.to_vec();
        for slot in slots {
            let session = self.sessions.get(slot);
            let Some(link) = session.link.as_ref().filter(|_| slot != origin) else { continue };
            if link.has(change.key) {
                self.reply(slot, change.line, out);
            } else if let Some(signal) = change.signal {
                self.reply(slot, signal, out);
            }
        }
    }

    /// The client says `OVERHEAD I 1`: it is a slave of this server from now on, and is sent the whole cache. A link gets
    /// every signal; what it listens to is put aside, so that it gets none twice.
    pub(super) fn start_slave(&mut self, slot: usize, now: Now, out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        if session.is_master {
            return;
        }
        let node = session.node;
        if node.is_some_and(|node| node == self.settings.node || self.ancestors.contains(node)) {
            return self.refuse_loop(slot, out);
        }
        let Some(token) = self.users.link_token().map(<[u8]>::to_vec) else {
            self.report(slot, |cid| Event::NoToken { cid }, out);
            return self.reply(slot, &[b"OVERHEAD E interclacks_needs_the_password not its hash"], out);
        };
        self.enter_link(slot, now, Exchange::Running(None));
        let name = self.settings.server_name.clone();
        let header: [&[&[u8]]; 3] = [
            &[b"CLACKS ", name.as_bytes(), b" in interclacks master mode"],
            &[b"OVERHEAD M Authentication required"],
            &[b"OVERHEAD A ", &token],
        ];
        for line in header {
            self.reply(slot, line, out);
        }
        self.tell_path(slot, out);
        self.reply(slot, &[b"OVERHEAD L 1"], out);
        self.tell_time(slot, now, out);
        self.report_link(slot, out);
        self.exchange(slot, out);
    }

    /// A connection to the master of this server is there: it asks to be linked.
    pub fn connected_to_master(
        &mut self,
        key: K,
        peer: super::Peer,
        now: Now,
        out: &mut impl Output<K>,
    ) -> super::ClientIndex {
        let slot = self.add(key, peer, now, out);
        self.sessions.get_mut(slot).is_master = true;
        let token = self.users.link_token().map(<[u8]>::to_vec).unwrap_or_default();
        let name = self.settings.server_name.clone();
        let node = self.settings.node.mark();
        let lines: [&[&[u8]]; 3] = [
            &[b"CLACKS ", name.as_bytes(), node.as_bytes(), b" in interclacks client mode"],
            &[b"OVERHEAD A ", &token],
            &[b"OVERHEAD I 1"],
        ];
        for line in lines {
            self.reply(slot, line, out);
        }
        self.sessions.index(slot)
    }

    /// The master proves that it is one: it has the main user's token, as this server has, and no other one will do.
    pub(super) fn log_in_master(&mut self, slot: usize, token: &[u8], now: Now, out: &mut impl Output<K>) {
        if !self.users.is_link_token(token) {
            out.log(&Event::NoMaster { cid: &self.sessions.get(slot).cid });
            self.reply(slot, &[b"OVERHEAD F Login failed!"], out);
            return self.close(slot, Closing::Flushed, out);
        }
        self.sessions.enter(slot, Role::Member);
        self.grant(slot, Permissions::ALL);
        self.reply(slot, &[b"OVERHEAD O Welcome!"], out);
        if !self.sessions.get(slot).is_closing && !self.sessions.has(slot, Role::Link) {
            self.enter_link(slot, now, Exchange::Awaited);
            self.report_link(slot, out);
        }
    }

    /// The master does not take this server for a slave.
    pub(super) fn refused_by_master(&mut self, slot: usize, message: &[u8], out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        let (cid, name) = (&session.cid, &session.info);
        if message.starts_with(LOOP) {
            out.log(&Event::Loop { cid, name, is_master: true });
        } else {
            out.log(&Event::MasterRefuses { cid, message });
        }
        self.close(slot, Closing::Flushed, out);
    }

    /// What the other side of a connection reports as an error. Of a linked server it may be that an entry is too long for it: then
    /// it ends the link, and each link that is made after it, until somebody does something about that.
    pub(super) fn reported(&mut self, slot: usize, message: &[u8], out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        match &session.link {
            Some(link) if message == TOO_LONG && session.reports_left > 0 => {
                session.reports_left -= 1;
                let (length, key) = (link.longest.0, &*link.longest.1);
                out.log(&Event::LinkLineTooLong { cid: &session.cid, length, key });
            }
            _ => self.report(slot, |cid| Event::ClientError { cid, message }, out),
        }
    }

    fn enter_link(&mut self, slot: usize, now: Now, exchange: Exchange) {
        if !self.sessions.has(slot, Role::Link) {
            self.topics.park(slot);
            self.sessions.leave(slot, Role::Monitor);
            self.sessions.enter(slot, Role::Link);
            self.counters.links_made += 1;
        }
        let number = self.next_exchange();
        let next_ping = now.monotonic.saturating_add(self.settings.link_ping_interval());
        let session = self.sessions.get_mut(slot);
        let asked = if session.is_master { session.connected.unix } else { now.unix };
        session.link = Some(Box::new(Link {
            heard: now,
            asked,
            next_ping,
            exchange,
            number,
            longest: Default::default(),
        }));
    }

    fn next_exchange(&mut self) -> u32 {
        self.exchanges = self.exchanges.checked_add(1).unwrap_or(1);
        self.exchanges
    }

    /// The client is an ordinary one again.
    pub(super) fn end_link(&mut self, slot: usize) {
        if self.sessions.has(slot, Role::Link) {
            self.sessions.leave(slot, Role::Link);
            self.counters.links_ended += 1;
            self.sessions.get_mut(slot).link = None;
            self.deliver_or_park(slot);
        }
    }

    /// The session ends, and with it what it was to the tree.
    pub(super) fn leave_tree(&mut self, slot: usize, out: &mut impl Output<K>) {
        self.unlock(slot, out);
        let session = self.sessions.get(slot);
        let (is_link, is_master) = (session.link.is_some(), session.is_master);
        self.counters.links_ended += u64::from(is_link);
        if is_link && is_master {
            self.set_ancestors(Path::default(), out);
        }
    }

    fn report_link(&mut self, slot: usize, out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        // It may be asked for again and again.
        if session.reports_left > 0 {
            session.reports_left -= 1;
            out.log(&Event::Linked { cid: &session.cid, name: &session.info, is_master: session.is_master });
        }
    }

    /// `OVERHEAD L`: only the master may say that. With 1 it begins to send its cache, with 0 it has sent all.
    pub(super) fn lock_for_sync(&mut self, slot: usize, value: &[u8], now: Now, out: &mut impl Output<K>) {
        let number = self.next_exchange();
        let session = self.sessions.get_mut(slot);
        let is_master = session.is_master;
        let Some(link) = session.link.as_mut().filter(|_| is_master) else { return };
        match value {
            b"1" => {
                (link.exchange, link.number) = (Exchange::Awaited, number);
                if self.lock.is_none() {
                    self.lock = Some(Lock { slot, since: now.monotonic });
                    for other in self.sessions.open().into_iter().filter(|other| *other != slot) {
                        out.hold(self.sessions.get(other).key, true);
                    }
                }
            }
            b"0" => {
                let is_awaited = matches!(link.exchange, Exchange::Awaited);
                let offset = session.clock_offset;
                if is_awaited {
                    link.exchange = Exchange::Running(None);
                    self.tell_time(slot, now, out);
                    if self.sessions.get(slot).node.is_some() {
                        // Both then translate times in the same way, and agree on what is newer.
                        let offset = offset.to_string();
                        self.reply(slot, &[b"OVERHEAD M interclacks clock ", offset.as_bytes()], out);
                    }
                    self.exchange(slot, out);
                }
                self.unlock(slot, out);
            }
            _ => {}
        }
    }

    /// Sends a linked server the `PING` that is due, and says when the next one is.
    pub(super) fn ping_link(&mut self, slot: usize, now: Now, out: &mut impl Output<K>) -> Option<Duration> {
        let interval = self.settings.link_ping_interval();
        let link = self.sessions.get_mut(slot).link.as_mut()?;
        let is_due = link.next_ping <= now.monotonic;
        if is_due {
            link.next_ping = now.monotonic.saturating_add(interval);
        }
        let next = link.next_ping;
        if is_due {
            self.reply(slot, &[b"PING"], out);
        }
        Some(next)
    }

    /// Do all connections but this one's wait?
    pub(super) fn is_held(&self, slot: usize) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.slot != slot)
    }

    /// When the lock that this session holds must end.
    pub(super) fn lock_deadline(&self, slot: usize) -> Option<Duration> {
        let lock = self.lock.as_ref().filter(|lock| lock.slot == slot)?;
        Some(lock.since.saturating_add(self.settings.interclacks_ping_timeout))
    }

    /// Ends the lock that this session holds, if it does.
    pub(super) fn unlock(&mut self, slot: usize, out: &mut impl Output<K>) {
        if self.lock.take_if(|lock| lock.slot == slot).is_none() {
            return;
        }
        self.is_just_released = true;
        for (other, session) in self.sessions.in_cid_order(None) {
            if other != slot && session.list.is_none() && session.login.is_none() {
                out.hold(session.key, false);
            }
        }
    }

    /// Sends the next part of the cache, as far as there is room.
    pub(super) fn exchange(&mut self, slot: usize, out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        let (to, is_master) = (session.key, session.is_master);
        let Some(link) = session.link.as_mut() else { return };
        let (number, mut longest) = (link.number, link.longest.0);
        let mut longest_key = None;
        let Exchange::Running(sent) = &mut link.exchange else { return };
        let after = sent.take();
        let mut last = None;
        let mut line = Vec::new();
        let mut entries = self.store.entries_from(after.as_deref());
        let mut looked_at = 0;
        let (is_done, is_taken) = loop {
            if !out.has_room(to) {
                break (false, true);
            }
            if looked_at == EXCHANGE_BUDGET {
                out.resume_soon(to);
                break (false, true);
            }
            let Some((key, entry)) = entries.next() else { break (true, true) };
            looked_at += 1;
            last = Some(key);
            // What the master has sent and nobody changed since, it has.
            if is_master && entry.shared == number {
                continue;
            }
            // Arithmetic and removals may have made keys that a KEYSYNC can't name: it would be taken for another one. A key that
            // begins with an equals sign can be named: a key has at least one byte.
            if key.get(1..).is_some_and(|rest| memchr::memchr(b'=', rest).is_some()) {
                continue;
            }
            line.clear();
            write_entry(&mut line, key, entry);
            if line.len() > longest {
                (longest, longest_key) = (line.len(), Some(key));
            }
            if !out.send(to, &[&line]) {
                break (false, false);
            }
        };
        let last: Option<Box<[u8]>> = last.map(Box::from);
        let longest_key: Option<Box<[u8]>> = longest_key.map(Box::from);
        drop(entries);
        let last = last.or(after);
        let session = self.sessions.get_mut(slot);
        if let Some(link) = session.link.as_mut() {
            link.exchange = if is_done { Exchange::Done } else { Exchange::Running(last) };
            if let Some(key) = longest_key {
                link.longest = (longest, key);
            }
        }
        if !is_taken {
            return self.overflow_unless(false, slot, out);
        }
        if is_done {
            if !is_master {
                self.reply(slot, &[b"OVERHEAD L 0"], out);
            }
            self.reply(slot, &[b"PING"], out);
        }
    }

    /// An entry of another server's cache.
    pub(super) fn sync_key(
        &mut self,
        slot: usize,
        theirs: &KeySync<'_>,
        line: &[u8],
        out: &mut impl Output<K>,
    ) {
        let session = self.sessions.get(slot);
        let offset = session.clock_offset;
        let Ok(merged) = self.store.merge(theirs, offset) else {
            self.report(slot, |cid| Event::CacheFull { cid }, out);
            if !self.sessions.has(slot, Role::Link) {
                self.reply(slot, &[b"OVERHEAD E cache_full"], out);
            }
            return;
        };
        if let Some(link) = session.link.as_ref().filter(|_| session.is_master)
            && merged != Merged::Older
        {
            self.store.mark_shared(theirs.key, link.number);
        }
        let mut translated = Vec::new();
        let line = if offset == 0.0 {
            line
        } else {
            // To others this server is the sender: they will add the offset of its clock.
            let access_time = if theirs.access_time == 0.0 { 0.0 } else { theirs.access_time + offset };
            let mode = if theirs.deleted { 'D' } else { 'U' };
            write_times(&mut translated, theirs.cache_time + offset, access_time, mode);
            translated.extend_from_slice(theirs.key);
            translated.push(b'=');
            translated.extend_from_slice(theirs.value);
            &translated
        };
        self.forward_change(slot, &Change { key: theirs.key, line: &[line], signal: None }, out);
    }

    fn tell_time(&mut self, slot: usize, now: Now, out: &mut impl Output<K>) {
        let time = now.unix.to_string();
        self.reply(slot, &[b"OVERHEAD T ", time.as_bytes()], out);
    }

    /// What servers of this kind tell each other, beyond the protocol: `OVERHEAD M interclacks …`, which means nothing to
    /// others.
    pub(super) fn informed(&mut self, slot: usize, value: &[u8], out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        let Some(text) = value.strip_prefix(b"interclacks ").filter(|_| session.link.is_some()) else {
            return;
        };
        if let Some(path) = text.strip_prefix(b"path ").filter(|_| session.is_master) {
            match Path::parse(path) {
                Some(path) if !path.contains(self.settings.node) => {
                    session.node = path.first();
                    self.set_ancestors(path, out);
                }
                _ => self.refuse_loop(slot, out),
            }
        } else if let Some(offset) = text.strip_prefix(b"clock ").filter(|_| !session.is_master) {
            let offset = std::str::from_utf8(offset).ok().and_then(|text| text.parse::<f64>().ok());
            if let Some(offset) = offset.filter(|offset| offset.is_finite()) {
                session.clock_offset = -offset;
            }
        }
    }

    /// The servers above this one are others now: those below it are told.
    fn set_ancestors(&mut self, ancestors: Path, out: &mut impl Output<K>) {
        if self.ancestors != ancestors {
            self.ancestors = ancestors;
            for slot in self.sessions.group(Role::Link).slots().to_vec() {
                self.tell_path(slot, out);
            }
        }
    }

    /// Tells a slave of this kind which servers are above it, so that it finds out if it is one of them.
    fn tell_path(&mut self, slot: usize, out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        let is_kin = session.node.is_some() && self.settings.node != NodeId::default();
        if is_kin && !session.is_master {
            let path = self.ancestors.below(self.settings.node);
            self.reply(slot, &[b"OVERHEAD M interclacks path ", path.as_bytes()], out);
        }
    }

    fn refuse_loop(&mut self, slot: usize, out: &mut impl Output<K>) {
        self.counters.loops += 1;
        let session = self.sessions.get(slot);
        out.log(&Event::Loop { cid: &session.cid, name: &session.info, is_master: session.is_master });
        let text: &[u8] = if session.is_master {
            b" your slave is above you in the tree, or the tree is too deep"
        } else {
            b" your master is below you in the tree, or is yourself"
        };
        self.reply(slot, &[b"OVERHEAD E ", LOOP, text], out);
        self.close(slot, Closing::Flushed, out);
    }
}

/// An entry as linked servers get it. Times have all their digits: both servers must have the same.
fn write_entry(line: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    let (access_time, mode, value) =
        if entry.deleted { (0.0, 'D', &b"REMOVED"[..]) } else { (entry.access_time, 'U', &*entry.value) };
    write_times(line, entry.cache_time, access_time, mode);
    line.extend_from_slice(key);
    line.push(b'=');
    line.extend_from_slice(value);
}

fn write_times(line: &mut Vec<u8>, cache_time: f64, access_time: f64, mode: char) {
    // Writing to memory does not fail.
    let _ = write!(line, "KEYSYNC {cache_time} {access_time} {mode} ");
}

/// The offset of a clock that shows `theirs`: a multiple of 2^-20 s, about a microsecond. Adding it to a time of this century
/// and taking it off again gives the same time, so that servers do not differ by roundings.
///
/// The line with their time took some time itself. Where it can have taken so long that both clocks show the same, they are
/// taken to do so: then what is newer is decided by clocks that were set well, and not by how busy the servers are.
pub(super) fn clock_offset<K>(session: &Session<K>, now: Now, theirs: f64) -> Option<f64> {
    const PARTS: f64 = 1_048_576.0;
    let offset = now.unix - theirs;
    if let Some(link) = &session.link
        && link.asked <= theirs + SAME_TURN
        && (-SAME_TURN..SAME_CLOCK).contains(&offset)
    {
        return Some(0.0);
    }
    let offset = (offset * PARTS).round() / PARTS;
    offset.is_finite().then_some(offset)
}
