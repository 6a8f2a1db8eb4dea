//! Commands in the clacks server on Unix sockets. What the clients do is not counted.

use crate::Failed;
use crate::meter::Meter;
use crate::random::Random;
use eventdispatcher::connections::clacks::{
    Permissions, Server, ServerLimits, Settings, Store, Users, token,
};
use eventdispatcher::{Communicator, UnixBind};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Commands that come together.
const BATCH: usize = 64;
const BATCHES: usize = 200;
const KEYS: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn fan_out_1(meter: &mut Meter) -> Result<(), Failed> {
    fan_out(meter, 1)
}

pub(crate) fn fan_out_10(meter: &mut Meter) -> Result<(), Failed> {
    fan_out(meter, 10)
}

fn fan_out(meter: &mut Meter, listeners: usize) -> Result<(), Failed> {
    let mut bed = Bed::new(listeners + 1)?;
    for listener in 1..=listeners {
        bed.clients[listener].write_all(b"LISTEN sensors.temperature\r\nFLUSH x\r\n")?;
        bed.turn_until_come(listener, 1)?;
    }
    let batch = b"SET sensors.temperature=abcdefghijklmnopqrstuvwxyz012345\r\n".repeat(BATCH);
    bed.run(meter, |_| batch.clone(), 1..listeners + 1, BATCH)
}

pub(crate) fn one_signal(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new(2)?;
    bed.clients[1].write_all(b"LISTEN sensors.temperature\r\nFLUSH x\r\n")?;
    bed.turn_until_come(1, 1)?;
    let signal = b"SET sensors.temperature=abcdefghijklmnopqrstuvwxyz012345\r\n";
    bed.run(meter, |_| signal.to_vec(), 1..2, 1)
}

pub(crate) fn store(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new(1)?;
    bed.fill()?;
    let command = |random: &mut Random| {
        let mut batch: Vec<u8> = (1..BATCH).flat_map(|_| stored(random.below(KEYS)).into_bytes()).collect();
        // The answer says that all of it is done.
        batch.extend_from_slice(b"FLUSH x\r\n");
        batch
    };
    bed.run_for(meter, command, 0..1, 1, BATCH)
}

pub(crate) fn retrieve(meter: &mut Meter) -> Result<(), Failed> {
    let mut bed = Bed::new(1)?;
    bed.fill()?;
    let command = |random: &mut Random| {
        (0..BATCH).flat_map(|_| format!("RETRIEVE key{:05}\r\n", random.below(KEYS)).into_bytes()).collect()
    };
    bed.run(meter, command, 0..1, BATCH)
}

fn stored(key: usize) -> String {
    format!("STORE key{key:05}=abcdefghijklmnopqrstuvwxyz012345\r\n")
}

/// A server and its clients, in one thread.
struct Bed {
    communicator: Communicator,
    clients: Vec<UnixStream>,
    buffer: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new(clients: usize) -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("clacks.sock");
        let mut users = Users::default();
        users.add("bench", "secret", Permissions::ALL);
        let communicator = Communicator::new()?;
        let server = Server::start(
            &communicator,
            Settings::default(),
            ServerLimits::default(),
            users,
            Store::new(None),
        );
        server.listen_unix(&communicator, UnixBind::new(&path))?;
        let mut bed =
            Self { communicator, clients: Vec::new(), buffer: vec![0; 256 * 1024], _folder: folder };
        for at in 0..clients {
            let mut client = UnixStream::connect(&path)?;
            client.set_nonblocking(true)?;
            let login = token("bench", "secret");
            write!(client, "CLACKS bench{at}\r\nOVERHEAD A {login}\r\nNOPING\r\nFLUSH x\r\n")?;
            bed.clients.push(client);
            // The greeting, what asks for the login, the welcome, and the answer to FLUSH.
            bed.turn_until_come(at, 4)?;
        }
        Ok(bed)
    }

    fn fill(&mut self) -> Result<(), Failed> {
        for key in 0..KEYS {
            self.clients[0].write_all(stored(key).as_bytes())?;
            self.turn()?;
        }
        self.clients[0].write_all(b"FLUSH x\r\n")?;
        self.turn_until_come(0, 1)
    }

    /// Batches of the first client, of as many commands as lines come to each of `receivers`.
    fn run(
        &mut self,
        meter: &mut Meter,
        batch: impl FnMut(&mut Random) -> Vec<u8>,
        receivers: std::ops::Range<usize>,
        lines: usize,
    ) -> Result<(), Failed> {
        self.run_for(meter, batch, receivers, lines, lines)
    }

    fn run_for(
        &mut self,
        meter: &mut Meter,
        mut batch: impl FnMut(&mut Random) -> Vec<u8>,
        receivers: std::ops::Range<usize>,
        lines: usize,
        commands: usize,
    ) -> Result<(), Failed> {
        let mut random = Random(7);
        for _ in 0..BATCHES {
            self.clients[0].write_all(&batch(&mut random))?;
            let mut result = Ok(());
            // What a turn has read it writes at its end; a second one would only find nothing.
            meter.measure(commands, || result = self.turn());
            result?;
            for receiver in receivers.clone() {
                self.turn_until_come(receiver, lines)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), Failed> {
        Ok(self.communicator.turn(Some(Duration::ZERO))?)
    }

    /// Turns until so many lines have come to a client.
    fn turn_until_come(&mut self, client: usize, lines: usize) -> Result<(), Failed> {
        let end = Instant::now() + DEADLINE;
        let mut come = 0;
        while come < lines {
            if Instant::now() > end {
                return Err(format!("{come} of {lines} lines have come to client {client}").into());
            }
            match self.clients[client].read(&mut self.buffer) {
                Ok(0) => return Err("the server has closed a connection".into()),
                Ok(length) => come += self.buffer[..length].iter().filter(|&&byte| byte == b'\n').count(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.turn()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if come == lines { Ok(()) } else { Err(format!("{come} lines have come, not {lines}").into()) }
    }
}
