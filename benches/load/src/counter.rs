//! Bytes that come in pieces, counted as messages.

use crate::failure::Failure;
use crate::protocol::Protocol;
use crate::tally::Tally;

/// Counts what comes on one connection.
#[derive(Debug)]
pub(crate) struct Counter {
    protocol: Protocol,
    /// The beginning of a message that is not complete.
    kept: Vec<u8>,
    same: Same,
}

/// A listener of one topic gets the same bytes again and again. To compare them costs less than to read them, and what the
/// generator spends is missing where it is to be faster than the server.
#[derive(Debug)]
enum Same {
    Unused,
    Learning,
    Learned { message: Vec<u8>, value: u64 },
}

impl Counter {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol, kept: Vec::new(), same: Same::Unused }
    }

    /// From now on only one message is to come, again and again.
    pub(crate) fn learn(&mut self) {
        self.same = Same::Learning;
    }

    /// Counts `came`; what the server wants to have answered is in `answers`.
    pub(crate) fn take(
        &mut self,
        came: &[u8],
        tally: &mut Tally,
        answers: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.kept.is_empty() {
            let used = self.count(came, 0, tally, answers)?;
            self.kept.extend_from_slice(came.get(used..).unwrap_or_default());
        } else {
            let seen = self.kept.len();
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(came);
            let used = self.count(&kept, seen, tally, answers)?;
            kept.drain(..used);
            self.kept = kept;
        }
        Ok(())
    }

    /// Counts the complete messages of `came`, and says where the first that is not complete begins. In the first `seen` bytes no
    /// message of a single line is complete.
    fn count(
        &mut self,
        came: &[u8],
        mut seen: usize,
        tally: &mut Tally,
        answers: &mut Vec<u8>,
    ) -> Result<usize, Failure> {
        let mut at = 0;
        while let Some(rest) = came.get(at..).filter(|rest| !rest.is_empty()) {
            if let Same::Learned { message, value } = &self.same {
                let count = rest.chunks_exact(message.len()).take_while(|chunk| chunk == message).count();
                if count > 0 {
                    tally.messages += count as u64;
                    tally.bytes += count as u64 * value;
                    at += count * message.len();
                    seen = 0;
                    continue;
                }
            }
            let before = *tally;
            let Some(length) = self.protocol.count(rest, seen, tally, answers)? else { break };
            if matches!(self.same, Same::Learning) && tally.messages > before.messages {
                let message = rest.get(..length).unwrap_or(rest).to_vec();
                self.same = Same::Learned { message, value: tally.bytes - before.bytes };
            }
            at += length;
            seen = 0;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_the_same_in_pieces_of_any_size_learned_or_not() {
        let came = b"SET a=bcd\r\nSET a=bcd\r\nSET a=bcd\r\nFLUSHED load\r\nSET a=bcd\r\n";
        for piece in 1..=came.len() {
            for is_learning in [false, true] {
                let mut counter = Counter::new(Protocol::Clacks);
                if is_learning {
                    counter.learn();
                }
                let mut tally = Tally::default();
                for part in came.chunks(piece) {
                    counter.take(part, &mut tally, &mut Vec::new()).unwrap();
                }
                let counted = (tally.messages, tally.synchronized, tally.bytes);
                assert_eq!(counted, (4, 1, 12), "pieces of {piece}, learning: {is_learning}");
            }
        }
    }
}
