//! `clacks-file`: shows, checks and converts the files that a clacks server keeps its cache in.

mod arguments;
#[path = "../shared/mod.rs"]
mod shared;

use arguments::{Action, Arguments, Source};
use clap::CommandFactory as _;
use eventdispatcher::connections::clacks::persistence::{
    FileError, FileVersion, Note, Persistence, PersistenceOptions, read_file, write_file,
};
use eventdispatcher::connections::clacks::{Entry, Store};
use shared::exit::{Exit, complain};
use shared::{arguments::parse, pages};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

const NAME: &str = "clacks-file";

fn main() -> ExitCode {
    let arguments = match parse::<Arguments>(NAME) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let done = match &arguments.action {
        Action::Show { source } => load(source).and_then(|found| show(&found)),
        Action::Check { source } => load(source).and_then(|found| check(source, &found)),
        Action::Convert { source, to, force } => {
            load(source).and_then(|found| convert(&found, to, *force).map(|()| found.exit()))
        }
        Action::Man => pages::manual(Arguments::command(), None)
            .and_then(|page| io::stdout().write_all(&page))
            .map(|()| Exit::Success)
            .or_else(broken_pipe),
        Action::Completions { shell } => {
            let text = pages::completions(Arguments::command(), *shell);
            io::stdout().write_all(&text).map(|()| Exit::Success).or_else(broken_pipe)
        }
    };
    match done {
        Ok(exit) => exit.into(),
        Err(text) => {
            complain(NAME, text);
            Exit::Failed.into()
        }
    }
}

/// What was found.
struct Found {
    store: Store,
    version: Option<FileVersion>,
    notes: Vec<Note>,
}

impl Found {
    /// Is all as it should be?
    fn exit(&self) -> Exit {
        if self.notes.iter().any(|note| note.is_trouble) { Exit::Failed } else { Exit::Success }
    }
}

/// # Errors
/// When there is nothing that can be used.
fn load(source: &Source) -> Result<Found, String> {
    let path = &source.file;
    // Also what only its journal or its backup is left of.
    if !source.alone {
        let (persistence, store) = Persistence::load(PersistenceOptions::new(path));
        let (version, notes) = (persistence.version(), persistence.notes().to_vec());
        if version.is_some() || persistence.changes() > 0 {
            notes.iter().filter(|note| note.is_trouble).for_each(|note| complain(NAME, note));
            return Ok(Found { store, version, notes });
        }
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut store = Store::new(None);
    let read = File::open(path).map_err(FileError::from);
    let read =
        read.and_then(|file| read_file(file, now.as_secs_f64(), &mut |key, entry| store.load(key, entry)));
    match read {
        Ok(version) => Ok(Found { store, version: Some(version), notes: Vec::new() }),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// # Errors
/// When nobody can be told.
fn show(found: &Found) -> Result<Exit, String> {
    let mut out = BufWriter::new(io::stdout().lock());
    let entries = found.store.entries_from(None);
    let written = { entries }.try_for_each(|(key, entry)| writeln!(out, "{}", line(key, entry)));
    written.and_then(|()| out.flush()).map(|()| found.exit()).or_else(broken_pipe)
}

/// An entry as a line: whether it is live, when it was set and asked for, key, value, with a tab between each two.
fn line(key: &[u8], entry: &Entry) -> String {
    let state = if entry.deleted { "removed" } else { "live" };
    let (set, asked) = (entry.cache_time, entry.access_time);
    format!("{state}\t{set}\t{asked}\t{}\t{}", text(key), text(&entry.value))
}

/// Bytes in which nothing can be taken for a tab or the end of a line; text stays as it is.
fn text(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
        }
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// # Errors
/// When nobody can be told.
fn check(source: &Source, found: &Found) -> Result<Exit, String> {
    let mut said = String::new();
    for note in found.notes.iter().filter(|note| !note.is_trouble) {
        said.push_str(&format!("{note}\n"));
    }
    let version = found.version.map_or_else(|| "no file".to_owned(), |version| version.to_string());
    let (live, removed) = (found.store.live(), found.store.tombstones());
    said.push_str(&format!("{}: {version}, {live} entries, {removed} tombstones\n", source.file.display()));
    io::stdout().write_all(said.as_bytes()).map(|()| found.exit()).or_else(broken_pipe)
}

/// # Errors
/// When the new file can't be written; it is then not there.
fn convert(found: &Found, to: &Path, force: bool) -> Result<(), String> {
    if !force && to.symlink_metadata().is_ok() {
        return Err(format!("{}: is there already; --force replaces it", to.display()));
    }
    if to.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(format!("{}: is there, and is no regular file", to.display()));
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    let written = write(found, &temporary).and_then(|()| fs::rename(&temporary, to));
    written.map_err(|error| {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
        format!("{}: can't be written: {error}", to.display())
    })
}

fn write(found: &Found, to: &Path) -> io::Result<()> {
    // What somebody has put there may be a link to another file.
    match fs::remove_file(to) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    write_file(&mut file, found.store.entries_from(None))?;
    file.sync_all()
}

/// That nobody reads on is no failure.
fn broken_pipe(error: io::Error) -> Result<Exit, String> {
    if error.kind() == ErrorKind::BrokenPipe {
        return Ok(Exit::Success);
    }
    Err(format!("can't write to standard output: {error}"))
}
