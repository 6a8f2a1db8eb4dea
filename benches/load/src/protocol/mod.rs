//! What is sent to a server, and how what comes back is counted.

mod clacks;
mod memcached;
mod mqtt;
mod nats;
mod redis;
mod text;

use crate::failure::Failure;
use crate::tally::Tally;

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Clacks,
    Redis,
    Memcached,
    Mqtt,
    Nats,
}

impl Protocol {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "clacks" => Self::Clacks,
            "redis" => Self::Redis,
            "memcached" => Self::Memcached,
            "mqtt" => Self::Mqtt,
            "nats" => Self::Nats,
            _ => return None,
        })
    }

    /// Whether it knows topics and listeners.
    pub(crate) fn has_topics(self) -> bool {
        self != Self::Memcached
    }

    /// Whether it knows keys and values.
    pub(crate) fn has_cache(self) -> bool {
        matches!(self, Self::Clacks | Self::Redis | Self::Memcached)
    }

    /// Whether each stored value is acknowledged.
    pub(crate) fn acknowledges_stores(self) -> bool {
        self != Self::Clacks
    }

    /// Whether each subscription is acknowledged.
    pub(crate) fn acknowledges_subscriptions(self) -> bool {
        matches!(self, Self::Redis | Self::Mqtt)
    }

    /// What opens a connection. `client` is different for each connection of a run.
    pub(crate) fn hello(self, client: usize, user: &str, password: &str) -> Vec<u8> {
        match self {
            Self::Clacks => clacks::hello(client, user, password),
            Self::Redis => redis::SYNC.to_vec(),
            Self::Memcached => memcached::SYNC.to_vec(),
            Self::Mqtt => mqtt::hello(client),
            Self::Nats => nats::HELLO.to_vec(),
        }
    }

    /// Whether `came` is the whole answer to the hello.
    pub(crate) fn is_welcome(self, came: &[u8]) -> Result<bool, Failure> {
        match self {
            Self::Clacks => clacks::is_welcome(came),
            Self::Redis => text::is_welcome(came, b"-", b"+PONG\r\n"),
            Self::Memcached => text::is_welcome(came, b"ERROR", b"\r\n"),
            Self::Mqtt => mqtt::is_welcome(came),
            Self::Nats => text::is_welcome(came, b"-ERR", b"PONG\r\n"),
        }
    }

    /// What follows the welcome, and has no answer.
    pub(crate) fn after_welcome(self) -> &'static [u8] {
        if self == Self::Clacks { clacks::NO_PING } else { b"" }
    }

    pub(crate) fn publish(self, out: &mut Vec<u8>, topic: &[u8], value: &[u8]) {
        match self {
            Self::Clacks => clacks::pair(out, b"SET ", topic, value),
            Self::Redis => redis::command(out, &[b"PUBLISH", topic, value]),
            Self::Mqtt => mqtt::publish(out, topic, value),
            Self::Nats => nats::publish(out, topic, value),
            Self::Memcached => {}
        }
    }

    /// `number` is different for each subscription of a connection.
    pub(crate) fn subscribe(self, out: &mut Vec<u8>, topic: &[u8], number: usize) {
        match self {
            Self::Clacks => text::line(out, &[b"LISTEN ", topic]),
            Self::Redis => redis::command(out, &[b"SUBSCRIBE", topic]),
            Self::Mqtt => mqtt::subscribe(out, topic, number),
            Self::Nats => nats::subscribe(out, topic, number),
            Self::Memcached => {}
        }
    }

    pub(crate) fn store(self, out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
        match self {
            Self::Clacks => clacks::pair(out, b"STORE ", key, value),
            Self::Redis => redis::command(out, &[b"SET", key, value]),
            Self::Memcached => memcached::store(out, key, value),
            Self::Mqtt | Self::Nats => {}
        }
    }

    pub(crate) fn retrieve(self, out: &mut Vec<u8>, key: &[u8]) {
        match self {
            Self::Clacks => text::line(out, &[b"RETRIEVE ", key]),
            Self::Redis => redis::command(out, &[b"GET", key]),
            Self::Memcached => text::line(out, &[b"get ", key]),
            Self::Mqtt | Self::Nats => {}
        }
    }

    /// Asks whether everything before is done.
    pub(crate) fn synchronize(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self {
            Self::Clacks => clacks::SYNC,
            Self::Redis => redis::SYNC,
            Self::Memcached => memcached::SYNC,
            Self::Mqtt => mqtt::SYNC,
            Self::Nats => nats::SYNC,
        });
    }

    /// Counts the first message of `came`, and says how long it is; `None` while it is not complete.
    ///
    /// In the first `seen` bytes there is no end of a line. What the server wants to have answered is in `answers`.
    pub(crate) fn count(
        self,
        came: &[u8],
        seen: usize,
        tally: &mut Tally,
        answers: &mut Vec<u8>,
    ) -> Result<Option<usize>, Failure> {
        match self {
            Self::Clacks => clacks::count(came, seen, tally, answers),
            Self::Redis => redis::count(came, tally),
            Self::Memcached => memcached::count(came, tally),
            Self::Mqtt => mqtt::count(came, tally),
            Self::Nats => nats::count(came, tally, answers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Protocol; 5] =
        [Protocol::Clacks, Protocol::Redis, Protocol::Memcached, Protocol::Mqtt, Protocol::Nats];

    /// Everything of `came`, given whole and cut at each place.
    fn check(protocol: Protocol, came: &[u8], expected: &str) {
        for cut in 0..=came.len() {
            let (mut tally, mut answers, mut at) = (Tally::default(), Vec::new(), 0);
            for end in [cut, came.len()] {
                while let Some(length) = protocol
                    .count(&came[at..end], 0, &mut tally, &mut answers)
                    .unwrap_or_else(|failure| panic!("{protocol:?}, cut at {cut}: {failure}"))
                {
                    at += length;
                }
            }
            assert_eq!(at, came.len(), "{protocol:?}, cut at {cut}");
            let t = tally;
            let counted = format!(
                "messages {} acknowledged {} values {} missing {} synchronized {} subscribed {} bytes {}",
                t.messages, t.acknowledged, t.values, t.missing, t.synchronized, t.subscribed, t.bytes
            );
            assert_eq!(counted, expected, "{protocol:?}, cut at {cut}");
        }
    }

    #[test]
    fn what_comes_is_counted_wherever_it_is_cut() {
        check(
            Protocol::Clacks,
            b"SET a=bcd\r\nRETRIEVED k=vv\r\nNOTRETRIEVED k\r\nFLUSHED load\r\nNOTIFY a\r\n",
            "messages 2 acknowledged 0 values 2 missing 1 synchronized 1 subscribed 0 bytes 5",
        );
        check(
            Protocol::Redis,
            b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$3\r\na\r\n\r\n+OK\r\n:1\r\n+PONG\r\n$-1\r\n$2\r\nvv\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n",
            "messages 1 acknowledged 2 values 2 missing 1 synchronized 1 subscribed 1 bytes 5",
        );
        check(
            Protocol::Memcached,
            b"STORED\r\nVALUE k 0 3\r\nvvv\r\nEND\r\nEND\r\nVERSION 1\r\n",
            "messages 0 acknowledged 1 values 2 missing 1 synchronized 1 subscribed 0 bytes 3",
        );
        check(
            Protocol::Mqtt,
            b"\x30\x06\x00\x01tvvv\x90\x03\x00\x01\x00\xd0\x00\x40\x02\x00\x01",
            "messages 1 acknowledged 1 values 0 missing 0 synchronized 1 subscribed 1 bytes 3",
        );
        check(
            Protocol::Nats,
            b"MSG t 1 3\r\nv\r\n\r\nPONG\r\n+OK\r\n",
            "messages 1 acknowledged 0 values 0 missing 0 synchronized 1 subscribed 0 bytes 3",
        );
    }

    #[test]
    fn a_ping_of_the_server_is_answered() {
        for (protocol, ping, answer) in
            [(Protocol::Clacks, "PING\r\n", "PING\r\n"), (Protocol::Nats, "PING\r\n", "PONG\r\n")]
        {
            let mut answers = Vec::new();
            let length = protocol.count(ping.as_bytes(), 0, &mut Tally::default(), &mut answers);
            assert!(matches!(length, Ok(Some(6))), "{protocol:?}: {length:?}");
            assert_eq!(String::from_utf8(answers).unwrap(), answer, "{protocol:?}");
        }
    }

    #[test]
    fn garbage_is_an_error_or_passed_over_and_never_a_panic() {
        let garbage: [&[u8]; 10] = [
            b"\n",
            b"$\r\n",
            b"*9\r\n\r\n",
            b"*1\r\n$99999999999999999999\r\n",
            b"VALUE \r\n",
            b"VALUE k 0 18446744073709551615\r\n",
            b"MSG\r\n",
            b"\x30\x00",
            b"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x30\x02\xff\xff",
        ];
        for protocol in ALL {
            for came in garbage {
                for end in 0..=came.len() {
                    if let Ok(Some(length)) =
                        protocol.count(&came[..end], 0, &mut Tally::default(), &mut Vec::new())
                    {
                        assert!(0 < length && length <= end, "{protocol:?} {came:?} {length}");
                    }
                }
            }
        }
    }
}
