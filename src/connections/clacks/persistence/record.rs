//! A change as bytes: what a journal keeps, and how entries travel to the thread that writes the file.

use super::lines::Identity;
use crate::connections::clacks::store::{Change, Entry, Store};

const PUT: u8 = 1;
const TOMBSTONE: u8 = 2;
const FORGOTTEN: u8 = 3;
const CLEARED: u8 = 4;
const FILE: u8 = 5;

/// One record. Numbers are little-endian; times are the bits of a double.
///
/// | kind | bytes |
/// |---|---|
/// | an entry, a tombstone | `1` or `2`, length of the key (4), length of the value (4), time set (8), time asked for (8), key, value |
/// | a forgotten entry | `3`, length of the key (4), key |
/// | everything was cleared | `4` |
/// | the persistence file is about to be this one | `5`, its length (8), its CRC (4) |
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

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        // No line is as long as 4 GiB, so no key and no value.
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        match self {
            Self::Put { key, value, times, deleted } => {
                out.reserve(25 + key.len() + value.len());
                out.push(if *deleted { TOMBSTONE } else { PUT });
                out.extend_from_slice(&len(key));
                out.extend_from_slice(&len(value));
                out.extend_from_slice(&times.0.to_bits().to_le_bytes());
                out.extend_from_slice(&times.1.to_bits().to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Self::Forgotten(key) => {
                out.push(FORGOTTEN);
                out.extend_from_slice(&len(key));
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

    /// Takes the next record off `bytes`; `None` at their end.
    pub(super) fn read(bytes: &mut &'a [u8]) -> Option<Result<Self, NoRecord>> {
        let (&kind, rest) = bytes.split_first()?;
        let mut reader = Reader(rest);
        let record = Self::read_kind(kind, &mut reader);
        *bytes = reader.0;
        Some(record.ok_or(NoRecord))
    }

    fn read_kind(kind: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            PUT | TOMBSTONE => {
                let (key_len, value_len) = (reader.len()?, reader.len()?);
                let times = (f64::from_bits(reader.number()?), f64::from_bits(reader.number()?));
                let (key, value) = (reader.bytes(key_len)?, reader.bytes(value_len)?);
                Self::Put { key, value, times, deleted: kind == TOMBSTONE }
            }
            FORGOTTEN => {
                let len = reader.len()?;
                Self::Forgotten(reader.bytes(len)?)
            }
            CLEARED => Self::Cleared,
            FILE => Self::File(Identity { len: reader.number()?, crc: reader.short()? }),
            _ => return None,
        })
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
        usize::try_from(self.short()?).ok()
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
        let records = [
            Record::Put { key: b"k", value: b"a value", times: (1.5, 0.0), deleted: false },
            Record::Put { key: b"k", value: b"", times: (f64::INFINITY, 2.0), deleted: true },
            Record::Forgotten(b"k\0"),
            Record::Cleared,
            Record::File(Identity { len: 1 << 40, crc: 7 }),
        ];
        let mut bytes = vec![];
        records.iter().for_each(|record| record.write(&mut bytes));
        let mut rest = &bytes[..];
        for record in records {
            assert_eq!(Record::read(&mut rest), Some(Ok(record)));
        }
        assert_eq!(Record::read(&mut rest), None);
        for len in 1..26 {
            assert_eq!(Record::read(&mut &bytes[..len]), Some(Err(NoRecord)), "{len} bytes");
        }
    }

    proptest! {
        #[test]
        fn what_is_no_record_does_no_harm(bytes in prop::collection::vec(0u8..8, 0..60)) {
            let mut rest = &bytes[..];
            while let Some(Ok(_)) = Record::read(&mut rest) {}
        }
    }
}
