//! How much a stream is asked for at a time.

use crate::connections::transport::Transport;

/// What is read of a connection of which nothing is known: a pipeline of some dozens of commands.
const LITTLE: usize = 4 << 10;
/// Small items are read in shares of this size.
const MUCH: usize = 32 << 10;

/// How much comes at a time, which says how much to ask for.
///
/// A read goes on as long as more comes, and with packets of a few bytes from a sender that is as fast, that is long: so it
/// asks for little, or for what is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// A few items.
    Little,
    /// More small items than one read has taken. They are read in shares that stay in the processor's nearest cache.
    Much,
    /// Large items, which are copied less often if they are read as a whole.
    Large,
}

impl Flow {
    /// A read has brought so much; as many bytes of it were looked at before something else had its turn, and so many items have
    /// come of them.
    pub(super) fn after(got: usize, looked_at: usize, items: usize) -> Self {
        if got < LITTLE {
            Self::Little
        } else if looked_at / (items + 1) < LITTLE / 2 {
            Self::Much
        } else {
            Self::Large
        }
    }

    /// How much to ask for, and at most.
    pub(super) fn ask(self, transport: &impl Transport, most: usize) -> usize {
        let usual = match self {
            _ if transport.loses_what_has_no_room() => return most,
            Self::Little => return LITTLE.min(most),
            Self::Much => MUCH.min(most),
            Self::Large => most,
        };
        // One more, so that a short read shows that nothing has come since.
        transport.waiting().map_or(usual, |waiting| usual.min(waiting.saturating_add(1).max(LITTLE)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Lines;
    use crate::communicator::{Budget, CHUNK, Communicator, on_item};
    use mio::event::Source;
    use std::cell::{Cell, RefCell};
    use std::io::{self, ErrorKind, Read, Write};
    use std::rc::Rc;
    use std::time::Duration;

    /// Lines of such a length, of which each read takes all that it is asked for, though only so much is said to wait.
    struct Endless {
        line: usize,
        waiting: Option<usize>,
        packets: bool,
        left: Rc<Cell<usize>>,
        asked: Rc<RefCell<Vec<usize>>>,
    }

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.asked.borrow_mut().push(into.len());
            let left = self.left.get();
            let got = into.len().min(left);
            for (at, byte) in (0..left).rev().zip(&mut into[..got]) {
                *byte = if at.is_multiple_of(self.line) { b'\n' } else { b'x' };
            }
            self.left.set(left - got);
            if got == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(got) }
        }
    }

    impl Write for Endless {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Transport for Endless {
        fn source(&mut self) -> Option<&mut dyn Source> {
            None
        }
        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn waiting(&self) -> Option<usize> {
            self.waiting
        }
        fn carries_packets(&self) -> bool {
            self.packets
        }
    }

    /// What is asked for, when a megabyte of such lines comes.
    fn asked(line: usize, waiting: Option<usize>) -> Vec<usize> {
        asked_of(line, waiting, false, Budget { time: Duration::MAX, ..Budget::default() })
    }

    fn asked_of(line: usize, waiting: Option<usize>, packets: bool, budget: Budget) -> Vec<usize> {
        let (left, asked, lines) = (Rc::new(Cell::new(1 << 20)), Rc::default(), Rc::new(Cell::new(0)));
        let transport = Endless { line, waiting, packets, left: left.clone(), asked: Rc::clone(&asked) };
        let (communicator, count) = (Communicator::new().unwrap(), lines.clone());
        let handler = on_item::<Lines, _>(move |item, _| {
            assert!(item.bytes().all(|byte| byte == b'x'));
            count.set(count.get() + 1);
            Ok(())
        });
        let id = communicator.stream(transport, Lines::new(), handler).unwrap();
        assert!(communicator.set_budget(id, budget));
        let all = (1usize << 20).div_ceil(line);
        while lines.get() < all {
            communicator.turn(Some(Duration::ZERO)).unwrap();
        }
        assert_eq!((left.get(), lines.get()), (0, all));
        asked.take()
    }

    #[test]
    fn a_sender_of_tiny_packets_keeps_no_read_going() {
        for line in [1, 20, 10_000, 300_000] {
            let asked = asked(line, Some(200));
            assert!(asked.iter().all(|asked| *asked <= LITTLE), "{line}: {asked:?}");
        }
    }

    #[test]
    fn small_items_are_read_in_shares_and_large_ones_as_a_whole() {
        let small = asked(20, Some(1 << 20));
        assert_eq!(&small[..2], &[LITTLE, MUCH]);
        assert!(small.iter().all(|asked| *asked <= MUCH), "{small:?}");
        let large = asked(100_000, Some(1 << 20));
        assert!(large.len() < 12, "{large:?}");
        // Where nobody can tell what waits, no read is as long.
        assert_eq!(asked(20, None), small);
    }

    #[test]
    fn small_items_that_wait_for_their_turn_are_no_large_ones() {
        let few = Budget { callbacks: 10, ..Budget::default() };
        let asked = asked_of(20, Some(1 << 20), false, few);
        assert_eq!(&asked[..2], &[LITTLE, MUCH]);
        assert!(asked.iter().all(|asked| *asked <= MUCH), "{asked:?}");
    }

    #[test]
    fn packets_are_asked_for_as_many_as_there_is_room_for() {
        let asked = asked_of(20, Some(200), true, Budget::default());
        assert!(asked.iter().all(|asked| *asked > CHUNK - 20), "{asked:?}");
    }

    #[test]
    fn who_has_sent_much_may_send_little_again() {
        assert_eq!(Flow::after(LITTLE - 1, LITTLE - 1, 0), Flow::Little);
        assert_eq!(Flow::after(LITTLE, LITTLE, 500), Flow::Much);
        assert_eq!(Flow::after(LITTLE, LITTLE, 0), Flow::Large);
    }
}
