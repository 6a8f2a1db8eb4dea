//! A seeded simulation of a clacks server with clients, plain and lasting ones, on a real communicator. What is between them is
//! in memory: bytes come in pieces and late, calls are in vain, connections break, end on one side or are cut with
//! everything on its way. Clients send, ask, add and remove each other and themselves, are switched off and on, and fail, at any
//! moment and inside of their callbacks.
//!
//! What is checked: what `FLUSHED` has confirmed is there; the signals of a sender come in order, none twice, and none
//! is missing between two plain clients; a counter has counted each step once at most, and each confirmed one; every request has one
//! answer; nothing waits beyond its limit; in the end nothing is left.
//!
//! `ED_SEED=7` replays one seed, `ED_SEEDS=5000` runs the seeds below that.

mod network;
mod peer;
mod tree;

use super::{Permissions, Server, ServerLimits, Settings, Store, Users};
use crate::communicator::Communicator;
use crate::seeds::{self, Random};
use network::Link;
use peer::Peer;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const SEEDS: u64 = 400;
const STEPS: usize = 600;
const MOST_CLIENTS: usize = 8;
/// The longest value of a signal.
const LONGEST: usize = 40_000;

#[test]
fn clients_and_server_keep_their_promises_whatever_happens() {
    let heard: usize = seeds::each(SEEDS, |seed| World::new(seed).run()).into_iter().sum();
    assert!(heard > 0, "nobody has heard anything: nothing was tested");
}

struct World {
    communicator: Communicator,
    random: Random,
    server: Server,
    most_output: usize,
    links: RefCell<Vec<Link>>,
    peers: RefCell<Vec<Rc<Peer>>>,
    /// What is known to be stored: the number of the value for the client and its key.
    confirmed: RefCell<BTreeMap<(usize, usize), u64>>,
    /// Steps of the counter: sent, and known to be counted.
    steps: Cell<u64>,
    steps_confirmed: Cell<u64>,
    /// Callbacks made, and signals heard.
    calls: Cell<usize>,
    heard: Cell<usize>,
    /// Nothing bad happens, and callbacks change nothing.
    quiet: Cell<bool>,
    /// The first thing that was wrong: the loop would catch the panic.
    wrong: RefCell<Option<String>>,
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        let random = Random::new(seed);
        let communicator = Communicator::new().expect("a poll");
        let mut users = Users::default();
        users.add("admin", "secret", Permissions::ALL);
        let most_output = 10_000 + random.below(400_000);
        let limits = ServerLimits { max_out_buffer: most_output, ..ServerLimits::default() };
        let server = Server::start(&communicator, Settings::default(), limits, users, Store::new(None));
        Rc::new(Self {
            communicator,
            random,
            server,
            most_output,
            links: RefCell::default(),
            peers: RefCell::default(),
            confirmed: RefCell::default(),
            steps: Cell::new(0),
            steps_confirmed: Cell::new(0),
            calls: Cell::new(0),
            heard: Cell::new(0),
            quiet: Cell::new(false),
            wrong: RefCell::default(),
        })
    }

    fn expect(&self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.borrow_mut().get_or_insert_with(what);
        }
    }

    /// How many signals were heard.
    fn run(self: Rc<Self>) -> usize {
        for n in 0..STEPS {
            match self.random.below(10) {
                0..4 => self.happen(),
                4..7 => self.act(None),
                _ => drop(self.turn()),
            }
            if n % 200 == 199 {
                self.settle();
            }
        }
        self.settle();
        self.count();
        for peer in self.peers.borrow().iter() {
            peer.client().close();
        }
        self.settle();
        assert_eq!(self.server.clients(), 0, "the server keeps clients that are gone");
        self.server.stop(&self.communicator);
        self.settle();
        assert_eq!(self.communicator.connections(), [], "connections are left");
        assert!(self.links.borrow().is_empty(), "transports are left");
        for peer in self.peers.take() {
            peer.check_end();
        }
        self.heard.get()
    }

    /// The network.
    fn happen(&self) {
        Link::happen(&self.links.borrow(), &self.random);
    }

    /// How many bytes were moved.
    fn turn(&self) -> usize {
        let carried = {
            let mut links = self.links.borrow_mut();
            links.retain(|link| !link.is_over());
            let all = if self.quiet.get() { usize::MAX } else { self.random.below(200) };
            let carried = links.iter().map(|link| link.carry(all)).sum();
            for link in links.iter() {
                link.poll(&self.communicator);
            }
            carried
        };
        self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        if let Some(wrong) = self.wrong.take() {
            panic!("{wrong}");
        }
        for link in self.links.borrow().iter() {
            let Some(info) = self.communicator.connection(link.server_key()) else { continue };
            // The item that reaches the limit is still taken.
            let bound = self.most_output + LONGEST + 1000;
            assert!(info.queued <= bound, "{} bytes wait, {bound} may: {info}", info.queued);
            assert!(info.unread <= (16 << 20) + (64 << 10), "{} bytes are unread: {info}", info.unread);
        }
        carried
    }

    /// Nothing bad happens any more: all that can arrive does, everybody who lasts is there, and the loop comes to rest.
    fn settle(self: &Rc<Self>) {
        self.quiet.set(true);
        let (mut idle, mut turns) = (0, 0);
        while idle < 8 {
            let calls = self.calls.get();
            for link in self.links.borrow().iter().filter(|_| turns == 0) {
                link.heal();
            }
            let waiting = self.peers.borrow().iter().filter(|peer| peer.come_back()).count();
            let carried = self.turn();
            idle = if carried == 0 && waiting == 0 && calls == self.calls.get() { idle + 1 } else { 0 };
            turns += 1;
            assert!(turns < 20_000, "it does not come to rest: {:?}", self.communicator.connections());
        }
        let peers = self.peers.borrow();
        for peer in peers.iter() {
            peer.check_rest(&peers);
        }
        drop(peers);
        self.quiet.set(false);
    }

    /// Everything is as confirmed: asked by a client to which nothing bad happens.
    fn count(self: &Rc<Self>) {
        self.quiet.set(true);
        let peer = Peer::add(self, false);
        let asked = self.confirmed.borrow().clone();
        for (of, key) in asked.into_keys() {
            peer.retrieve(of, key);
        }
        let world = self.clone();
        let counted = Rc::new(Cell::new(false));
        let done = counted.clone();
        let asking = peer.client().retrieve(b"counter", move |answer, _| {
            let text = answer.expect("an answer").unwrap_or_else(|| b"0".to_vec());
            let counter: u64 = String::from_utf8_lossy(&text).parse().expect("a number");
            let (least, most) = (world.steps_confirmed.get(), world.steps.get());
            let right = (least..=most).contains(&counter);
            world.expect(right, || format!("counted to {counter}, and not {least} to {most}"));
            done.set(true);
        });
        asking.expect("it is asked");
        self.settle();
        assert!(counted.get(), "the counter was not told");
    }

    /// The programs do something, from outside or inside a callback of `me`.
    fn act(self: &Rc<Self>, me: Option<&Rc<Peer>>) {
        let target = {
            let peers = self.peers.borrow();
            let live: Vec<_> = peers.iter().filter(|peer| !peer.is_over()).cloned().collect();
            if live.len() < MOST_CLIENTS && (live.is_empty() || self.random.percent(6)) {
                None
            } else {
                let mine = me.filter(|_| self.random.percent(50)).cloned();
                mine.or_else(|| live.get(self.random.below(live.len().max(1))).cloned())
            }
        };
        match target {
            Some(target) => target.act(),
            None => drop(Peer::add(self, self.random.percent(50))),
        }
    }
}
