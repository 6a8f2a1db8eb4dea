//! The server: topics, values and its clients.

use crate::client::{Client, EAGER, KEPT};
use crate::poller::{Poller, Ready};
use foldhash::fast::RandomState;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use slab::Slab;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

const LISTENER: usize = usize::MAX >> 1;
/// Longer lines are written without being copied.
const LARGE: usize = 16 * 1024;
const READ_SIZE: usize = 256 * 1024;

/// The server.
pub(crate) struct Server<P> {
    poller: P,
    listener: UnixListener,
    clients: Slab<Client>,
    by_name: HashMap<Box<[u8]>, usize, RandomState>,
    /// Who listens to each topic.
    topics: Vec<Vec<usize>>,
    values: HashMap<Box<[u8]>, Vec<u8>, RandomState>,
    /// Clients that are to be flushed at the end of the turn.
    touched: Vec<usize>,
}

impl<P: Poller> Server<P> {
    pub(crate) fn new(poller: P, listener: UnixListener) -> io::Result<Self> {
        poller.add(listener.as_fd(), LISTENER)?;
        Ok(Self {
            poller,
            listener,
            clients: Slab::new(),
            by_name: HashMap::default(),
            topics: Vec::new(),
            values: HashMap::default(),
            touched: Vec::new(),
        })
    }

    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut buffer = Vec::with_capacity(READ_SIZE);
        loop {
            ready.clear();
            self.poller.wait(&mut ready)?;
            for &Ready { token, can_read, can_write } in &ready {
                if token == LISTENER {
                    self.accept();
                    continue;
                }
                if can_write && let Some(client) = self.clients.get_mut(token) {
                    client.flush(&self.poller, token);
                }
                if can_read {
                    self.read(token, &mut buffer);
                }
            }
            self.flush();
        }
    }

    fn accept(&mut self) {
        while let Ok(socket) =
            rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
        {
            let entry = self.clients.vacant_entry();
            if self.poller.add(socket.as_fd(), entry.key()).is_ok() {
                entry.insert(Client::new(socket));
            }
        }
    }

    fn read(&mut self, token: usize, buffer: &mut Vec<u8>) {
        while let Some(client) = self.clients.get_mut(token) {
            let is_begun = !client.input.is_empty();
            let seen = client.input.len();
            buffer.clear();
            let into = if is_begun {
                client.input.reserve(READ_SIZE);
                &mut client.input
            } else {
                &mut *buffer
            };
            let room = into.capacity() - into.len();
            let length = match rustix::net::recv(&client.socket, spare_capacity(into), RecvFlags::empty()) {
                Ok((length, _)) if length > 0 => length,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                _ => {
                    client.is_dead = true;
                    self.touch(token);
                    return;
                }
            };
            if is_begun {
                let mut input = std::mem::take(&mut client.input);
                let used = self.lines(token, &input, seen);
                input.drain(..used);
                if input.is_empty() {
                    input.shrink_to(KEPT);
                }
                self.clients[token].input = input;
            } else {
                let used = self.lines(token, buffer, 0);
                if used < length {
                    self.clients[token].input.extend_from_slice(&buffer[used..]);
                }
            }
            // A short read says that there is nothing more.
            if !P::IS_EDGE_TRIGGERED || length < room {
                return;
            }
        }
    }

    /// Does what the complete lines say; the first `seen` bytes hold no end of a line. Says how long they are.
    fn lines(&mut self, token: usize, input: &[u8], mut seen: usize) -> usize {
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &input[seen..]) {
            let line = &input[at..seen + end];
            at = seen + end + 1;
            seen = at;
            self.line(token, line.strip_suffix(b"\r").unwrap_or(line));
        }
        at
    }

    fn line(&mut self, token: usize, line: &[u8]) {
        let space = line.iter().take(12).position(|&byte| byte == b' ').unwrap_or(line.len());
        let (command, rest) = (&line[..space], line.get(space + 1..).unwrap_or_default());
        match command {
            b"SET" => {
                if let Some(equals) = memchr::memchr(b'=', rest) {
                    self.signal(token, &rest[..equals], line);
                }
            }
            b"NOTIFY" => self.signal(token, rest, line),
            b"STORE" => {
                if let Some(equals) = memchr::memchr(b'=', rest) {
                    self.store(&rest[..equals], &rest[equals + 1..]);
                }
            }
            b"RETRIEVE" => self.retrieve(token, rest),
            b"FLUSH" => self.answer(token, &[b"FLUSHED ", rest]),
            b"LISTEN" => {
                let topic = self.topic(rest);
                if !self.topics[topic].contains(&token) {
                    self.topics[topic].push(token);
                    self.clients[token].topics.push(topic);
                }
            }
            b"CLACKS" => {
                self.answer(token, &[b"CLACKS ceiling\r\nOVERHEAD M Authentication required"]);
            }
            b"OVERHEAD" => self.answer(token, &[b"OVERHEAD O Welcome!"]),
            b"QUIT" => {
                self.clients[token].is_dead = true;
                self.touch(token);
            }
            _ => {}
        }
    }

    fn signal(&mut self, sender: usize, name: &[u8], line: &[u8]) {
        let Some(&topic) = self.by_name.get(name) else { return };
        let mut shared = None;
        for at in 0..self.topics[topic].len() {
            let listener = self.topics[topic][at];
            if listener == sender {
                continue;
            }
            if line.len() >= LARGE {
                let client = &mut self.clients[listener];
                client.send_large(&self.poller, listener, &[line, b"\r\n"], &mut shared);
            } else {
                self.answer(listener, &[line]);
            }
        }
    }

    fn store(&mut self, key: &[u8], value: &[u8]) {
        if let Some(old) = self.values.get_mut(key) {
            old.clear();
            old.extend_from_slice(value);
        } else {
            self.values.insert(key.into(), value.to_vec());
        }
    }

    fn retrieve(&mut self, token: usize, key: &[u8]) {
        let client = &mut self.clients[token];
        match self.values.get(key) {
            Some(value) if value.len() >= LARGE => {
                let parts = [b"RETRIEVED ", key, b"=", value, b"\r\n"];
                client.send_large(&self.poller, token, &parts, &mut None);
                return;
            }
            Some(value) => append(&mut client.output, &[b"RETRIEVED ", key, b"=", value, b"\r\n"]),
            None => append(&mut client.output, &[b"NOTRETRIEVED ", key, b"\r\n"]),
        }
        self.touch(token);
    }

    fn answer(&mut self, token: usize, parts: &[&[u8]]) {
        let output = &mut self.clients[token].output;
        append(output, parts);
        output.extend_from_slice(b"\r\n");
        self.touch(token);
    }

    /// The output of a turn goes out at its end, or once it is much.
    fn touch(&mut self, token: usize) {
        let client = &mut self.clients[token];
        if client.waiting() >= EAGER && !client.waits_for_room() {
            client.flush(&self.poller, token);
        }
        if !client.is_touched {
            client.is_touched = true;
            self.touched.push(token);
        }
    }

    fn flush(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for token in touched.drain(..) {
            let client = &mut self.clients[token];
            client.is_touched = false;
            if !client.waits_for_room() {
                client.flush(&self.poller, token);
            }
            if client.is_dead {
                self.close(token);
            }
        }
        self.touched = touched;
    }

    /// The socket leaves the poller as it is closed.
    fn close(&mut self, token: usize) {
        for topic in self.clients.remove(token).topics {
            self.topics[topic].retain(|&listener| listener != token);
        }
    }

    fn topic(&mut self, name: &[u8]) -> usize {
        if let Some(&topic) = self.by_name.get(name) {
            return topic;
        }
        self.topics.push(Vec::new());
        self.by_name.insert(name.into(), self.topics.len() - 1);
        self.topics.len() - 1
    }
}

#[inline]
fn append(output: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        output.extend_from_slice(part);
    }
}
