//! What the program does with its connections, from outside or from inside a callback.

use super::World;
use super::peer::{Allowance, Body, Item, Peer, Permanent};
use super::random::{PATTERN, pattern};
use super::timers::Timer;
use crate::communicator::DEFAULT_PRIORITY;
use crate::communicator::core::{Queued, Who};
use crate::communicator::error::{Closed, PipeError, SendError, UpgradeError};
use crate::communicator::output::SHARE_FROM;
use crate::communicator::pauses::Pauses;
use crate::communicator::permanent::{Away, Keep, Reconnect};
use crate::communicator::rate::{Rate, Rates};
use crate::communicator::settings::{Limits, Timeouts};
use crate::communicator::slot::{Phase, Ready};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// So many connections the program adds; listeners may accept a few more.
pub(super) const MOST_PEERS: usize = 9;

impl World {
    /// The program does something, from outside, or from inside the callback of `me`.
    pub(super) fn act(&mut self, me: Option<usize>) {
        let target = if self.random.percent(50) { me } else { None };
        let target = target.or_else(|| self.any_peer());
        let what = self.random.below(49);
        match (what, target) {
            (0..4, _) => self.add(what == 0),
            (34, Some(id)) => self.greet(id),
            (35 | 36, Some(id)) => self.hold(id),
            (37, Some(id)) => self.reconnect(id),
            (38, Some(id)) if self.random.percent(30) => self.make_last(id),
            (39, Some(id)) => {
                let length = 1 + self.random.below(300);
                let keep = if self.random.percent(50) { Keep::Yes } else { Keep::No };
                self.send_kept(id, length, false, Some(keep));
            }
            (4..7, _) => self.add_call(),
            (7, _) => self.add_date(),
            (8 | 9, _) => self.cancel_some(),
            (10, Some(id)) => self.remove(id),
            (11, Some(id)) => self.close(id, Closed::Local),
            (12..14, Some(id)) => self.switch(id, false),
            (14..16, Some(id)) => self.switch(id, true),
            (16, Some(id)) => self.prioritise(id),
            (17..22, Some(id)) => {
                let length = if self.random.percent(50) { 100 } else { 1 + self.random.below(300) };
                self.send(id, length, false);
            }
            (22, Some(id)) => {
                let length = 1 + self.random.below(PATTERN);
                self.send(id, length, false);
            }
            (23, _) => {
                let length = SHARE_FROM / 2 + self.random.below(SHARE_FROM);
                for id in self.live.clone() {
                    self.send(id, length, true);
                }
            }
            (24, Some(id)) => self.finish(id),
            (25..28, Some(id)) => self.add_tagged(id),
            (28, Some(id)) => self.set_timeouts(id),
            (48, Some(id)) => self.shorten_linger(id),
            (29, Some(id)) => self.set_deadline(id),
            (30, Some(id)) => self.set_limits(id),
            (31, Some(id)) => self.set_most_children(id),
            (32, _) => self.prioritise_timer(),
            (33, Some(id)) => self.upgrade(id),
            (40 | 41, Some(id)) => self.set_rates(id),
            (42 | 43, _) => self.rearm_some(),
            (44, Some(id)) => self.add_tagged_date(id),
            (45..48, Some(id)) => {
                let other = if self.random.percent(10) { Some(id) } else { self.any_peer() };
                other.into_iter().for_each(|other| self.pipe(id, other));
            }
            _ => {}
        }
    }

    pub(super) fn add(&mut self, listener: bool) {
        let listeners = self.live.iter().filter(|&&id| self.peers[id].listener).count();
        if self.live.len() >= MOST_PEERS || (listener && listeners > 1) {
            return;
        }
        self.insert(listener, None);
    }

    pub(super) fn insert(&mut self, listener: bool, parent: Option<usize>) -> usize {
        let phase = if listener { Phase::Open } else { Phase::Connecting };
        let permanent = if !listener && parent.is_none() && self.random.percent(40) {
            Some(self.permanent())
        } else {
            None
        };
        let key = match &permanent {
            Some((reconnect, _)) => {
                let random = self.random.next();
                self.core.insert_permanent("simulated", reconnect.clone(), random, self.core.now)
            }
            None => self.core.insert("simulated", phase, self.now),
        };
        let lasting = permanent.is_some();
        let connecting = !listener && parent.is_none() && !lasting && self.random.percent(50);
        self.say(|| format!("add {key} {phase:?} {connecting}"));
        if listener {
            self.core.set_listens(key);
        }
        self.outside.unplaced.push(key);
        let id = self.peers.len();
        self.peers.push(Peer {
            key,
            listener,
            alive: true,
            named: true,
            closed: false,
            enabled: true,
            reading: true,
            priority: DEFAULT_PRIORITY,
            timeouts: Timeouts::default(),
            connecting,
            refused: false,
            input: 0,
            ended: false,
            resets: self.random.percent(50),
            room: self.random.below(1000),
            broken: false,
            news: true,
            watched: !listener && parent.is_none() && !lasting,
            established: parent.is_some(),
            open: listener,
            told: false,
            gone_out: false,
            permanent: permanent.map(|(_, permanent)| permanent),
            queued: VecDeque::new(),
            queued_len: 0,
            inside: None,
            finishing: false,
            failed: false,
            streams: false,
            pipe_to: None,
            pipe_from: None,
            pipe_done: false,
            drained: false,
            writes: Allowance::default(),
            accepts: Allowance::default(),
            read_since: self.now,
            write_since: self.now,
            idle_since: self.now,
            due: Vec::new(),
        });
        self.live.push(id);
        self.check();
        if self.random.percent(5) {
            self.act(Some(id)); // while it is registered
        }
        self.outside.unplaced.retain(|other| *other != key);
        let wants_write = self.peers[id].watched;
        let refused = self.core.place(key, Body(id), wants_write);
        assert_eq!(refused.map(|body| body.0), (!self.peers[id].alive).then_some(id));
        if !listener && !lasting {
            self.core.set_stream(key);
            self.peers[id].streams = true;
        }
        if let Some(parent) = parent {
            self.core.set_parent(key, self.peers[parent].key);
            if self.peers[parent].named && self.peers[id].alive {
                self.peers[id].timeouts = self.peers[parent].timeouts.clone();
                let rates = self.core.slot(key).map(|slot| slot.settings.rates.clone()).unwrap_or_default();
                self.peers[id].writes = Allowance::new(rates.output, self.now);
            }
        }
        self.check();
        id
    }

    pub(super) fn remove(&mut self, id: usize) {
        let key = self.peers[id].key;
        self.say(|| format!("remove {key}"));
        let out = self.running == Some(id)
            || self.outside.writing.contains(&key)
            || self.outside.unplaced.contains(&key);
        let removed = self.core.remove(key);
        let expected = (self.peers[id].alive && !out).then_some(id);
        assert_eq!(removed.map(|body| body.0), expected, "remove {key}");
        self.gone(id);
        self.check();
    }

    /// The model's part of a removal.
    pub(super) fn gone(&mut self, id: usize) {
        let peer = &mut self.peers[id];
        (peer.alive, peer.named) = (false, false);
        peer.permanent = None;
        peer.drop_queued();
        let who = Who::Connection(peer.key);
        self.forget_ready(who);
        self.drop_timers_of(id);
        self.live.retain(|&other| other != id);
        self.unpipe(id);
    }

    pub(super) fn drop_timers_of(&mut self, id: usize) {
        let (gone, left) =
            std::mem::take(&mut self.timers).into_iter().partition(|timer| timer.peer == Some(id));
        self.timers = left;
        self.stale.extend(gone.into_iter().map(|timer: Timer| timer.id));
        self.peers[id].due.clear();
    }

    pub(super) fn close(&mut self, id: usize, why: Closed) {
        let key = self.peers[id].key;
        self.say(|| format!("close {key}: {why}"));
        let (local, named) = (matches!(why, Closed::Local), self.peers[id].named);
        let lasting = self.peers[id].permanent.is_some();
        let slot = self.core.slot(key).filter(|_| named && lasting);
        let (waiting, finished) =
            slot.map_or((false, false), |slot| (slot.phase == Phase::Waiting, slot.finished));
        if named && lasting && !local && !finished {
            assert_eq!(self.core.close(key, why).is_ok(), !waiting, "lose {key}");
            return self.check();
        }
        let lost = waiting || slot.is_some_and(|slot| slot.write_error.is_some());
        assert_eq!(self.core.close(key, why).is_ok(), named, "close {key}");
        self.ended(id, lost);
    }

    /// The model's part of an end for good.
    pub(super) fn ended(&mut self, id: usize, lost: bool) {
        self.end_model(id, lost);
        self.check();
    }

    pub(super) fn end_model(&mut self, id: usize, lost: bool) {
        if self.peers[id].named {
            self.peers[id].make_usual(lost);
        }
        self.peers[id].named = false;
        if let Some(inside) = self.peers[id].inside.take() {
            self.peers[id].drop_last(inside);
        }
        self.unpipe(id);
    }

    /// One that has ended takes those with it that have not got, or not said, everything.
    pub(super) fn unpipe(&mut self, id: usize) {
        let peer = &mut self.peers[id];
        let (to, from, done) = (peer.pipe_to.take(), peer.pipe_from.take(), peer.pipe_done);
        if let Some(to) = to.filter(|&to| to != id) {
            self.peers[to].pipe_from = None;
            if !done && self.peers[to].named {
                self.end_model(to, false);
            }
        }
        if let Some(from) = from.filter(|&from| from != id) {
            self.peers[from].pipe_to = None;
            if !self.peers[from].pipe_done && self.peers[from].named {
                self.end_model(from, false);
            }
        }
    }

    pub(super) fn pipe(&mut self, from: usize, to: usize) {
        let (source, target) = (&self.peers[from], &self.peers[to]);
        let (key, to_key) = (source.key, target.key);
        let broken = self.core.slot(to_key).is_some_and(|slot| slot.write_error.is_some());
        let expected = if !target.named || target.finishing || broken || !source.named {
            Err(PipeError::Gone)
        } else if !source.streams || !target.streams {
            Err(PipeError::NoStream)
        } else if source.pipe_to.is_some() || target.pipe_from.is_some() {
            Err(PipeError::Busy)
        } else {
            Ok(())
        };
        self.say(|| format!("pipe {key} to {to_key}: {expected:?}"));
        assert_eq!(self.core.pipe_to(key, to_key), expected, "pipe {key} to {to_key}");
        if expected.is_ok() {
            self.peers[from].pipe_to = Some(to);
            self.peers[to].pipe_from = Some(from);
        }
        self.check();
    }

    /// What came at one goes out at the other.
    pub(super) fn pass_on(&mut self, id: usize, length: usize) {
        let to = self.peers[id].pipe_to.expect("it is piped");
        let (key, to_key, now) = (self.peers[id].key, self.peers[to].key, self.core.now);
        let start = self.random.below(PATTERN - length + 1);
        let broken = self.core.slot(to_key).is_some_and(|slot| slot.write_error.is_some());
        let passed = self.core.pipe(key, &pattern()[start..start + length]);
        self.say(|| format!("{length} from {key} to {to_key}: {passed:?}"));
        if broken {
            assert!(passed.is_none(), "{to_key} can't be written to");
            return self.check();
        }
        if self.peers[to].finishing {
            assert!(passed.is_none(), "{to_key} has ended its direction");
            return self.ended(id, false);
        }
        let (passed_to, queued) = passed.expect("it is passed on");
        assert_eq!(passed_to, to_key);
        let peer = &mut self.peers[to];
        peer.queued.push_back(Item { start, end: start + length, sent: 0, queued: now, kept: true });
        peer.queued_len += length;
        peer.inside = peer.inside.map(|inside| inside + length);
        self.check();
        if queued == Queued::Now {
            self.write(to_key);
        }
    }

    /// All input was passed on.
    pub(super) fn pipe_end(&mut self, id: usize) {
        self.core.pipe_end(self.peers[id].key);
        let Some(to) = self.peers[id].pipe_to.filter(|_| self.peers[id].named) else { return };
        if !std::mem::replace(&mut self.peers[id].pipe_done, true) && self.peers[to].named {
            self.peers[to].finishing = true;
        }
        self.check();
    }

    pub(super) fn upgrade(&mut self, id: usize) {
        let peer = &mut self.peers[id];
        if peer.listener {
            return; // it has no `Id`
        }
        let broken = self.core.slot(peer.key).is_some_and(|slot| slot.write_error.is_some());
        let expected = if !peer.named || peer.finishing || peer.failed || broken {
            Err(UpgradeError::Gone)
        } else if peer.permanent.is_some() {
            Err(UpgradeError::Permanent)
        } else if !peer.open || !peer.established || peer.inside.is_some() {
            Err(UpgradeError::Busy)
        } else {
            peer.inside = Some(0);
            Ok(())
        };
        let key = peer.key;
        self.say(|| format!("upgrade {key}: {expected:?}"));
        let upgraded = self.core.upgrade(key, Box::new(id));
        assert_eq!(upgraded.map_err(|(error, _)| error), expected, "upgrade {key}");
        self.check();
    }

    pub(super) fn switch(&mut self, id: usize, reading: bool) {
        let (key, on) = (self.peers[id].key, self.random.percent(65));
        self.say(|| format!("switch {} {key} {on}", if reading { "read" } else { "enable" }));
        let peer = &mut self.peers[id];
        let found = if reading { self.core.set_reading(key, on) } else { self.core.set_enabled(key, on) };
        assert_eq!(found, peer.named, "{key}");
        if found {
            *(if reading { &mut peer.reading } else { &mut peer.enabled }) = on;
        }
        self.check();
    }

    pub(super) fn prioritise(&mut self, id: usize) {
        let priority = self.random.below(3) as u8 + 99;
        let peer = &mut self.peers[id];
        assert_eq!(self.core.set_priority(peer.key, priority), peer.named);
        if peer.named {
            peer.priority = priority;
        }
    }

    pub(super) fn send(&mut self, id: usize, length: usize, shared: bool) {
        self.send_kept(id, length, shared, None);
    }

    pub(super) fn send_kept(&mut self, id: usize, length: usize, shared: bool, keep: Option<Keep>) {
        if self.peers[id].listener {
            return; // it has no `Id`
        }
        let start = self.random.below(PATTERN - length + 1);
        let now = self.core.now;
        let peer = &mut self.peers[id];
        let key = peer.key;
        let slot = self.core.slot(key);
        let outside = self.outside.writing.contains(&key) || (self.own_write && self.running == Some(id));
        let keeps = keep.or(peer.permanent.as_ref().map(|permanent| permanent.keep)).unwrap_or_default();
        let away = slot.is_some_and(|slot| slot.is_away() && slot.permanent.is_some());
        if away && outside {
            return; // what is out for writing does not count, which the model does not know
        }
        let slot = slot.map(|slot| (slot.rest.out.len(), slot.settings.limits.output.max(1)));
        let expected = match slot {
            Some(_) if !peer.named || peer.finishing || peer.failed => Err(SendError::Gone),
            Some((queued, limit)) if queued >= limit => Err(SendError::Full { queued }),
            Some(_) if away && keeps == Keep::No => Err(SendError::Away),
            Some(_) if away && !peer.make_room(length, now) => {
                Err(SendError::Full { queued: peer.queued_len })
            }
            Some(_) => Ok(()),
            None => Err(SendError::Gone),
        };
        self.say(|| format!("send {length} to {key}: {expected:?}"));
        let bytes = &pattern()[start..start + length];
        let queued = if shared {
            self.core.queue_shared(key, &Rc::new(bytes.to_vec()), keep)
        } else {
            self.core.queue(key, bytes, keep)
        };
        assert_eq!(queued.clone().map(|_| ()), expected, "send to {key}");
        if queued.is_ok() {
            let peer = &mut self.peers[id];
            let kept = keeps == Keep::Yes;
            peer.queued.push_back(Item { start, end: start + length, sent: 0, queued: now, kept });
            peer.queued_len += length;
            peer.inside = peer.inside.map(|inside| inside + length);
        }
        self.check();
        if queued == Ok(Queued::Now) {
            assert!(self.running != Some(id), "{key} can't be written while it runs");
            self.write(key);
        }
    }

    pub(super) fn greet(&mut self, id: usize) {
        let (length, now) = (1 + self.random.below(100), self.core.now);
        let start = self.random.below(PATTERN - length + 1);
        let peer = &self.peers[id];
        let key = peer.key;
        let slot = self.core.slot(key);
        let limit = slot.map_or(0, |slot| slot.settings.limits.output.max(1));
        let open = slot.is_some_and(|slot| slot.phase == Phase::Open && slot.write_error.is_none());
        let greeting = slot.and_then(|slot| slot.permanent.as_ref()).map_or(0, |of| of.greeting.len());
        let expected = match &peer.permanent {
            _ if !peer.named || peer.finishing => Err(SendError::Gone),
            None => Err(SendError::NotPermanent),
            Some(_) if !open => Err(SendError::Away),
            Some(_) if greeting >= limit => Err(SendError::Full { queued: greeting }),
            Some(_) => Ok(()),
        };
        self.say(|| format!("greet {key}: {expected:?}"));
        let greeted = self.core.greet(key, &pattern()[start..start + length]);
        assert_eq!(greeted, expected, "greet {key}");
        if let (Ok(()), Some(permanent)) = (greeted, &mut self.peers[id].permanent) {
            let item = Item { start, end: start + length, sent: 0, queued: now, kept: false };
            permanent.greeting.push_back(item);
        }
        self.check();
    }

    pub(super) fn hold(&mut self, id: usize) {
        let (key, on) = (self.peers[id].key, self.random.percent(40));
        self.say(|| format!("hold {key} {on}"));
        let held = self.core.hold(key, on);
        let permanent = self.peers[id].permanent.as_mut();
        assert_eq!(held, permanent.is_some(), "{key}");
        if let Some(permanent) = permanent {
            permanent.holding = on;
        }
        self.check();
    }

    pub(super) fn reconnect(&mut self, id: usize) {
        let key = self.peers[id].key;
        self.say(|| format!("reconnect {key}"));
        assert_eq!(self.core.reconnect(key), self.peers[id].permanent.is_some(), "{key}");
        self.check();
    }

    pub(super) fn make_last(&mut self, id: usize) {
        let key = self.peers[id].key;
        self.say(|| format!("make last {key}"));
        let waits =
            self.core.slot(key).is_some_and(|slot| slot.phase == Phase::Waiting && slot.rest.end.is_none());
        let expected = self.peers[id].permanent.as_ref().map(|_| waits);
        assert_eq!(self.core.make_last(key), expected, "{key}");
        self.check();
        if expected == Some(true) {
            self.close(id, Closed::Local);
        }
    }

    fn permanent(&mut self) -> (Reconnect, Permanent) {
        let pauses = match self.random.below(4) {
            0 => Pauses::never(),
            1 => Pauses::growing(Duration::from_nanos(1), Duration::from_millis(20)),
            2 => "-0.0001,0.000001,0.01".parse().expect("a list"),
            _ => "0.00001,0.001".parse().expect("a list"),
        };
        let away = Away {
            items: self.random.below(40),
            bytes: self.random.below(2 * PATTERN),
            age: self.random.percent(50).then(|| Duration::from_nanos(self.random.nanos())),
            drop_oldest: self.random.percent(50),
        };
        let keep = if self.random.percent(70) { Keep::Yes } else { Keep::No };
        let resend_half = self.random.percent(60);
        let reconnect = Reconnect::new(pauses).away(away.clone()).keep(keep).resend_half(resend_half);
        let greeting = VecDeque::new();
        let permanent =
            Permanent { away, keep, resend_half, holding: false, attempt: None, made: false, greeting };
        (reconnect, permanent)
    }

    pub(super) fn finish(&mut self, id: usize) {
        let key = self.peers[id].key;
        self.say(|| format!("finish {key}"));
        assert_eq!(self.core.finish(key), self.peers[id].named);
        self.peers[id].finishing = true;
        self.check();
    }

    pub(super) fn set_timeouts(&mut self, id: usize) {
        let time = |chance| {
            let nanos = 1 + self.random.nanos();
            self.random.percent(chance).then(|| Duration::from_nanos(nanos))
        };
        let timeouts = Timeouts {
            read: time(40),
            write: time(40),
            idle: time(40),
            stalled: time(40),
            connect: time(90),
            linger: time(70).unwrap_or(Duration::from_secs(10)),
            linger_stalled: time(40),
        };
        let peer = &mut self.peers[id];
        let slot = self.core.open(peer.key);
        assert_eq!(slot.is_some(), peer.named);
        if let Some(slot) = slot {
            Rc::make_mut(&mut slot.settings).timeouts = timeouts.clone();
            peer.timeouts = timeouts;
        }
        self.core.guard(peer.key);
        self.check();
    }

    fn shorten_linger(&mut self, id: usize) {
        let key = self.peers[id].key;
        let lingers = self.core.slot(key).filter(|slot| slot.phase == Phase::Lingering);
        let before = lingers.map(|slot| slot.rest.linger_until);
        let most = self.random.nanos();
        assert_eq!(self.core.shorten_linger(key, most), before.is_some());
        let after = self.core.slot(key).map(|slot| slot.rest.linger_until);
        assert!(
            before.is_none_or(|before| after == Some(before.min(self.now.saturating_add(most)))),
            "{key}"
        );
        self.check();
    }

    pub(super) fn set_rates(&mut self, id: usize) {
        let rate = |chance, most| {
            let (amount, interval) = (1 + self.random.below(most) as u64, 1 + self.random.nanos());
            self.random.percent(chance).then(|| Rate { amount, interval: Duration::from_nanos(interval) })
        };
        let rates = Rates { output: rate(60, 2 * PATTERN), accept: rate(60, 3) };
        self.say(|| format!("rates of {}: {rates:?}", self.peers[id].key));
        let peer = &mut self.peers[id];
        assert_eq!(self.core.set_rates(peer.key, rates.clone()), peer.named);
        if peer.named {
            // What is being written now was begun under another rate.
            let output = rates.output.filter(|_| !self.outside.writing.contains(&peer.key));
            peer.writes = Allowance::new(output, self.now);
            peer.accepts = Allowance::new(rates.accept, self.now);
        }
        self.check();
    }

    pub(super) fn set_deadline(&mut self, id: usize) {
        let at = (self.now + self.random.nanos()).saturating_sub(10);
        let at = self.random.percent(70).then_some(at);
        let found = self.core.set_deadline(self.peers[id].key, at);
        assert_eq!(found, self.peers[id].named);
        self.check();
    }

    pub(super) fn set_limits(&mut self, id: usize) {
        let pieces = self.random.below(5);
        let output = if self.random.percent(50) { 100 * pieces } else { 1 + self.random.below(2 * PATTERN) };
        let limits = Limits { output, high_water: output / 2, low_water: output / 4, ..Limits::default() };
        let key = self.peers[id].key;
        if let Some(slot) = self.core.open(key) {
            Rc::make_mut(&mut slot.settings).limits = limits;
        }
    }

    pub(super) fn set_most_children(&mut self, id: usize) {
        if self.peers[id].listener {
            let most = 1 + self.random.below(3);
            let key = self.peers[id].key;
            if let Some(slot) = self.core.open(key) {
                slot.rest.most_children = most;
                self.core.make_ready(key, Ready::INPUT);
            }
            self.check();
        }
    }
}
