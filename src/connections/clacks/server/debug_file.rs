//! What is known of the server and its clients, in a file: for people who look for a fault.

use super::{Connections, Server};
use crate::communicator::Communicator;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// As often as the reference server.
const INTERVAL: Duration = Duration::from_secs(10);

impl Server {
    /// Writes what is known of the server and its clients into a file, now and every 10 seconds: numbers, then a block for
    /// each client. The file is replaced as a whole, by a thread; what goes wrong is logged.
    pub fn write_debug_file(&self, communicator: &Communicator, path: impl Into<PathBuf>) {
        let (server, path) = (self.clone(), path.into());
        let is_busy = Rc::new(Cell::new(false));
        server.dump(communicator, &path, &is_busy);
        let timer = communicator.every(INTERVAL, move |communicator| {
            server.dump(communicator, &path, &is_busy);
        });
        if let Some(before) = self.0.borrow_mut().dumping.replace(timer) {
            communicator.cancel(before);
        }
    }

    fn dump(&self, communicator: &Communicator, path: &Path, is_busy: &Rc<Cell<bool>>) {
        // The one before may still be on its way to a slow disk.
        if is_busy.replace(true) {
            return;
        }
        let text = {
            let service = &mut *self.0.borrow_mut();
            let now = service.now(communicator);
            service.state.dump(now, &Connections { communicator, side: &mut service.side })
        };
        let (to, shown, is_busy) = (path.to_owned(), path.display().to_string(), is_busy.clone());
        let done = is_busy.clone();
        let started = communicator.thread(
            move || replace(&to, &text),
            move |result, _| {
                done.set(false);
                match result {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::warn!("the debug file {shown} can't be written: {error}"),
                    Err(panicked) => log::error!("the debug file {shown}: {panicked}"),
                }
            },
        );
        if let Err(error) = started {
            is_busy.set(false);
            log::warn!("the debug file {} can't be written: {error}", path.display());
        }
    }
}

/// Nobody sees a half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    match fs::metadata(path) {
        // What a device is for, no file is.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is no regular file")),
        _ => {}
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push("_");
    // In a folder of everybody's another may have put something in the way.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(&beside)?.write_all(text.as_bytes())?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for text in ["one", "two"] {
            replace(&path("debug"), text).unwrap();
            assert_eq!(fs::read_to_string(path("debug")).unwrap(), text);
        }
        fs::write(path("another"), "another's").unwrap();
        symlink(path("another"), path("debug_")).unwrap();
        replace(&path("debug"), "three").unwrap();
        assert_eq!(fs::read_to_string(path("another")).unwrap(), "another's");
        assert_eq!(fs::read_to_string(path("debug")).unwrap(), "three");
        fs::create_dir(path("folder")).unwrap();
        for no_file in [path("folder"), "/dev/null".into()] {
            assert_eq!(replace(&no_file, "x").unwrap_err().to_string(), "it is no regular file");
        }
        assert!(!path("folder_").exists());
    }
}
