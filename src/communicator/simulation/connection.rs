//! What a connection does in its turn, as in `stream.rs` and `listener.rs`, and how it is written for.

use super::World;
use super::peer::{Body, Wire};
use super::program::MOST_PEERS;
use super::random::PATTERN;
use super::timers::{Timer, handle};
use crate::communicator::core::{Begun, Writing, Wrote};
use crate::communicator::error::Closed;
use crate::communicator::key::{Key, TimerId};
use crate::communicator::output::{OutQueue, Written};
use crate::communicator::slot::{Phase, Ready};
use std::io::{self, ErrorKind};
use std::mem::replace;

/// As in `stream.rs`.
const PIPE_READ: usize = 4096;

impl World {
    /// Whether it has more to do.
    pub(super) fn ready(&mut self, id: usize, begun: &Begun<Body>) -> Result<bool, Closed> {
        let key = self.peers[id].key;
        if self.peers[id].listener {
            return Ok(self.accept(id));
        }
        let mut reading = begun.ready.has(Ready::INPUT) || begun.ready.has(Ready::ADDED);
        if let Some(attempt) = begun.attempt {
            self.connect(id, attempt);
        }
        if (begun.attempt.is_some() || begun.ready.has(Ready::ARRIVED))
            && let Some(arrived) = self.core.take_arrived(key)
        {
            let made = *arrived.downcast::<bool>().expect("what was made");
            if !made {
                return Err(Closed::Connect(ErrorKind::NotFound.into()));
            }
            self.made(id);
        }
        if self.peers[id].permanent.as_ref().is_some_and(|permanent| !permanent.made) {
            self.later(id, begun);
            return Ok(false);
        }
        if let Some(upgrade) = self.core.take_upgrade(key) {
            let connecting = self.random.percent(50);
            self.peers[id].upgraded(upgrade, connecting);
            self.check();
            if !self.quiet && self.random.percent(10) {
                self.core.discard_output(key);
                self.peers[id].drop_queued();
                return Err(Closed::Io(ErrorKind::InvalidData.into()));
            }
        }
        if !self.peers[id].open || !self.peers[id].established {
            let peer = &mut self.peers[id];
            if peer.refused && !peer.established {
                return Err(Closed::Connect(ErrorKind::ConnectionRefused.into()));
            }
            if peer.connecting {
                self.later(id, begun);
                return Ok(false);
            }
            peer.drop_aged(self.core.now);
            (peer.established, peer.open) = (true, true);
            reading = true;
            (peer.read_since, peer.write_since, peer.idle_since) = (self.now, self.now, self.now);
            assert!(self.core.established(key), "{key} is not being established");
            self.check();
            self.call(id);
        }
        let mut more = false;
        if reading {
            more = if self.core.may_read(key) { self.read(id)? } else { true };
        }
        self.later(id, begun);
        if !self.quiet && self.random.percent(2) {
            return Err(Closed::Handler("the handler was told to fail".into()));
        }
        Ok(more)
    }

    /// What a connector does.
    fn connect(&mut self, id: usize, (failures, attempt): (u64, u64)) {
        let peer = &mut self.peers[id];
        let permanent = peer.permanent.as_mut().expect("a permanent connection");
        assert!(!permanent.made && failures < attempt, "{}: attempt {attempt}", peer.key);
        permanent.attempt = Some(attempt);
        self.check();
        if self.random.percent(60) {
            self.peers[id].permanent.as_mut().expect("it is still").attempt = None;
            self.arrive(id, attempt);
        }
        if !self.quiet && self.random.percent(5) {
            self.reconnect(id); // it gives up itself, whatever it has brought
        }
    }

    /// What has come of an attempt is told, maybe too late.
    pub(super) fn arrive(&mut self, id: usize, attempt: u64) {
        let (key, good) = (self.peers[id].key, self.random.percent(80));
        self.say(|| format!("{key}: attempt {attempt} brings {good}"));
        let wanted = self.core.is_attempting(key, attempt);
        assert_eq!(self.core.arrive(key, attempt, Box::new(good)).is_ok(), wanted, "{key}");
        assert!(!wanted || self.core.arrive(key, attempt, Box::new(good)).is_err(), "{key}: twice");
        self.check();
    }

    /// A permanent connection has a new transport.
    fn made(&mut self, id: usize) {
        let (connecting, room) = (self.random.percent(50), self.random.below(1000));
        let peer = &mut self.peers[id];
        (peer.connecting, peer.room, peer.news) = (connecting, room, true);
        peer.permanent.as_mut().expect("a permanent connection").made = true;
        self.core.make_ready(peer.key, Ready::ADDED);
        self.check();
    }

    pub(super) fn read(&mut self, id: usize) -> Result<bool, Closed> {
        let key = self.peers[id].key;
        if self.peers[id].told {
            self.pipe_end(id);
            return if self.core.pipe_is_over(key) { Err(Closed::Eof) } else { self.write_error(key) };
        }
        assert_eq!(self.core.is_piped(key), self.peers[id].pipe_to.is_some(), "{key}");
        if self.peers[id].pipe_to.is_some() {
            return self.carry(id);
        }
        let mut budget = 1 + self.random.below(4);
        while self.peers[id].input > 0 {
            assert!(self.peers[id].reading);
            if budget == 0 {
                return Ok(true);
            }
            budget -= 1;
            let peer = &mut self.peers[id];
            let bytes = 1 + self.random.below(peer.input);
            peer.input -= bytes;
            (peer.read_since, peer.idle_since) = (self.now, self.now);
            self.core.received(key, bytes, 1);
            self.call(id);
            if self.core.interrupted() {
                self.write_own(id);
                self.check();
                if !self.core.may_read(key) || self.core.is_piped(key) {
                    return Ok(true);
                }
            }
        }
        if self.peers[id].ended && !replace(&mut self.peers[id].told, true) {
            self.call(id);
            if self.random.percent(70) && self.peers[id].named {
                self.close(id, Closed::Eof);
            }
        }
        self.write_error(key)
    }

    fn write_error(&mut self, key: Key) -> Result<bool, Closed> {
        match self.core.take_write_error(key) {
            Some(error) => Err(Closed::Io(error)),
            None => Ok(false),
        }
    }

    /// Reads, and passes on where it is piped.
    fn carry(&mut self, id: usize) -> Result<bool, Closed> {
        let key = self.peers[id].key;
        let mut budget = 1 + self.random.below(4);
        loop {
            if !self.core.may_read(key) {
                return Ok(true);
            }
            if self.peers[id].input == 0 {
                break;
            }
            if budget == 0 {
                return Ok(true);
            }
            budget -= 1;
            let room = self.core.pipe_room(key).max(PIPE_READ);
            let peer = &mut self.peers[id];
            let bytes = 1 + self.random.below(peer.input.min(room).min(PATTERN));
            peer.input -= bytes;
            (peer.read_since, peer.idle_since) = (self.now, self.now);
            self.progress += 1;
            self.core.received(key, bytes, 0);
            self.pass_on(id, bytes);
        }
        if !self.peers[id].ended {
            return self.write_error(key);
        }
        self.peers[id].told = true;
        self.pipe_end(id);
        assert_eq!(self.core.is_piped_to(key), self.peers[id].pipe_from.is_some(), "{key}");
        if self.core.pipe_is_over(key) {
            return Err(Closed::Eof);
        }
        if self.peers[id].pipe_from.is_none() {
            self.call(id);
            if self.random.percent(70) && self.peers[id].named {
                self.close(id, Closed::Eof);
            }
        }
        self.write_error(key)
    }

    pub(super) fn later(&mut self, id: usize, begun: &Begun<Body>) {
        let key = self.peers[id].key;
        let mut left = begun.ready.only(Ready::LATER);
        for (bit, what) in begun.ready.timeouts() {
            if !self.core.may_call(key) {
                break;
            }
            left = left.without(bit);
            if self.core.still_over(key, what) {
                self.call(id);
            }
        }
        let mut due = &begun.due[..];
        while let [timer, rest @ ..] = due
            && self.core.may_call(key)
        {
            due = rest;
            let own = |other: &Timer| other.peer == Some(id) && other.over && handle(&other.id) == *timer;
            let set = self.timers.iter().position(own);
            let taken = self.core.take_timer(key, *timer);
            assert_eq!(taken, set.map(|n| self.timers[n].tag), "{key}: {timer:?}");
            if let Some(n) = set {
                self.stale.push(self.timers.remove(n).id);
                self.call(id);
            }
        }
        if left.has(Ready::DRAINED) && self.core.may_call(key) {
            left = left.without(Ready::DRAINED);
            self.core.tells_drained(key);
            // It may have been full again, and low again, earlier in this call.
            let again = self.core.slot(key).is_some_and(|slot| slot.ready.has(Ready::DRAINED));
            assert!(replace(&mut self.peers[id].drained, again), "{key} was never full");
            self.call(id);
        }
        if due.is_empty() {
            left = left.without(Ready::TIMERS);
        }
        if !left.is_empty() {
            self.core.put_back(key, left, due);
            if self.peers[id].named {
                let back = self.timers.iter().filter(|timer| timer.peer == Some(id) && timer.over);
                let back: Vec<TimerId> = due
                    .iter()
                    .filter_map(|due| back.clone().map(|timer| timer.id).find(|id| handle(id) == *due))
                    .collect();
                self.peers[id].due.splice(..0, back);
            }
        }
        self.check();
    }

    pub(super) fn accept(&mut self, id: usize) -> bool {
        let key = self.peers[id].key;
        let mut budget = 2;
        while self.peers[id].input > 0 {
            if !self.core.may_read(key) {
                return true;
            }
            if !self.core.may_accept(key) {
                return false;
            }
            if budget == 0 {
                return true;
            }
            budget -= 1;
            self.peers[id].input -= 1;
            self.core.accepted(key);
            let now = self.now;
            self.peers[id].accepts.take(now, 1);
            if self.live.len() < MOST_PEERS + 3 {
                self.insert(false, Some(id));
            }
            self.call_back(Some(id));
        }
        false
    }

    /// Throws input away. Whether nothing keeps it any longer.
    pub(super) fn linger(&mut self, id: usize, written: bool) -> bool {
        let peer = &mut self.peers[id];
        let mut more = false;
        if peer.established && !peer.gone_out {
            let bytes = peer.input.min(500);
            peer.input -= bytes;
            self.progress += bytes as u64;
            more = peer.input > 0;
            peer.gone_out = !more && peer.ended;
        }
        if written && (!peer.established || peer.gone_out || !peer.resets) {
            return true;
        }
        if more {
            self.core.make_ready(peer.key, Ready::INPUT);
        }
        false
    }

    pub(super) fn write_own(&mut self, id: usize) {
        let key = self.peers[id].key;
        let Some((mut out, most)) = self.core.begin_own_write(key) else { return };
        self.own_write = true;
        let greeting = replace(&mut self.greeting, false);
        let result = self.write_out(id, &mut out, most);
        self.greeting = greeting;
        self.own_write = false;
        self.wrote(id, &result);
        self.core.end_own_write(key, out, result);
    }

    pub(super) fn write_out(&mut self, id: usize, out: &mut OutQueue, budget: usize) -> io::Result<Written> {
        out.write_to(&mut Wire { world: self, id }, budget)
    }

    /// The model's part of a write.
    pub(super) fn wrote(&mut self, id: usize, result: &io::Result<Written>) {
        let peer = &mut self.peers[id];
        match result {
            Ok(written) if written.bytes > 0 => (peer.write_since, peer.idle_since) = (self.now, self.now),
            Ok(_) => {}
            Err(_) if peer.permanent.is_some() => {}
            Err(_) => {
                peer.failed = true;
                peer.drop_queued();
            }
        }
    }

    pub(super) fn write(&mut self, key: Key) {
        let Some(Writing { driver, mut out, greeting, phase, wants_write, finish, most }) =
            self.core.begin_write(key)
        else {
            return;
        };
        let id = driver.0;
        self.say(|| format!("write {key} {phase:?}"));
        self.outside.writing.push(key);
        self.check();
        let budget = (1 + self.random.below(2 * PATTERN)).min(most);
        let outer = replace(&mut self.greeting, greeting);
        let mut result = if self.peers[id].listener {
            Ok(Written::default())
        } else if self.peers[id].established {
            self.write_out(id, &mut out, budget)
        } else {
            Err(ErrorKind::NotConnected.into())
        };
        self.greeting = outer;
        let done = out.is_empty() && matches!(&result, Ok(written) if !written.blocked);
        let finished = done && finish;
        if finished && self.peers[id].broken && self.random.percent(50) {
            result = Err(ErrorKind::BrokenPipe.into());
        }
        let lingering = phase == Phase::Lingering;
        let over = lingering && (self.linger(id, done) || result.is_err());
        let waits = lingering && done && !over;
        let blocked = matches!(&result, Ok(written) if written.blocked);
        let peer = &mut self.peers[id];
        let wanted = blocked || (!peer.established && !peer.listener && peer.has_transport());
        if wanted != wants_write && !over && peer.has_transport() {
            (peer.watched, peer.news) = (wanted, true);
        }
        self.outside.writing.retain(|other| *other != key);
        self.say(|| format!("wrote {key} {result:?}, wants to write {wanted}, was {wants_write}"));
        self.wrote(id, &result);
        let wrote = Wrote { result, greeting, finished, wants_write: wanted };
        if let Some(driver) = self.core.end_write(key, driver, out, wrote) {
            assert!(driver.0 == id && !self.peers[id].alive);
        } else if finished && phase == Phase::Open {
            self.core.make_ready(key, Ready::INPUT);
        } else if over {
            assert_eq!(self.core.remove(key).map(|body| body.0), Some(id));
            self.gone(id);
        } else if waits {
            self.core.wait_for_peer(key);
        }
        self.check();
    }
}
