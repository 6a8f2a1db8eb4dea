//! Bytes on their way out of one connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::rc::Rc;
use std::time::Duration;

/// What is written already is dropped from the front of a queue when it is so much.
const COMPACT_FROM: usize = 64 << 10;
/// From this on a buffer is not kept at all.
const LARGEST_SPARE: usize = 1 << 20;
/// So many buffers are kept, and so much memory in all of them.
const MOST_SPARES: usize = 1024;
const MOST_SPARE_BYTES: usize = 16 << 20;
/// A buffer that is kept for long may be this large, or so many times as large as what is in it. The limits count only the latter.
const SMALL: usize = 4 << 10;
const WIDE: usize = 4;
/// Bytes that are shared by many queues are copied up to this, and shared beyond.
pub(crate) const SHARE_FROM: usize = 16 << 10;
/// As many pieces go into one system call.
const PIECES: usize = 32;
/// A call that is interrupted so often in a row has to wait for the poll.
const INTERRUPTIONS: usize = 100;

/// First in, first out. Most of the time it is one plain buffer; pieces that are shared with other
/// queues (a large value for many listeners) stand in front of it with what was queued before them.
#[derive(Debug, Default)]
pub(crate) struct OutQueue {
    pieces: VecDeque<Rc<Vec<u8>>>,
    tail: Vec<u8>,
    /// How much of the first piece, or of the tail if there is none, is written.
    done: usize,
    len: usize,
    /// Bytes that the transport has taken, holds back, and that go on counting.
    held: usize,
    /// Where items end, where that matters. An item is never in two pieces.
    items: Option<Box<Items>>,
}

/// The items of a queue, first in, first out.
#[derive(Debug, Default)]
struct Items {
    marks: VecDeque<Mark>,
    /// How much of the first one is written; its bytes are still there.
    written: usize,
}

/// One item that is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// In bytes: at least one.
    pub(crate) len: usize,
    /// When it was queued, in nanoseconds of the loop's clock.
    pub(crate) queued: u64,
    /// It stays when the connection is lost.
    pub(crate) kept: bool,
    /// Its name, counted up.
    pub(crate) number: u64,
}

/// What one attempt to write has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    /// The other side takes no more for now.
    pub(crate) blocked: bool,
    /// The transport holds some back, and the poll may not say when they can go: to be tried again after this.
    pub(crate) retry: Option<Duration>,
    /// The transport has something to read of which the poll does not know.
    pub(crate) input: bool,
}

/// Whether a buffer is too large to be kept for so many bytes.
#[inline]
pub(crate) fn is_wide(capacity: usize, len: usize) -> bool {
    capacity > SMALL && capacity / WIDE > len
}

/// Empty buffers of the whole loop.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spares {
    #[inline]
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// A copy that may be kept for long.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let fits = self.buffers.last().is_some_and(|buffer| !is_wide(buffer.capacity(), bytes.len()));
        let mut copy = if fits { self.take() } else { Vec::new() };
        copy.extend_from_slice(bytes);
        copy
    }

    /// Exchanges a buffer that is too large to be kept for what is in it.
    #[inline]
    pub(crate) fn fit(&mut self, buffer: &mut Vec<u8>) {
        if is_wide(buffer.capacity(), buffer.len()) {
            let copy = self.copy(buffer);
            self.give(std::mem::replace(buffer, copy));
        }
    }

    #[inline]
    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.bytes + buffer.capacity();
        let is_of_use = (1..=LARGEST_SPARE).contains(&buffer.capacity());
        if is_of_use && self.buffers.len() < MOST_SPARES && bytes <= MOST_SPARE_BYTES {
            buffer.clear();
            self.buffers.push(buffer);
            self.bytes = bytes;
        }
    }
}

impl OutQueue {
    /// A queue that knows its items: each is pushed and [marked](Self::mark).
    pub(crate) fn of_items() -> Self {
        Self { items: Some(Box::default()), ..Self::default() }
    }

    /// All of it; what stays behind is empty, and knows its items if this does.
    pub(crate) fn take(&mut self) -> Self {
        let items = self.items.is_some().then(Box::default);
        std::mem::replace(self, Self { items, ..Self::default() })
    }

    /// The queue of one that is permanent no more: what has begun stays whole, then comes the greeting, and the others unless they are
    /// not to leave. Nobody asks for its items any more.
    pub(crate) fn into_last(mut self, greeting: Self, alone: bool, spares: &mut Spares) -> Self {
        let mut all = Self::default();
        all.push(self.half(), spares);
        if self.is_half() {
            self.drop_first();
        }
        if alone {
            self.clear(spares);
        }
        all.append(greeting, spares);
        all.append(self, spares);
        all
    }

    /// It is an ordinary queue from now on, whose items nobody asks for.
    pub(crate) fn forget_items(&mut self) {
        self.items = None;
    }

    /// What was pushed last is an item.
    pub(crate) fn mark(&mut self, mark: Mark) {
        if let Some(items) = &mut self.items
            && mark.len > 0
        {
            items.marks.push_back(mark);
        }
    }

    /// How many items there are, half written ones included; 0 if the queue does not know.
    pub(crate) fn item_count(&self) -> usize {
        self.items.as_ref().map_or(0, |items| items.marks.len())
    }

    pub(crate) fn first_item(&self) -> Option<Mark> {
        self.items.as_ref()?.marks.front().copied()
    }

    /// Whether the first item is written in part.
    pub(crate) fn is_half(&self) -> bool {
        self.items.as_ref().is_some_and(|items| items.written > 0)
    }

    /// What is left of an item that is written in part.
    pub(crate) fn half(&self) -> &[u8] {
        let Some(items) = self.items.as_ref().filter(|items| items.written > 0) else { return &[] };
        let left = items.marks.front().map_or(0, |first| first.len - items.written);
        let buffer = self.pieces.front().map_or(&self.tail, |piece| piece);
        &buffer[self.done..self.done + left]
    }

    /// The first item is as if nothing of it was written.
    pub(crate) fn rewind(&mut self) {
        if let Some(items) = &mut self.items {
            let written = std::mem::take(&mut items.written);
            self.done -= written;
            self.len += written;
        }
    }

    /// Drops the first item, or what is left of it.
    pub(crate) fn drop_first(&mut self) -> Option<Mark> {
        let items = self.items.as_ref()?;
        let first = *items.marks.front()?;
        self.advance(first.len - items.written);
        Some(first)
    }

    /// Drops all items that are not kept. How many those were. No item may be half written.
    pub(crate) fn drop_unkept(&mut self, spares: &mut Spares) -> usize {
        let unkept =
            self.items.as_ref().map_or(0, |items| items.marks.iter().filter(|mark| !mark.kept).count());
        if unkept > 0 {
            debug_assert!(!self.is_half(), "an item is half written");
            let mut old = self.take();
            let marks = old.items.take().map(|items| items.marks).unwrap_or_default();
            let mut marks = marks.into_iter();
            let mut skip = old.done;
            let tail = std::mem::take(&mut old.tail);
            for piece in old.pieces.iter().map(|piece| piece.as_slice()).chain([tail.as_slice()]) {
                let mut rest = piece.get(skip..).unwrap_or_default();
                skip = 0;
                while !rest.is_empty()
                    && let Some(mark) = marks.next()
                {
                    let (item, behind) = rest.split_at(mark.len.min(rest.len()));
                    if mark.kept {
                        self.push(item, spares);
                        self.mark(mark);
                    }
                    rest = behind;
                }
            }
            spares.give(tail);
        }
        unkept
    }

    /// Everything that is not gone yet, what the transport holds back included.
    pub(crate) fn len(&self) -> usize {
        self.len + self.held
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the transport has not taken yet.
    pub(crate) fn untaken(&self) -> usize {
        self.len
    }

    /// Says how much the transport holds back.
    pub(crate) fn set_held(&mut self, bytes: usize) {
        self.held = bytes;
    }

    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8], spares: &mut Spares) {
        if self.tail.capacity() == 0 || self.done >= COMPACT_FROM {
            self.make_place(spares);
        }
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline(never)]
    fn make_place(&mut self, spares: &mut Spares) {
        if self.tail.capacity() == 0 {
            self.tail = spares.take();
        } else if self.pieces.is_empty() && self.done * 2 >= self.tail.len() {
            // A queue that never runs empty must not grow by what is already written.
            let needed = self.items.as_ref().map_or(0, |items| items.written);
            self.tail.drain(..self.done - needed);
            self.done = needed;
        }
    }

    /// Queues bytes that other queues hold too.
    pub(crate) fn push_shared(&mut self, bytes: &Rc<Vec<u8>>, spares: &mut Spares) {
        if bytes.len() < SHARE_FROM {
            return self.push(bytes, spares);
        }
        if !self.tail.is_empty() {
            spares.fit(&mut self.tail);
            self.pieces.push_back(Rc::new(std::mem::take(&mut self.tail)));
        }
        self.pieces.push_back(bytes.clone());
        self.len += bytes.len();
    }

    /// Puts what `later` holds behind this.
    pub(crate) fn append(&mut self, later: OutQueue, spares: &mut Spares) {
        let mut skip = later.done;
        for piece in &later.pieces {
            self.push(&piece[skip..], spares);
            skip = 0;
        }
        self.push(&later.tail[skip..], spares);
        if let (Some(items), Some(later)) = (&mut self.items, later.items) {
            items.marks.extend(later.marks);
        }
        self.held += later.held;
    }

    pub(crate) fn clear(&mut self, spares: &mut Spares) {
        self.pieces.clear();
        self.done = 0;
        self.len = 0;
        if let Some(items) = &mut self.items {
            **items = Items::default();
        }
        self.held = 0;
        spares.give(std::mem::take(&mut self.tail));
    }

    /// Writes until the other side takes no more, nothing is left, or `budget` bytes are gone.
    pub(crate) fn write_to(&mut self, to: &mut impl Write, budget: usize) -> io::Result<Written> {
        let mut written = Written::default();
        let mut interrupted = 0;
        while self.len > 0 && written.bytes < budget {
            let most = budget - written.bytes;
            let taken = if self.pieces.is_empty() {
                let rest = &self.tail[self.done..];
                to.write(&rest[..rest.len().min(most)])
            } else {
                self.write_pieces(to, most)
            };
            match taken {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    interrupted = 0;
                    written.bytes += taken;
                    self.advance(taken);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted && interrupted < INTERRUPTIONS => {
                    interrupted += 1;
                }
                Err(error) if is_for_later(&error) => {
                    written.blocked = true;
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
        // A layer below may hold bytes back (TLS records): they count when it has got rid of them.
        loop {
            match to.flush() {
                Ok(()) => return Ok(written),
                Err(error) if error.kind() == ErrorKind::Interrupted && interrupted < INTERRUPTIONS => {
                    interrupted += 1;
                }
                Err(error) if is_for_later(&error) => {
                    written.blocked = true;
                    return Ok(written);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_pieces(&self, to: &mut impl Write, most: usize) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let (mut count, mut left, mut skip) = (0, most, self.done);
        let tail = Some(self.tail.as_slice()).filter(|tail| !tail.is_empty());
        for piece in self.pieces.iter().map(|piece| piece.as_slice()).chain(tail).take(PIECES) {
            let piece = &piece[skip..];
            let piece = &piece[..piece.len().min(left)];
            slices[count] = IoSlice::new(piece);
            (count, left, skip) = (count + 1, left - piece.len(), 0);
            if left == 0 {
                break;
            }
        }
        to.write_vectored(&slices[..count])
    }

    fn advance(&mut self, taken: usize) {
        debug_assert!(taken <= self.len, "a transport said that it wrote more than it was given");
        let mut taken = taken.min(self.len);
        self.len -= taken;
        if let Some(items) = &mut self.items {
            items.advance(taken);
        }
        while let Some(first) = self.pieces.front() {
            let left = first.len() - self.done;
            if taken < left {
                self.done += taken;
                return;
            }
            taken -= left;
            self.done = 0;
            let over = self.pieces.pop_front();
            if self.tail.capacity() == 0
                && let Some(mut buffer) = over.and_then(Rc::into_inner)
            {
                // For the next one.
                buffer.clear();
                self.tail = buffer;
            }
        }
        self.done += taken;
        if self.len == 0 {
            self.tail.clear();
            self.done = 0;
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let held = self.pieces.iter().map(|piece| piece.len()).sum::<usize>() + self.tail.len();
        assert_eq!(self.len + self.done, held, "{} queued, {} done", self.len, self.done);
        let first = self.pieces.front().map_or(self.tail.len(), |piece| piece.len());
        assert!(self.done < first || (self.done == 0 && first == 0), "{} done of {first}", self.done);
        if let Some(items) = &self.items {
            let marked = items.marks.iter().map(|mark| mark.len).sum::<usize>();
            assert_eq!(marked, self.len + items.written, "marked: {items:?}");
            let first = items.marks.front().map_or(0, |mark| mark.len);
            assert!(items.written < first || items.written == 0, "{items:?}");
            assert!(items.written <= self.done, "{} of the first item are gone: {items:?}", self.done);
        }
    }

    /// Hands a buffer back that is not needed now, so that idle connections hold none, and those that wait no large one for
    /// little.
    pub(crate) fn rest(&mut self, spares: &mut Spares) {
        if self.len == 0 {
            spares.give(std::mem::take(&mut self.tail));
            return;
        }
        let gone = if self.pieces.is_empty() {
            self.done - self.items.as_ref().map_or(0, |items| items.written)
        } else {
            0
        };
        if is_wide(self.tail.capacity(), self.tail.len() - gone) {
            let copy = spares.copy(&self.tail[gone..]);
            spares.give(std::mem::replace(&mut self.tail, copy));
            self.done -= gone;
        }
    }
}

impl Items {
    fn advance(&mut self, mut taken: usize) {
        while let Some(first) = self.marks.front() {
            let left = first.len - self.written;
            if taken < left {
                self.written += taken;
                return;
            }
            taken -= left;
            self.written = 0;
            self.marks.pop_front();
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes at most so many bytes a call, blocks at every third.
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
        calls: usize,
    }
    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn what_is_queued_comes_out_whole_and_in_order(
            steps in prop::collection::vec((any::<bool>(), 0usize..40_000, any::<bool>()), 1..40),
            width in 1usize..70_000,
        ) {
            let (mut queue, mut spares) = (OutQueue::default(), Spares::default());
            let mut to = Narrow { taken: vec![], width, calls: 0 };
            let mut expected = vec![];
            for (n, (shared, size, write)) in steps.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..size).map(|i| (i + n) as u8).collect();
                expected.extend_from_slice(&bytes);
                if shared { queue.push_shared(&Rc::new(bytes), &mut spares) } else { queue.push(&bytes, &mut spares) }
                if write { queue.write_to(&mut to, 100_000).unwrap(); queue.rest(&mut spares); }
                prop_assert_eq!(queue.len(), expected.len() - to.taken.len());
            }
            while !queue.is_empty() {
                queue.write_to(&mut to, usize::MAX).unwrap();
            }
            prop_assert!(to.taken == expected);
        }
    }

    /// What is queued, item by item.
    fn items(queue: &OutQueue) -> Vec<Vec<u8>> {
        let mut bytes: Vec<u8> = queue.pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        bytes.extend_from_slice(&queue.tail);
        let items = queue.items.as_ref().unwrap();
        let mut rest = &bytes[queue.done - items.written..];
        let mut found = vec![];
        for mark in &items.marks {
            let (item, behind) = rest.split_at(mark.len);
            found.push(item.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty());
        found
    }

    proptest! {
        #[test]
        fn a_half_written_item_goes_out_whole_again(
            steps in prop::collection::vec((0usize..8, 1usize..40_000, any::<bool>()), 1..60),
            width in 1usize..70_000,
        ) {
            let (mut queue, mut spares) = (OutQueue::of_items(), Spares::default());
            let mut expected: VecDeque<(Vec<u8>, bool)> = VecDeque::new();
            let mut to = Narrow { taken: vec![], width, calls: 0 };
            for (n, (what, size, kept)) in steps.into_iter().enumerate() {
                match what {
                    0..4 => {
                        let bytes: Vec<u8> = (0..size).map(|i| (i + n) as u8).collect();
                        expected.push_back((bytes.clone(), kept));
                        // As when it is sent while the queue is being written.
                        let mut other = queue.take();
                        std::mem::swap(&mut queue, &mut other);
                        let into = if what == 0 { &mut other } else { &mut queue };
                        match what {
                            1 => into.push_shared(&Rc::new(bytes), &mut spares),
                            _ => into.push(&bytes, &mut spares),
                        }
                        into.mark(Mark { len: size, queued: 0, kept, number: n as u64 });
                        queue.append(other, &mut spares);
                    }
                    4 | 5 => {
                        to.taken.clear();
                        queue.write_to(&mut to, size * 2).unwrap();
                        queue.rest(&mut spares);
                        let mut taken = &to.taken[..];
                        let whole = queue.is_half();
                        while let Some((item, _)) = expected.front()
                            && taken.len() >= item.len()
                        {
                            prop_assert!(taken[..item.len()] == item[..]);
                            taken = &taken[item.len()..];
                            expected.pop_front();
                        }
                        prop_assert_eq!(whole, !taken.is_empty());
                        let front = expected.front().map_or(&[][..], |(item, _)| item);
                        prop_assert!(taken == &front[..taken.len()]);
                        queue.rewind();
                    }
                    6 => {
                        let unkept = expected.iter().filter(|(_, kept)| !kept).count();
                        prop_assert_eq!(queue.drop_unkept(&mut spares), unkept);
                        expected.retain(|(_, kept)| *kept);
                    }
                    _ => {
                        let dropped = queue.drop_first().map(|mark| mark.len);
                        prop_assert_eq!(dropped, expected.pop_front().map(|(item, _)| item.len()));
                    }
                }
                queue.check_invariants();
                prop_assert_eq!(queue.item_count(), expected.len());
                prop_assert!(items(&queue).iter().eq(expected.iter().map(|(item, _)| item)));
            }
        }
    }

    #[test]
    fn who_takes_everything_still_gets_no_more_than_the_budget() {
        let (mut queue, mut spares) = (OutQueue::default(), Spares::default());
        let large = Rc::new(vec![1; 30_000]);
        for _ in 0..40 {
            queue.push(&[0; 10], &mut spares);
            queue.push_shared(&large, &mut spares);
        }
        queue.push(&[0; 1_000_000], &mut spares);
        let all = queue.len();
        for n in 1..=3 {
            let written = queue.write_to(&mut io::sink(), 700_000).unwrap();
            assert_eq!((written.bytes, written.blocked), (700_000, false));
            assert_eq!(queue.len(), all - n * 700_000);
        }
    }

    #[test]
    fn a_write_that_is_always_interrupted_waits_for_the_poll() {
        struct Interrupted(bool);
        impl Write for Interrupted {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.0 { Err(ErrorKind::Interrupted.into()) } else { Ok(bytes.len()) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(ErrorKind::Interrupted.into())
            }
        }
        for (in_write, bytes) in [(true, 0), (false, 5)] {
            let (mut queue, mut spares) = (OutQueue::default(), Spares::default());
            queue.push(b"bytes", &mut spares);
            let written = queue.write_to(&mut Interrupted(in_write), 100).unwrap();
            assert_eq!(written, Written { bytes, blocked: true, ..Written::default() });
        }
    }

    #[test]
    fn an_empty_queue_keeps_no_large_buffer() {
        let (mut queue, mut spares) = (OutQueue::default(), Spares::default());
        queue.push(&[0; 100_000], &mut spares);
        queue.write_to(&mut io::sink(), usize::MAX).unwrap();
        queue.rest(&mut spares);
        assert_eq!((queue.len(), queue.tail.capacity()), (0, 0));
        assert!(spares.take().capacity() >= 100_000);
    }

    /// All that a queue holds in memory.
    fn capacity(queue: &OutQueue) -> usize {
        queue.pieces.iter().map(|piece| piece.capacity()).sum::<usize>() + queue.tail.capacity()
    }

    #[test]
    fn a_queue_that_waits_keeps_no_large_buffer_for_little() {
        let large = || Spares { buffers: vec![Vec::with_capacity(1 << 20)], bytes: 1 << 20 };
        // One that a spare buffer was taken for.
        let (mut queue, mut spares) = (OutQueue::default(), large());
        queue.push(b"tiny", &mut spares);
        queue.rest(&mut spares);
        assert!(capacity(&queue) <= SMALL, "{queue:?}");
        assert_eq!(spares.take().capacity(), 1 << 20, "it is there for others");

        // One behind which something large is queued.
        let (mut queue, mut spares) = (OutQueue::default(), large());
        queue.push(b"tiny", &mut spares);
        queue.push_shared(&Rc::new(vec![0; SHARE_FROM]), &mut spares);
        assert!(capacity(&queue) <= SHARE_FROM + SMALL, "{}", capacity(&queue));

        // One of which all but a little was written, and that of a large piece.
        for shared in [false, true] {
            let (mut queue, mut spares) = (OutQueue::of_items(), Spares::default());
            let large = vec![1; 500_000];
            if shared {
                queue.push_shared(&Rc::new(large), &mut spares);
            } else {
                queue.push(&large, &mut spares);
            }
            queue.mark(Mark { len: 500_000, queued: 0, kept: true, number: 0 });
            queue.write_to(&mut io::sink(), 499_990).unwrap();
            queue.rest(&mut spares);
            queue.check_invariants();
            for number in 1..50 {
                queue.push(&[2; 100], &mut spares);
                queue.mark(Mark { len: 100, queued: 0, kept: true, number });
            }
            queue.write_to(&mut io::sink(), 10 + 60).unwrap();
            queue.rest(&mut spares);
            queue.check_invariants();
            assert_eq!(queue.len(), 49 * 100 - 60);
            assert!(capacity(&queue) <= WIDE * 4900, "{shared}: {}", capacity(&queue));
            assert_eq!(queue.half(), [2; 40]);
            queue.rewind();
            let mut out = Vec::new();
            queue.write_to(&mut out, usize::MAX).unwrap();
            assert_eq!(out, [2; 4900]);
        }
    }
}
