//! The files of a journal. Each begins with a header; then come frames, one a turn, each with its number and checksums.
//!
//! ```text
//! header: "CLACKSJ1", number of the segment (8), number of its first frame (8), base: kind (4), length (8), CRC (4); CRC of it (4)
//! frame:  "CJ1f", its number (8), length of the records (4), CRC of the records (4); CRC of it (4); records
//! ```
//!
//! Numbers are little-endian. The base is the persistence file that the journal was begun with.

use super::lines::Identity;
use super::record::{Record, Records};
use crate::connections::clacks::store::Store;
use memchr::memmem;
use std::io::{self, BufReader, Read};

const MAGIC: &[u8; 8] = b"CLACKSJ1";
const FRAME: &[u8; 4] = b"CJ1f";
pub(super) const HEADER_LEN: usize = 44;
pub(super) const FRAME_HEADER_LEN: usize = 24;

/// What the changes of a journal are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// An empty cache: there was no file.
    Empty,
    /// This file.
    File(Identity),
    /// The segment before this one, without which it is of use only with a file that is named later.
    Before,
    /// Changes before are missing: of use only with a file that is named later.
    Gap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) first_frame: u64,
    pub(super) base: Base,
}

impl Header {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_frame.to_le_bytes());
        let (kind, identity) = match self.base {
            Base::Empty => (0u32, Identity { len: 0, crc: 0 }),
            Base::File(identity) => (1, identity),
            Base::Gap => (2, Identity { len: 0, crc: 0 }),
            Base::Before => (3, Identity { len: 0, crc: 0 }),
        };
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(&identity.len.to_le_bytes());
        out.extend_from_slice(&identity.crc.to_le_bytes());
        sign(out, begin);
    }

    fn read(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        if !is_signed(bytes) || !bytes.starts_with(MAGIC) {
            return None;
        }
        let identity = Identity { len: long(bytes, 28)?, crc: short(bytes, 36)? };
        let base = match short(bytes, 24)? {
            0 => Base::Empty,
            1 => Base::File(identity),
            2 => Base::Gap,
            3 => Base::Before,
            _ => return None,
        };
        Some(Self { number: long(bytes, 8)?, first_frame: long(bytes, 16)?, base })
    }
}

/// Begins a frame at the end of `out`; its records follow, then [`end_frame`].
pub(super) fn begin_frame(out: &mut Vec<u8>) -> usize {
    let begin = out.len();
    out.resize(begin + FRAME_HEADER_LEN, 0);
    begin
}

pub(super) fn end_frame(out: &mut [u8], begin: usize, number: u64) {
    let Some((head, records)) =
        out.get_mut(begin..).and_then(|frame| frame.split_at_mut_checked(FRAME_HEADER_LEN))
    else {
        return;
    };
    let crc = crc32fast::hash(records);
    head.copy_from_slice(&frame_header(number, records.len(), crc));
}

fn frame_header(number: u64, len: usize, crc: u32) -> [u8; FRAME_HEADER_LEN] {
    let mut head = Vec::with_capacity(FRAME_HEADER_LEN);
    head.extend_from_slice(FRAME);
    head.extend_from_slice(&number.to_le_bytes());
    head.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head.extend_from_slice(&crc.to_le_bytes());
    sign(&mut head, 0);
    head.try_into().unwrap_or([0; FRAME_HEADER_LEN])
}

fn sign(out: &mut Vec<u8>, begin: usize) {
    let crc = crc32fast::hash(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Do the last four bytes say the checksum of what is before them?
fn is_signed(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<4>().is_some_and(|(head, crc)| crc32fast::hash(head) == u32::from_le_bytes(*crc))
}

fn short(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// The number of a frame, the length and the checksum of its records.
fn read_frame_header(bytes: &[u8]) -> Option<(u64, u32, u32)> {
    if !bytes.starts_with(FRAME) || !is_signed(bytes) {
        return None;
    }
    Some((long(bytes, 4)?, short(bytes, 12)?, short(bytes, 16)?))
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole frame.
    Whole,
    /// With the beginning of a frame, or what a loss of power leaves: nothing that was there before is missing.
    Torn,
    /// Somewhere in its middle there is damage: whole frames follow it.
    Damaged,
}

/// What was found in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) header: Header,
    /// The number that the next frame would have.
    pub(super) next_frame: u64,
    /// How many bytes are whole frames, with the header.
    pub(super) good: u64,
    pub(super) end: End,
    /// The files that the cache was about to be written to.
    pub(super) files: Vec<Identity>,
    pub(super) records: u64,
}

/// Reads a segment of `len` bytes, and makes its changes in `store`, if there is one. `None`: it has no header.
///
/// # Errors
/// When it can't be read.
pub(super) fn read(from: impl Read, len: u64, mut store: Option<&mut Store>) -> io::Result<Option<Found>> {
    const BUFFER: usize = 256 << 10;
    let mut reader = BufReader::with_capacity(BUFFER, from);
    let mut head = [0; HEADER_LEN];
    if !fill(&mut reader, &mut head)? {
        return Ok(None);
    }
    let Some(header) = Header::read(&head) else { return Ok(None) };
    let mut found = Found {
        header,
        next_frame: header.first_frame,
        good: HEADER_LEN as u64,
        end: End::Whole,
        files: Vec::new(),
        records: 0,
    };
    let mut records = Vec::new();
    loop {
        let mut head = [0; FRAME_HEADER_LEN];
        let got = fill_some(&mut reader, &mut head)?;
        if got == 0 {
            return Ok(Some(found));
        }
        let left = len.saturating_sub(found.good + FRAME_HEADER_LEN as u64);
        let frame = read_frame_header(&head)
            .filter(|(number, size, _)| *number == found.next_frame && u64::from(*size) <= left);
        records.clear();
        let whole = match frame {
            Some((_, size, crc)) => {
                // No more than there is.
                (&mut reader).take(size.into()).read_to_end(&mut records)?;
                records.len() as u64 == u64::from(size) && crc32fast::hash(&records) == crc
            }
            None => false,
        };
        if !whole || !make(&records, &mut found, store.as_deref_mut()) {
            let seen = head.get(..got).unwrap_or_default().iter().chain(&records).skip(1);
            let later = has_frame(seen.copied().collect(), &mut reader, found.next_frame)?;
            found.end = if later { End::Damaged } else { End::Torn };
            return Ok(Some(found));
        }
        found.next_frame += 1;
        found.good += (FRAME_HEADER_LEN + records.len()) as u64;
    }
}

/// Makes the changes of a frame, all or none.
fn make(records: &[u8], found: &mut Found, store: Option<&mut Store>) -> bool {
    let (mut files, mut count) = (Vec::new(), 0);
    for record in Records::new(records) {
        match record {
            Ok(Record::File(identity)) => files.push(identity),
            Ok(_) => count += 1,
            Err(_) => return false,
        }
    }
    found.files.append(&mut files);
    found.records += count;
    if let Some(store) = store {
        Records::new(records).flatten().for_each(|record| record.apply(store));
    }
    true
}

/// Is there a frame with this number or a later one in what was read and what follows?
fn has_frame(mut window: Vec<u8>, reader: &mut impl Read, number: u64) -> io::Result<bool> {
    const STEP: u64 = 1 << 20;
    loop {
        for at in memmem::find_iter(&window, FRAME) {
            let head = window.get(at..at + FRAME_HEADER_LEN);
            if head.and_then(read_frame_header).is_some_and(|(found, ..)| found >= number) {
                return Ok(true);
            }
        }
        // A header may stand across two windows.
        window.drain(..window.len().saturating_sub(FRAME_HEADER_LEN - 1));
        if reader.take(STEP).read_to_end(&mut window)? == 0 {
            return Ok(false);
        }
    }
}

/// Reads as much as fits; `false` if there is not so much.
fn fill(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    Ok(fill_some(reader, bytes)? == bytes.len())
}

fn fill_some(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::super::record::LastTimes;
    use super::*;

    const HEADER: Header = Header { number: 7, first_frame: 100, base: Base::Empty };

    /// A segment with three frames, and where each of them begins.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut begins) = (vec![], vec![]);
        HEADER.write(&mut bytes);
        for n in 0..3u64 {
            begins.push(begin_frame(&mut bytes));
            let mut last = LastTimes::default();
            for key in [format!("k{n}"), "same".to_owned()] {
                let value = n.to_string();
                let times = (1.0, 1.0);
                Record::Put { key: key.as_bytes(), value: value.as_bytes(), times, deleted: false }
                    .write(&mut bytes, &mut last);
            }
            end_frame(&mut bytes, begins[n as usize], 100 + n);
        }
        (bytes, begins)
    }

    /// How many frames are read, how it ends, and what is in the store then.
    fn outcome(bytes: &[u8]) -> Option<(u64, u64, End, Option<Vec<u8>>)> {
        let mut store = Store::new(None);
        let found = read(bytes, bytes.len() as u64, Some(&mut store)).unwrap()?;
        assert_eq!(found.records, 2 * (found.next_frame - 100));
        Some((
            found.next_frame - 100,
            found.good,
            found.end,
            store.get(b"same").map(|entry| entry.value.to_vec()),
        ))
    }

    #[test]
    fn a_segment_that_was_cut_off_has_the_frames_before() {
        let (bytes, begins) = segment();
        assert_eq!(outcome(&bytes), Some((3, bytes.len() as u64, End::Whole, Some(b"2".to_vec()))));
        for len in 0..bytes.len() {
            let frames = begins.iter().skip(1).filter(|begin| **begin <= len).count();
            let wanted = (len >= HEADER_LEN).then(|| {
                let end = if begins.contains(&len) { End::Whole } else { End::Torn };
                let value = frames.checked_sub(1).map(|n| n.to_string().into_bytes());
                (frames as u64, begins[frames] as u64, end, value)
            });
            assert_eq!(outcome(&bytes[..len]), wanted, "{len} bytes");
        }
    }

    #[test]
    fn damage_before_whole_frames_is_no_torn_end() {
        let (bytes, begins) = segment();
        for at in HEADER_LEN..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let frame = begins.iter().filter(|begin| **begin <= at).count() - 1;
            let end = if frame == 2 { End::Torn } else { End::Damaged };
            let (frames, good, found, _) = outcome(&damaged).unwrap();
            assert_eq!((frames, good, found), (frame as u64, begins[frame] as u64, end), "byte {at}");
        }
        for at in 0..HEADER_LEN {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(outcome(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn what_a_loss_of_power_leaves_behind_the_end_is_a_torn_end() {
        let (bytes, _) = segment();
        for junk in [vec![0; 5000], vec![0xff; 30], bytes[HEADER_LEN..].to_vec(), FRAME.repeat(100)] {
            let (frames, good, end, _) = outcome(&[&bytes[..], &junk].concat()).unwrap();
            assert_eq!((frames, good, end), (3, bytes.len() as u64, End::Torn));
        }
    }

    #[test]
    fn a_frame_across_the_windows_of_the_search_is_found() {
        let (bytes, begins) = segment();
        for extra in (1 << 20) - 30..(1 << 20) + 5 {
            let torn = [&bytes[..begins[1]], &vec![1; extra], &bytes[begins[2]..]].concat();
            assert_eq!(outcome(&torn).unwrap().2, End::Damaged, "{extra} bytes in between");
        }
    }

    #[test]
    fn a_header_says_what_the_journal_belongs_to() {
        for base in
            [Base::Empty, Base::Gap, Base::Before, Base::File(Identity { len: 1 << 33, crc: 0xdead_beef })]
        {
            let header = Header { number: 1, first_frame: u64::MAX, base };
            let mut bytes = vec![];
            header.write(&mut bytes);
            assert_eq!(bytes.len(), HEADER_LEN);
            assert_eq!(read(&bytes[..], 44, None).unwrap().map(|found| found.header), Some(header));
        }
    }
}
