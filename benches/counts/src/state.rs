//! Commands in the state machine of the clacks server, without sockets.

use crate::Failed;
use crate::meter::Meter;
use crate::random::Random;
use eventdispatcher::connections::clacks::{
    ClientIndex, Closing, Event, Now, Output, Peer, Permissions, Settings, State, Store, Traffic, Users,
    token,
};
use std::time::Duration;

const TIMES: usize = 20_000;
const KEYS: usize = 1_000;

pub(crate) fn fan_out_1(meter: &mut Meter) -> Result<(), Failed> {
    fan_out(meter, 1)
}

pub(crate) fn fan_out_10(meter: &mut Meter) -> Result<(), Failed> {
    fan_out(meter, 10)
}

fn fan_out(meter: &mut Meter, listeners: u32) -> Result<(), Failed> {
    let mut bed = Bed::new();
    let publisher = bed.client(0)?;
    for key in 1..=listeners {
        let listener = bed.client(key)?;
        bed.line(listener, b"LISTEN sensors.temperature");
    }
    let before = bed.queues.lines;
    meter.measure(TIMES, || {
        for _ in 0..TIMES {
            bed.line(publisher, b"SET sensors.temperature=abcdefghijklmnopqrstuvwxyz012345");
        }
    });
    bed.expect(before, TIMES * listeners as usize)
}

pub(crate) fn store(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new();
    let client = bed.client(0)?;
    bed.fill(client);
    let mut random = Random(7);
    let lines: Vec<String> = (0..TIMES)
        .map(|_| format!("STORE key{:05}=abcdefghijklmnopqrstuvwxyz012345", random.below(KEYS)))
        .collect();
    let before = bed.queues.lines;
    meter.measure(TIMES, || {
        for line in &lines {
            bed.line(client, line.as_bytes());
        }
    });
    bed.expect(before, 0)
}

pub(crate) fn retrieve(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new();
    let client = bed.client(0)?;
    bed.fill(client);
    let mut random = Random(7);
    let lines: Vec<String> = (0..TIMES).map(|_| format!("RETRIEVE key{:05}", random.below(KEYS))).collect();
    let before = bed.queues.lines;
    meter.measure(TIMES, || {
        for line in &lines {
            bed.line(client, line.as_bytes());
        }
    });
    bed.expect(before, TIMES)
}

/// A state, and what it writes to.
struct Bed {
    state: State<u32>,
    queues: Queues,
    now: Now,
}

impl Bed {
    fn new() -> Self {
        let mut users = Users::default();
        users.add("bench", "secret", Permissions::ALL);
        Self {
            state: State::new(Settings::default(), users, Store::new(None)),
            queues: Queues::default(),
            now: Now { unix: 1.7e9, monotonic: Duration::from_secs(1) },
        }
    }

    /// A client that has logged in.
    fn client(&mut self, key: u32) -> Result<ClientIndex, Failed> {
        let client = self.state.connected(key, Peer::Unix, self.now, &mut self.queues);
        self.line(client, format!("CLACKS bench{key}").as_bytes());
        self.line(client, format!("OVERHEAD A {}", token("bench", "secret")).as_bytes());
        if self.state.is_logged_in(client) { Ok(client) } else { Err("a login has failed".into()) }
    }

    fn fill(&mut self, client: ClientIndex) {
        for key in 0..KEYS {
            self.line(client, format!("STORE key{key:05}=abcdefghijklmnopqrstuvwxyz012345").as_bytes());
        }
    }

    fn line(&mut self, client: ClientIndex, line: &[u8]) {
        self.state.line(client, line, self.now, &mut self.queues);
    }

    fn expect(&self, before: usize, lines: usize) -> Result<(), Failed> {
        let sent = self.queues.lines - before;
        if sent == lines { Ok(()) } else { Err(format!("{sent} lines were sent, not {lines}").into()) }
    }
}

/// Counts lines instead of sending them.
#[derive(Default)]
struct Queues {
    lines: usize,
}

impl Output<u32> for Queues {
    fn send(&mut self, _: u32, line: &[&[u8]]) -> bool {
        self.lines += 1;
        std::hint::black_box(line);
        true
    }
    fn close(&mut self, _: u32, _: Closing) {}
    fn has_room(&self, _: u32) -> bool {
        true
    }
    fn resume_soon(&mut self, _: u32) {}
    fn hold(&mut self, _: u32, _: bool) {}
    fn traffic(&self, _: u32) -> Traffic {
        Traffic::default()
    }
    fn shutdown(&mut self, _: Duration) {}
    fn log(&mut self, _: &Event<'_>) {}
}
