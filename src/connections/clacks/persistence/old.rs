//! The files of the reference server's versions 18 to 23: lines of base64, each a YAML map by key: the values, when
//! they were set, from version 22 on when they were last asked for; then `ENDBYTES`.

use super::error::FileError;
use super::lines::Lines;
use super::scalar;
use crate::connections::clacks::number::Operand;
use crate::connections::clacks::store::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

const END: &[u8] = b"ENDBYTES";

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the whole of such a file and gives each entry to `take`. `now` stands for times that the file has not.
pub(super) fn read(
    lines: &mut Lines<impl BufRead>,
    now: f64,
    take: &mut dyn FnMut(&[u8], Entry),
) -> Result<(), FileError> {
    const MAPS_MAX: usize = 3;
    let mut maps: Vec<Map> = Vec::new();
    loop {
        let line = match lines.next()? {
            None => return Err(FileError::NoEnd),
            Some(line) => line.trim_ascii_end(),
        };
        if line == END {
            break;
        }
        let text =
            STANDARD.decode(line).map_err(|_| FileError::shape(lines.number(), "this is no base64"))?;
        let map = map(&text).map_err(|what| FileError::shape(lines.number(), what))?;
        if maps.len() == MAPS_MAX {
            return Err(FileError::shape(lines.number(), "a fourth map"));
        }
        maps.push(map);
    }
    while let Some(line) = lines.next()? {
        if !line.trim_ascii().is_empty() {
            return Err(FileError::shape(lines.number(), "something behind the end"));
        }
    }
    let mut maps = maps.into_iter();
    let (Some(mut values), Some(cache_times)) = (maps.next(), maps.next()) else {
        return Err(FileError::shape(lines.number(), "a map is missing before the end"));
    };
    let cache_times = times(cache_times, lines.number())?;
    let access_times = maps.next().map(|map| times(map, lines.number())).transpose()?;
    let keys: BTreeSet<&Vec<u8>> = values.keys().chain(cache_times.keys()).collect();
    let keys: Vec<Vec<u8>> = keys.into_iter().cloned().collect();
    for key in keys {
        let cache_time = cache_times.get(&key).copied().unwrap_or_default();
        let asked = access_times.as_ref().map_or(now, |times| times.get(&key).copied().unwrap_or(now));
        let entry = match values.remove(&key) {
            Some(value) => Entry::new(value, cache_time, asked),
            None => Entry::tombstone(cache_time, cache_time),
        };
        take(&key, entry);
    }
    Ok(())
}

fn map(text: &[u8]) -> Result<Map, &'static str> {
    let mut lines = text.split(|byte| *byte == b'\n');
    match lines.next().map(<[u8]>::trim_ascii_end) {
        Some(b"--- {}") => return Ok(Map::new()),
        Some(b"---") => {}
        _ => return Err("no map begins here"),
    }
    let mut map = Map::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let pair = scalar::read_key(line).and_then(|(key, text)| Ok((key, scalar::read(text)?)));
        let (key, value) = pair.map_err(|scalar::NoScalar(what)| what)?;
        map.insert(key.into_owned(), value.into_owned());
    }
    Ok(map)
}

fn times(map: Map, line: u64) -> Result<BTreeMap<Vec<u8>, f64>, FileError> {
    let time = |(key, text): (Vec<u8>, Vec<u8>)| {
        let time = Operand::number(&text).ok_or(FileError::shape(line, "a time that is no number"))?;
        Ok((key, time.to_f64()))
    };
    map.into_iter().map(time).collect()
}
