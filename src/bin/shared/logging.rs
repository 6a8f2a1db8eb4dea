//! Log lines of the library, on standard error or in a file.

use env_logger::Target;
use log::LevelFilter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Shows what is at least as grave as `level`, or as the environment variable `variable` says, in the syntax of `RUST_LOG`.
pub(crate) fn start(variable: &str, level: LevelFilter) {
    let logger = env_logger::Builder::new().filter_level(level).parse_env(variable).try_init();
    // Nobody else sets a logger; if somebody did, there is one.
    drop(logger);
}

/// As [`start`], with the lines in a file.
///
/// # Errors
/// When it can't be opened.
pub(crate) fn start_in_file(variable: &str, level: LevelFilter, path: &Path) -> io::Result<LogFile> {
    let file = LogFile(Arc::new((path.to_owned(), Mutex::new(open(path)?))));
    let target = Target::Pipe(Box::new(file.clone()));
    let logger = env_logger::Builder::new().filter_level(level).parse_env(variable).target(target).try_init();
    drop(logger);
    Ok(file)
}

/// A file of log lines, which may be moved away and opened anew. A cheap handle: clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct LogFile(Arc<(PathBuf, Mutex<File>)>);

impl LogFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0.0
    }

    /// Opens the file anew: lines from now on go to what has its name now.
    ///
    /// # Errors
    /// When it can't be opened; then lines go where they went before.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let (path, file) = &*self.0;
        let new = open(path)?;
        *file.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
