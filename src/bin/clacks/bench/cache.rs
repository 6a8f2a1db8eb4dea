//! Clients that store and retrieve, each with some requests under way.

use super::generator::{Load, Traffic};
use super::{key, keys, value};
use std::collections::VecDeque;
use std::time::Instant;

/// So many units are prepared, one after the other in a buffer.
const UNITS: usize = 4096;
/// As long is the buffer at most, in bytes.
const BUFFER: usize = 4 << 20;

pub(super) struct Cache {
    clients: Vec<Client>,
    /// Values for all keys.
    preparation: Vec<u8>,
    /// What is sent over and over again: units of the same length.
    units: Vec<u8>,
    unit_length: usize,
    /// What is counted for a unit.
    unit_messages: usize,
    reply_length: usize,
    depth: usize,
}

#[derive(Clone, Default)]
struct Client {
    /// Which unit is next.
    next: usize,
    /// When those under way were sent, and how many at a time.
    under_way: VecDeque<(Instant, usize)>,
}

impl Cache {
    /// A STORE and a RETRIEVE at a time, of keys at random.
    pub(super) fn pairs(prefix: &str, size: usize, clients: usize, depth: usize) -> Self {
        let value = value(size);
        let store =
            |random: &mut Random| format!("STORE {}={value}\r\n", key(prefix, random.below(keys(size))));
        let mut random = Random::default();
        Self::new(prefix, &value, clients, depth, 2, || {
            store(&mut random) + &format!("RETRIEVE {}\r\n", key(prefix, random.below(keys(size))))
        })
    }

    /// One client, one RETRIEVE at a time.
    pub(super) fn retrieve(prefix: &str, size: usize) -> Self {
        let mut random = Random::default();
        Self::new(prefix, &value(size), 1, 1, 1, || {
            format!("RETRIEVE {}\r\n", key(prefix, random.below(keys(size))))
        })
    }

    fn new(
        prefix: &str,
        value: &str,
        clients: usize,
        depth: usize,
        unit_messages: usize,
        mut unit: impl FnMut() -> String,
    ) -> Self {
        let first = unit();
        let unit_length = first.len();
        let others = std::iter::repeat_with(unit).take((BUFFER / unit_length).min(UNITS));
        let preparation =
            (0..keys(value.len())).map(|number| format!("STORE {}={value}\r\n", key(prefix, number)));
        Self {
            clients: vec![Client::default(); clients],
            preparation: preparation.collect::<String>().into_bytes(),
            units: std::iter::once(first).chain(others).collect::<String>().into_bytes(),
            unit_length,
            unit_messages,
            reply_length: format!("RETRIEVED {}={value}\r\n", key(prefix, 0)).len(),
            depth,
        }
    }

    fn send(&mut self, connection: usize, mut count: usize, traffic: &mut Traffic<'_>) {
        let Some(client) = self.clients.get_mut(connection) else { return };
        client.under_way.push_back((traffic.now, count));
        let units = self.units.len() / self.unit_length;
        while count > 0 {
            let end = (client.next + count).min(units);
            if let Some(bytes) = self.units.get(client.next * self.unit_length..end * self.unit_length) {
                traffic.send(connection, bytes);
            }
            count -= end - client.next;
            client.next = end % units;
        }
    }
}

impl Load for Cache {
    fn connections(&self) -> usize {
        self.clients.len()
    }

    fn opening(&self, connection: usize) -> Vec<u8> {
        if connection == 0 { self.preparation.clone() } else { Vec::new() }
    }

    fn reply_length(&self) -> usize {
        self.reply_length
    }

    fn begin(&mut self, traffic: &mut Traffic<'_>) {
        let units = self.units.len() / self.unit_length;
        let clients = self.clients.len();
        for connection in 0..clients {
            // Each begins somewhere else.
            if let Some(client) = self.clients.get_mut(connection) {
                client.next = units * connection / clients;
            }
            self.send(connection, self.depth, traffic);
        }
    }

    fn replies(&mut self, connection: usize, lines: usize, traffic: &mut Traffic<'_>) {
        let Some(client) = self.clients.get_mut(connection) else { return };
        traffic.done(lines * self.unit_messages);
        let mut left = lines;
        while let Some((sent, count)) = client.under_way.front_mut()
            && left > 0
        {
            let some = left.min(*count);
            traffic.latency(*sent, some);
            left -= some;
            *count -= some;
            if *count == 0 {
                client.under_way.pop_front();
            }
        }
        if lines > 0 {
            self.send(connection, lines, traffic);
        }
    }
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half is the better one.
        usize::try_from(self.0 >> 32).unwrap_or_default() % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_replies_have_one_length() {
        for size in [1, 32, 5_000_000] {
            for cache in [Cache::pairs("p/", size, 2, 3), Cache::retrieve("p/", size)] {
                assert_eq!(cache.units.len() % cache.unit_length, 0);
                for unit in cache.units.chunks(cache.unit_length) {
                    let lines = unit.iter().filter(|&&byte| byte == b'\n').count();
                    assert_eq!((lines, unit.ends_with(b"\r\n")), (cache.unit_messages, true));
                }
                let reply = format!("RETRIEVED p/00000={}\r\n", value(size));
                assert_eq!(cache.reply_length, reply.len());
                let stored = cache.preparation.iter().filter(|&&byte| byte == b'\n').count();
                assert_eq!(stored, keys(size));
            }
        }
    }
}
