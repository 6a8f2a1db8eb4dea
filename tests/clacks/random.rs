//! Many clients that do anything, compared with the simplest server that could be written.

use std::collections::{BTreeMap, BTreeSet};

use eventdispatcher::connections::clacks::Flow;
use proptest::prelude::*;

use crate::world::{SERVER, START, World, token_of};

/// A generator of numbers: the same ones for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

#[derive(Default)]
struct Client {
    is_open: bool,
    is_monitor: bool,
    is_link: bool,
    names: BTreeSet<String>,
    expected: Vec<String>,
}

/// What a server does, without any thought of speed.
#[derive(Default)]
struct Model {
    clients: BTreeMap<String, Client>,
    /// A key that was removed has no value.
    store: BTreeMap<String, Option<String>>,
}

impl Model {
    fn tell(&mut self, who: impl Fn(&str, &Client) -> bool, line: &str) {
        for (name, client) in &mut self.clients {
            if client.is_open && who(name, client) {
                client.expected.push(line.to_owned());
            }
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).expect("a client")
    }

    fn close(&mut self, name: &str, words: &[&str]) {
        let client = self.client(name);
        client.expected.extend(words.iter().map(|word| (*word).to_owned()));
        client.expected.push("<EOF>".to_owned());
        *client = Client { expected: std::mem::take(&mut client.expected), ..Client::default() };
    }

    /// What a new slave gets.
    fn exchange(&mut self, slave: &str) {
        let entries = self.store.iter().map(|(key, value)| match value {
            Some(value) => format!("KEYSYNC {START} {START} U {key}={value}"),
            None => format!("KEYSYNC {START} 0 D {key}=REMOVED"),
        });
        let mut lines = vec![
            format!("CLACKS {SERVER} in interclacks master mode"),
            "OVERHEAD M Authentication required".to_owned(),
            format!("OVERHEAD A {}", token_of("admin")),
            "OVERHEAD L 1".to_owned(),
            format!("OVERHEAD T {START}"),
        ];
        lines.extend(entries);
        lines.extend(["OVERHEAD L 0".to_owned(), "PING".to_owned()]);
        self.client(slave).expected.extend(lines);
    }

    fn line(&mut self, from: &str, cid: &str, line: &str) {
        if !self.client(from).is_open {
            return;
        }
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        match word {
            "MONITOR" => self.client(from).is_monitor = !self.client(from).is_link,
            "UNMONITOR" => self.client(from).is_monitor = false,
            _ => {}
        }
        if !argument.starts_with("GN") {
            self.tell(|_, client| client.is_monitor, &format!("DEBUG {cid}={line}"));
        }
        match word {
            "SET" | "NOTIFY" | "SETANDSTORE" => {
                if word == "SETANDSTORE" {
                    self.store.insert(name.to_owned(), Some(value.to_owned()));
                }
                let delivered = line.replace("SETANDSTORE", "SET");
                let listens =
                    |to: &str, client: &Client| to != from && !client.is_link && client.names.contains(name);
                self.tell(listens, &delivered);
            }
            "STORE" => drop(self.store.insert(name.to_owned(), Some(value.to_owned()))),
            "REMOVE" => drop(self.store.insert(name.to_owned(), None)),
            "LISTEN" => drop(self.client(from).names.insert(name.to_owned())),
            "UNLISTEN" => drop(self.client(from).names.remove(name)),
            "RETRIEVE" => {
                let answer = self
                    .store
                    .get(name)
                    .and_then(Option::as_ref)
                    .map(|value| format!("RETRIEVED {name}={value}"));
                let answer = answer.unwrap_or_else(|| format!("NOTRETRIEVED {name}"));
                self.client(from).expected.push(answer);
            }
            "KEYLIST" => {
                let keys = self
                    .store
                    .iter()
                    .filter(|(_, value)| value.is_some())
                    .map(|(key, _)| format!("KEY {key}"))
                    .collect::<Vec<_>>();
                let expected = &mut self.client(from).expected;
                expected.push("KEYLISTSTART".to_owned());
                expected.extend(keys);
                expected.push("KEYLISTEND".to_owned());
            }
            "CLEARCACHE" => self.store.clear(),
            "FLUSH" => self.client(from).expected.push(format!("FLUSHED {argument}")),
            "OVERHEAD" => match argument {
                "I 1" => {
                    self.exchange(from);
                    let client = self.client(from);
                    (client.is_link, client.is_monitor) = (true, false);
                }
                "I 0" => self.client(from).is_link = false,
                _ => self.tell(|to, _| to != from, &format!("OVERHEAD {argument}")),
            },
            "QUIT" => self.close(from, &[]),
            _ => {}
        }
        if ["SET", "NOTIFY", "SETANDSTORE", "STORE", "REMOVE", "CLEARCACHE"].contains(&word) {
            self.tell(|to, client| client.is_link && to != from, line);
        }
    }
}

const CLIENTS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

const LINES: [&str; 30] = [
    "SET x=1",
    "SET y=2",
    "SET z=",
    "NOTIFY x",
    "NOTIFY z",
    "SETANDSTORE x=3",
    "SETANDSTORE y=",
    "STORE x=4",
    "STORE k=5",
    "REMOVE x",
    "REMOVE k",
    "RETRIEVE x",
    "RETRIEVE k",
    "LISTEN x",
    "LISTEN x",
    "LISTEN y",
    "LISTEN y",
    "LISTEN z",
    "UNLISTEN x",
    "UNLISTEN y",
    "KEYLIST",
    "CLEARCACHE",
    "FLUSH 1",
    "MONITOR",
    "UNMONITOR",
    "OVERHEAD G hi",
    "OVERHEAD GN hi",
    "OVERHEAD I 1",
    "OVERHEAD I 0",
    "QUIT",
];

fn run(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::default();
    let mut model = Model::default();
    for step in 0..400 {
        let name = random.pick(&CLIENTS);
        let is_open = model.clients.get(name).is_some_and(|client| client.is_open);
        match random.below(40) {
            0 if is_open => {
                // It is gone without a word.
                *model.client(name) = Client::default();
                world.take(name);
                world.flush();
                world.lose(name);
                let gone =
                    format!("DEBUG DISCONNECTED={} (0 bytes discarded from outbuffer)", world.cid(name));
                model.tell(|_, client| client.is_monitor, &gone);
            }
            1 if is_open => {
                let other = random.pick(&CLIENTS);
                if model.clients.get(other).is_some_and(|other| other.is_open) {
                    let (line, cid) = (format!("CLIENTDISCONNECT {}", world.cid(other)), world.cid(name));
                    world.send(name, line.as_bytes());
                    model.line(name, &cid, &line);
                    model.close(other, &["", "QUIT"]);
                }
            }
            _ if is_open => {
                let (line, cid) = (random.pick(&LINES), world.cid(name));
                let flow = world.send(name, line.as_bytes());
                model.line(name, &cid, line);
                assert_eq!(flow == Flow::Open, model.client(name).is_open, "seed {seed}, step {step}");
            }
            _ if model.clients.contains_key(name) => {
                // What it sends after its end means nothing.
                assert_eq!(world.send(name, random.pick(&LINES).as_bytes()), Flow::Closed);
                model.clients.remove(name);
            }
            _ => {
                world.log_in(name, "admin");
                let connected = format!("DEBUG CONNECTED={}", world.cid(name));
                model.tell(|_, client| client.is_monitor, &connected);
                model.clients.insert(name.to_owned(), Client { is_open: true, ..Client::default() });
            }
        }
        for (name, client) in &mut model.clients {
            let expected = std::mem::take(&mut client.expected);
            assert_eq!(world.take(name), expected, "seed {seed}, step {step}: what {name} got");
        }
    }
}

/// `CLACKS_SEED` replays one run.
#[test]
fn clients_that_do_anything_get_what_the_simplest_server_would_send() {
    match std::env::var("CLACKS_SEED") {
        Ok(seed) => run(seed.parse().expect("a number")),
        Err(_) => (0..60).for_each(run),
    }
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let command = "(NOTIFY|SET|LISTEN|UNLISTEN|STORE|SETANDSTORE|RETRIEVE|REMOVE|INCREMENT|DECREMENT|KEYLIST|\
                   CLEARCACHE|FLUSH|PING|NOPING|MONITOR|UNMONITOR|CLIENTLIST|CLIENTDISCONNECT|QUIT|NOP|OVERHEAD|\
                   KEYSYNC|FLUSHED|CLACKS|TIMEOUT)( [A-Za-z0-9=.+-]{0,4}){0,4}";
    let keysync = "KEYSYNC [0-9.e+-]{1,6} [0-9.]{1,3} [DUS] [a-c]=[a-c]{0,2}";
    let overhead = "OVERHEAD [ACDEFGILMNOSTUZx]{1,4} ([01]|[0-9.e+-]{1,6}|inf|nan)";
    let byte = any::<u8>().prop_filter("a line has no line end", |&b| b != b'\n');
    let login = |user: &str| format!("OVERHEAD A {}", token_of(user)).into_bytes();
    prop_oneof![
        4 => command.prop_map(String::into_bytes),
        1 => keysync.prop_map(String::into_bytes),
        2 => overhead.prop_map(String::into_bytes),
        1 => proptest::collection::vec(byte, 0..20),
        1 => prop_oneof![Just("admin"), Just("ro"), Just("wo")].prop_map(login),
    ]
}

proptest! {
    /// Whatever clients send, and whether or not they read, the state stays whole, and who is closed gets
    /// nothing.
    #[test]
    fn no_line_does_harm(
        lines in proptest::collection::vec((0..CLIENTS.len(), any_line()), 1..120),
        full in proptest::collection::vec(5usize..60, CLIENTS.len()),
        room in 1usize..20,
    ) {
        let mut world = World::default();
        let users = ["admin", "admin", "admin", "rw", "ro", "wo", "mg"];
        for ((name, user), lines_max) in CLIENTS.iter().zip(users).zip(&full) {
            world.log_in(name, user);
            world.queue(name).lines_max = *lines_max;
            world.queue(name).list_max = room;
        }
        for (at, (client, line)) in lines.iter().enumerate() {
            let name = CLIENTS[*client];
            let was_closed = world.queue(name).is_closed;
            let flow = world.send(name, line);
            prop_assert_eq!(flow == Flow::Closed, world.queue(name).is_closed);
            prop_assert!(!was_closed || flow == Flow::Closed);
            if flow == Flow::Paused {
                world.resume(name);
            }
            if at % 30 == 29 {
                world.state.clean(world.now, &mut world.out);
                world.pass(std::time::Duration::from_secs(70));
            }
        }
        for name in CLIENTS {
            let mut lines = world.take(name);
            let end = lines.pop();
            prop_assert!(!lines.iter().any(|line| line == "<EOF>" || line == "<CUT>"), "{name}: {lines:?} {end:?}");
        }
    }
}
