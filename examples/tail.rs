//! Follows files as they grow, through rotation: what is renamed away is read to its end, and the file that comes in its place from
//! its start. Files that do not exist yet are waited for.
//!
//! `tail [--all] FILE...`: `--all` begins with what is in the files; else only what is new is printed.
//!
//! A slow reader of the output is waited for: no more than 1 MiB waits in memory.

use eventdispatcher::codec::Raw;
use eventdispatcher::{
    Closed, Communicator, Cx, Fd, Handler, HandlerResult, Id, Limits, SendError, Signal, Watch, communicator,
};
use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// So much is read at once.
const CHUNK: usize = 64 << 10;
/// So much waits to be written at most.
const WAITING: usize = 1 << 20;

struct Tail {
    files: Vec<Followed>,
    output: Option<Id<Raw>>,
    /// Which file the last bytes came from.
    last: Option<usize>,
    /// The output has refused these.
    refused: Vec<u8>,
    buffer: Vec<u8>,
}

/// One file that is followed.
struct Followed {
    path: PathBuf,
    file: Option<File>,
    /// There may be more to read.
    grown: bool,
}

impl Tail {
    fn new(paths: impl Iterator<Item = PathBuf>, all: bool) -> Self {
        let files = paths.map(|path| {
            let opened = File::open(&path);
            let waits = |error| eprintln!("tail: {} is waited for: {error}", path.display());
            let mut file = opened.map_err(waits).ok();
            if let Some(file) = file.as_mut().filter(|_| !all) {
                let _ = file.seek(SeekFrom::End(0)); // a pipe has no end to go to
            }
            Followed { path, file, grown: true }
        });
        Self { files: files.collect(), output: None, last: None, refused: Vec::new(), buffer: vec![0; CHUNK] }
    }

    /// Something has happened to a file.
    fn changed(&mut self, path: &Path) {
        // All of them, if events were lost.
        for file in self.files.iter_mut().filter(|file| path.as_os_str().is_empty() || file.path == path) {
            file.grown = true;
        }
    }

    /// Reads one portion of a file that has grown and queues it. Whether there may be more.
    fn pump(&mut self, communicator: &Communicator) -> io::Result<bool> {
        let Some(output) = self.output else { return Ok(false) };
        if self.refused.is_empty() {
            let Some(index) = self.files.iter().position(|file| file.grown) else { return Ok(false) };
            let length = self.files[index].read(&mut self.buffer)?;
            if length > 0 {
                if self.files.len() > 1 && self.last != Some(index) {
                    let blank = if self.last.is_some() { "\n" } else { "" };
                    let path = self.files[index].path.display();
                    self.refused.extend(format!("{blank}==> {path} <==\n").into_bytes());
                }
                self.last = Some(index);
                self.refused.extend(&self.buffer[..length]);
            }
        }
        match communicator.send(output, &self.refused) {
            Ok(()) => self.refused.clear(),
            Err(SendError::Full { .. }) => return Ok(false), // `drained` will go on
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(true)
    }
}

impl Followed {
    /// The next bytes, of this file or, when it has been read to its end, of the one that has taken its place. 0: for now there are
    /// no more.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.file {
                let length = match file.read(into) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    read => read?,
                };
                if length > 0 {
                    return Ok(length);
                }
                // It may have been cut off below where it was read.
                if file.metadata()?.len() < file.stream_position()? {
                    eprintln!("tail: {}: was cut off", self.path.display());
                    file.seek(SeekFrom::Start(0))?;
                    continue;
                }
            }
            if !self.replace() {
                self.grown = false;
                return Ok(0);
            }
        }
    }

    /// Opens what stands under the name now, if that is another file.
    fn replace(&mut self) -> bool {
        let Ok(file) = File::open(&self.path) else { return false };
        let which = |file: &File| file.metadata().map(|found| (found.dev(), found.ino())).ok();
        if self.file.as_ref().is_some_and(|known| which(known) == which(&file)) {
            return false;
        }
        self.file = Some(file);
        true
    }
}

/// Reads on, a portion a turn, so that nothing else has to wait.
fn pump(tail: &Rc<RefCell<Tail>>, communicator: &Communicator) {
    let more = tail.borrow_mut().pump(communicator);
    match more {
        Ok(true) => {
            let tail = tail.clone();
            communicator.after(Duration::ZERO, move |communicator| pump(&tail, communicator));
        }
        Ok(false) => {}
        Err(error) => {
            eprintln!("tail: {error}");
            communicator.close_all();
        }
    }
}

struct Output(Rc<RefCell<Tail>>);

impl Handler<Raw> for Output {
    fn message(&mut self, _: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        Ok(())
    }

    fn drained(&mut self, cx: &Cx<'_, Raw>) -> HandlerResult {
        pump(&self.0, cx);
        Ok(())
    }

    /// Nobody reads the output any more.
    fn closed(&mut self, _: &Closed, cx: &Cx<'_, Raw>) {
        cx.close_all();
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let all = paths.first().is_some_and(|first| first.as_os_str() == "--all");
    if all {
        paths.remove(0);
    }
    if paths.is_empty() {
        return Err("usage: tail [--all] FILE...".into());
    }
    // As the events will name them.
    let paths = paths.into_iter().map(std::path::absolute).collect::<io::Result<Vec<_>>>()?;
    let communicator = communicator();
    let tail = Rc::new(RefCell::new(Tail::new(paths.iter().cloned(), all)));
    let output = communicator.stream(Fd::stdout()?, Raw, Output(tail.clone()))?;
    communicator.set_limits(output, Limits { output: WAITING, ..Limits::default() });
    tail.borrow_mut().output = Some(output);
    // It tells what is there at the start, too.
    let watch = paths.into_iter().fold(Watch::new(), Watch::file);
    communicator.watch(watch, move |event, communicator| {
        log::debug!("{event}");
        tail.borrow_mut().changed(event.path);
        pump(&tail, communicator);
    })?;
    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tail: {error}");
            ExitCode::FAILURE
        }
    }
}
