use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::problems::{Place, Problem, Problems, Severity};
use super::{Configuration, Master, value::quote};

/// A configuration that can be used, what is doubtful about it, and where its settings stand.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub configuration: Configuration,
    file: Arc<str>,
    problems: Problems,
    places: Vec<(String, Place)>,
}

impl Loaded {
    pub(super) fn new(
        configuration: Configuration,
        file: Arc<str>,
        problems: Problems,
        places: Vec<(String, Place)>,
    ) -> Self {
        Self { configuration, file, problems, places }
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is doubtful, and what [`report`](Self::report) and [`check_files`](Self::check_files) added.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Where a setting that is in effect is given first: `ip`, `ssl/cert`.
    pub fn place(&self, setting: &str) -> Option<&Place> {
        self.places.iter().find(|(name, _)| name == setting).map(|(_, place)| place)
    }

    /// Adds a problem that only the caller can know of, at the place of `setting` (`ip`, `ssl/cert`) or,
    /// if that is not given, for the whole file.
    ///
    /// ```
    /// use eventdispatcher::connections::clacks::configuration::{Configuration, Severity, Surroundings};
    ///
    /// let text = b"<clacks username='a' password='b'>\n  <socket>c.sock</socket>\n</clacks>";
    /// let mut loaded = Configuration::parse(text, "c.xml", &Surroundings::default())?;
    /// loaded.report(Severity::Warning, "socket", "<socket> is on fire");
    /// assert_eq!(loaded.problems().render("me"), "me: c.xml:2:3: warning: <socket> is on fire\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn report(&mut self, severity: Severity, setting: &str, what: impl Into<String>) {
        let place = self.place(setting).cloned();
        self.problems.add(Problem::new(severity, self.file.clone(), place, what.into()));
    }

    /// Looks at the files that the configuration names: an error for a certificate or key that can't be
    /// read, for a file to be written that is a folder or a device, and for a socket or a persistence file whose folder is not there, or a
    /// persistence file that can't be read; a warning for a key that everybody can read, and for a debug file whose folder is not there.
    pub fn check_files(&mut self) {
        let Configuration { tls, sockets, persistence_file, debug_file, control, master, .. } =
            &self.configuration;
        let mut found = Vec::new();
        let mut add = |severity, place: Option<&Place>, what| {
            found.push(Problem::new(severity, self.file.clone(), place.cloned(), what));
        };
        if let Some(tls) = tls {
            let certificate = (&tls.certificate, "ssl/cert", "<cert> of <ssl>");
            let key = (&tls.key, "ssl/key", "<key> of <ssl>");
            for (path, setting, label) in [certificate, key] {
                let shown = quote(&path.to_string_lossy());
                match readable(path) {
                    Ok(mode) if setting == "ssl/key" && mode & 0o004 != 0 => {
                        let what = format!("{label}: everybody can read {shown}: take that permission away");
                        add(Severity::Warning, self.place(setting), what);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        let what = format!("{label}: {shown} can't be read: {error}");
                        add(Severity::Error, self.place(setting), what);
                    }
                }
            }
        }
        if let Some(Master::Tls { ca: Some(ca), .. }) = master
            && let Err(error) = readable(ca)
        {
            let shown = quote(&ca.to_string_lossy());
            let what = format!("<ca> of <master>: {shown} can't be read: {error}");
            add(Severity::Error, self.place("master/ca"), what);
        }
        let places = self.places.iter().filter(|(name, _)| name == "socket");
        let places = places.map(|(_, place)| Some(place)).chain(iter::repeat(None));
        let sockets = sockets.iter().zip(places).map(|(path, place)| ("socket", path, place));
        let others = [("persistancefile", persistence_file), ("debugfile", debug_file), ("control", control)]
            .into_iter()
            .filter_map(|(setting, path)| Some((setting, path.as_ref()?, self.place(setting))));
        for (setting, path, place) in sockets.chain(others) {
            if let Some(folder) = missing_folder(path) {
                let folder = quote(&folder.to_string_lossy());
                // Without that file the server serves as well; it may come.
                let severity = if setting == "debugfile" { Severity::Warning } else { Severity::Error };
                add(severity, place, format!("<{setting}>: there is no folder {folder}"));
            }
            // It would be replaced by one.
            let is_file = ["persistancefile", "debugfile"].contains(&setting);
            if is_file && fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                let shown = quote(&path.to_string_lossy());
                add(Severity::Error, place, format!("<{setting}>: {shown} is there, and is no regular file"));
            } else if setting == "persistancefile"
                && let Err(error) = File::open(path)
                && error.kind() != ErrorKind::NotFound
                && missing_folder(path).is_none()
            {
                let shown = quote(&path.to_string_lossy());
                add(Severity::Error, place, format!("<{setting}>: {shown} can't be read: {error}"));
            }
        }
        self.problems = self.problems.iter().cloned().chain(found).collect();
    }
}

/// The mode of a file that can be read and is not empty.
fn readable(path: &Path) -> io::Result<u32> {
    // Before it is opened: to open a FIFO would wait for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    File::open(path)?;
    if metadata.len() == 0 {
        return Err(io::Error::other("it is empty"));
    }
    Ok(metadata.permissions().mode())
}

/// The folder of a file, if there is none. One that this process may not look for may be there.
fn missing_folder(path: &Path) -> Option<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    let is_missing = match fs::metadata(folder) {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    is_missing.then_some(folder)
}
