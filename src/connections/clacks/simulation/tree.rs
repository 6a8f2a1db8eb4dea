//! A seeded simulation of linked servers: a tree of them on one communicator, with a user each. Between them bytes come in
//! pieces and late, links break, end on one side or are refused for a while, clocks differ and are set. Users change the same
//! keys, on all sides, at any moment.
//!
//! What is checked: a signal is heard once at most, whole, and those of a user in order; every value is one that somebody
//! has stored; all answers come; no clock that is set, forward or back, ends a connection. In quiet: what one user does all
//! see, with its last value; signals reach everybody. Once all links were made anew, all caches are the same, whatever happened
//! before; and in the end nothing is left.
//!
//! `ED_SEED=7` replays one seed, `ED_SEEDS=5000` runs the seeds below that.

use super::network::Link;
use crate::communicator::{Communicator, Id};
use crate::connections::clacks::line::ClacksLines;
use crate::connections::clacks::server::simulated::Maker;
use crate::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Uplink, Users, token};
use crate::connections::wire::{Far, wire};
use crate::seeds::{self, Random};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::rc::{Rc, Weak};
use std::time::Duration;

const SEEDS: u64 = 400;
const STEPS: usize = 300;
const MOST_SERVERS: usize = 5;
const KEYS: usize = 6;
/// By how many seconds a clock may be wrong: a little, as they are, as of another zone, a year, and as without a battery.
const CLOCKS: [f64; 8] = [0.0, 0.1, -0.1, 5.0, -3600.0, 3600.0, 31_000_000.0, -1_700_000_000.0];

#[test]
fn linked_servers_agree_in_the_end_whatever_happens() {
    let linked: usize = seeds::each(SEEDS, |seed| World::new(seed).run()).into_iter().sum();
    assert!(linked > 0, "no link was ever made: nothing was tested");
}

#[test]
fn servers_that_are_linked_go_with_their_loop() {
    let world = World::new(0);
    for _ in 0..50 {
        world.turn();
    }
    let servers: Vec<_> = world.nodes.iter().map(|node| node.server.weak()).collect();
    assert!(servers.len() > 1 && servers.iter().all(|server| server.strong_count() > 0));
    drop(world);
    assert!(servers.iter().all(|server| server.strong_count() == 0), "what holds a server is held by it");
}

struct World {
    communicator: Communicator,
    random: Random,
    nodes: Vec<Node>,
    links: RefCell<Vec<Link>>,
    /// No link comes to be.
    apart: Cell<bool>,
    /// Nothing bad happens.
    quiet: Cell<bool>,
    stops: Cell<bool>,
    made: Cell<usize>,
    /// Every value that was ever stored.
    values: RefCell<BTreeSet<Vec<u8>>>,
}

/// A server and its user.
struct Node {
    server: Server,
    user: User,
}

/// Speaks to a server over a connection to which nothing happens.
struct User {
    id: Id<ClacksLines>,
    far: Far,
    /// Signals sent.
    signals: Cell<u64>,
    /// For each other user the number of the last signal that was heard.
    heard: RefCell<BTreeMap<usize, u64>>,
    /// Requests without an answer.
    asked: Cell<usize>,
    values: Cell<u64>,
    /// What came and is no whole line yet.
    rest: RefCell<Vec<u8>>,
}

impl World {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new_cyclic(|world: &Weak<Self>| {
            let random = Random::new(seed);
            let communicator = Communicator::new().expect("a poll");
            let count = 2 + random.below(MOST_SERVERS - 1);
            let most_output = 100_000 + random.below(400_000);
            let nodes = (0..count).map(|at| Node::new(&communicator, &random, most_output, at)).collect();
            let this = Self {
                communicator,
                random,
                nodes,
                links: RefCell::default(),
                apart: Cell::new(false),
                quiet: Cell::new(false),
                stops: Cell::new(false),
                made: Cell::new(0),
                values: RefCell::default(),
            };
            for slave in 1..count {
                let (master, world) = (this.random.below(slave), world.clone());
                let maker = Maker::new(move |add| {
                    let world = world.upgrade().ok_or(ErrorKind::NotFound)?;
                    let refused = world.apart.get() || (!world.quiet.get() && world.random.percent(50));
                    if refused {
                        return Err(ErrorKind::ConnectionRefused.into());
                    }
                    let [ours, theirs] = Link::wires(&world.random, world.quiet.get());
                    let id = add(ours.0)?;
                    let there = world.nodes[master].server.serve_over(&world.communicator, theirs.0)?;
                    let link = Link::new((ours.1, id.key()), (theirs.1, there.key()));
                    world.links.borrow_mut().push(link);
                    world.made.set(world.made.get() + 1);
                    Ok(())
                });
                let uplink = Uplink::made(maker).retry(Duration::ZERO, Duration::ZERO);
                this.nodes[slave].server.link_to_master(&this.communicator, uplink);
            }
            this
        })
    }

    /// How many links were made.
    fn run(self: Rc<Self>) -> usize {
        self.nodes.iter().for_each(|node| node.user.log_in());
        for n in 0..STEPS {
            match self.random.below(12) {
                0..5 => self.happen(),
                5..8 => self.act(),
                _ => drop(self.turn()),
            }
            match self.random.below(60) {
                0 => self.set_clock(),
                1 => self.apart.set(self.random.percent(40)),
                _ => {}
            }
            if n % 150 == 149 {
                self.make_anew();
                self.compare();
                self.talk_in_turn();
            }
        }
        self.stops.set(true);
        for node in &self.nodes {
            node.server.stop(&self.communicator);
            node.user.far.state().ended = true;
            self.communicator.core(|core| core.event(node.user.id.key(), true, false, true));
        }
        self.settle(0);
        assert_eq!(self.communicator.connections(), [], "connections are left");
        assert!(self.links.borrow().is_empty(), "transports are left");
        for node in &self.nodes {
            assert!(node.user.far.state().closed && node.server.clients() == 0);
        }
        self.made.get()
    }

    /// The network.
    fn happen(&self) {
        Link::happen(&self.links.borrow(), &self.random);
    }

    fn set_clock(&self) {
        let node = &self.nodes[self.random.below(self.nodes.len())];
        node.server.simulate_time_offset(CLOCKS[self.random.below(CLOCKS.len())]);
    }

    /// A user does something.
    fn act(&self) {
        let at = self.random.below(self.nodes.len());
        let user = &self.nodes[at].user;
        let key = self.random.below(KEYS);
        match self.random.below(40) {
            0..14 => self.store(user, at, key),
            14..18 => user.say(&format!("REMOVE k{key}")),
            18..22 => {
                let value = self.value(user, at);
                user.say(&format!("SETANDSTORE k{key}={value}"));
            }
            22..28 => self.signal(user, at),
            28..31 => user.say("INCREMENT counter"),
            31 => user.say("DECREMENT counter=3"),
            32 if key == 0 => user.say("CLEARCACHE"),
            33..36 => user.ask(&format!("RETRIEVE k{key}")),
            _ => user.ask("FLUSH x"),
        }
    }

    fn store(&self, user: &User, at: usize, key: usize) {
        let value = self.value(user, at);
        user.say(&format!("STORE k{key}={value}"));
    }

    /// One that nobody has stored before: long now and then.
    fn value(&self, user: &User, at: usize) -> String {
        user.values.set(user.values.get() + 1);
        let length = if self.random.percent(5) { self.random.below(40_000) } else { self.random.below(50) };
        let value = format!("{at}.{}:{}", user.values.get(), "x".repeat(length));
        self.values.borrow_mut().insert(value.clone().into_bytes());
        value
    }

    fn signal(&self, user: &User, at: usize) {
        user.signals.set(user.signals.get() + 1);
        user.say(&format!("SET s={at}.{}", user.signals.get()));
    }

    /// How many bytes were moved.
    fn turn(&self) -> usize {
        let all = if self.quiet.get() { usize::MAX } else { self.random.below(200) };
        let mut carried = {
            let mut links = self.links.borrow_mut();
            links.retain(|link| !link.is_over());
            let carried = links.iter().map(|link| link.carry(all)).sum();
            for link in links.iter() {
                link.poll(&self.communicator);
            }
            carried
        };
        for node in &self.nodes {
            let waits = !node.user.far.state().input.is_empty();
            if waits && !node.user.far.state().closed {
                self.communicator.core(|core| core.event(node.user.id.key(), true, false, false));
            }
        }
        self.communicator.turn(Some(Duration::ZERO)).expect("a turn");
        for (at, node) in self.nodes.iter().enumerate() {
            node.server.check_invariants();
            carried += node.user.hear(at, self);
        }
        carried
    }

    /// Nothing bad happens any more, until nothing moves and so many links are there.
    fn settle(&self, links: usize) {
        self.quiet.set(true);
        self.links.borrow().iter().for_each(Link::heal);
        let (mut idle, mut turns) = (0, 0);
        while idle < 6 {
            let there = self.links.borrow().len();
            let carried = self.turn();
            let same = self.links.borrow().len() == there && there == links;
            idle = if carried == 0 && same { idle + 1 } else { 0 };
            turns += 1;
            assert!(turns < 20_000, "it does not come to rest: {:?}", self.communicator.connections());
        }
        self.quiet.set(false);
    }

    /// All links are cut, and come back.
    fn make_anew(&self) {
        self.apart.set(true);
        self.links.borrow().iter().for_each(Link::cut);
        self.settle(0);
        self.apart.set(false);
        self.settle(self.nodes.len() - 1);
        for (at, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.user.asked.get(), 0, "the user of {at} waits for answers");
        }
    }

    /// All caches are the same.
    fn compare(&self) {
        let first = self.nodes[0].cache();
        for (at, node) in self.nodes.iter().enumerate() {
            let cache = node.cache();
            let differ = cache
                .iter()
                .chain(&first)
                .filter(|(key, value)| cache.get(*key) != Some(value) || first.get(*key) != Some(value));
            let differ: Vec<_> = differ.map(|(key, value)| (short(key), short(value))).collect();
            assert!(differ.is_empty(), "{at} and 0 do not agree: {differ:?}");
        }
        for (key, value) in first.iter().filter(|(key, _)| key.starts_with(b"k")) {
            assert!(self.values.borrow().contains(value), "{}: {} was not stored", short(key), short(value));
        }
    }

    /// In quiet each sees what the others do.
    fn talk_in_turn(&self) {
        let links = self.nodes.len() - 1;
        for (at, node) in self.nodes.iter().enumerate() {
            if self.random.percent(30) {
                self.set_clock(); // it matters for nobody
            }
            let key = self.random.below(KEYS);
            self.signal(&node.user, at);
            match self.random.below(3) {
                0 => node.user.say(&format!("REMOVE k{key}")),
                _ => self.store(&node.user, at, key),
            }
            node.user.say("STORE counter=5");
            node.user.say("INCREMENT counter=2");
            self.settle(links);
            let expected = node.value(key);
            for (other, there) in self.nodes.iter().enumerate() {
                assert_eq!(there.value(key), expected, "{other} does not see what {at} did to k{key}");
                assert_eq!(there.cache().get(&b"counter"[..]), Some(&b"7".to_vec()), "{other} and {at}");
                let last = there.user.heard.borrow().get(&at).copied().unwrap_or(0);
                assert!(other == at || last == node.user.signals.get(), "{other} has not heard of {at}");
            }
        }
    }
}

fn short(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(30)].escape_ascii().to_string()
}

impl Node {
    fn new(communicator: &Communicator, random: &Random, most_output: usize, at: usize) -> Self {
        let mut users = Users::default();
        users.add("admin", "secret", Permissions::ALL);
        let settings = Settings { server_name: format!("server {at}"), ..Settings::default() };
        let limits = ServerLimits { max_out_buffer: most_output, ..ServerLimits::default() };
        let server = Server::start(communicator, settings, limits, users, Store::new(None));
        server.simulate_time_offset(CLOCKS[random.below(CLOCKS.len())]);
        let (ours, far) = wire();
        let id = server.serve_over(communicator, ours).expect("no poll refuses it");
        let user = User {
            id,
            far,
            signals: Cell::new(0),
            heard: RefCell::default(),
            asked: Cell::new(0),
            values: Cell::new(0),
            rest: RefCell::default(),
        };
        Self { server, user }
    }

    /// The values that there are.
    fn cache(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.server.look(|store| {
            let live = store.entries_from(None).filter(|(_, entry)| !entry.deleted);
            live.map(|(key, entry)| (key.to_vec(), entry.value.to_vec())).collect()
        })
    }

    fn value(&self, key: usize) -> Option<Vec<u8>> {
        self.cache().remove(format!("k{key}").as_bytes())
    }
}

impl User {
    fn log_in(&self) {
        self.say("CLACKS user");
        self.say(&format!("OVERHEAD A {}", token("admin", "secret")));
        self.say("NOPING");
        self.say("LISTEN s");
    }

    fn say(&self, line: &str) {
        self.far.put(format!("{line}\r\n"));
    }

    /// Says something that has one answer.
    fn ask(&self, line: &str) {
        self.asked.set(self.asked.get() + 1);
        self.say(line);
    }

    /// Takes what has come. How many bytes that were.
    fn hear(&self, at: usize, world: &World) -> usize {
        let came = std::mem::take(&mut self.far.state().output);
        let mut rest = self.rest.borrow_mut();
        rest.extend_from_slice(&came);
        while let Some(end) = rest.windows(2).position(|end| end == b"\r\n") {
            let line: Vec<u8> = rest.drain(..end + 2).collect();
            self.line(&line[..end], at, world);
        }
        came.len()
    }

    fn line(&self, line: &[u8], at: usize, world: &World) {
        let text = short(line);
        if let Some(signal) = text.strip_prefix("SET s=") {
            let parts = signal.split_once('.').and_then(|(of, n)| Some((of.parse().ok()?, n.parse().ok()?)));
            let (of, number): (usize, u64) = parts.unwrap_or_else(|| panic!("{at} hears {text}"));
            assert!(of != at && number <= world.nodes[of].user.signals.get(), "{at} hears {text}");
            let last = self.heard.borrow_mut().insert(of, number).unwrap_or(0);
            assert!(number > last, "{at} hears {text} after {last}");
        } else if text.starts_with("RETRIEVED k") {
            let value = line.iter().position(|b| *b == b'=').map(|at| line[at + 1..].to_vec());
            let value = value.unwrap_or_default();
            assert!(world.values.borrow().contains(&value), "{at} is told {text}, which nobody has stored");
            self.answered(at, &text);
        } else if text.starts_with("NOTRETRIEVED k") || text == "FLUSHED x" {
            self.answered(at, &text);
        } else {
            let known = ["CLACKS ", "OVERHEAD M ", "OVERHEAD O "];
            let known = known.iter().any(|known| text.starts_with(known));
            let known = known || (world.stops.get() && ["", "QUIT"].contains(&&*text));
            assert!(known, "{at} is told {text}");
        }
    }

    fn answered(&self, at: usize, text: &str) {
        assert!(self.asked.get() > 0, "{at} is told {text}, an answer too many");
        self.asked.set(self.asked.get() - 1);
    }
}
