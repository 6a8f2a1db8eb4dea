//! `export`, `import` and `copy`: many entries at a time.

use crate::arguments::{Connection, Copy, Import, Keys};
use crate::failure::Failure;
use crate::glob::Glob;
use crate::output::Output;
use eventdispatcher::connections::clacks::MAX_LINE;
use eventdispatcher::connections::clacks::client::BlockingClient;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// So many entries are under way at a time, at most, and so many bytes of them, unless one alone has more.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) fn export(keys: &Keys, connection: &Connection) -> Result<(), Failure> {
    let mut client = connection.call("export")?;
    let mut output = Output::new();
    for keys in matching(&mut client, keys.pattern.as_ref())?.chunks(BATCH) {
        let mut written = Ok(());
        client.retrieve_many(keys, |key, value| {
            if written.is_ok() {
                written = [key, b"=", value, b"\n"].iter().try_for_each(|part| output.bytes(part));
            }
        })?;
        written?;
    }
    output.flush()
}

pub(crate) fn import(import: &Import, connection: &Connection) -> Result<(), Failure> {
    let (mut input, name): (Box<dyn BufRead>, String) = match &import.file {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path)
                .map_err(|error| Failure::Usage(format!("can't open {}: {error}", path.display())))?;
            (Box::new(BufReader::new(file)), path.display().to_string())
        }
        _ => (Box::new(io::stdin().lock()), "standard input".to_owned()),
    };
    let mut client = connection.call("import")?;
    let mut batch = Batch::default();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let most = MAX_LINE as u64 + 2;
        if input.by_ref().take(most).read_until(b'\n', &mut line).map_err(Failure::Input)? == 0 {
            break;
        }
        let entry = line.strip_suffix(b"\n").unwrap_or(&line);
        let at = entry.iter().skip(1).position(|byte| *byte == b'=').map(|at| at + 1);
        let parts = at.and_then(|at| Some((entry.get(..at)?, entry.get(at + 1..)?)));
        let (key, value) = parts.ok_or_else(|| {
            Failure::Usage(format!("{name}:{number}: this is no entry: KEY=VALUE is expected"))
        })?;
        batch.add(key, value, &mut client)?;
    }
    batch.send(&mut client)
}

pub(crate) fn copy(copy: &Copy, connection: &Connection) -> Result<(), Failure> {
    let (from, to) = (connection.options("copy")?, copy.to(connection).options("copy")?);
    if is_same(&from.route()?.to_string(), &to.route()?.to_string()) {
        let to = to.route()?;
        return Err(Failure::Usage(format!(
            "can't copy from a server to itself: {to} is where it comes from"
        )));
    }
    let (mut from, mut to) = (from.connect_blocking()?, to.connect_blocking()?);
    let mut batch = Batch::default();
    for keys in matching(&mut from, copy.pattern.as_ref())?.chunks(BATCH) {
        let mut stored = Ok(());
        from.retrieve_many(keys, |key, value| {
            if stored.is_ok() {
                stored = batch.add(key, value, &mut to);
            }
        })?;
        stored?;
    }
    batch.send(&mut to)
}

/// Whether two servers are one, as far as their names tell: the same host, or two paths of one socket.
fn is_same(one: &str, other: &str) -> bool {
    let socket = |path: &str| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    one == other || socket(one).is_some_and(|one| socket(other) == Some(one))
}

/// The keys that match, or all.
fn matching(client: &mut BlockingClient, pattern: Option<&OsString>) -> Result<Vec<Vec<u8>>, Failure> {
    let pattern = pattern.map(|pattern| Glob::new(pattern.as_bytes())).transpose();
    let pattern = pattern.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut keys = client.key_list()?;
    keys.retain(|key| pattern.as_ref().is_none_or(|pattern| pattern.matches(key)));
    Ok(keys)
}

/// Entries that are stored together.
#[derive(Default)]
struct Batch {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, key: &[u8], value: &[u8], to: &mut BlockingClient) -> Result<(), Failure> {
        let bytes = key.len() + value.len();
        if self.entries.len() >= BATCH || self.bytes.saturating_add(bytes) > BATCH_BYTES {
            self.send(to)?;
        }
        self.bytes += bytes;
        self.entries.push((key.to_vec(), value.to_vec()));
        Ok(())
    }

    fn send(&mut self, to: &mut BlockingClient) -> Result<(), Failure> {
        self.bytes = 0;
        Ok(to.store_many(self.entries.drain(..))?)
    }
}
