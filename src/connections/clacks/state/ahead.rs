//! A look at the commands that come next.

use super::State;
use crate::connections::clacks::line::first_line;
use crate::connections::clacks::protocol::key_of;
use crate::connections::clacks::store::LOOK_AHEAD;

/// Who sends something that is no command of the cache most often goes on with it: so many bytes of it are not looked at.
const OTHERS: usize = 1024;
/// No further than this: of a long line that comes in many pieces the same beginning is shown each time.
const NEAR: usize = 8192;

impl<K: Copy + Eq> State<K> {
    /// Looks at lines of a client that has logged in before they are given to [`line`](Self::line): `input` begins with the next one.
    /// Says for how many bytes that was done.
    ///
    /// A client that sends commands without waiting for the answers does not wait for memory with each of them then.
    pub fn look_ahead(&mut self, input: &[u8]) -> usize {
        let near = &input[..input.len().min(NEAR)];
        match first_line(near) {
            Some((first, len)) if len < input.len() => match key_of(first) {
                Some(key) => self.look_behind(key, len, near),
                None => OTHERS,
            },
            // One alone, or a long one, is looked up soon enough.
            _ => input.len(),
        }
    }

    /// Goes on behind the first line, which has this key and so many bytes.
    #[inline(never)]
    fn look_behind(&mut self, first: &[u8], len: usize, input: &[u8]) -> usize {
        let mut keys = [first; LOOK_AHEAD];
        let (mut count, mut seen) = (1, len);
        for _ in 1..LOOK_AHEAD {
            let Some((line, len)) = first_line(&input[seen..]) else { break };
            if let Some(key) = key_of(line) {
                keys[count] = key;
                count += 1;
            }
            seen += len;
        }
        self.store.look_ahead(&keys[..count]);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Users};
    use super::*;
    use crate::connections::clacks::store::Store;

    #[test]
    fn it_goes_as_far_as_there_are_whole_lines_if_the_first_is_for_the_cache() {
        let mut state = State::<u32>::new(Settings::default(), Users::default(), Store::default());
        let mut check =
            |input: &str, seen: usize| assert_eq!(state.look_ahead(input.as_bytes()), seen, "{input:?}");
        check("", 0);
        check("RETRIEVE a", 10);
        check("RETRIEVE a\r\n", 12);
        check("RETRIEVE a\r\nSTORE b=1\nRETR", 22);
        check("RETRIEVE a\r\nPING\r\n\r\n=\r\nRETRIEVE b\r\n", 35);
        check("PING\r\nRETRIEVE a\r\nRETRIEVE b\r\n", OTHERS);
        check("\r\n\r\n\r\n", OTHERS);
        let long = format!("STORE a={}\n", "x".repeat(NEAR));
        check(&format!("{long}REMOVE a\nREMOVE b\n"), long.len() + 18);
        check(&format!("REMOVE a\nREMOVE b\n{long}{long}"), 18);
        check(&"REMOVE a\n".repeat(LOOK_AHEAD + 5), 9 * LOOK_AHEAD);
    }
}
