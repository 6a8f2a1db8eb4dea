//! A seeded simulation of the core: the outside (peers, poll, clocks) and the program are played by a random number
//! generator, the loop's own steps are those of `turn.rs` and `stream.rs` without the system. After every step the core's invariants
//! are checked, and what it says is compared with a simple model.
//!
//! `ED_SEED=7` replays one seed and prints its steps; `ED_SEEDS=5000` runs the seeds below that.

mod connection;
mod peer;
mod program;
mod random;
mod timers;
mod turn;

use super::core::{Core, Outside, Who};
use super::error::Closed;
use super::key::TimerId;
use super::slot::{Phase, Slot};
use crate::seeds;
use peer::{Body, Peer, Permanent};
use random::Random;
use timers::{Call, Timer};

const SEEDS: u64 = 300;
const STEPS: usize = 400;

#[test]
fn the_core_keeps_its_promises_whatever_happens() {
    let loud = seeds::replayed().is_some();
    seeds::each(SEEDS, |seed| World::new(seed, loud).run());
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
    /// What is written is what stands before the queue.
    greeting: bool,
    step: u64,
    /// Callbacks change nothing.
    quiet: bool,
    /// Bytes moved and callbacks made.
    progress: u64,
}

impl World {
    fn new(seed: u64, loud: bool) -> Self {
        Self {
            random: Random::new(seed),
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
            greeting: false,
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

    /// After every step.
    fn check(&mut self) {
        self.step += 1;
        self.note_ready(|_| 0);
        self.core.check_invariants(&self.outside);
        assert_eq!(self.core.live(), self.live.len());
        assert_eq!(self.core.calls(), self.timers.iter().filter(|timer| timer.peer.is_none()).count());
        for &id in &self.live {
            let peer = &mut self.peers[id];
            let slot = self.core.slot(peer.key).expect("a connection that was not removed");
            peer.drained |= slot.pressed;
            assert_eq!(slot.is_open(), peer.named, "{}", peer.key);
            let writes =
                self.outside.writing.contains(&peer.key) || (self.own_write && self.running == Some(id));
            if !writes {
                let before = slot.upgrade.as_ref().map_or(0, |upgrade| upgrade.before.len());
                assert_eq!(before + slot.rest.out.len(), peer.queued_len, "{}: what is queued", peer.key);
                let inside = slot.upgrade.as_ref().map(|_| slot.rest.out.len());
                assert_eq!(inside, peer.inside, "{}: what is for the layer", peer.key);
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
                let read = peer.input == 0 || peer.ended || !peer.established;
                // What waits for its rate throws input away when it writes.
                assert!(peer.closed && (read || slot.rest.output_rate.until.is_some()), "{}", state());
            } else if peer.listener {
                assert!(
                    !peer.reading
                        || peer.input == 0
                        || slot.rest.children >= slot.rest.most_children
                        || slot.rest.accept_rate.until.is_some(),
                    "{}",
                    state()
                );
            } else if let Some(Permanent { made: false, attempt, .. }) = &peer.permanent {
                let waits = slot.permanent.as_ref().and_then(|permanent| permanent.retry_at);
                let right = match slot.phase {
                    Phase::Waiting => slot.rest.end.is_none() && waits.is_some_and(|at| at > self.now),
                    Phase::Connecting => attempt.is_some(),
                    _ => false,
                };
                assert!(right, "{}", state());
            } else if peer.connecting || peer.refused {
                assert!(!peer.refused && slot.phase == Phase::Connecting, "{}", state());
            } else {
                assert!(slot.phase == Phase::Open && peer.open, "{}", state());
                // What is piped waits for room where it goes: until that has written something, or is established.
                let full = slot.pipe_full;
                let target = peer.pipe_to.map(|to| self.core.slot(self.peers[to].key).expect("piped"));
                let not_yet = |to: &Slot<Body>| to.is_away() || to.upgrade.is_some();
                let writes =
                    |to: &Slot<Body>| !to.rest.out.is_empty() || to.write_error.is_some() || not_yet(to);
                assert!(!full || target.is_some_and(writes), "{}", state());
                let read = full || (peer.input == 0 && peer.ended == peer.told);
                assert!(!peer.reading || read, "{}", state());
                // What could not be written is read out first; then it is lost.
                let held = (slot.is_held() && !slot.greets())
                    || slot.write_error.is_some()
                    || slot.rest.output_rate.until.is_some();
                assert!(slot.rest.out.is_empty() || peer.room == 0 || held, "{}", state());
                assert!(!peer.reading || full || slot.write_error.is_none(), "{}", state());
                assert!(!(peer.reading && peer.pipe_done && slot.finished) || full, "{}", state());
                assert!(!peer.drained || slot.pressed, "{}", state());
            }
        }
    }

    /// Everything is closed, and after a while nothing is left.
    fn end(&mut self) {
        for id in 0..self.peers.len() {
            let peer = &mut self.peers[id];
            (peer.room, peer.news) = (usize::MAX / 2, true);
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
}
