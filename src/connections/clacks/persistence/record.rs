//! A change as bytes: what a journal keeps, and how entries travel to the thread that writes the file.

use super::lines::Identity;
use crate::connections::clacks::store::{Change, Entry, Store};

const PUT: u8 = 1;
const TOMBSTONE: u8 = 2;
const FORGOTTEN: u8 = 3;
const CLEARED: u8 = 4;
const FILE: u8 = 5;

/// Added to the kind of an entry: its times are those of the entry before it.
const SAME_TIMES: u8 = 0x10;

/// One record. Times are the bits of a double, eight bytes with the lowest first, and so are other numbers; lengths
/// have seven bits in a byte, the lowest first, and the eighth says that there are more.
///
/// | kind | bytes |
/// |---|---|
/// | an entry, a tombstone | `01` or `02`, length of the key, length of the value, time set, time asked for, key, value |
/// | the same, with the times of the one before | `11` or `12`, length of the key, length of the value, key, value |
/// | a forgotten entry | `03`, length of the key, key |
/// | everything was cleared | `04` |
/// | the persistence file is about to be this one | `05`, its length, its CRC (4 bytes) |
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Record<'a> {
    Put { key: &'a [u8], value: &'a [u8], times: (f64, f64), deleted: bool },
    Forgotten(&'a [u8]),
    Cleared,
    File(Identity),
}

/// What is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRecord;

impl<'a> Record<'a> {
    pub(super) fn of(change: Change<'a>) -> Self {
        match change {
            Change::Cleared => Self::Cleared,
            Change::Put(key, entry) => Self::of_entry(key, entry),
            Change::Forgotten(key) => Self::Forgotten(key),
        }
    }

    pub(super) fn of_entry(key: &'a [u8], entry: &'a Entry) -> Self {
        let times = (entry.cache_time, entry.access_time);
        Self::Put { key, value: &entry.value, times, deleted: entry.deleted }
    }

    /// Writes it. `last` is what the record before it has left there; at the beginning it is empty.
    pub(super) fn write(&self, out: &mut Vec<u8>, last: &mut LastTimes) {
        match self {
            Self::Put { key, value, times, deleted } => {
                let bits = (times.0.to_bits(), times.1.to_bits());
                let is_same = last.0.replace(bits) == Some(bits);
                out.reserve(ENTRY_HEAD_MAX + key.len() + value.len());
                let kind = if *deleted { TOMBSTONE } else { PUT };
                out.push(if is_same { kind | SAME_TIMES } else { kind });
                write_len(out, key.len());
                write_len(out, value.len());
                if !is_same {
                    out.extend_from_slice(&bits.0.to_le_bytes());
                    out.extend_from_slice(&bits.1.to_le_bytes());
                }
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Forgotten(key) => {
                out.push(FORGOTTEN);
                write_len(out, key.len());
                out.extend_from_slice(key);
            }
            Self::Cleared => out.push(CLEARED),
            Self::File(identity) => {
                out.push(FILE);
                out.extend_from_slice(&identity.len.to_le_bytes());
                out.extend_from_slice(&identity.crc.to_le_bytes());
            }
        }
    }

    /// Makes the change again, on a store that takes no note of it.
    pub(super) fn apply(self, store: &mut Store) {
        match self {
            Self::Put { key, times, deleted: true, .. } => {
                store.load(key, Entry::tombstone(times.0, times.1));
            }
            Self::Put { key, value, times, deleted: false } => {
                store.load(key, Entry::new(value.to_vec(), times.0, times.1));
            }
            Self::Forgotten(key) => store.unload(key),
            Self::Cleared => store.clear(),
            Self::File(_) => {}
        }
    }
}

/// The times of the entry that was written last.
#[derive(Debug, Default)]
pub(super) struct LastTimes(Option<(u64, u64)>);

/// The longest that stands before a key.
const ENTRY_HEAD_MAX: usize = 1 + 2 * LEN_MAX + 16;
/// The longest a length may be.
const LEN_MAX: usize = 5;

fn write_len(out: &mut Vec<u8>, len: usize) {
    let mut rest = len;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The records in some bytes, one after the other; after one that is none there are no more.
#[derive(Debug)]
pub(super) struct Records<'a> {
    reader: Reader<'a>,
    times: Option<(f64, f64)>,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader(bytes), times: None }
    }

    fn record(&mut self, kind: u8) -> Option<Record<'a>> {
        let reader = &mut self.reader;
        Some(match kind {
            FORGOTTEN => {
                let len = reader.len()?;
                Record::Forgotten(reader.bytes(len)?)
            }
            CLEARED => Record::Cleared,
            FILE => Record::File(Identity { len: reader.number()?, crc: reader.short()? }),
            _ => {
                let deleted = match kind & !SAME_TIMES {
                    PUT => false,
                    TOMBSTONE => true,
                    _ => return None,
                };
                let (key_len, value_len) = (reader.len()?, reader.len()?);
                if kind & SAME_TIMES == 0 {
                    self.times = Some((f64::from_bits(reader.number()?), f64::from_bits(reader.number()?)));
                }
                let (key, value) = (reader.bytes(key_len)?, reader.bytes(value_len)?);
                Record::Put { key, value, times: self.times?, deleted }
            }
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, NoRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.reader.0.split_first()?;
        self.reader.0 = rest;
        let record = self.record(kind);
        if record.is_none() {
            self.reader.0 = &[];
        }
        Some(record.ok_or(NoRecord))
    }
}

#[derive(Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn short(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn len(&mut self) -> Option<usize> {
        let mut len = 0;
        for at in 0..LEN_MAX {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            len |= usize::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(len);
            }
        }
        None
    }

    fn number(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_come_back_one_after_the_other() {
        let long = vec![b'x'; 20_000];
        let put = |key, value, times, deleted| Record::Put { key, value, times, deleted };
        let records = [
            put(b"k", b"a value", (1.5, 0.0), false),
            put(b"same times", &long, (1.5, 0.0), false),
            Record::Forgotten(b"k\0"),
            put(b"", b"", (1.5, 0.0), true),
            put(b"other times", b"", (f64::INFINITY, 2.0), true),
            Record::Cleared,
            Record::File(Identity { len: 1 << 40, crc: 7 }),
            put(&long, b"", (1.5, 0.0), false),
        ];
        let (mut bytes, mut last) = (vec![], LastTimes::default());
        records.iter().for_each(|record| record.write(&mut bytes, &mut last));
        let read: Result<Vec<_>, _> = Records::new(&bytes).collect();
        assert_eq!(read.as_deref(), Ok(&records[..]));
        for len in 1..20 {
            let read: Result<Vec<_>, _> = Records::new(&bytes[..len]).collect();
            assert_eq!(read, Err(NoRecord), "{len} bytes");
        }
    }

    #[test]
    fn what_refers_to_nothing_is_no_record() {
        for bytes in [
            &[PUT | SAME_TIMES, 1, 0, b'k'][..],
            &[FORGOTTEN, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x20],
            &[0],
        ] {
            assert_eq!(Records::new(bytes).collect::<Vec<_>>(), [Err(NoRecord)], "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_no_record_does_no_harm(bytes in prop::collection::vec(0u8..20, 0..60)) {
            prop_assert!(Records::new(&bytes).count() <= bytes.len());
        }
    }
}
