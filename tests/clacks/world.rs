//! A server whose connections are lists of lines, and scripts that tell what happens to it.

use std::collections::VecDeque;
use std::time::Duration;

use eventdispatcher::connections::clacks::{
    ClientIndex, Closing, Event, Flow, Now, Output, Peer, Permissions, Settings, State, Store, Traffic,
    Users, token,
};

/// When every test begins, in Unix time.
pub(crate) const START: u64 = 1_795_000_123;

/// What the greeting says.
pub(crate) const SERVER: &str = "test server 1.0";

/// A connection: its place in [`Recorder::queues`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) usize);

/// What was sent to one connection and not yet looked at. How it was closed is a last line.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) lines: VecDeque<Vec<u8>>,
    /// How many lines the queue takes.
    pub(crate) lines_max: usize,
    /// How many lines may wait before there is no room for lists.
    pub(crate) list_max: usize,
    pub(crate) is_closed: bool,
    /// Its input is to wait.
    pub(crate) is_held: bool,
    /// It is to be resumed.
    pub(crate) resumes: bool,
    pub(crate) traffic: Traffic,
}

impl Queue {
    pub(crate) fn new(traffic: Traffic) -> Self {
        Self {
            lines: VecDeque::new(),
            lines_max: usize::MAX,
            list_max: usize::MAX,
            is_closed: false,
            is_held: false,
            resumes: false,
            traffic,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) queues: Vec<Queue>,
    pub(crate) events: Vec<String>,
    pub(crate) shutdown: Option<Duration>,
    /// How often something was to be freed.
    pub(crate) tidies: u32,
    now: Duration,
}

impl Output<Key> for Recorder {
    fn send(&mut self, to: Key, line: &[&[u8]]) -> bool {
        let queue = &mut self.queues[to.0];
        assert!(!queue.is_closed, "{to:?} is closed, and gets {line:?}");
        if queue.lines.len() >= queue.lines_max {
            return false;
        }
        let line = line.concat();
        queue.traffic.unsent += line.len() + 2;
        queue.traffic.last_queued = self.now;
        queue.lines.push_back(line);
        true
    }

    fn close(&mut self, who: Key, how: Closing) {
        let queue = &mut self.queues[who.0];
        assert!(!queue.is_closed, "{who:?} is closed twice");
        queue.is_closed = true;
        queue.lines.push_back(match how {
            Closing::Flushed => b"<EOF>".to_vec(),
            Closing::Now => b"<CUT>".to_vec(),
        });
    }

    fn has_room(&self, who: Key) -> bool {
        self.queues[who.0].lines.len() < self.queues[who.0].list_max
    }

    fn resume_soon(&mut self, who: Key) {
        self.queues[who.0].resumes = true;
    }

    fn tidy_soon(&mut self) {
        self.tidies += 1;
    }

    fn hold(&mut self, who: Key, on: bool) {
        self.queues[who.0].is_held = on;
    }

    fn traffic(&self, who: Key) -> Traffic {
        self.queues[who.0].traffic
    }

    fn shutdown(&mut self, after: Duration) {
        self.shutdown = Some(after);
    }

    fn log(&mut self, event: &Event<'_>) {
        self.events.push(event.to_string());
    }
}

/// The users of the reference server's test configuration, by the short names of its recorded cases.
const USERS: [(&str, &str, &str, Permissions); 5] = [
    ("admin", "admin", "adminpass", Permissions::ALL),
    ("rw", "rwuser", "rwpass", Permissions::READ.with(Permissions::WRITE)),
    ("ro", "rouser", "ropass", Permissions::READ),
    ("wo", "wouser", "wopass", Permissions::WRITE),
    ("mg", "mguser", "mgpass", Permissions::MANAGE),
];

/// The token of a user.
pub(crate) fn token_of(user: &str) -> String {
    let found = USERS.iter().find(|(short, ..)| *short == user);
    let (_, name, password, _) = found.unwrap_or_else(|| panic!("no user {user}"));
    token(name, password)
}

pub(crate) struct World {
    pub(crate) state: State<Key>,
    pub(crate) out: Recorder,
    pub(crate) now: Now,
    clients: Vec<Client>,
}

struct Client {
    name: String,
    index: ClientIndex,
    is_gone: bool,
    next_check: Option<Duration>,
}

impl World {
    pub(crate) fn new(settings: Settings, store: Store) -> Self {
        let mut users = Users::default();
        for (_, name, password, permissions) in USERS {
            users.add(name, password, permissions);
        }
        let settings = Settings { server_name: SERVER.to_owned(), ..settings };
        let now = Now { unix: START as f64, monotonic: Duration::from_secs(1000) };
        let out = Recorder { now: now.monotonic, ..Recorder::default() };
        Self { state: State::new(settings, users, store), out, now, clients: Vec::new() }
    }

    /// The last connection of that name.
    fn find(&self, name: &str) -> usize {
        let found = self.clients.iter().rposition(|client| client.name == name);
        found.unwrap_or_else(|| panic!("there is no connection {name}"))
    }

    pub(crate) fn queue(&mut self, name: &str) -> &mut Queue {
        let at = self.find(name);
        &mut self.out.queues[at]
    }

    pub(crate) fn connect(&mut self, name: &str) {
        let key = Key(self.out.queues.len());
        self.out.queues.push(Queue::new(Traffic { last_queued: self.now.monotonic, ..Traffic::default() }));
        let index = self.state.connected(key, Peer::Unix, self.now, &mut self.out);
        let next_check = self.state.check(index, self.now, &mut self.out);
        self.clients.push(Client { name: name.to_owned(), index, is_gone: false, next_check });
        self.state.check_invariants();
    }

    /// A connection that is logged in and has seen the answers to that.
    pub(crate) fn log_in(&mut self, name: &str, user: &str) {
        self.connect(name);
        self.send(name, format!("CLACKS wire_{name}").as_bytes());
        self.send(name, format!("OVERHEAD A {}", token_of(user)).as_bytes());
        let answers = self.take(name);
        assert_eq!(answers.last().map(String::as_str), Some("OVERHEAD O Welcome!"), "{answers:?}");
    }

    pub(crate) fn send(&mut self, name: &str, line: &[u8]) -> Flow {
        let at = self.find(name);
        let client = &mut self.clients[at];
        let flow = self.state.line(client.index, line, self.now, &mut self.out);
        if flow == Flow::Paused {
            client.next_check = self.state.check(client.index, self.now, &mut self.out);
        }
        self.state.check_invariants();
        flow
    }

    /// The connection becomes a linked server, and has seen the cache.
    #[track_caller]
    pub(crate) fn link(&mut self, name: &str) {
        self.check_empty("a link");
        self.send(name, b"OVERHEAD I 1");
        let got = self.take(name);
        assert!(got.first().is_some_and(|line| line.ends_with(" in interclacks master mode")), "{got:?}");
        assert_eq!(got.last().map(String::as_str), Some("PING"), "{got:?}");
        let event = self.out.events.pop().unwrap_or_default();
        assert!(event.contains(": linked, is a slave of this server: "), "{event}");
    }

    pub(crate) fn resume(&mut self, name: &str) -> Flow {
        let client = &self.clients[self.find(name)];
        self.state.resume(client.index, &mut self.out)
    }

    /// The connection is gone.
    pub(crate) fn lose(&mut self, name: &str) {
        let at = self.find(name);
        let unsent = self.out.queues[at].traffic.unsent;
        self.clients[at].is_gone = true;
        self.out.queues[at].is_closed = true;
        self.state.disconnected(self.clients[at].index, unsent, &mut self.out);
        self.state.check_invariants();
    }

    /// Time passes, and each client is looked at when it asked for it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        loop {
            let waiting = self.clients.iter().enumerate().filter(|(_, client)| !client.is_gone);
            let next = waiting.filter_map(|(at, client)| Some((client.next_check?, at))).min();
            let Some((when, at)) = next.filter(|(when, _)| *when <= end) else { break };
            self.set_time(when);
            let client = &mut self.clients[at];
            client.next_check = self.state.check(client.index, self.now, &mut self.out);
            assert!(
                client.next_check.is_none_or(|next| next > when),
                "{} is looked at for ever",
                client.name
            );
        }
        self.set_time(end);
        self.state.check_invariants();
    }

    fn set_time(&mut self, monotonic: Duration) {
        self.now.unix += (monotonic - self.now.monotonic).as_secs_f64();
        self.now.monotonic = monotonic;
        self.out.now = monotonic;
    }

    pub(crate) fn take(&mut self, name: &str) -> Vec<String> {
        let lines = std::mem::take(&mut self.queue(name).lines);
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    /// Everything that was queued is sent.
    pub(crate) fn flush(&mut self) {
        for queue in &mut self.out.queues {
            queue.traffic.unsent = 0;
        }
    }

    pub(crate) fn cid(&self, name: &str) -> String {
        format!("unixdomainsocket:{START}:{}", self.find(name) + 1)
    }

    /// Runs a script: one step a line.
    ///
    /// `+ a` and `+ a admin`: a connects, as that user; `- a`: its connection is gone; `a> line`, `a< line`:
    /// a sends, a gets, after all that was sent to it before; `@ 60`: that many seconds pass; `resume a`;
    /// `link a`: a becomes a linked server, and has got the whole cache; `flush`: what is queued is sent; `log text`: the next event of the log. `{a}` is a's CID, `{admin}`
    /// the token of a user.
    ///
    /// All that a connection gets must be in the script: before the next step that makes something happen.
    #[track_caller]
    pub(crate) fn run(&mut self, script: &str) {
        let mut expecting = false;
        for step in script.lines().map(str::trim_start).filter(|step| !step.is_empty()) {
            if let Some((name, line)) = step.split_once("< ").filter(|(name, _)| !name.contains(' ')) {
                let line = self.fill(line);
                let got = self.queue(name).lines.pop_front();
                let got = got.map(|line| String::from_utf8_lossy(&line).into_owned());
                assert_eq!(got.as_deref(), Some(line.as_str()), "at {step:?}");
                expecting = true;
            } else if let Some(text) = step.strip_prefix("log ") {
                assert!(!self.out.events.is_empty(), "at {step:?}: nothing in the log");
                assert_eq!(self.out.events.remove(0), self.fill(text), "at {step:?}");
            } else {
                if expecting {
                    self.check_empty(step);
                    expecting = false;
                }
                self.happen(step);
            }
        }
        self.check_empty("the end");
    }

    fn happen(&mut self, step: &str) {
        if let Some((name, line)) = step.split_once("> ").filter(|(name, _)| !name.contains(' ')) {
            let line = self.fill(line);
            self.send(name, line.as_bytes());
            return;
        }
        match step.split(' ').collect::<Vec<_>>()[..] {
            ["+", name] => self.connect(name),
            ["+", name, user] => self.log_in(name, user),
            ["-", name] => self.lose(name),
            ["@", seconds] => self.pass(Duration::from_secs_f64(seconds.parse().expect("seconds"))),
            ["link", name] => self.link(name),
            ["flush"] => self.flush(),
            ["resume", name] => drop(self.resume(name)),
            _ => panic!("no such step: {step:?}"),
        }
    }

    #[track_caller]
    fn check_empty(&mut self, before: &str) {
        for (client, queue) in self.clients.iter().zip(&self.out.queues) {
            let lines: Vec<_> = queue.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            assert!(lines.is_empty(), "before {before:?}: {} got {lines:?}", client.name);
        }
    }

    fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{server}", SERVER);
        for client in &self.clients {
            text = text.replace(&format!("{{{}}}", client.name), &self.cid(&client.name));
        }
        for (user, ..) in USERS {
            text = text.replace(&format!("{{{user}}}"), &token_of(user));
        }
        text
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(Settings::default(), Store::default())
    }
}

/// Runs a script on a new server with default settings.
#[track_caller]
pub(crate) fn run(script: &str) -> World {
    let mut world = World::default();
    world.run(script);
    world
}
