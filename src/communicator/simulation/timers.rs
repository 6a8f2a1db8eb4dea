//! Timers and time limits: what the program sets, and what the clocks bring.

use super::World;
use super::peer::Peer;
use crate::communicator::DEFAULT_PRIORITY;
use crate::communicator::core::Who;
use crate::communicator::key::TimerId;
use crate::communicator::slot::{Limit, Phase, Ready};
use crate::communicator::timers::Handle;

const MOST_TIMERS: usize = 12;

/// What stands for a timer's closure.
#[derive(Debug)]
pub(super) struct Call(pub(super) usize);

/// A timer that is set, or over and not yet called.
pub(super) struct Timer {
    pub(super) id: TimerId,
    pub(super) peer: Option<usize>,
    pub(super) tag: u64,
    pub(super) at: u64,
    pub(super) set: u64,
    pub(super) period: Option<(u64, u64)>,
    pub(super) priority: u8,
    pub(super) over: bool,
    pub(super) running: bool,
}

impl World {
    pub(super) fn set_timer(
        &mut self,
        id: TimerId,
        peer: Option<usize>,
        tag: u64,
        at: u64,
        period: Option<(u64, u64)>,
    ) {
        self.say(|| format!("{id:?} at {at} for {peer:?}"));
        let (set, priority) = (self.step, DEFAULT_PRIORITY);
        self.timers.push(Timer { id, peer, tag, at, set, period, priority, over: false, running: false });
        self.check();
    }

    pub(super) fn add_call(&mut self) {
        if self.timers.len() < MOST_TIMERS {
            let at = self.now + self.random.nanos();
            let period = self.random.percent(40).then(|| self.random.nanos());
            let id = self.core.add_timer(at, period, Call(self.step as usize));
            self.set_timer(id, None, self.step, at, period.map(|period| (at, period.max(1))));
        }
    }

    pub(super) fn add_date(&mut self) {
        if self.timers.len() < MOST_TIMERS {
            let at = (self.wall + self.random.nanos()).saturating_sub(1000);
            let id = self.core.add_date(at, Call(self.step as usize));
            self.set_timer(id, None, self.step, at, None);
        }
    }

    pub(super) fn add_tagged(&mut self, id: usize) {
        let (at, tag) = (self.now + self.random.nanos(), self.random.next());
        let timer = self.core.add_tagged(self.peers[id].key, at, tag);
        assert_eq!(timer.is_some(), self.peers[id].named);
        if let Some(timer) = timer {
            self.set_timer(timer, Some(id), tag, at, None);
        }
    }

    pub(super) fn add_tagged_date(&mut self, id: usize) {
        let (at, tag) = ((self.wall + self.random.nanos()).saturating_sub(1000), self.random.next());
        let timer = self.core.add_tagged_date(self.peers[id].key, at, tag);
        assert_eq!(timer.is_some(), self.peers[id].named);
        if let Some(timer) = timer {
            self.set_timer(timer, Some(id), tag, at, None);
        }
    }

    /// Moves a timer to another time, whether it is over or not.
    pub(super) fn rearm_some(&mut self) {
        if let Some(&id) = self.stale.last() {
            assert!(!self.core.rearm(id, self.now), "{id:?} is no more");
        }
        if self.timers.is_empty() {
            return;
        }
        let n = self.random.below(self.timers.len());
        let at = self.now + self.random.nanos();
        let timer = &mut self.timers[n];
        let id = timer.id;
        let last = timer.running && timer.period.is_none();
        assert_eq!(self.core.rearm(id, at), !id.wall && !last, "{id:?}");
        if !id.wall && !last {
            (timer.at, timer.set, timer.over) = (at, self.step, false);
            timer.period = timer.period.map(|(_, period)| (at, period));
            if let Some(peer) = timer.peer {
                self.peers[peer].due.retain(|other| *other != id);
            }
            self.say(|| format!("{id:?} anew at {at}"));
            self.forget_ready(Who::Timer(id));
        }
        self.check();
    }

    pub(super) fn cancel_some(&mut self) {
        if !self.timers.is_empty() {
            let n = self.random.below(self.timers.len());
            self.cancel(self.timers[n].id);
        }
        if !self.stale.is_empty() {
            let id = self.stale[self.random.below(self.stale.len())];
            assert!(!self.core.timer_is_set(id) && self.core.cancel(id).is_none(), "{id:?} is no more");
        }
    }

    pub(super) fn cancel(&mut self, id: TimerId) {
        self.say(|| format!("cancel {id:?}"));
        assert!(self.core.timer_is_set(id), "{id:?}");
        let cancelled = self.core.cancel(id).expect("a timer that is set");
        let n = self.timers.iter().position(|timer| timer.id == id).expect("known");
        let timer = self.timers.remove(n);
        let call = (timer.peer.is_none() && !timer.running).then_some(timer.tag as usize);
        assert_eq!(cancelled.map(|call| call.0), call, "{id:?}");
        if let Some(id) = timer.peer {
            self.peers[id].due.retain(|other| *other != timer.id);
        }
        self.forget_ready(Who::Timer(id));
        self.stale.push(id);
        self.check();
    }

    pub(super) fn prioritise_timer(&mut self) {
        let priority = self.random.below(3) as u8 + 99;
        if !self.timers.is_empty() {
            let n = self.random.below(self.timers.len());
            let timer = &mut self.timers[n];
            let set = self.core.set_timer_priority(timer.id, priority);
            assert_eq!(set, timer.peer.is_none());
            timer.priority = priority;
        }
    }

    /// When each time limit of a connection is over that the model knows.
    pub(super) fn limits(&self, id: usize) -> Vec<(Ready, u64)> {
        let peer = &self.peers[id];
        if peer.listener || self.core.slot(peer.key).is_none_or(|slot| slot.phase != Phase::Open) {
            return Vec::new();
        }
        [
            (Ready::READ_TIMEOUT, peer.timeouts.read, peer.read_since),
            (Ready::WRITE_TIMEOUT, peer.timeouts.write, peer.write_since),
            (Ready::IDLE_TIMEOUT, peer.timeouts.idle, peer.idle_since),
        ]
        .into_iter()
        .filter_map(|(what, after, since)| after.map(|after| (what, since + after.as_nanos() as u64)))
        .collect()
    }

    /// The first time at which a connection is to be called; `due` are the timers that are over.
    pub(super) fn first_limit(&self, id: usize, due: &[(u64, u64, usize)]) -> u64 {
        let Some(slot) = self.core.slot(self.peers[id].key) else { return u64::MAX };
        // What has to wait makes nobody ready.
        let lasting = slot.permanent.is_some() && slot.rest.end.is_none();
        let asked = (slot.phase == Phase::Open || lasting) && slot.enabled;
        let deadline = Limit::Timeout(Ready::DEADLINE);
        let counts = |limit| match limit {
            Limit::Connect | Limit::Linger | Limit::Flush => true,
            Limit::Retry => slot.enabled,
            Limit::Output => false, // written for, not called
            Limit::Accept => asked && slot.reading,
            Limit::Timeout(_) => asked || (slot.enabled && limit == deadline),
        };
        let limits = slot.limits_in_time().filter(|&(limit, _)| counts(limit)).map(|(_, at)| at);
        let own = due.iter().filter(|(_, _, n)| asked && self.timers[*n].peer == Some(id));
        limits.chain(own.map(|(at, ..)| *at)).min().unwrap_or(u64::MAX)
    }

    /// Whoever is not established in time takes those with it that it is piped with.
    fn take_along(&self, first: &mut [u64]) {
        let mut ended = Vec::new();
        for &id in &self.live {
            let slot = self.core.slot(self.peers[id].key).filter(|slot| slot.permanent.is_none());
            let connecting = slot.filter(|slot| slot.phase == Phase::Connecting && slot.enabled);
            let limits = connecting.into_iter().flat_map(|slot| slot.limits_in_time());
            let closes = |limit: &Limit| matches!(limit, Limit::Connect | Limit::Timeout(_));
            let limit = limits.filter(|(limit, at)| closes(limit) && *at <= self.now).map(|(_, at)| at).min();
            ended.extend(limit.map(|at| (at, id)));
        }
        ended.sort_unstable();
        let mut gone = Vec::new();
        while !ended.is_empty() {
            let (at, id) = ended.remove(0);
            if gone.contains(&id) {
                continue;
            }
            gone.push(id);
            let Peer { pipe_to, pipe_from, pipe_done, .. } = self.peers[id];
            let to = pipe_to.filter(|_| !pipe_done);
            let from = pipe_from.filter(|&from| !self.peers[from].pipe_done);
            for other in to.into_iter().chain(from).filter(|other| !gone.contains(other)) {
                ended.insert(0, (at, other));
                let place = self.live.iter().position(|&live| live == other).expect("it is piped");
                first[place] = first[place].min(at);
            }
            // What it had to say has had to wait for this one.
            let waits = pipe_from.filter(|&from| self.peers[from].pipe_done && !gone.contains(&from));
            if let Some(place) = waits.and_then(|from| self.live.iter().position(|&live| live == from)) {
                let slot = self.core.slot(self.peers[self.live[place]].key).expect("alive");
                if slot.pipe_full && slot.enabled && slot.reading && slot.ready.has(Ready::INPUT) {
                    first[place] = first[place].min(at);
                }
            }
        }
    }

    pub(super) fn expire(&mut self, now: u64) {
        assert!(now >= self.now);
        let next =
            self.timers.iter().filter(|timer| !timer.id.wall && (!timer.over || timer.period.is_some()));
        if let Some(next) = next.map(|timer| timer.at).min() {
            assert!(self.core.next_deadline().is_some_and(|at| at <= next), "a timer at {next} is forgotten");
        }
        self.now = now;
        // Who is due, and when.
        let mut due: Vec<(u64, u64, usize)> = Vec::new();
        for (n, timer) in self.timers.iter().enumerate() {
            if !timer.id.wall && !timer.over && timer.at <= now {
                due.push((timer.at, timer.set, n));
            }
        }
        due.sort_unstable();
        let mut first: Vec<u64> = self.live.iter().map(|&id| self.first_limit(id, &due)).collect();
        self.take_along(&mut first);
        let expected: Vec<_> = self
            .live
            .iter()
            .map(|&id| {
                let pending = self.core.slot(self.peers[id].key).map(|slot| slot.ready).unwrap_or_default();
                let over = self.limits(id).into_iter();
                let over: Vec<_> = over.map(|(what, at)| (what, pending.has(what) || at <= now)).collect();
                (id, pending, over)
            })
            .collect();
        self.core.expire(now);
        for (id, pending, over) in expected {
            let ready = self.core.slot(self.peers[id].key).map(|slot| slot.ready).expect("alive");
            // What it is piped with may have ended, and taken it along.
            let goes_on = !self.peers[id].named || self.core.open(self.peers[id].key).is_some();
            for (what, over) in over.into_iter().filter(|_| goes_on) {
                assert_eq!(ready.has(what), over, "{}: {what:?}", self.peers[id].key);
                if over && !pending.has(what) {
                    let peer = &mut self.peers[id];
                    match what {
                        Ready::READ_TIMEOUT => peer.read_since = now,
                        Ready::WRITE_TIMEOUT => peer.write_since = now,
                        _ => peer.idle_since = now,
                    }
                }
            }
            // A time limit may have closed it.
            self.peers[id].named = self.core.open(self.peers[id].key).is_some();
        }
        for id in self.live.clone() {
            if !self.peers[id].named {
                self.end_model(id, false);
            }
        }
        for (at, _, n) in due {
            let timer = &mut self.timers[n];
            timer.over = true;
            match (timer.peer, timer.period) {
                (Some(id), _) => {
                    if self.peers[id].named {
                        self.peers[id].due.push(timer.id);
                    }
                }
                (None, period) => {
                    if let Some((start, period)) = period {
                        timer.at = start + period * ((now - start) / period + 1);
                    }
                    self.since.push((Who::Timer(timer.id), (self.step + 1, at)));
                }
            }
        }
        self.step += 1;
        let live = self.live.clone();
        self.note_ready(|id| live.iter().position(|&other| other == id).map_or(0, |n| first[n]));
        self.check();
        assert!(self.core.next_deadline().is_none_or(|at| at > now), "something due is left");
    }

    /// The wall clock goes on, and sometimes jumps.
    pub(super) fn expire_dates(&mut self) {
        let by = self.random.nanos();
        self.wall = if self.random.percent(80) { self.wall + by } else { self.wall.saturating_sub(by) };
        assert_eq!(self.core.next_date(), self.next_date());
        let dates = self.timers.iter().enumerate().filter(|(_, timer)| timer.id.wall && !timer.over);
        let mut due: Vec<(u64, u64, usize)> = dates.map(|(n, timer)| (timer.at, timer.set, n)).collect();
        due.retain(|&(at, ..)| at <= self.wall);
        due.sort_unstable();
        self.core.expire_dates(self.wall);
        self.step += 1;
        let mut first = Vec::new();
        for (order, &(_, _, n)) in due.iter().enumerate() {
            let timer = &mut self.timers[n];
            timer.over = true;
            match timer.peer {
                Some(id) => {
                    if self.peers[id].named {
                        self.peers[id].due.push(timer.id);
                        first.push((id, order as u64));
                    }
                }
                None => self.since.push((Who::Timer(timer.id), (self.step, order as u64))),
            }
        }
        self.note_ready(|id| first.iter().find(|(other, _)| *other == id).map_or(0, |(_, order)| *order));
        assert_eq!(self.core.next_date(), self.next_date());
        self.check();
    }

    pub(super) fn next_date(&self) -> Option<u64> {
        self.timers.iter().filter(|timer| timer.id.wall && !timer.over).map(|timer| timer.at).min()
    }
}

pub(super) fn handle(id: &TimerId) -> Handle {
    Handle { index: id.index, generation: id.generation }
}
