//! A turn, as in `turn.rs`.

use super::World;
use super::timers::{Timer, handle};
use crate::communicator::core::Who;
use crate::communicator::error::Closed;
use crate::communicator::key::{Key, TimerId};
use crate::communicator::permanent::Lost;
use crate::communicator::slot::{Phase, Ready};

impl World {
    pub(super) fn make_turn(&mut self) {
        let now = match self.core.next_deadline() {
            Some(at) if !self.core.has_ready() && self.random.percent(50) => at.max(self.now),
            _ => self.now + self.random.nanos(),
        };
        self.make_turn_at(now);
    }

    pub(super) fn make_turn_at(&mut self, now: u64) {
        self.say(|| "turn".to_owned());
        self.expire(now);
        self.poll();
        if self.random.percent(30) {
            self.expire_dates();
        }
        if !self.quiet && self.random.percent(10) {
            self.act(None); // what another thread has posted
        }
        let mut turn = Vec::new();
        self.core.take_ready(&mut turn);
        self.check_order(&turn);
        self.outside.turn = turn.iter().rev().map(|(_, who)| *who).collect();
        while let Some(who) = self.outside.turn.pop() {
            match who {
                Who::Connection(key) => self.dispatch(key),
                Who::Timer(id) => self.fire(id),
            }
            self.check();
        }
        self.core.take_dirty(&mut self.outside.dirty);
        self.outside.dirty.reverse();
        while let Some(key) = self.outside.dirty.pop() {
            self.write(key);
        }
        self.check();
    }

    /// All that are ready, each once, by priority and then by how long they have been ready.
    pub(super) fn check_order(&mut self, turn: &[(u8, Who)]) {
        let since = |who: Who| self.since.iter().find(|(other, _)| *other == who).map(|(_, since)| *since);
        let (turn, gone): (Vec<_>, Vec<_>) = turn.iter().partition(|(_, who)| since(*who).is_some());
        for (_, who) in gone {
            let found = match who {
                Who::Connection(key) => self.core.slot(key).is_some(),
                Who::Timer(id) => self.timers.iter().any(|timer| timer.id == id && timer.over),
            };
            assert!(!found, "{who:?} is not ready");
        }
        assert_eq!(turn.len(), self.since.len(), "{turn:?} of {:?}", self.since);
        let order: Vec<_> =
            turn.iter().map(|&(priority, who)| (priority, since(who).expect("ready"))).collect();
        assert!(order.is_sorted(), "out of order: {turn:?} of {:?}", self.since);
        for (n, &(priority, who)) in turn.iter().enumerate() {
            assert!(turn[..n].iter().all(|(_, other)| *other != who), "{who:?} twice");
            let expected = match who {
                Who::Connection(key) => {
                    let mut peers = self.live.iter().map(|&id| &self.peers[id]);
                    peers.find(|peer| peer.key == key).map(|peer| peer.priority)
                }
                Who::Timer(id) => self.timers.iter().find(|timer| timer.id == id).map(|timer| timer.priority),
            };
            assert_eq!(Some(priority), expected, "{who:?}");
        }
    }

    pub(super) fn fire(&mut self, id: TimerId) {
        self.forget_ready(Who::Timer(id));
        let call = self.core.begin_timer(id);
        let Some(n) = self.timers.iter().position(|timer| timer.id == id) else {
            assert!(call.is_none(), "{id:?} was cancelled");
            return;
        };
        if !self.timers[n].over {
            assert!(call.is_none(), "{id:?} was set anew");
            return;
        }
        let call = call.expect("a timer that is due");
        assert_eq!(call.0, self.timers[n].tag as usize);
        self.timers[n].running = true;
        self.call_back(None);
        let given_back = self.core.end_timer(id, call).is_some();
        let still = self.timers.iter().position(|timer| timer.id == id);
        match still {
            Some(n) if self.timers[n].period.is_some() => {
                assert!(!given_back);
                (self.timers[n].over, self.timers[n].running) = (false, false);
            }
            Some(n) => {
                assert!(given_back);
                self.timers.remove(n);
                self.stale.push(id);
            }
            None => assert!(given_back),
        }
    }

    /// A callback of the program, which may do anything.
    pub(super) fn call_back(&mut self, me: Option<usize>) {
        self.progress += 1;
        if !self.quiet {
            for _ in 0..self.random.below(3) {
                self.act(me);
            }
        }
    }

    /// A callback of a connection: it must be there and switched on.
    pub(super) fn call(&mut self, id: usize) {
        let peer = &self.peers[id];
        assert!(peer.named && peer.enabled, "{} is called", peer.key);
        self.call_back(Some(id));
    }

    pub(super) fn dispatch(&mut self, key: Key) {
        self.forget_ready(Who::Connection(key));
        let Some(begun) = self.core.begin(key) else { return };
        let id = begun.driver.0;
        self.running = Some(id);
        assert_eq!(self.peers[id].key, key);
        assert!(self.peers[id].alive && (self.peers[id].enabled || !self.peers[id].named));
        self.say(|| format!("call {key} {:?} {:?}", begun.phase, begun.ready));
        if begun.attempt.is_some() {
            self.peers[id].drop_aged(self.now);
        }
        if begun.ready.has(Ready::TIMERS) && self.peers[id].named {
            let due = std::mem::take(&mut self.peers[id].due);
            assert!(due.iter().map(handle).eq(begun.due.iter().copied()), "{key}: {due:?} {:?}", begun.due);
        }
        self.check();
        let mut over = false;
        match begun.phase {
            Phase::Waiting if begun.ready.has(Ready::LOST) => {
                assert!(begun.ready.only(Ready::LATER).is_empty())
            }
            Phase::Waiting | Phase::Connecting | Phase::Open if !self.quiet && self.random.percent(1) => {
                over = true
            } // it panics
            Phase::Waiting | Phase::Connecting | Phase::Open => match self.ready(id, &begun) {
                Ok(true) => self.core.make_ready(key, Ready::INPUT),
                Ok(false) => {}
                Err(why) => {
                    if self.peers[id].named {
                        self.close(id, why);
                    }
                }
            },
            Phase::Ending => {}
            Phase::Lingering => {
                over = self.linger(id, begun.finished) || begun.ready.has(Ready::ABANDONED);
            }
        }
        self.check();
        if !over && let Some(lost) = self.core.take_lost(key) {
            self.lost(id, lost);
        }
        if !over && self.core.take_end(key).is_some() {
            assert!(!std::mem::replace(&mut self.peers[id].closed, true), "{key} was closed twice");
            self.drop_timers_of(id);
            self.call_back(Some(id));
            self.core.make_dirty(key);
            over = self.core.take_write_error(key).is_some();
        }
        if over && self.peers[id].alive {
            assert!(self.core.remove(key).is_none(), "its driver is out");
            self.gone(id);
        }
        if !begun.due.is_empty() {
            self.core.forget_timers(key, &begun.due);
            let taken = |timer: &Timer| {
                timer.peer == Some(id) && timer.over && begun.due.contains(&handle(&timer.id))
            };
            let kept = self.peers[id].due.clone();
            if self.peers[id].permanent.is_some() {
                let set = self.timers.iter().filter(|timer| taken(timer)).map(|timer| timer.id);
                let mut set: Vec<TimerId> = set.filter(|timer| !kept.contains(timer)).collect();
                set.sort_by_key(|timer| begun.due.iter().position(|due| *due == handle(timer)));
                self.peers[id].due.splice(..0, set);
            } else {
                self.timers.retain(|timer| !taken(timer) || kept.contains(&timer.id));
            }
        }
        let wants_write = self.set_interest(id, begun.wants_write);
        let ended = self.core.end(key, begun.driver, wants_write);
        self.running = None;
        assert_eq!(ended.map(|body| body.0), (!self.peers[id].alive).then_some(id), "{key}");
    }

    /// A permanent connection is told that it was lost, or could not be made.
    fn lost(&mut self, id: usize, Lost { why, established, last }: Lost) {
        let peer = &mut self.peers[id];
        let key = peer.key;
        assert!(peer.named && peer.enabled, "{key} is told of its loss");
        assert_eq!(peer.open && peer.established, established, "{key}: {why}");
        peer.lost();
        self.say(|| format!("lost {key}: {why}, for good: {last}"));
        self.call_back(Some(id));
        if last || (!self.quiet && self.random.percent(2)) {
            let waiting = self.core.slot(key).is_some_and(|slot| slot.phase == Phase::Waiting);
            let ended = self.core.close_for_good(key, Closed::Handler("the handler was told to fail".into()));
            assert_eq!(ended.is_ok(), self.peers[id].named, "{key}");
            if ended.is_ok() {
                self.ended(id, waiting);
            }
        }
        self.check();
    }

    pub(super) fn set_interest(&mut self, id: usize, registered: bool) -> bool {
        let peer = &mut self.peers[id];
        let Some(slot) = self.core.slot(peer.key) else { return registered };
        let wanted = slot.blocked || !peer.established && !peer.listener && peer.has_transport();
        if wanted != registered {
            (peer.watched, peer.news) = (wanted, true);
        }
        wanted
    }
}
