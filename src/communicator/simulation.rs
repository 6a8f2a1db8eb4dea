//! A seeded simulation of the core: the outside (peers, poll, clocks) and the program are played by a random number
//! generator, the loop's own steps are those of `turn.rs` and `stream.rs` without the system. After every step the core's invariants
//! are checked, and what it says is compared with a simple model.
//!
//! `ED_SEED=7` replays one seed and prints its steps; `ED_SEEDS=5000` runs the seeds below that.

use super::core::{Begun, Core, Outside, Queued, Who, Writing, Wrote};
use super::error::{Closed, SendError};
use super::key::{Key, TimerId};
use super::output::{OutQueue, SHARE_FROM, Written};
use super::settings::{Limits, Timeouts};
use super::slot::{Limit, Phase, Ready};
use super::timers::Handle;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

const SEEDS: u64 = 150;
const STEPS: usize = 400;
/// What is sent comes out of this.
const PATTERN: usize = 256 << 10;
const MOST_PEERS: usize = 9;
const MOST_TIMERS: usize = 12;

#[test]
fn the_core_keeps_its_promises_whatever_happens() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let replayed = number("ED_SEED");
    let seeds = match replayed {
        Some(seed) => seed..seed + 1,
        None => 0..number("ED_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| World::new(seed, replayed.is_some()).run());
        if let Err(panic) = catch_unwind(run) {
            eprintln!("seed {seed} fails; ED_SEED={seed} replays it");
            resume_unwind(panic);
        }
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Mostly short, sometimes long.
    fn nanos(&mut self) -> u64 {
        let scale = self.below(7) as u32;
        self.next() % 10u64.pow(scale + 1)
    }
}

fn pattern() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = Random(1);
        (0..PATTERN / 8).flat_map(|_| random.next().to_le_bytes()).collect()
    })
}

/// What stands for transport, codec and handler.
#[derive(Debug)]
struct Body(usize);

/// What stands for a timer's closure.
#[derive(Debug)]
struct Call(usize);

/// One connection: its outside, and what is known of it.
struct Peer {
    key: Key,
    listener: bool,
    /// Not removed.
    alive: bool,
    /// Neither closed nor removed.
    named: bool,
    /// `closed` was called.
    closed: bool,
    enabled: bool,
    reading: bool,
    priority: u8,
    timeouts: Timeouts,

    // The outside.
    connecting: bool,
    refused: bool,
    /// Bytes, or clients of a listener, that wait.
    input: usize,
    ended: bool,
    resets: bool,
    room: usize,
    broken: bool,
    /// The poll has something to say of it, and was asked to say when it can be written to.
    news: bool,
    watched: bool,

    // The driver's.
    established: bool,
    open: bool,
    told: bool,
    gone_out: bool,

    /// Pieces of the pattern that are queued, and their length.
    queued: VecDeque<Range<usize>>,
    queued_len: usize,
    finishing: bool,
    failed: bool,

    read_since: u64,
    write_since: u64,
    idle_since: u64,
    /// Its timers that are over, in order.
    due: Vec<TimerId>,
}

/// A timer that is set, or over and not yet called.
struct Timer {
    id: TimerId,
    peer: Option<usize>,
    tag: u64,
    at: u64,
    set: u64,
    period: Option<(u64, u64)>,
    priority: u8,
    over: bool,
    running: bool,
}

struct World {
    random: Random,
    loud: bool,
    core: Core<Body, Call>,
    now: u64,
    wall: u64,
    peers: Vec<Peer>,
    /// Those that were not removed.
    live: Vec<usize>,
    timers: Vec<Timer>,
    /// Names of timers that are no more.
    stale: Vec<TimerId>,
    /// Who is ready, and since which step; within one step by deadlines.
    since: Vec<(Who, (u64, u64))>,
    /// `turn` and `dirty` last first.
    outside: Outside,
    running: Option<usize>,
    /// The running one writes itself.
    own_write: bool,
    step: u64,
    /// Callbacks change nothing.
    quiet: bool,
    /// Bytes moved and callbacks made.
    progress: u64,
}

impl World {
    fn new(seed: u64, loud: bool) -> Self {
        Self {
            random: Random(seed),
            loud,
            core: Core::new(),
            now: 1,
            wall: 1 << 40,
            peers: Vec::new(),
            live: Vec::new(),
            timers: Vec::new(),
            stale: Vec::new(),
            since: Vec::new(),
            outside: Outside::default(),
            running: None,
            own_write: false,
            step: 0,
            quiet: false,
            progress: 0,
        }
    }

    fn run(&mut self) {
        for n in 0..STEPS {
            match self.random.below(10) {
                0..5 => self.happen(),
                5..7 => self.act(None),
                _ => self.make_turn(),
            }
            if n % 100 == 99 {
                self.settle();
            }
        }
        self.end();
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{} at {}: {}", self.step, self.now, what());
        }
    }

    // ---- the checks -------------------------------------------------------------------------------

    /// After every step.
    fn check(&mut self) {
        self.step += 1;
        self.note_ready(|_| 0);
        self.core.check_invariants(&self.outside);
        assert_eq!(self.core.live(), self.live.len());
        assert_eq!(self.core.calls(), self.timers.iter().filter(|timer| timer.peer.is_none()).count());
        for (id, peer) in self.live.iter().map(|&id| (id, &self.peers[id])) {
            let slot = self.core.slot(peer.key).expect("a connection that was not removed");
            assert_eq!(slot.is_open(), peer.named, "{}", peer.key);
            let writes =
                self.outside.writing.contains(&peer.key) || (self.own_write && self.running == Some(id));
            if !writes {
                assert_eq!(slot.out.len(), peer.queued_len, "{}: what is queued", peer.key);
            }
        }
    }

    /// Notes who has become ready in this step.
    fn note_ready(&mut self, order: impl Fn(usize) -> u64) {
        for (id, peer) in self.live.iter().map(|&id| (id, &self.peers[id])) {
            let who = Who::Connection(peer.key);
            let listed = self.core.slot(peer.key).is_some_and(|slot| slot.listed);
            if listed && !self.since.iter().any(|(other, _)| *other == who) {
                self.since.push((who, (self.step, order(id))));
            }
        }
    }

    fn forget_ready(&mut self, who: Who) {
        self.since.retain(|(other, _)| *other != who);
    }

    /// Nothing changes outside any more: the loop must come to rest, with everything done that can be done.
    fn settle(&mut self) {
        self.quiet = true;
        self.news();
        let mut idle = 0;
        loop {
            let before = self.progress;
            self.make_turn_at(self.now);
            idle = if self.progress == before { idle + 1 } else { 0 };
            assert!(idle < 6, "the loop turns and turns: {:?}", self.since);
            if idle > 1 && !self.core.has_ready() && self.live.iter().all(|&id| !self.peers[id].news) {
                break;
            }
        }
        self.quiet = false;
        for peer in self.live.iter().map(|&id| &self.peers[id]).filter(|peer| peer.enabled) {
            let slot = self.core.slot(peer.key).expect("alive");
            let state = || format!("{} stands still: {slot:?}", peer.key);
            if !peer.named {
                assert!(peer.closed, "{}", state());
            } else if peer.listener {
                assert!(
                    !peer.reading || peer.input == 0 || slot.children >= slot.most_children,
                    "{}",
                    state()
                );
            } else if peer.connecting || peer.refused {
                assert!(!peer.refused && slot.phase == Phase::Connecting, "{}", state());
            } else {
                assert!(slot.phase == Phase::Open && peer.open, "{}", state());
                assert!(!peer.reading || (peer.input == 0 && peer.ended == peer.told), "{}", state());
                assert!(slot.out.is_empty() || peer.room == 0, "{}", state());
            }
        }
    }

    /// Everything is closed, and after a while nothing is left.
    fn end(&mut self) {
        for id in 0..self.peers.len() {
            let peer = &mut self.peers[id];
            peer.room = usize::MAX / 2;
            self.close(id, Closed::Local);
        }
        while let Some(timer) = self.timers.iter().position(|timer| timer.peer.is_none()) {
            self.cancel(self.timers[timer].id);
        }
        for _ in 0..6 {
            self.settle();
            self.now += 20_000_000_000;
        }
        assert_eq!((self.core.live(), self.core.calls(), self.core.has_ready()), (0, 0, false));
        assert_eq!((self.core.next_deadline(), self.core.next_date()), (None, None));
        assert!(self.timers.is_empty() && self.since.is_empty());
    }

    // ---- the outside ------------------------------------------------------------------------------

    /// A connection that is there, or, rarely, one that was.
    fn any_peer(&mut self) -> Option<usize> {
        if self.peers.is_empty() {
            return None;
        }
        if self.random.percent(5) {
            return Some(self.random.below(self.peers.len()));
        }
        (!self.live.is_empty()).then(|| self.live[self.random.below(self.live.len())])
    }

    fn happen(&mut self) {
        let Some(id) = self.any_peer() else { return };
        let (what, amount) = (self.random.below(12), self.random.below(300));
        let peer = &mut self.peers[id];
        match what {
            0..4 => peer.input += if peer.ended { 0 } else { 1 + amount },
            4..8 => peer.room += amount * amount,
            8 if amount < 60 => peer.ended = !peer.listener,
            9 if amount < 20 => (peer.broken, peer.ended) = (!peer.listener, !peer.listener),
            10 if amount < 20 && peer.connecting => peer.refused = true,
            _ => peer.connecting = false,
        }
        if peer.listener {
            peer.input = peer.input.min(5);
        }
        peer.news = true;
    }

    fn news(&mut self) {
        for peer in &mut self.peers {
            peer.news = true;
        }
    }

    /// What the poll says, once for each change, in any order.
    fn poll(&mut self) {
        let start = self.random.below(self.live.len().max(1));
        for n in 0..self.live.len() {
            let peer = &mut self.peers[self.live[(start + n) % self.live.len()]];
            if !std::mem::take(&mut peer.news) {
                continue;
            }
            let failed = peer.refused || peer.broken;
            let input = peer.input > 0 || peer.ended || failed;
            let output = peer.watched && ((peer.room > 0 && !peer.connecting) || failed);
            let hangup = peer.ended || failed;
            if input || output {
                let key = peer.key;
                self.core.event(key, input, output, hangup);
                self.say(|| format!("event {key} {input} {output} {hangup}"));
                self.check();
            }
        }
    }

    // ---- the program ------------------------------------------------------------------------------

    /// The program does something, from outside, or from inside the callback of `me`.
    fn act(&mut self, me: Option<usize>) {
        let target = if self.random.percent(50) { me } else { None };
        let target = target.or_else(|| self.any_peer());
        let what = self.random.below(34);
        match (what, target) {
            (0..4, _) => self.add(what == 0),
            (4..7, _) => self.add_call(),
            (7, _) => self.add_date(),
            (8 | 9, _) => self.cancel_some(),
            (10, Some(id)) => self.remove(id),
            (11, Some(id)) => self.close(id, Closed::Local),
            (12..14, Some(id)) => self.switch(id, false),
            (14..16, Some(id)) => self.switch(id, true),
            (16, Some(id)) => self.prioritise(id),
            (17..22, Some(id)) => {
                let length = 1 + self.random.below(300);
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
            (29, Some(id)) => self.set_deadline(id),
            (30, Some(id)) => self.set_limits(id),
            (31, Some(id)) => self.set_most_children(id),
            (32, _) => self.prioritise_timer(),
            _ => {}
        }
    }

    fn add(&mut self, listener: bool) {
        let listeners = self.live.iter().filter(|&&id| self.peers[id].listener).count();
        if self.live.len() >= MOST_PEERS || (listener && listeners > 1) {
            return;
        }
        self.insert(listener, None);
    }

    fn insert(&mut self, listener: bool, parent: Option<usize>) -> usize {
        let phase = if listener { Phase::Open } else { Phase::Connecting };
        let key = self.core.insert("simulated", phase, self.now);
        let connecting = !listener && parent.is_none() && self.random.percent(50);
        self.say(|| format!("add {key} {phase:?} {connecting}"));
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
            priority: super::DEFAULT_PRIORITY,
            timeouts: Timeouts::default(),
            connecting,
            refused: false,
            input: 0,
            ended: false,
            resets: self.random.percent(50),
            room: self.random.below(1000),
            broken: false,
            news: true,
            watched: !listener && parent.is_none(),
            established: parent.is_some(),
            open: listener,
            told: false,
            gone_out: false,
            queued: VecDeque::new(),
            queued_len: 0,
            finishing: false,
            failed: false,
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
        if let Some(parent) = parent {
            self.core.set_parent(key, self.peers[parent].key);
            if self.peers[parent].named && self.peers[id].alive {
                self.peers[id].timeouts = self.peers[parent].timeouts.clone();
            }
        }
        self.check();
        id
    }

    fn remove(&mut self, id: usize) {
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
    fn gone(&mut self, id: usize) {
        let peer = &mut self.peers[id];
        (peer.alive, peer.named) = (false, false);
        peer.queued.clear();
        peer.queued_len = 0;
        let who = Who::Connection(peer.key);
        self.forget_ready(who);
        self.drop_timers_of(id);
        self.live.retain(|&other| other != id);
    }

    fn drop_timers_of(&mut self, id: usize) {
        let (gone, left) =
            std::mem::take(&mut self.timers).into_iter().partition(|timer| timer.peer == Some(id));
        self.timers = left;
        self.stale.extend(gone.into_iter().map(|timer: Timer| timer.id));
        self.peers[id].due.clear();
    }

    fn close(&mut self, id: usize, why: Closed) {
        let key = self.peers[id].key;
        self.say(|| format!("close {key}"));
        assert_eq!(self.core.close(key, why).is_ok(), self.peers[id].named, "close {key}");
        self.peers[id].named = false;
        self.check();
    }

    fn switch(&mut self, id: usize, reading: bool) {
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

    fn prioritise(&mut self, id: usize) {
        let priority = self.random.below(3) as u8 + 99;
        let peer = &mut self.peers[id];
        let slot = self.core.open(peer.key);
        assert_eq!(slot.is_some(), peer.named);
        if let Some(slot) = slot {
            (slot.priority, peer.priority) = (priority, priority);
        }
    }

    fn send(&mut self, id: usize, length: usize, shared: bool) {
        if self.peers[id].listener {
            return; // it has no `Id`
        }
        let start = self.random.below(PATTERN - length + 1);
        let peer = &self.peers[id];
        let key = peer.key;
        let slot = self.core.slot(key).map(|slot| (slot.out.len(), slot.settings.limits.output));
        let expected = match slot {
            Some(_) if !peer.named || peer.finishing || peer.failed => Err(SendError::Gone),
            Some((queued, limit)) if queued >= limit => Err(SendError::Full { queued }),
            Some(_) => Ok(()),
            None => Err(SendError::Gone),
        };
        self.say(|| format!("send {length} to {key}: {expected:?}"));
        let bytes = &pattern()[start..start + length];
        let queued = if shared {
            self.core.queue_shared(key, &Rc::new(bytes.to_vec()))
        } else {
            self.core.queue(key, bytes)
        };
        assert_eq!(queued.clone().map(|_| ()), expected, "send to {key}");
        if queued.is_ok() {
            let peer = &mut self.peers[id];
            peer.queued.push_back(start..start + length);
            peer.queued_len += length;
        }
        self.check();
        if queued == Ok(Queued::Now) {
            assert!(self.running != Some(id), "{key} can't be written while it runs");
            self.write(key);
        }
    }

    fn finish(&mut self, id: usize) {
        let key = self.peers[id].key;
        self.say(|| format!("finish {key}"));
        assert_eq!(self.core.finish(key), self.peers[id].named);
        self.peers[id].finishing = true;
        self.check();
    }

    fn set_timeouts(&mut self, id: usize) {
        let mut time = |chance| {
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
        };
        let peer = &mut self.peers[id];
        self.core.open(peer.key).map(|slot| Rc::make_mut(&mut slot.settings).timeouts = timeouts.clone());
        self.core.guard(peer.key);
        if peer.named {
            peer.timeouts = timeouts;
        }
        self.check();
    }

    fn set_deadline(&mut self, id: usize) {
        let at = (self.now + self.random.nanos()).saturating_sub(10);
        let at = self.random.percent(70).then_some(at);
        let found = self.core.set_deadline(self.peers[id].key, at);
        assert_eq!(found, self.peers[id].named);
        self.check();
    }

    fn set_limits(&mut self, id: usize) {
        let output = 1 + self.random.below(2 * PATTERN);
        let limits = Limits { output, high_water: output / 2, low_water: output / 4, ..Limits::default() };
        let key = self.peers[id].key;
        self.core.open(key).map(|slot| Rc::make_mut(&mut slot.settings).limits = limits);
    }

    fn set_most_children(&mut self, id: usize) {
        if self.peers[id].listener {
            let most = 1 + self.random.below(3);
            let key = self.peers[id].key;
            self.core.open(key).map(|slot| slot.most_children = most);
            self.core.make_ready(key, Ready::INPUT);
            self.check();
        }
    }

    // ---- timers -----------------------------------------------------------------------------------

    fn set_timer(&mut self, id: TimerId, peer: Option<usize>, tag: u64, at: u64, period: Option<(u64, u64)>) {
        self.say(|| format!("{id:?} at {at} for {peer:?}"));
        let (set, priority) = (self.step, super::DEFAULT_PRIORITY);
        self.timers.push(Timer { id, peer, tag, at, set, period, priority, over: false, running: false });
        self.check();
    }

    fn add_call(&mut self) {
        if self.timers.len() < MOST_TIMERS {
            let at = self.now + self.random.nanos();
            let period = self.random.percent(40).then(|| self.random.nanos());
            let id = self.core.add_timer(at, period, Call(self.step as usize));
            self.set_timer(id, None, self.step, at, period.map(|period| (at, period.max(1))));
        }
    }

    fn add_date(&mut self) {
        if self.timers.len() < MOST_TIMERS {
            let at = (self.wall + self.random.nanos()).saturating_sub(1000);
            let id = self.core.add_date(at, Call(self.step as usize));
            self.set_timer(id, None, self.step, at, None);
        }
    }

    fn add_tagged(&mut self, id: usize) {
        let (at, tag) = (self.now + self.random.nanos(), self.random.next());
        let timer = self.core.add_tagged(self.peers[id].key, at, tag);
        assert_eq!(timer.is_some(), self.peers[id].named);
        if let Some(timer) = timer {
            self.set_timer(timer, Some(id), tag, at, None);
        }
    }

    fn cancel_some(&mut self) {
        if !self.timers.is_empty() {
            let n = self.random.below(self.timers.len());
            self.cancel(self.timers[n].id);
        }
        if !self.stale.is_empty() {
            let id = self.stale[self.random.below(self.stale.len())];
            assert!(!self.core.timer_is_set(id) && self.core.cancel(id).is_none(), "{id:?} is no more");
        }
    }

    fn cancel(&mut self, id: TimerId) {
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

    fn prioritise_timer(&mut self) {
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
    fn limits(&self, id: usize) -> Vec<(Ready, u64)> {
        let peer = &self.peers[id];
        if self.core.slot(peer.key).is_none_or(|slot| slot.phase != Phase::Open) {
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
    fn first_limit(&self, id: usize, due: &[(u64, u64, usize)]) -> u64 {
        let Some(slot) = self.core.slot(self.peers[id].key) else { return u64::MAX };
        // What has to wait makes nobody ready.
        let asked = slot.phase == Phase::Open && slot.enabled;
        let deadline = Limit::Timeout(Ready::DEADLINE);
        let counts = |limit| match limit {
            Limit::Connect | Limit::Linger => true,
            Limit::Timeout(_) => asked || (slot.enabled && limit == deadline),
        };
        let limits = slot.limits_in_time().filter(|&(limit, _)| counts(limit)).map(|(_, at)| at);
        let own = due.iter().filter(|(_, _, n)| asked && self.timers[*n].peer == Some(id));
        limits.chain(own.map(|(at, ..)| *at)).min().unwrap_or(u64::MAX)
    }

    fn expire(&mut self, now: u64) {
        assert!(now >= self.now);
        let next =
            self.timers.iter().filter(|timer| !timer.id.wall && !(timer.over && timer.period.is_none()));
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
        let first: Vec<u64> = self.live.iter().map(|&id| self.first_limit(id, &due)).collect();
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
            for (what, over) in over {
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
    fn expire_dates(&mut self) {
        let by = self.random.nanos();
        self.wall = if self.random.percent(80) { self.wall + by } else { self.wall.saturating_sub(by) };
        let next =
            self.timers.iter().filter(|timer| timer.id.wall && !timer.over).map(|timer| timer.at).min();
        assert_eq!(self.core.next_date(), next);
        self.core.expire_dates(self.wall);
        self.step += 1;
        for timer in self.timers.iter_mut().filter(|timer| timer.id.wall && !timer.over) {
            if timer.at <= self.wall {
                timer.over = true;
                self.since.push((Who::Timer(timer.id), (self.step, timer.at)));
            }
        }
        self.check();
    }

    // ---- a turn, as in turn.rs --------------------------------------------------------------------

    fn make_turn(&mut self) {
        let now = match self.core.next_deadline() {
            Some(at) if !self.core.has_ready() && self.random.percent(50) => at.max(self.now),
            _ => self.now + self.random.nanos(),
        };
        self.make_turn_at(now);
    }

    fn make_turn_at(&mut self, now: u64) {
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
    fn check_order(&mut self, turn: &[(u8, Who)]) {
        let since = |who: Who| self.since.iter().find(|(other, _)| *other == who).map(|(_, since)| *since);
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

    fn fire(&mut self, id: TimerId) {
        self.forget_ready(Who::Timer(id));
        let call = self.core.begin_timer(id);
        let Some(n) = self.timers.iter().position(|timer| timer.id == id) else {
            assert!(call.is_none(), "{id:?} was cancelled");
            return;
        };
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
    fn call_back(&mut self, me: Option<usize>) {
        self.progress += 1;
        if !self.quiet {
            for _ in 0..self.random.below(3) {
                self.act(me);
            }
        }
    }

    /// A callback of a connection: it must be there and switched on.
    fn call(&mut self, id: usize) {
        let peer = &self.peers[id];
        assert!(peer.named && peer.enabled, "{} is called", peer.key);
        self.call_back(Some(id));
    }

    fn dispatch(&mut self, key: Key) {
        self.forget_ready(Who::Connection(key));
        let Some(begun) = self.core.begin(key) else { return };
        let id = begun.driver.0;
        self.running = Some(id);
        assert_eq!(self.peers[id].key, key);
        assert!(self.peers[id].alive && (self.peers[id].enabled || !self.peers[id].named));
        self.say(|| format!("call {key} {:?} {:?}", begun.phase, begun.ready));
        if begun.ready.has(Ready::TIMERS) && self.peers[id].named {
            let due = std::mem::take(&mut self.peers[id].due);
            assert!(due.iter().map(handle).eq(begun.due.iter().copied()), "{key}: {due:?} {:?}", begun.due);
        }
        self.check();
        let mut over = false;
        match begun.phase {
            Phase::Connecting | Phase::Open if !self.quiet && self.random.percent(1) => over = true, // it panics
            Phase::Connecting | Phase::Open => match self.ready(id, &begun) {
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
            let taken = |timer: &Timer| timer.peer == Some(id) && begun.due.contains(&handle(&timer.id));
            let kept = self.peers[id].due.clone();
            self.timers.retain(|timer| !taken(timer) || kept.contains(&timer.id));
        }
        let wants_write = self.set_interest(id, begun.wants_write);
        let ended = self.core.end(key, begun.driver, wants_write);
        self.running = None;
        assert_eq!(ended.map(|body| body.0), (!self.peers[id].alive).then_some(id), "{key}");
    }

    fn set_interest(&mut self, id: usize, registered: bool) -> bool {
        let peer = &mut self.peers[id];
        let Some(slot) = self.core.slot(peer.key) else { return registered };
        let wanted = slot.blocked || !peer.established && !peer.listener;
        if wanted != registered {
            (peer.watched, peer.news) = (wanted, true);
        }
        wanted
    }

    // ---- a connection, as in stream.rs and listener.rs ----------------------------------------------

    /// Whether it has more to do.
    fn ready(&mut self, id: usize, begun: &Begun<Body>) -> Result<bool, Closed> {
        let key = self.peers[id].key;
        if self.peers[id].listener {
            return Ok(self.accept(id));
        }
        if !self.peers[id].open {
            let peer = &mut self.peers[id];
            if peer.refused && !peer.established {
                return Err(Closed::Connect(ErrorKind::ConnectionRefused.into()));
            }
            if peer.connecting {
                return Ok(false);
            }
            (peer.established, peer.open) = (true, true);
            (peer.read_since, peer.write_since, peer.idle_since) = (self.now, self.now, self.now);
            self.core.established(key);
            self.check();
            self.call(id);
        }
        let reading = begun.ready.has(Ready::INPUT) || begun.ready.has(Ready::ADDED);
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

    fn read(&mut self, id: usize) -> Result<bool, Closed> {
        let key = self.peers[id].key;
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
                if !self.core.may_read(key) {
                    return Ok(true);
                }
            }
        }
        if self.peers[id].ended && !std::mem::replace(&mut self.peers[id].told, true) {
            self.call(id);
            if self.random.percent(70) && self.peers[id].named {
                self.close(id, Closed::Eof);
            }
        }
        match self.core.take_write_error(key) {
            Some(error) => Err(Closed::Io(error)),
            None => Ok(false),
        }
    }

    fn later(&mut self, id: usize, begun: &Begun<Body>) {
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
            let set =
                self.timers.iter().position(|other| handle(&other.id) == *timer && other.peer == Some(id));
            let taken = self.core.take_timer(key, *timer);
            assert_eq!(taken, set.map(|n| self.timers[n].tag), "{key}: {timer:?}");
            if let Some(n) = set {
                self.stale.push(self.timers.remove(n).id);
                self.call(id);
            }
        }
        if left.has(Ready::DRAINED) && self.core.may_call(key) {
            left = left.without(Ready::DRAINED);
            self.call(id);
        }
        if due.is_empty() {
            left = left.without(Ready::TIMERS);
        }
        if !left.is_empty() {
            self.core.put_back(key, left, due);
            if self.peers[id].named {
                let back = self.timers.iter().filter(|timer| timer.peer == Some(id));
                let back: Vec<TimerId> = due
                    .iter()
                    .filter_map(|due| back.clone().map(|timer| timer.id).find(|id| handle(id) == *due))
                    .collect();
                self.peers[id].due.splice(..0, back);
            }
        }
        self.check();
    }

    fn accept(&mut self, id: usize) -> bool {
        let key = self.peers[id].key;
        let mut budget = 2;
        while self.peers[id].input > 0 {
            if !self.core.may_read(key) {
                return true;
            }
            if !self.core.has_room(key) {
                return false;
            }
            if budget == 0 {
                return true;
            }
            budget -= 1;
            self.peers[id].input -= 1;
            if self.live.len() < MOST_PEERS + 3 {
                self.insert(false, Some(id));
            }
            self.call_back(Some(id));
        }
        false
    }

    /// Throws input away. Whether nothing keeps it any longer.
    fn linger(&mut self, id: usize, written: bool) -> bool {
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

    fn write_own(&mut self, id: usize) {
        let key = self.peers[id].key;
        let Some(mut out) = self.core.begin_own_write(key) else { return };
        self.own_write = true;
        let result = self.write_out(id, &mut out, usize::MAX);
        self.own_write = false;
        self.wrote(id, &result);
        self.core.end_own_write(key, out, result);
    }

    fn write_out(&mut self, id: usize, out: &mut OutQueue, budget: usize) -> io::Result<Written> {
        out.write_to(&mut Wire { world: self, id }, budget)
    }

    /// The model's part of a write.
    fn wrote(&mut self, id: usize, result: &io::Result<Written>) {
        let peer = &mut self.peers[id];
        match result {
            Ok(written) if written.bytes > 0 => (peer.write_since, peer.idle_since) = (self.now, self.now),
            Ok(_) => {}
            Err(_) => {
                peer.failed = true;
                peer.queued.clear();
                peer.queued_len = 0;
            }
        }
    }

    fn write(&mut self, key: Key) {
        let Some(Writing { driver, mut out, phase, wants_write, finish }) = self.core.begin_write(key) else {
            return;
        };
        let id = driver.0;
        self.say(|| format!("write {key} {phase:?}"));
        self.outside.writing.push(key);
        self.check();
        let budget = 1 + self.random.below(2 * PATTERN);
        let mut result = if self.peers[id].listener {
            Ok(Written::default())
        } else if self.peers[id].established {
            self.write_out(id, &mut out, budget)
        } else {
            Err(ErrorKind::NotConnected.into())
        };
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
        let wanted = blocked || (!peer.established && !peer.listener);
        if wanted != wants_write && !over {
            (peer.watched, peer.news) = (wanted, true);
        }
        self.outside.writing.retain(|other| *other != key);
        self.say(|| format!("wrote {key} {result:?}, wants to write {wanted}, was {wants_write}"));
        self.wrote(id, &result);
        let wrote = Wrote { result, finished, wants_write: wanted };
        if let Some(driver) = self.core.end_write(key, driver, out, wrote) {
            assert!(driver.0 == id && !self.peers[id].alive);
        } else if over {
            assert_eq!(self.core.remove(key).map(|body| body.0), Some(id));
            self.gone(id);
        } else if waits {
            self.core.wait_for_peer(key);
        }
        self.check();
    }
}

fn handle(id: &TimerId) -> Handle {
    Handle { index: id.index, generation: id.generation }
}

/// Takes what is written, if the other side does.
struct Wire<'a> {
    world: &'a mut World,
    id: usize,
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
        let peer = &mut world.peers[*id];
        if peer.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(peer.room);
        if taken == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        peer.room -= taken;
        world.progress += taken as u64;
        let mut left = &bytes[..taken];
        while !left.is_empty() && peer.alive {
            let piece = peer.queued.front_mut().expect("nothing more was queued");
            let count = piece.len().min(left.len());
            assert!(
                left[..count] == pattern()[piece.start..piece.start + count],
                "other bytes than were queued"
            );
            left = &left[count..];
            piece.start += count;
            if piece.start == piece.end {
                peer.queued.pop_front();
            }
            peer.queued_len -= count;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let held_back = !self.world.quiet && self.world.random.percent(5);
        if held_back { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}
