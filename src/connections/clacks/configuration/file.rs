use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};

use super::assemble::assemble;
use super::notes::{Note, Notes};
use super::problems::{Problem, Problems, Severity};
use super::source::{MAX_LENGTH, Source};
use super::value::quote;
use super::{Configuration, Loaded, reader};

/// So long, in milliseconds, somebody may take to write something to a FIFO, or to open it.
const FIFO_PATIENCE: u16 = 2000;

/// What a configuration depends on beside its text. The default has no name and no variables.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The name of the machine, for `<hosts>`.
    pub hostname: String,
    /// The environment: names and values. Only names that begin with `PC_` are looked at.
    pub environment: Vec<(OsString, OsString)>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        Self { hostname: hostname.to_string_lossy().into_owned(), environment: std::env::vars_os().collect() }
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_os_str())
    }
}

/// Without the values of variables: passwords may be among them.
impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.environment.iter().map(|(name, _)| name).collect();
        f.debug_struct("Surroundings").field("hostname", &self.hostname).field("environment", &names).finish()
    }
}

impl Configuration {
    /// Looks for a file as [`find`] does, and reads it.
    ///
    /// # Errors
    /// All that is wrong, if one of it is an error.
    pub fn load(name: &Path, surroundings: &Surroundings) -> Result<Loaded, Problems> {
        let path = find(name, surroundings)?;
        let shown = path.display().to_string();
        let text = read(&path).map_err(|error| whole_file(&shown, format!("can't be read: {error}")))?;
        Self::parse(&text, &shown, surroundings)
    }

    /// Reads a configuration from `text`. `name` is what messages call the file.
    ///
    /// # Errors
    /// All that is wrong, if one of it is an error.
    ///
    /// ```
    /// use eventdispatcher::connections::clacks::configuration::{Configuration, Surroundings};
    ///
    /// let text = b"<clacks>
    ///     <socket>PC_RUN/clacks.sock</socket>
    ///     <username>admin</username>
    ///     <ip>127.0.0.1</ip>
    /// </clacks>";
    /// let environment = vec![("PC_RUN".into(), "/run".into())];
    /// let surroundings = Surroundings { hostname: "web".into(), environment };
    /// let problems = Configuration::parse(text, "example.xml", &surroundings).unwrap_err();
    /// assert_eq!(
    ///     problems.render("clacksd"),
    ///     "clacksd: example.xml:1:1: <password> is missing: the main user needs one
    /// clacksd: example.xml:4:5: <port> is missing: <ip> needs one
    /// clacksd: example.xml:4:5: <cert> of <ssl> is missing: <ip> needs one
    /// clacksd: example.xml:4:5: <key> of <ssl> is missing: <ip> needs one\n"
    /// );
    /// ```
    pub fn parse(text: &[u8], name: &str, surroundings: &Surroundings) -> Result<Loaded, Problems> {
        if text.len() > MAX_LENGTH {
            return Err(whole_file(name, too_long()));
        }
        let file: Arc<str> = name.into();
        let source = Source::new(text, &surroundings.environment).map_err(|error| {
            let what = format!("with the values of variables {}", too_long());
            Problems::from_iter([Problem::new(Severity::Error, file.clone(), Some(error.place), what)])
        })?;
        let mut notes = Notes::default();
        let assembled = match str::from_utf8(source.bytes()) {
            Ok(text) => reader::read(text, &surroundings.hostname, &mut notes)
                .map(|reading| assemble(reading, &mut notes)),
            Err(error) => {
                notes.error(error.valid_up_to(), "the text is no UTF-8 from here on: save the file as UTF-8");
                None
            }
        };
        let problems = problems(notes, &source, &file);
        match assembled {
            Some((configuration, marks)) if !problems.has_errors() => {
                let (names, positions): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
                let places = names.into_iter().zip(source.places(&positions)).collect();
                Ok(Loaded::new(configuration, file, problems, places))
            }
            _ => Err(problems),
        }
    }
}

/// The file that `name` means: in the first folder of the variable `PC_CONFIG_PATHS` (with colons
/// between them) that has it if that is set and not empty, else as given or in the folder `configs`.
///
/// # Errors
/// When it is in none of them, or a folder can't be looked into.
pub fn find(name: &Path, surroundings: &Surroundings) -> Result<PathBuf, Problems> {
    let mut candidates: Vec<PathBuf> = match surroundings.variable("PC_CONFIG_PATHS") {
        Some(folders) if !folders.is_empty() => {
            std::env::split_paths(folders).map(|folder| folder.join(name)).collect()
        }
        _ => vec![name.into(), Path::new("configs").join(name)],
    };
    // An absolute path is the same in every folder.
    candidates.dedup();
    for path in &candidates {
        match path.metadata() {
            Ok(metadata) if !metadata.is_dir() => return Ok(path.clone()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => {
                return Err(whole_file(&path.display().to_string(), format!("can't be looked at: {error}")));
            }
        }
    }
    if let [folder] = &candidates[..]
        && folder.is_dir()
    {
        return Err(whole_file(&folder.display().to_string(), "this is a folder, and no file".to_owned()));
    }
    let tried: Vec<_> = candidates.iter().map(|path| quote(&path.to_string_lossy())).collect();
    Err(whole_file(&name.display().to_string(), format!("there is no such file: tried {}", tried.join(", "))))
}

/// Reads at most one byte more than may be. Of a FIFO too, such as the shell makes of `<(…)`; but one that nobody writes to would be
/// waited for without end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut input = (&file).take(MAX_LENGTH as u64 + 1);
    if file.metadata()?.file_type().is_fifo() {
        let mut asked = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        while poll(&mut asked, FIFO_PATIENCE) == Err(Errno::EINTR) {}
        match input.read_to_end(&mut text) {
            Ok(0) => return Err(io::Error::other("it is a FIFO that nobody writes to")),
            // Somebody has it open, and takes his time.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other.map(|_| text),
        }
    }
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    input.read_to_end(&mut text)?;
    Ok(text)
}

fn too_long() -> String {
    format!("the configuration is longer than {MAX_LENGTH} bytes")
}

fn whole_file(name: &str, what: String) -> Problems {
    Problems::from_iter([Problem::new(Severity::Error, name.into(), None, what)])
}

fn problems(notes: Notes, source: &Source<'_>, file: &Arc<str>) -> Problems {
    let notes = notes.into_list();
    let positions: Vec<usize> = notes.iter().map(|note| note.at).collect();
    let places = source.places(&positions);
    let problem =
        |(note, place): (Note, _)| Problem::new(note.severity, file.clone(), Some(place), note.what);
    notes.into_iter().zip(places).map(problem).collect()
}
