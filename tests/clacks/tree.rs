//! Several servers in one process, linked, cut and linked again: they come to the same cache.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use eventdispatcher::connections::clacks::{
    ClientIndex, Closing, Event, Flow, NodeId, Now, Output, Peer, Permissions, Settings, State, Store,
    Traffic, Users, token,
};

use crate::random::Random;

const START: f64 = 1_795_000_123.0;

/// A connection of one server: its place among the queues.
type Key = usize;

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    is_closed: bool,
    is_held: bool,
    resumes: bool,
}

#[derive(Debug)]
struct Recorder {
    queues: Vec<Queue>,
    /// So many lines may wait before there is no room for a cache.
    room: usize,
    events: Vec<String>,
}

impl Output<Key> for Recorder {
    fn send(&mut self, to: Key, line: &[&[u8]]) -> bool {
        assert!(!self.queues[to].is_closed);
        self.queues[to].lines.push_back(line.concat());
        true
    }

    fn close(&mut self, who: Key, _: Closing) {
        self.queues[who].is_closed = true;
    }

    fn has_room(&self, who: Key) -> bool {
        self.queues[who].lines.len() < self.room
    }

    fn resume_soon(&mut self, who: Key) {
        self.queues[who].resumes = true;
    }

    fn hold(&mut self, who: Key, on: bool) {
        self.queues[who].is_held = on;
    }

    fn traffic(&self, _: Key) -> Traffic {
        Traffic::default()
    }

    fn shutdown(&mut self, _: Duration) {}

    fn log(&mut self, event: &Event<'_>) {
        self.events.push(event.to_string());
    }
}

struct Node {
    state: State<Key>,
    out: Recorder,
    /// By how many seconds its clock is wrong.
    clock: f64,
    /// Its own client, whose queue is the first one.
    user: ClientIndex,
}

/// A connection between two servers: for each end the server, the connection and what it is to the server.
struct Link {
    ends: [(usize, Key, ClientIndex); 2],
}

struct Net {
    nodes: Vec<Node>,
    /// The master of each.
    masters: Vec<Option<usize>>,
    /// The link of each to its master, if it is up.
    links: Vec<Option<Link>>,
    random: Random,
    /// All clocks are right and lines take no time, so that entries can have the same time.
    is_exact: bool,
    /// Whether servers may close links.
    expects_ends: bool,
    time: Duration,
}

impl Net {
    /// Servers with these masters. `is_kin` tells which of them know the others by their nodes.
    fn new(masters: &[Option<usize>], seed: u64, is_kin: impl Fn(usize) -> bool) -> Self {
        let mut random = Random(seed);
        let is_exact = seed.is_multiple_of(4);
        let mut nodes = Vec::new();
        for at in 0..masters.len() {
            let mut users = Users::default();
            users.add("admin", "adminpass", Permissions::ALL);
            let node = if is_kin(at) { NodeId(at as u64 + 1) } else { NodeId::default() };
            let settings = Settings { server_name: format!("server {at}"), node, ..Settings::default() };
            let clock = if is_exact { 0.0 } else { random.below(2_000_000) as f64 / 1000.0 - 1000.0 };
            let mut state = State::new(settings, users, Store::default());
            let queues = vec![Queue::default()];
            let mut out = Recorder { queues, room: 1 + random.below(8), events: Vec::new() };
            let user = state.connected(0, Peer::Unix, Now::default(), &mut out);
            let mut node = Node { state, out, clock, user };
            node.line(user, format!("OVERHEAD A {}", token("admin", "adminpass")).as_bytes(), Duration::ZERO);
            nodes.push(node);
        }
        let links = masters.iter().map(|_| None).collect();
        Self {
            nodes,
            masters: masters.to_vec(),
            links,
            random,
            is_exact,
            expects_ends: false,
            time: Duration::from_secs(1000),
        }
    }

    fn pass(&mut self, most: Duration) {
        self.time += Duration::from_nanos(1 + self.random.below(most.as_nanos() as usize) as u64);
    }

    fn connect(&mut self, slave: usize) {
        let Some(master) = self.masters[slave].filter(|_| self.links[slave].is_none()) else { return };
        let ends = [master, slave].map(|at| {
            let time = self.time;
            let node = &mut self.nodes[at];
            let (key, now) = (node.queue(), node.now(time));
            let client = if at == slave {
                node.state.connected_to_master(key, Peer::Unix, now, &mut node.out)
            } else {
                node.state.connected(key, Peer::Unix, now, &mut node.out)
            };
            (at, key, client)
        });
        self.links[slave] = Some(Link { ends });
    }

    fn cut(&mut self, slave: usize) {
        let Some(link) = self.links[slave].take() else { return };
        for (at, key, client) in link.ends {
            let node = &mut self.nodes[at];
            node.out.queues[key].is_closed = true;
            node.state.disconnected(client, 0, &mut node.out);
            node.state.check_invariants();
        }
    }

    /// Delivers one line, if there is one that can be delivered.
    fn deliver(&mut self) -> bool {
        let from = self.random.below(self.links.len() * 2);
        for turn in 0..self.links.len() * 2 {
            let (slave, side) = (((from + turn) / 2) % self.links.len(), (from + turn) % 2);
            let Some(link) = &self.links[slave] else { continue };
            let ((sender, from, from_client), (receiver, to, to_client)) =
                (link.ends[side], link.ends[1 - side]);
            if self.nodes[receiver].out.queues[to].is_held {
                continue;
            }
            let node = &mut self.nodes[sender];
            let queue = &mut node.out.queues[from];
            let Some(line) = queue.lines.pop_front() else {
                if std::mem::take(&mut queue.resumes) {
                    node.state.resume(from_client, &mut node.out);
                    return true;
                }
                continue;
            };
            queue.resumes = false;
            node.state.resume(from_client, &mut node.out);
            if !self.is_exact {
                self.pass(Duration::from_micros(200));
            }
            let flow = self.nodes[receiver].line(to_client, &line, self.time);
            assert!(self.expects_ends || flow != Flow::Closed, "{} after {line:?}", self.log());
            return true;
        }
        false
    }

    fn settle(&mut self) {
        while self.deliver() {}
    }

    /// Delivers all there is, and takes down links that a server has closed.
    fn deliver_with_ends(&mut self) {
        self.expects_ends = true;
        loop {
            while self.deliver() {}
            let is_closed =
                |link: &Link| link.ends.iter().any(|(at, key, _)| self.nodes[*at].out.queues[*key].is_closed);
            let Some(slave) = self.links.iter().position(|link| link.as_ref().is_some_and(is_closed)) else {
                return;
            };
            self.cut(slave);
        }
    }

    /// A user of a server does something.
    fn act(&mut self, at: usize, line: &str) {
        let node = &mut self.nodes[at];
        if !node.out.queues[0].is_held {
            let user = node.user;
            node.line(user, line.as_bytes(), self.time);
        }
    }

    fn act_at_random(&mut self) -> (usize, String) {
        let at = self.random.below(self.nodes.len());
        let key = format!("key{}", self.random.below(8));
        let value = self.random.below(1000);
        let line = match self.random.below(10) {
            0..4 => format!("STORE {key}={value}"),
            4 => format!("SETANDSTORE {key}={value}"),
            5 => format!("REMOVE {key}"),
            6..8 => format!("INCREMENT {key}={value}"),
            8 if self.is_exact => {
                let (time, mode) = (START + 1000.0 + self.random.below(3) as f64, ["U", "D"][value % 2]);
                format!("KEYSYNC {time} 0 {mode} tie{key}={value}")
            }
            8 => format!("DECREMENT {key}"),
            _ => format!("SET {key}={value}"),
        };
        self.act(at, &line);
        (at, line)
    }

    /// What there is of each key: the value (none in a tombstone), and when it was set, by the right time.
    fn cache(&self, at: usize) -> BTreeMap<String, (Option<String>, f64)> {
        let node = &self.nodes[at];
        let entries = node.state.store().entries_from(None).map(|(key, entry)| {
            let value = (!entry.deleted).then(|| String::from_utf8_lossy(&entry.value).into_owned());
            (String::from_utf8_lossy(key).into_owned(), (value, entry.cache_time - node.clock))
        });
        entries.collect()
    }

    fn values(&self, at: usize) -> BTreeMap<String, Option<String>> {
        self.cache(at).into_iter().map(|(key, (value, _))| (key, value)).collect()
    }

    #[track_caller]
    fn check_same(&self, what: &str) {
        for at in 1..self.nodes.len() {
            assert_eq!(self.values(at), self.values(0), "{what}: servers {at} and 0");
        }
    }

    fn log(&self) -> String {
        self.nodes.iter().map(|node| node.out.events.join("\n")).collect::<Vec<_>>().join("\n")
    }
}

impl Node {
    fn now(&self, time: Duration) -> Now {
        Now { unix: START + self.clock + time.as_secs_f64(), monotonic: time }
    }

    fn queue(&mut self) -> Key {
        self.out.queues.push(Queue::default());
        self.out.queues.len() - 1
    }

    fn line(&mut self, client: ClientIndex, line: &[u8], time: Duration) -> Flow {
        let now = self.now(time);
        let flow = self.state.line(client, line, now, &mut self.out);
        self.out.queues[0].lines.clear();
        flow
    }
}

/// Trees: a pair, a chain, a star, a chain of five, and one with branches at two levels.
const TREES: [&[Option<usize>]; 6] = [
    &[None, Some(0)],
    &[None, Some(0), Some(1)],
    &[None, Some(0), Some(0)],
    &[None, Some(0), Some(1), Some(2), Some(3)],
    &[None, Some(0), Some(0), Some(0), Some(0)],
    &[None, Some(0), Some(0), Some(1), Some(1)],
];

fn run(seed: u64) {
    let tree = TREES[seed as usize % TREES.len()];
    // Every third net has servers that only know the published protocol.
    let mut net = Net::new(tree, seed, |at| !seed.is_multiple_of(3) || at % 2 == 0);

    // Anything happens at any time, links come and go.
    for _ in 0..150 {
        match net.random.below(20) {
            0 => {
                let at = net.random.below(tree.len());
                net.cut(at);
            }
            1..3 => {
                let at = net.random.below(tree.len());
                net.connect(at);
            }
            3..8 => drop(net.act_at_random()),
            _ => drop(net.deliver()),
        }
        net.pass(Duration::from_millis(20));
    }

    // All are apart, and each changes what it likes.
    (0..tree.len()).for_each(|at| net.cut(at));
    for _ in 0..20 {
        net.time += Duration::from_secs(5);
        net.act_at_random();
    }
    let before: Vec<_> = (0..tree.len()).map(|at| net.cache(at)).collect();
    let mut slaves: Vec<_> = (0..tree.len()).collect();
    while !slaves.is_empty() {
        let at = net.random.below(slaves.len());
        net.connect(slaves.swap_remove(at));
        for _ in 0..net.random.below(100) {
            net.deliver();
        }
    }
    net.settle();
    net.check_same(&format!("seed {seed}, after all were apart"));
    for (key, value) in net.values(0) {
        let mut entries: Vec<_> = before.iter().filter_map(|cache| cache.get(&key)).collect();
        entries.sort_by(|a, b| b.1.total_cmp(&a.1));
        let newest = entries[0];
        // Clocks are compared through lines that take their time: a second apart is clear.
        if key.starts_with("tie") {
            // Of those that are as new a value, the smallest; only then a tombstone.
            let ties = entries.iter().filter(|entry| entry.1 == newest.1);
            let best = ties.map(|entry| &entry.0).min_by_key(|value| (value.is_none(), (*value).clone()));
            assert_eq!(Some(&value), best, "seed {seed}: {key} is not the best of {entries:?}");
        } else if entries.iter().all(|entry| entry.1 + 1.0 < newest.1 || entry.0 == newest.0) {
            assert_eq!(value, newest.0, "seed {seed}: {key} is not the newest of {entries:?}");
        }
    }

    // All are linked, and one thing happens at a time.
    for step in 0..30 {
        net.time += Duration::from_millis(10);
        let (at, line) = if net.random.below(15) == 0 {
            let at = net.random.below(tree.len());
            net.act(at, "CLEARCACHE");
            (at, "CLEARCACHE".to_owned())
        } else {
            net.act_at_random()
        };
        net.settle();
        net.check_same(&format!("seed {seed}, step {step}, {line:?} at {at}"));
    }
}

/// `CLACKS_SEED` replays one run.
#[test]
fn servers_that_were_apart_come_to_the_same_cache() {
    match std::env::var("CLACKS_SEED") {
        Ok(seed) => run(seed.parse().expect("a number")),
        Err(_) => (0..300).for_each(run),
    }
}

/// The server at the end of a chain may not become the master of the one at its beginning, also if the chain was made
/// afterwards.
#[test]
fn a_loop_is_found_however_it_comes_to_be() {
    let order = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for slaves in order {
        let mut net = Net::new(&[Some(1), Some(2), Some(0)], 1, |_| true);
        for slave in slaves {
            net.connect(slave);
            net.deliver_with_ends();
        }
        let log = net.log();
        assert!(log.contains("not linked: give another <master>, or none"), "{slaves:?}: {log}");
        // What is left is a tree, and what happens in it has an end.
        net.act(0, "STORE k=1");
        net.act(0, "SET k=1");
        net.deliver_with_ends();
        assert_eq!(net.links.iter().flatten().count(), 2, "{slaves:?}: {log}");
        net.check_same("what is left");
    }
}

/// With clocks that differ, and lines that take their time, both servers translate times in the same way: what is told one is
/// the same when it is told back.
#[test]
fn both_sides_of_a_link_agree_about_their_clocks() {
    for seed in [1, 2, 3, 5, 6, 7] {
        let mut net = Net::new(&[None, Some(0)], seed, |_| true);
        net.connect(1);
        net.settle();
        let time = START + 5000.0;
        let offset = |net: &Net| {
            let of =
                |at: usize, key: &[u8]| net.nodes[at].state.store().get(key).map(|entry| entry.cache_time);
            [(0, &b"down"[..]), (1, &b"up"[..])].map(|(from, key)| {
                of(1 - from, key).expect("it was told") - of(from, key).expect("it is there")
            })
        };
        net.act(0, &format!("KEYSYNC {time} 0 U down=1"));
        net.act(1, &format!("KEYSYNC {time} 0 U up=1"));
        net.settle();
        let [down, up] = offset(&net);
        assert_eq!(down, -up, "seed {seed}");
        let right = net.nodes[1].clock - net.nodes[0].clock;
        assert!((down - right).abs() < 0.1, "seed {seed}: {down} and not {right}");
    }
}

#[test]
fn a_key_that_begins_with_an_equals_sign_is_exchanged() {
    for user in [0, 1] {
        let mut net = Net::new(&[None, Some(0)], 4, |_| true);
        for line in ["STORE ==x", "STORE =a=y", "INCREMENT =b", "STORE =gone=z", "REMOVE =gone"] {
            net.act(user, line);
        }
        net.connect(1);
        net.settle();
        for at in [0, 1] {
            let values = net.values(at);
            for (key, value) in [("=", Some("x")), ("=a", Some("y")), ("=b", Some("1")), ("=gone", None)] {
                assert_eq!(values.get(key), Some(&value.map(str::to_owned)), "by {user}: {key} of {at}");
            }
        }
    }
}

/// Arithmetic and removals take names with an equals sign, which the exchange of caches can't name.
#[test]
fn a_key_that_can_not_be_exchanged_is_not_taken_for_another_one() {
    for user in [0, 1] {
        let mut net = Net::new(&[None, Some(0)], 4, |_| true);
        net.act(1 - user, "STORE counted=kept");
        net.act(1 - user, "STORE removed=kept");
        net.time += Duration::from_secs(60);
        net.act(user, "INCREMENT counted=by=3");
        net.act(user, "REMOVE removed=too");
        net.time += Duration::from_secs(60);
        net.connect(1);
        net.settle();
        for at in [0, 1] {
            let values = net.values(at);
            for key in ["counted", "removed"] {
                assert_eq!(values.get(key), Some(&Some("kept".to_owned())), "by {user}: {key} of {at}");
            }
        }
        // What is done while they are linked reaches both.
        net.act(user, "INCREMENT counted=by=3");
        net.settle();
        assert_eq!(net.values(1 - user).get("counted=by"), Some(&Some("3".to_owned())), "by {user}");
    }
}
