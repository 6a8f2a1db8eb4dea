//! Three linked clacks servers in memory, in a row, their users, and somebody who tampers with their lines. The input is a
//! program, a line each step: a letter that says what happens, a digit for the server or the link, and what follows. As long as
//! nobody has tampered, all caches are the same once the links were made anew.
#![no_main]

use eventdispatcher::connections::clacks::{
    ClientIndex, Closing, Event, Flow, NodeId, Now, Output, Peer, Permissions, Settings, State, Store,
    Traffic, Users, token,
};
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const STEPS_MAX: usize = 300;
const START: f64 = 1_795_000_123.0;
/// By how many seconds a clock is wrong.
const CLOCKS: [f64; 5] = [0.0, 0.5, -3.25, 3600.0, -500_000.0];

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    is_closed: bool,
    is_held: bool,
    resumes: bool,
}

/// The connections of one server.
#[derive(Default)]
struct Queues(Vec<Queue>);

impl Output<usize> for Queues {
    fn send(&mut self, to: usize, line: &[&[u8]]) -> bool {
        assert!(!self.0[to].is_closed, "{to} is closed, and gets {line:?}");
        self.0[to].lines.push_back(line.concat());
        true
    }
    fn close(&mut self, who: usize, _: Closing) {
        assert!(!self.0[who].is_closed, "{who} is closed twice");
        self.0[who].is_closed = true;
    }
    fn has_room(&self, who: usize) -> bool {
        self.0[who].lines.len() < 3
    }
    fn resume_soon(&mut self, who: usize) {
        self.0[who].resumes = true;
    }
    fn hold(&mut self, who: usize, on: bool) {
        self.0[who].is_held = on;
    }
    fn traffic(&self, _: usize) -> Traffic {
        Traffic::default()
    }
    fn shutdown(&mut self, _: Duration) {}
    fn log(&mut self, event: &Event<'_>) {
        assert!(!event.to_string().is_empty());
    }
}

struct Node {
    state: State<usize>,
    out: Queues,
    clock: f64,
    user: Option<(usize, ClientIndex)>,
}

impl Node {
    fn new(at: usize) -> Self {
        let mut users = Users::default();
        users.add("admin", "secret", Permissions::ALL);
        let settings = Settings {
            server_name: format!("server {at}"),
            node: NodeId(at as u64 + 1),
            clean_budget: 2,
            ..Settings::default()
        };
        let state = State::new(settings, users, Store::new(None));
        Self { state, out: Queues::default(), clock: 0.0, user: None }
    }

    fn now(&self, time: Duration) -> Now {
        Now { unix: START + self.clock + time.as_secs_f64(), monotonic: time }
    }

    fn line(&mut self, client: ClientIndex, line: &[u8], time: Duration) -> Flow {
        let now = self.now(time);
        let flow = self.state.line(client, line, now, &mut self.out);
        self.state.check_invariants();
        flow
    }

    /// What its user says. There is a new one when the old one was thrown out.
    fn say(&mut self, line: &[u8], time: Duration) {
        let now = self.now(time);
        let there = self.user.filter(|(key, _)| !self.out.0[*key].is_closed);
        let (key, client) = there.unwrap_or_else(|| {
            if let Some((_, client)) = self.user {
                self.state.disconnected(client, 0, &mut self.out);
            }
            let key = self.out.0.len();
            self.out.0.push(Queue::default());
            let client = self.state.connected(key, Peer::Unix, now, &mut self.out);
            (key, client)
        });
        if there.is_none() {
            self.user = Some((key, client));
            self.line(client, format!("OVERHEAD A {}", token("admin", "secret")).as_bytes(), time);
        }
        if !self.out.0[key].is_held && !self.out.0[key].is_closed {
            self.line(client, line, time);
        }
        let queue = &mut self.out.0[key];
        queue.lines.clear();
        if std::mem::take(&mut queue.resumes) {
            self.state.resume(client, &mut self.out);
        }
    }

    fn cache(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let live = self.state.store().entries_from(None).filter(|(_, entry)| !entry.deleted);
        // Keys with an equals sign, of arithmetic, can't be exchanged.
        let live = live.filter(|(key, _)| !key.contains(&b'='));
        live.map(|(key, entry)| (key.to_vec(), entry.value.to_vec())).collect()
    }
}

/// Each end: the server, its connection, and what that is to it. The master first.
type Link = [(usize, usize, ClientIndex); 2];

struct Net {
    nodes: Vec<Node>,
    links: [Option<Link>; 2],
    time: Duration,
}

impl Net {
    fn connect(&mut self, which: usize) {
        if self.links[which].is_some() {
            return;
        }
        let time = self.time;
        self.links[which] = Some([which, which + 1].map(|at| {
            let node = &mut self.nodes[at];
            let (key, now) = (node.out.0.len(), node.now(time));
            node.out.0.push(Queue::default());
            let client = if at == which {
                node.state.connected(key, Peer::Unix, now, &mut node.out)
            } else {
                node.state.connected_to_master(key, Peer::Unix, now, &mut node.out)
            };
            (at, key, client)
        }));
    }

    fn cut(&mut self, which: usize) {
        for (at, key, client) in self.links[which].take().into_iter().flatten() {
            let node = &mut self.nodes[at];
            (node.out.0[key].is_closed, node.out.0[key].lines) = (true, VecDeque::new());
            node.state.disconnected(client, 0, &mut node.out);
            node.state.check_invariants();
        }
    }

    /// The queue of a direction: 0 and 1 are of the first link, down and up.
    fn queue(&mut self, direction: usize) -> Option<&mut Queue> {
        let (at, key, _) = self.links[direction / 2 % 2]?[direction % 2];
        Some(&mut self.nodes[at].out.0[key])
    }

    /// Carries one line. `false`: there is none that can arrive.
    fn deliver(&mut self, direction: usize) -> bool {
        let Some(link) = self.links[direction / 2 % 2] else { return false };
        let ((from, from_key, from_client), (to, to_key, to_client)) =
            (link[direction % 2], link[1 - direction % 2]);
        if self.nodes[to].out.0[to_key].is_held {
            return false;
        }
        self.time += Duration::from_micros(100);
        let node = &mut self.nodes[from];
        let queue = &mut node.out.0[from_key];
        let (line, resumes) = (queue.lines.pop_front(), std::mem::take(&mut queue.resumes));
        if line.is_some() || resumes {
            node.state.resume(from_client, &mut node.out);
        }
        let Some(line) = line else { return resumes };
        let closed = self.nodes[to].line(to_client, &line, self.time) == Flow::Closed;
        if closed
            || (self.nodes[from].out.0[from_key].is_closed
                && self.queue(direction).is_some_and(|queue| queue.lines.is_empty()))
        {
            self.cut(direction / 2 % 2);
        }
        true
    }

    fn settle(&mut self) {
        let mut steps = 0;
        while (0..4).any(|direction| self.deliver(direction)) {
            steps += 1;
            assert!(steps < 1_000_000, "they talk for ever");
        }
    }

    fn pass(&mut self, time: Duration) {
        self.time += time;
        for node in &mut self.nodes {
            let now = node.now(self.time);
            while node.state.clean(now, &mut node.out) {}
        }
        for which in 0..2 {
            for (at, key, client) in self.links[which].into_iter().flatten() {
                let node = &mut self.nodes[at];
                let now = node.now(self.time);
                let next = node.state.check(client, now, &mut node.out);
                assert!(next.is_none_or(|next| next > self.time), "it is looked at for ever");
                if node.out.0[key].is_closed {
                    self.cut(which);
                    break;
                }
            }
        }
    }
}

fuzz_target!(|program: &[u8]| {
    let mut net =
        Net { nodes: (0..3).map(Node::new).collect(), links: [None; 2], time: Duration::from_secs(1000) };
    (net.connect(0), net.connect(1));
    let mut tampered = false;
    for step in program.split(|byte| *byte == b'\n').take(STEPS_MAX) {
        let (letter, rest) = step.split_first().unwrap_or((&b'*', b""));
        let (digit, rest) = rest.split_first().unwrap_or((&b'0', b""));
        let number = usize::from(*digit % 10);
        match letter {
            b'>' => drop(net.deliver(number % 4)),
            b'*' => net.settle(),
            b'-' => net.cut(number % 2),
            b'+' => net.connect(number % 2),
            b'@' => net.pass(Duration::from_secs(number as u64 * 15)),
            b'c' => net.nodes[number % 3].clock = CLOCKS[number % CLOCKS.len()],
            b'=' => {
                tampered = true;
                let line = rest.to_vec();
                if let Some(queue) = net.queue(number).filter(|queue| !queue.is_closed) {
                    queue.lines.push_front(line);
                }
            }
            b'x' => {
                tampered = true;
                if let Some(queue) = net.queue(number) {
                    drop(queue.lines.pop_front());
                }
            }
            b's' => {
                tampered = true;
                if let Some(queue) = net.queue(number).filter(|queue| queue.lines.len() > 1) {
                    queue.lines.swap(0, 1);
                }
            }
            _ => {
                // What is for other servers only is no user's.
                tampered |= rest.starts_with(b"KEYSYNC") || rest.starts_with(b"OVERHEAD");
                net.nodes[number % 3].say(rest, net.time);
            }
        }
    }
    (net.cut(0), net.cut(1));
    net.time += Duration::from_secs(1);
    (net.connect(0), net.connect(1));
    net.settle();
    if !tampered {
        let first = net.nodes[0].cache();
        assert!(net.links.iter().all(Option::is_some), "a link has ended");
        assert_eq!(net.nodes[1].cache(), first);
        assert_eq!(net.nodes[2].cache(), first);
    }
    (net.cut(0), net.cut(1));
    for node in &mut net.nodes {
        if let Some((_, client)) = node.user.take() {
            node.state.disconnected(client, 0, &mut node.out);
        }
        assert_eq!(node.state.clients(), 0);
        node.state.check_invariants();
    }
});
