//! The outside of connections: the other sides and the poll.

use super::World;
use super::random::pattern;
use crate::communicator::key::{Key, TimerId};
use crate::communicator::permanent::{Away, Keep};
use crate::communicator::rate::Rate;
use crate::communicator::settings::Timeouts;
use crate::communicator::slot::Upgrade;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};

/// What stands for transport, codec and handler.
#[derive(Debug)]
pub(super) struct Body(pub(super) usize);

/// An item that is queued: a part of the pattern.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) start: usize,
    pub(super) end: usize,
    /// As much of it is written.
    pub(super) sent: usize,
    pub(super) queued: u64,
    pub(super) kept: bool,
}

/// What a connection has that reconnects by itself.
#[derive(Debug)]
pub(super) struct Permanent {
    pub(super) away: Away,
    pub(super) keep: Keep,
    pub(super) resend_half: bool,
    pub(super) holding: bool,
    /// The attempt that goes on and has no transport yet.
    pub(super) attempt: Option<u64>,
    /// It has a transport.
    pub(super) made: bool,
    pub(super) greeting: VecDeque<Item>,
}

/// One connection: its outside, and what is known of it.
pub(super) struct Peer {
    pub(super) key: Key,
    pub(super) listener: bool,
    /// Not removed.
    pub(super) alive: bool,
    /// Neither closed nor removed.
    pub(super) named: bool,
    /// `closed` was called.
    pub(super) closed: bool,
    pub(super) enabled: bool,
    pub(super) reading: bool,
    pub(super) priority: u8,
    pub(super) timeouts: Timeouts,

    // The outside.
    pub(super) connecting: bool,
    pub(super) refused: bool,
    /// Bytes, or clients of a listener, that wait.
    pub(super) input: usize,
    pub(super) ended: bool,
    pub(super) resets: bool,
    pub(super) room: usize,
    pub(super) broken: bool,
    /// The poll has something to say of it, and was asked to say when it can be written to.
    pub(super) news: bool,
    pub(super) watched: bool,

    // The driver's.
    pub(super) established: bool,
    pub(super) open: bool,
    pub(super) told: bool,
    pub(super) gone_out: bool,

    // Whether it carries bytes, where its input goes, whose input it gets, and whether all of its own was passed on.
    pub(super) streams: bool,
    pub(super) pipe_to: Option<usize>,
    pub(super) pipe_from: Option<usize>,
    pub(super) pipe_done: bool,

    pub(super) permanent: Option<Permanent>,
    /// What is queued, and the length of what of it is not written.
    pub(super) queued: VecDeque<Item>,
    pub(super) queued_len: usize,
    /// As many of them are for a layer that is to be put around the transport.
    pub(super) inside: Option<usize>,
    pub(super) finishing: bool,
    pub(super) failed: bool,
    /// Its queue was high: it is to be told when it is low.
    pub(super) drained: bool,

    /// What its rates allow.
    pub(super) writes: Allowance,
    pub(super) accepts: Allowance,

    pub(super) read_since: u64,
    pub(super) write_since: u64,
    pub(super) idle_since: u64,
    /// Its timers that are over, in order.
    pub(super) due: Vec<TimerId>,
}

/// What a rate allows: an upper bound, counted in another way than the core does.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    rate: Option<Rate>,
    /// Nanoseconds of the interval for each unit of the amount.
    left: u128,
    since: u64,
}

impl Allowance {
    pub(super) fn new(rate: Option<Rate>, now: u64) -> Self {
        let left = rate.map_or(0, |rate| rate.interval.as_nanos() * u128::from(rate.amount));
        Self { rate, left, since: now }
    }

    pub(super) fn take(&mut self, now: u64, amount: usize) {
        let Some(rate) = self.rate else { return };
        let most = rate.interval.as_nanos() * u128::from(rate.amount);
        self.left = (self.left + u128::from(now - self.since) * u128::from(rate.amount)).min(most);
        self.since = now;
        let cost = amount as u128 * rate.interval.as_nanos();
        self.left =
            self.left.checked_sub(cost).unwrap_or_else(|| panic!("{amount} at {now}: too fast: {self:?}"));
    }
}

impl Peer {
    pub(super) fn drop_queued(&mut self) {
        self.queued.clear();
        self.queued_len = 0;
        self.inside = self.inside.map(|_| 0);
    }

    /// The last ones of those that are queued are never sent.
    pub(super) fn drop_last(&mut self, count: usize) {
        self.queued_len -= count;
        let mut left = count;
        while left > 0 {
            let piece = self.queued.back_mut().expect("so many were queued");
            let some = (piece.end - piece.start).min(left);
            piece.end -= some;
            left -= some;
            if piece.start == piece.end {
                self.queued.pop_back();
            }
        }
    }

    /// The first ones of those that are queued are sent.
    fn send_first(&mut self, bytes: &[u8]) {
        send_first(&mut self.queued, bytes);
        self.queued_len -= bytes.len();
    }

    pub(super) fn has_transport(&self) -> bool {
        self.permanent.as_ref().is_none_or(|permanent| permanent.made)
    }

    /// It has no transport any more.
    pub(super) fn lost(&mut self) {
        (self.established, self.open, self.told, self.connecting) = (false, false, false, false);
        (self.ended, self.broken, self.refused, self.input) = (false, false, false, 0);
        (self.watched, self.news) = (false, false);
        let Some(permanent) = &mut self.permanent else { return };
        (permanent.made, permanent.attempt) = (false, None);
        permanent.greeting.clear();
        if let Some(first) = self.queued.front_mut()
            && first.sent > 0
        {
            first.kept &= permanent.resend_half;
            first.sent = 0;
        }
        self.queued.retain(|item| item.kept);
        self.count();
    }

    /// What is too old is never sent.
    pub(super) fn drop_aged(&mut self, now: u64) {
        let Some(age) = self.permanent.as_ref().and_then(|permanent| permanent.away.age) else { return };
        let old = |item: &Item| item.sent == 0 && now - item.queued > age.as_nanos() as u64;
        while self.queued.front().is_some_and(old) {
            self.queued.pop_front();
        }
        self.count();
    }

    fn count(&mut self) {
        self.queued_len = self.queued.iter().map(|item| item.end - item.start - item.sent).sum();
    }

    /// Whether one more item may wait while it is away.
    pub(super) fn make_room(&mut self, length: usize, now: u64) -> bool {
        self.drop_aged(now);
        let Some(permanent) = &self.permanent else { return true };
        let Away { items, bytes, drop_oldest, .. } = permanent.away;
        let half = self.queued.front().is_some_and(|first| first.sent > 0);
        loop {
            if self.queued.len() < items && self.queued_len + length <= bytes {
                return true;
            }
            if !drop_oldest || half || items == 0 || length > bytes {
                return false;
            }
            self.queued.pop_front();
            self.count();
        }
    }

    /// It reconnects no more.
    pub(super) fn make_usual(&mut self, lost: bool) {
        let Some(mut permanent) = self.permanent.take() else { return };
        if lost {
            permanent.greeting.clear();
        }
        // An item that has begun goes out whole, whatever is held, before any greeting.
        let half = self.queued.pop_front_if(|first| first.sent > 0 && !lost);
        if permanent.holding || lost {
            self.drop_queued();
        }
        for item in permanent.greeting.into_iter().rev() {
            self.queued.push_front(item);
        }
        half.into_iter().for_each(|half| self.queued.push_front(half));
        self.count();
    }

    /// It gets a layer around its transport, which takes what was queued before.
    pub(super) fn upgraded(&mut self, mut upgrade: Upgrade, connecting: bool) {
        let inside = self.inside.take().expect("an upgrade");
        let mut before = Vec::new();
        upgrade.before.write_to(&mut before, usize::MAX).expect("a buffer takes everything");
        self.send_first(&before);
        assert_eq!(self.queued_len, inside, "{}: what is inside", self.key);
        (self.established, self.connecting, self.news) = (false, connecting, true);
    }
}

fn send_first(queued: &mut VecDeque<Item>, bytes: &[u8]) {
    let mut left = bytes;
    while !left.is_empty() {
        let item = queued.front_mut().expect("nothing more was queued");
        let from = item.start + item.sent;
        let count = (item.end - from).min(left.len());
        assert!(left[..count] == pattern()[from..from + count], "other bytes than were queued");
        left = &left[count..];
        item.sent += count;
        if from + count == item.end {
            queued.pop_front();
        }
    }
}

impl World {
    /// A connection that is there, or, rarely, one that was.
    pub(super) fn any_peer(&mut self) -> Option<usize> {
        if self.peers.is_empty() {
            return None;
        }
        if self.random.percent(5) {
            return Some(self.random.below(self.peers.len()));
        }
        (!self.live.is_empty()).then(|| self.live[self.random.below(self.live.len())])
    }

    pub(super) fn happen(&mut self) {
        let Some(id) = self.any_peer() else { return };
        let (what, amount) = (self.random.below(12), self.random.below(300));
        let peer = &mut self.peers[id];
        if let Some(Permanent { made: false, attempt, .. }) = &mut peer.permanent {
            if let Some(attempt) = attempt.take() {
                self.arrive(id, attempt);
            }
            return;
        }
        match what {
            0..4 => peer.input += if peer.ended { 0 } else { 1 + amount },
            4..8 => peer.room += amount * amount,
            8 if amount < 60 => peer.ended = !peer.listener,
            9 if amount < 20 && !peer.listener => {
                peer.broken = true;
                peer.ended |= amount < 10;
            }
            10 if amount < 20 && peer.connecting => peer.refused = true,
            _ => peer.connecting = false,
        }
        if peer.listener {
            peer.input = peer.input.min(5);
        }
        peer.news = true;
    }

    /// What the poll says, once for each change, in any order.
    pub(super) fn poll(&mut self) {
        let start = self.random.below(self.live.len().max(1));
        for n in 0..self.live.len() {
            let peer = &mut self.peers[self.live[(start + n) % self.live.len()]];
            if !std::mem::take(&mut peer.news)
                || peer.permanent.as_ref().is_some_and(|permanent| !permanent.made)
            {
                continue;
            }
            let hangup = peer.ended || peer.refused;
            // A layer has a handshake, of which the other side sends its part.
            let shakes = peer.open && !peer.established && !peer.connecting && !peer.listener;
            let input = peer.input > 0 || hangup || shakes;
            // One that has just connected can be written to, whatever it takes.
            let room = !peer.connecting && (peer.room > 0 || !peer.established);
            let output = peer.watched && (room || peer.refused || peer.broken);
            if input || output {
                let key = peer.key;
                self.core.event(key, input, output, hangup);
                self.say(|| format!("event {key} {input} {output} {hangup}"));
                self.check();
            }
        }
    }
}

/// Takes what is written, if the other side does.
pub(super) struct Wire<'a> {
    pub(super) world: &'a mut World,
    pub(super) id: usize,
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { world, id } = self;
        if !world.quiet && !world.own_write && world.random.percent(3) {
            world.act(Some(*id)); // a transport is somebody's code, too
        }
        if world.random.percent(2) {
            return Err(ErrorKind::Interrupted.into());
        }
        let now = world.now;
        let peer = &mut world.peers[*id];
        if peer.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(peer.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        peer.room -= taken;
        peer.writes.take(now, taken);
        world.progress += taken as u64;
        if let Some(permanent) = &peer.permanent {
            let others = if world.greeting { &peer.queued } else { &permanent.greeting };
            let begun = others.front().is_some_and(|first| first.sent > 0);
            assert!(!begun || !peer.alive, "{}: in the middle of another item", peer.key);
        }
        match &mut peer.permanent {
            _ if !peer.alive => {}
            Some(permanent) if world.greeting => send_first(&mut permanent.greeting, &bytes[..taken]),
            _ => peer.send_first(&bytes[..taken]),
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.world.quiet || self.world.random.percent(95) {
            return Ok(());
        }
        // A layer below holds bytes back. The poll says when it gets rid of them.
        self.world.peers[self.id].news = true;
        Err(ErrorKind::WouldBlock.into())
    }
}
