//! Packets for receivers that take none now.

use super::address::Address;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// A receiver is tried again after this; after twice that, as long as none takes anything; and so on.
const RETRY_MIN: Duration = Duration::from_millis(1);
const RETRY_MAX: Duration = Duration::from_millis(50);

/// What waits, for whom. Time is passed in.
#[derive(Debug)]
pub(super) struct Waiting<A> {
    receivers: HashMap<A, Receiver>,
    /// What the frames of all packets had.
    bytes: usize,
    retry: Duration,
    /// When they were tried last.
    tried: Option<Instant>,
    /// So long a receiver may take nothing before it is given up.
    pub(super) patience: Duration,
}

#[derive(Debug)]
struct Receiver {
    /// Each with the size of its frame.
    packets: VecDeque<(Vec<u8>, usize)>,
    /// Since when it takes nothing.
    since: Instant,
}

/// What came of a packet.
#[derive(Debug)]
pub(super) enum Sent {
    Gone,
    /// The receiver, or the socket, takes none now.
    Blocked,
    Failed(io::Error),
}

impl<A: Address> Waiting<A> {
    pub(super) fn new(patience: Duration) -> Self {
        Self { receivers: HashMap::new(), bytes: 0, retry: RETRY_MIN, tried: None, patience }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// So long until they are to be tried again.
    pub(super) fn retry(&self) -> Duration {
        self.retry
    }

    /// Whether something waits for this receiver: what comes later must wait, too.
    pub(super) fn has(&self, to: &A) -> bool {
        !self.receivers.is_empty() && self.receivers.contains_key(to)
    }

    pub(super) fn push(&mut self, to: A, bytes: &[u8], frame_size: usize, now: Instant) {
        if self.receivers.is_empty() {
            (self.retry, self.tried) = (RETRY_MIN, Some(now));
        }
        self.bytes += frame_size;
        let receiver =
            self.receivers.entry(to).or_insert_with(|| Receiver { packets: VecDeque::new(), since: now });
        receiver.packets.push_back((bytes.to_vec(), frame_size));
    }

    /// Tries all of them again, unless that was just done. `lost` gets what can't be delivered.
    pub(super) fn send(
        &mut self,
        now: Instant,
        mut send: impl FnMut(&A, &[u8]) -> Sent,
        mut lost: impl FnMut(A, io::Error),
    ) {
        if self.tried.is_some_and(|tried| now.saturating_duration_since(tried) < RETRY_MIN) {
            return;
        }
        self.tried = Some(now);
        let (mut progress, patience) = (false, self.patience);
        let bytes = &mut self.bytes;
        self.receivers.retain(|to, receiver| {
            while let Some((packet, frame_size)) = receiver.packets.front() {
                match send(to, packet) {
                    Sent::Gone => (progress, receiver.since) = (true, now),
                    Sent::Failed(error) => lost(to.clone(), error),
                    Sent::Blocked if now.saturating_duration_since(receiver.since) < patience => return true,
                    Sent::Blocked => {
                        // Else each of many would wait so long.
                        for (_, frame_size) in receiver.packets.drain(..) {
                            *bytes -= frame_size;
                            lost(to.clone(), ErrorKind::TimedOut.into());
                        }
                        return false;
                    }
                }
                *bytes -= frame_size;
                receiver.packets.pop_front();
            }
            false
        });
        self.retry = if progress { RETRY_MIN } else { (self.retry * 2).min(RETRY_MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::datagram::UnixAddress;
    use std::cell::RefCell;

    fn address(name: &str) -> UnixAddress {
        UnixAddress::abstract_name(name).unwrap()
    }

    #[test]
    fn each_receiver_gets_its_packets_in_order_and_who_is_not_there_is_given_up() {
        let mut waiting = Waiting::new(Duration::from_secs(10));
        let start = Instant::now();
        for (n, name) in ["dead", "slow", "gone", "slow", "dead", "gone", "slow"].into_iter().enumerate() {
            assert_eq!(waiting.has(&address(name)), n > 2);
            waiting.push(address(name), &[n as u8], 100 + n, start);
        }
        assert_eq!(waiting.bytes(), 721);
        let sent = RefCell::new(Vec::new());
        let lost: RefCell<Vec<(String, ErrorKind)>> = RefCell::default();
        let room = RefCell::new(0);
        let run = |waiting: &mut Waiting<UnixAddress>, after: u64| {
            waiting.send(
                start + Duration::from_millis(after),
                |to, bytes| match to {
                    to if *to == address("gone") => Sent::Failed(ErrorKind::ConnectionRefused.into()),
                    to if *to == address("slow") && *room.borrow() > 0 => {
                        *room.borrow_mut() -= 1;
                        sent.borrow_mut().push(bytes[0]);
                        Sent::Gone
                    }
                    _ => Sent::Blocked,
                },
                |to, error| lost.borrow_mut().push((to.to_string(), error.kind())),
            );
            (sent.take(), lost.take())
        };
        assert_eq!(run(&mut waiting, 0), (vec![], vec![])); // it was just tried
        let refused = ("@gone".to_owned(), ErrorKind::ConnectionRefused);
        assert_eq!(run(&mut waiting, 1), (vec![], vec![refused.clone(), refused]));
        assert_eq!((waiting.bytes(), waiting.retry()), (721 - 102 - 105, RETRY_MIN * 2));
        *room.borrow_mut() = 2;
        assert_eq!(run(&mut waiting, 9_000), (vec![1, 3], vec![]));
        assert_eq!(waiting.retry(), RETRY_MIN);
        let late = ("@dead".to_owned(), ErrorKind::TimedOut);
        assert_eq!(run(&mut waiting, 10_000), (vec![], vec![late.clone(), late]));
        assert_eq!(waiting.bytes(), 106);
        *room.borrow_mut() = 1;
        assert_eq!(run(&mut waiting, 18_999), (vec![6], vec![]));
        assert!(waiting.is_empty() && waiting.bytes() == 0);
    }
}
