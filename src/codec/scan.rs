/// Looks for a delimiter in an input that grows, and remembers how far it looked.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    /// Before this place no delimiter begins.
    seen: usize,
}

impl Scan {
    /// Where the delimiter of `len` bytes, which `search` finds, begins first in `input`.
    /// Only the first `window` bytes count: what ends behind them is too long anyway.
    pub(super) fn find(
        &mut self,
        input: &[u8],
        window: usize,
        len: usize,
        search: impl FnOnce(&[u8]) -> Option<usize>,
    ) -> Option<usize> {
        let end = input.len().min(window);
        let found = input.get(self.seen..end).and_then(search).map(|at| self.seen + at);
        // A delimiter may have begun in the last `len - 1` bytes.
        self.seen = if found.is_some() { 0 } else { (end + 1).saturating_sub(len) };
        found
    }

    /// Forgets what was seen: the next input is another one.
    pub(super) fn reset(&mut self) {
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comma(bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| byte == b',')
    }

    fn arrow(bytes: &[u8]) -> Option<usize> {
        bytes.windows(3).position(|three| three == b"-->")
    }

    #[test]
    fn a_delimiter_is_found_in_each_split() {
        let input = b"one-->two";
        for split in 0..input.len() {
            let mut scan = Scan::default();
            let early = scan.find(&input[..split], usize::MAX, 3, arrow);
            assert_eq!(early, (split >= 6).then_some(3), "after {split} bytes");
            if early.is_none() {
                assert_eq!(scan.find(input, usize::MAX, 3, arrow), Some(3), "split at {split}");
            }
        }
    }

    #[test]
    fn what_was_seen_is_not_searched_again() {
        let mut scan = Scan::default();
        let mut searched = 0;
        let input = [b'x'; 1000];
        for end in 0..=input.len() {
            let nothing = scan.find(&input[..end], usize::MAX, 3, |bytes| {
                searched += bytes.len();
                arrow(bytes)
            });
            assert_eq!(nothing, None);
        }
        // Each byte once, and the two before it, where a delimiter may have begun.
        assert!(searched <= 3 * input.len(), "{searched} bytes were searched");
    }

    #[test]
    fn nothing_behind_the_window_is_searched() {
        let mut scan = Scan::default();
        assert_eq!(scan.find(b"0123456789,", 10, 1, comma), None);
        scan.reset();
        assert_eq!(scan.find(b"0123456789,", 11, 1, comma), Some(10));
    }

    #[test]
    fn after_a_find_the_next_input_is_searched_from_its_start() {
        let mut scan = Scan::default();
        assert_eq!(scan.find(b"abc", usize::MAX, 1, comma), None);
        assert_eq!(scan.find(b"abc,", usize::MAX, 1, comma), Some(3));
        assert_eq!(scan.find(b",", usize::MAX, 1, comma), Some(0));
    }
}
