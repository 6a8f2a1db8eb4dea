//! Peers whose logins fail: they wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::sessions::Peer;

/// So many logins may fail without a pause: people mistype.
const FREE: u32 = 3;
/// The pause after the next one, which doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// So many logins of a peer are looked at after a pause; the next ones wait for one more. Else who sends many at a time would not
/// be slowed down.
const AT_A_TIME: u32 = 8;
/// A peer that has not failed for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// So many peers are remembered; who fails beyond is not slowed down.
const PEERS_MAX: usize = 10_000;
/// How often those that may be forgotten are looked for, while there are too many.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Whose logins count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    /// The user of a process of this machine.
    User(u32),
    /// A process of this machine.
    Local,
    V4(Ipv4Addr),
    /// A network of IPv6: a single host may have all of its addresses.
    V6(u64),
}

impl From<Peer> for Who {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Unix => Self::Local,
            Peer::UnixUser(uid) => Self::User(uid),
            Peer::Tcp(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => Self::V4(address),
                IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
            },
        }
    }
}

#[derive(Debug)]
struct Record {
    count: u32,
    last: Duration,
    /// How many logins wait for a pause to be over.
    waiting: u32,
}

impl Record {
    /// How long the next logins wait.
    fn pause(&self, pause_max: Duration) -> Duration {
        let doublings = self.count.checked_sub(FREE);
        let pause = doublings.map(|n| FIRST_PAUSE.saturating_mul(2u32.saturating_pow(n)).min(pause_max));
        pause.unwrap_or_default()
    }

    fn pause_end(&self, pause_max: Duration) -> Duration {
        self.last.saturating_add(self.pause(pause_max))
    }
}

/// The failed logins of all peers. Times are on the clock of [`Now::monotonic`](super::Now::monotonic).
#[derive(Debug, Default)]
pub(super) struct Failures {
    peers: HashMap<Who, Record>,
    swept: Duration,
}

impl Failures {
    /// A login has failed. How many have, with this one; those that waited together count once.
    pub(super) fn add(&mut self, peer: Peer, now: Duration, pause_max: Duration) -> u32 {
        if self.peers.len() >= PEERS_MAX && now >= self.swept.saturating_add(SWEEP_INTERVAL) {
            self.sweep(now);
        }
        let is_full = self.peers.len() >= PEERS_MAX;
        let who = peer.into();
        if is_full && !self.peers.contains_key(&who) {
            return 1;
        }
        let record = self.peers.entry(who).or_insert(Record { count: 0, last: now, waiting: 0 });
        if now.saturating_sub(record.last) >= FORGOTTEN_AFTER {
            record.count = 0;
        }
        if record.pause_end(pause_max) <= now {
            record.count = record.count.saturating_add(1);
        }
        record.last = now;
        record.count
    }

    /// Until when a login of a peer must wait, if it must; [`has_waited`](Self::has_waited) is called for it then. A pause is no
    /// longer than `pause_max`.
    pub(super) fn wait(&mut self, peer: Peer, now: Duration, pause_max: Duration) -> Option<Duration> {
        let record = self.peers.get_mut(&peer.into())?;
        let end = record.pause_end(pause_max);
        if end <= now {
            return None;
        }
        let more = record.pause(pause_max).saturating_mul(record.waiting / AT_A_TIME);
        record.waiting = record.waiting.saturating_add(1);
        Some(end.saturating_add(more))
    }

    /// One that waited does not wait any more.
    pub(super) fn has_waited(&mut self, peer: Peer) {
        if let Some(record) = self.peers.get_mut(&peer.into()) {
            record.waiting = record.waiting.saturating_sub(1);
        }
    }

    /// Forgets who has not failed for long.
    pub(super) fn sweep(&mut self, now: Duration) {
        self.swept = now;
        self.peers
            .retain(|_, record| record.waiting > 0 || now.saturating_sub(record.last) < FORGOTTEN_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(8);

    fn at(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_grow_to_a_limit_and_are_forgotten() {
        let mut failures = Failures::default();
        let mut now = seconds(1000);
        let peer = Peer::UnixUser(1);
        let pauses: Vec<u64> = (0..10)
            .map(|_| {
                failures.add(peer, now, MAX);
                let until = failures.wait(peer, now, MAX).unwrap_or(now);
                let pause = until - now;
                failures.has_waited(peer);
                now = until;
                assert_eq!(failures.wait(peer, now, MAX), None, "the pause is over then");
                pause.as_millis() as u64
            })
            .collect();
        assert_eq!(pauses, [0, 0, 250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(failures.wait(peer, now - seconds(1), Duration::ZERO), None, "switched off");
        now += FORGOTTEN_AFTER;
        assert_eq!(failures.add(peer, now, MAX), 1);
        failures.sweep(now + FORGOTTEN_AFTER);
        assert!(failures.peers.is_empty());
    }

    #[test]
    fn few_wait_at_a_time_and_count_once() {
        let mut failures = Failures::default();
        let (peer, now) = (Peer::Unix, seconds(1));
        for _ in 0..FREE {
            failures.add(peer, now, MAX);
        }
        let until = now + FIRST_PAUSE;
        for _ in 0..AT_A_TIME {
            assert_eq!(failures.wait(peer, now, MAX), Some(until));
        }
        for _ in 0..AT_A_TIME {
            assert_eq!(failures.wait(peer, now, MAX), Some(until + FIRST_PAUSE));
        }
        for _ in 0..AT_A_TIME {
            failures.has_waited(peer);
            assert_eq!(failures.add(peer, until, MAX), FREE + 1);
        }
        for _ in 0..AT_A_TIME {
            failures.has_waited(peer);
        }
        assert_eq!(failures.wait(peer, until, MAX), Some(until + 2 * FIRST_PAUSE));
    }

    #[test]
    fn who_shares_a_pause_is_one_user_or_one_network() {
        let check = |one: Peer, other: Peer, shared: bool| {
            let mut failures = Failures::default();
            for _ in 0..FREE {
                failures.add(one, seconds(1), MAX);
            }
            assert_eq!(failures.wait(other, seconds(1), MAX).is_some(), shared, "{one:?} {other:?}");
        };
        check(Peer::UnixUser(1), Peer::UnixUser(1), true);
        check(Peer::UnixUser(1), Peer::UnixUser(2), false);
        check(Peer::UnixUser(1), Peer::Unix, false);
        check(at("192.0.2.1:1"), at("192.0.2.1:2"), true);
        check(at("192.0.2.1:1"), at("192.0.2.2:1"), false);
        check(at("192.0.2.1:1"), at("[::ffff:192.0.2.1]:9"), true);
        check(at("[2001:db8::1]:1"), at("[2001:db8::ffff:2]:1"), true);
        check(at("[2001:db8::1]:1"), at("[2001:db8:0:1::1]:1"), false);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut failures = Failures::default();
        for uid in 0..PEERS_MAX as u32 + 10 {
            failures.add(Peer::UnixUser(uid), seconds(1), MAX);
        }
        assert_eq!(failures.peers.len(), PEERS_MAX);
        failures.add(Peer::Unix, seconds(1) + FORGOTTEN_AFTER, MAX);
        assert_eq!(failures.peers.len(), 1);
    }
}
