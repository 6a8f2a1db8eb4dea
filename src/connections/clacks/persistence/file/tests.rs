use super::*;
use crate::connections::clacks::store::Store;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;

type Entries = BTreeMap<Vec<u8>, Entry>;

/// What stands for times that a file has not.
const NOW: f64 = 1_800_000_000.0;

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/persistence/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn load(bytes: &[u8]) -> Result<(Entries, FileVersion), FileError> {
    let mut entries = Entries::new();
    let version = read_file(bytes, NOW, &mut |key, entry| drop(entries.insert(key.to_vec(), entry)))?;
    Ok((entries, version))
}

fn save(entries: &Entries) -> Vec<u8> {
    let mut out = vec![];
    write_file(&mut out, entries.iter().map(|(key, entry)| (&**key, entry))).unwrap();
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim_matches('-').as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What the reference server's own library loads from a file: key, value, times, tombstone or not.
fn loaded(name: &str) -> Entries {
    let text = String::from_utf8(data(name)).unwrap();
    let entry = |line: &str| {
        let [key, value, cache_time, access_time, deleted] =
            line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let number = |text: &str| text.parse::<f64>().unwrap();
        let mut entry = Entry::new(hex(value), number(cache_time), number(access_time));
        entry.deleted = deleted == "1";
        (hex(key), entry)
    };
    text.lines().map(entry).collect()
}

#[test]
fn files_of_the_reference_load_as_they_do_there_and_are_written_so_that_they_do_again() {
    for (name, count) in [("v3-small", 5), ("v3-values", 131)] {
        let wanted = loaded(&format!("{name}.loaded"));
        assert_eq!(wanted.len(), count, "{name}");
        let (entries, version) = load(&data(&format!("{name}.dat"))).unwrap();
        assert_eq!((entries == wanted, version), (true, FileVersion::V3), "{name}: {entries:#?}");
        let written = save(&entries);
        assert_eq!(load(&written).unwrap().0, wanted, "{name}");
    }
}

/// Lines that are not as the reference writes them: they are quoted where it trusts that nobody takes them for
/// something else.
#[test]
fn what_is_written_is_what_the_reference_writes_or_quoted() {
    // A key stands at the beginning of its line, a value behind the name of its field.
    let quoted = |line: &str| line.strip_prefix("  data: ").unwrap_or(line).starts_with(['"', '\'']);
    for name in ["v3-small.dat", "v3-values.dat"] {
        let original = data(name);
        let written = save(&load(&original).unwrap().0);
        let [original, written] = [original, written]
            .map(|text| String::from_utf8_lossy(&text).lines().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(original.len(), written.len(), "{name}");
        let differing: Vec<_> = original.iter().zip(&written).filter(|(a, b)| a != b).collect();
        for (original, written) in &differing {
            assert!(quoted(written), "{name}: {original:?}, {written:?}");
        }
        assert_eq!(differing.len(), if name == "v3-small.dat" { 0 } else { 21 }, "{differing:#?}");
    }
}

#[test]
fn an_empty_cache_has_a_form_of_its_own() {
    let empty = b"\0CLACKSV3--- {}\n\n\0CLACKSV3";
    assert_eq!(save(&Entries::new()), empty);
    assert_eq!(load(empty).unwrap(), (Entries::new(), FileVersion::V3));
}

#[test]
fn older_files_are_read_and_a_time_without_a_value_is_a_tombstone() {
    let key = |text: &str| text.as_bytes().to_vec();
    let values =
        [("alpha", "hello world"), ("counter", "2.5"), ("empty", ""), ("number", "42"), ("utf", "ä")];
    for (name, asked) in [("old-22to23.dat", 1_795_221_747.0), ("old-18to21.dat", NOW)] {
        let (entries, version) = load(&data(name)).unwrap();
        assert_eq!(version, FileVersion::Old);
        let value = |(name, text): &(&str, &str)| (key(name), Entry::new(key(text), 1_700_000_000.5, asked));
        let mut wanted: Entries = values.iter().map(value).collect();
        wanted.insert(key("gone"), Entry::tombstone(1_700_000_001.5, 1_700_000_001.5));
        assert_eq!(entries, wanted, "{name}");
        assert_eq!(load(&save(&entries)).unwrap(), (wanted, FileVersion::V3), "{name}");
    }
}

#[test]
fn what_is_no_whole_file_is_refused_with_its_line() {
    #[track_caller]
    fn check(bytes: &[u8], wanted: &str) {
        match load(bytes) {
            Err(error) => assert_eq!(error.to_string(), wanted),
            Ok((entries, _)) => panic!("{wanted} is expected: {entries:?}"),
        }
    }
    let too_old = "has no ENDBYTES at its end: it is of a reference server before version 18, or was cut off";
    check(&data("old-before18.dat"), too_old);
    check(b"", "line 1: the file is empty");
    check(b"ENDBYTES\n", "line 1: a map is missing before the end");
    check(b"what is this\n", "line 1: this is no base64");
    check(b"aGVsbG8=\nENDBYTES\n", "line 1: no map begins here");
    check(b"\0CLACKSV4--- \n", "line 1: no cache begins here");
    let good = data("v3-small.dat");
    check(&good[..good.len() - 1], "line 27: something behind the end");
    assert!(load(&[&good[..], b"\n"].concat()).is_ok(), "an editor may have added a line end");
    check(&[&good[..], b"\nx"].concat(), "line 27: something behind the end");
    let text = String::from_utf8(good).unwrap();
    let with = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    check(&with("  deleted: 0\n", ""), "line 6: the entry before it lacks a field");
    check(&with("  deleted: 0\n", "  deleted: 2\n"), "line 6: deleted is neither 0 nor 1");
    check(&with("  deleted: 0\n", "  deleted: 0\n  more: 1\n"), "line 7: an unknown field");
    check(&with("  deleted: 0\n", "  data: x\n"), "line 6: a field that was there before");
    check(&with("'1795221673.59938'", "soon"), "line 3: a time that is no number");
    check(&with("hello", "\"hello"), "line 5: quotes that are not closed on the line");
    check(&with("hello", "|-"), "line 5: something else than a text or a number");
    check(&with("alpha: ", "alpha: beta"), "line 2: a key with a value in the same line");
    check(&with("alpha: ", "alpha"), "line 2: a key without a colon");
    check(&with("alpha: \n", ""), "line 2: a field without a key");
    check(&with("--- \n", "--- {}\n"), "line 2: an entry in an empty cache");
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    for name in ["v3-small.dat", "v3-values.dat", "old-22to23.dat", "old-18to21.dat"] {
        let whole = data(name);
        // The last line end of the old ones says nothing.
        for len in 0..whole.trim_ascii_end().len() {
            assert!(load(&whole[..len]).is_err(), "{name}: {len} bytes of {}", whole.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_is_read(
        entries in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 1..12),
            (prop::collection::vec(any::<u8>(), 0..30), 0.0..4e9f64, 0.0..4e9f64, any::<bool>()),
            0..12,
        ),
    ) {
        let entries: Entries = entries.into_iter().map(|(key, (value, cache, access, deleted))| {
            (key, if deleted { Entry::tombstone(cache, access) } else { Entry::new(value, cache, access) })
        }).collect();
        prop_assert_eq!(load(&save(&entries)).unwrap().0, entries);
    }

    #[test]
    fn a_damaged_file_does_no_harm(at in 0usize..13_857, byte: u8, cut in 0usize..13_857) {
        let mut bytes = data("v3-values.dat");
        bytes[at] = byte;
        let _ = load(&bytes);
        bytes.remove(cut);
        let _ = load(&bytes);
    }
}

#[test]
fn a_file_loads_into_a_store() {
    let mut store = Store::new(None);
    read_file(&data("v3-values.dat")[..], NOW, &mut |key, entry| store.load(key, entry)).unwrap();
    assert_eq!((store.live(), store.tombstones(), store.is_dirty()), (130, 1, false));
    assert_eq!(*store.get(b"v060").unwrap().value, *b"\xff\xfe");
}
