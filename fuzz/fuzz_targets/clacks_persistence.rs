//! The files of a cache: a persistence file, or a journal whose checksums are right and whose records are whatever comes.
#![no_main]

use eventdispatcher::connections::clacks::Entry;
use eventdispatcher::connections::clacks::persistence::{
    Persistence, PersistenceOptions, read_file, write_file,
};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::fs;

type Entries = BTreeMap<Vec<u8>, Entry>;

fn read(bytes: &[u8]) -> Option<Entries> {
    let mut entries = Entries::new();
    let mut take = |key: &[u8], entry| drop(entries.insert(key.to_vec(), entry));
    read_file(bytes, 1e9, &mut take).ok()?;
    Some(entries)
}

/// What is read is written so that the same is read.
fn file(bytes: &[u8]) {
    let Some(entries) = read(bytes) else { return };
    let mut written = Vec::new();
    let all = entries.iter().map(|(key, entry)| (&**key, entry));
    write_file(&mut written, all).expect("memory can be written to");
    let again = read(&written).expect("what is written can be read");
    assert_eq!(again.len(), entries.len());
    for ((key, entry), (key_again, entry_again)) in entries.iter().zip(&again) {
        assert_eq!((key, &entry.value, entry.deleted), (key_again, &entry_again.value, entry_again.deleted));
    }
}

/// A header, or a frame's, and its checksum.
fn signed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = parts.concat();
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Frames of records: each with its length in a byte.
fn journal(mut input: &[u8]) {
    let mut bytes = signed(&[b"CLACKSJ1", &1u64.to_le_bytes(), &1u64.to_le_bytes(), &[0; 16]]);
    let mut number = 1u64;
    while let Some((length, rest)) = input.split_first() {
        let (records, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        let (len, crc) = (records.len() as u32, crc32fast::hash(records));
        bytes.extend(signed(&[b"CJ1f", &number.to_le_bytes(), &len.to_le_bytes(), &crc.to_le_bytes()]));
        bytes.extend_from_slice(records);
        number += 1;
        input = rest;
    }
    let folder = std::env::temp_dir().join(format!("clacks-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    fs::write(folder.join("cache_journal.1"), &bytes).expect("a file can be written");
    let (persistence, store) = Persistence::load(PersistenceOptions::new(folder.join("cache")));
    assert!(persistence.changes() <= bytes.len() as u64);
    assert!((store.live() + store.tombstones()) as u64 <= persistence.changes());
}

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b'j', rest)) => journal(rest),
        Some((b'f', rest)) => file(rest),
        _ => {}
    }
});
