//! Configuration files of the C++ tools: `name=value`, a line each.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A file with more bytes is none of ours.
const FILE_MAX: u64 = 1 << 20;

/// What a file says, with the line of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    values: Vec<Setting>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// With `_` for `-`, and `section::` in front if it is in one.
    pub(crate) name: String,
    pub(crate) value: String,
    /// The file and the line, for errors.
    pub(crate) place: String,
}

impl Settings {
    /// Reads a file; nothing if it does not exist.
    ///
    /// # Errors
    /// When it can't be read, or a line is none of a configuration.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let opened = match fs::File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut text = String::new();
        opened.take(FILE_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX {
            return Err(format!("{}: the file is longer than {FILE_MAX} bytes", file.display()));
        }
        Self::parse(&text, file).map(Some)
    }

    /// Reads `NAME.conf` of a folder, and then `NN-NAME.conf` of its folder `eventdispatcher.d`, from 00 to 99, which wins.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn of_tool(folder: &Path, name: &str) -> Result<Self, String> {
        let overrides = folder.join("eventdispatcher.d");
        let files = std::iter::once(folder.join(format!("{name}.conf")))
            .chain((0..100).map(|number| overrides.join(format!("{number:02}-{name}.conf"))));
        let mut all = Self::default();
        for file in files {
            if let Some(settings) = Self::read(&file)? {
                all.values.extend(settings.values);
            }
        }
        Ok(all)
    }

    /// The last value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Setting> {
        self.values.iter().rfind(|setting| setting.name == name)
    }

    /// All lines.
    pub(crate) fn all(&self) -> &[Setting] {
        &self.values
    }

    fn parse(text: &str, file: &Path) -> Result<Self, String> {
        let mut values = Vec::new();
        let mut section = String::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", PathBuf::from(file).display(), index + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let name =
                    name.strip_suffix(']').ok_or_else(|| format!("{place}: a section is \"[name]\""))?;
                section = format!("{}::", normal(name));
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or_else(|| format!("{place}: expected \"name=value\""))?;
            let name = format!("{section}{}", normal(name));
            values.push(Setting { name, value: unquoted(value.trim()).to_owned(), place });
        }
        Ok(Self { values })
    }
}

fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(text, Path::new("x.conf"))
    }

    #[test]
    fn a_line_is_a_name_and_a_value() {
        let text = "# comment\n\n type = tcp \nsecret-code=\"a b\"\nhost='1.2.3.4:5'\n; comment\n\
                    empty=\ntype=udp\n[daemon]\nlocal-listen = 127.0.0.1:4040=x\n";
        let settings = parse(text).unwrap();
        let get = |name: &str| settings.get(name).map(|setting| setting.value.as_str());
        assert_eq!(get("type"), Some("udp"));
        assert_eq!(get("secret_code"), Some("a b"));
        assert_eq!(get("host"), Some("1.2.3.4:5"));
        assert_eq!(get("empty"), Some(""));
        assert_eq!(get("daemon::local_listen"), Some("127.0.0.1:4040=x"));
        assert_eq!(get("local_listen"), None);
        assert_eq!(settings.get("type").unwrap().place, "x.conf:8");
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_place() {
        assert_eq!(parse("a=1\nb\n").unwrap_err(), "x.conf:2: expected \"name=value\"");
        assert_eq!(parse("[a\n").unwrap_err(), "x.conf:1: a section is \"[name]\"");
    }

    #[test]
    fn later_files_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(Settings::of_tool(path, "tool").unwrap(), Settings::default());
        fs::create_dir(path.join("eventdispatcher.d")).unwrap();
        for (file, text) in [
            ("tool.conf", "a=1\nb=1\nc=1\n"),
            ("eventdispatcher.d/50-tool.conf", "b=2\nc=2\n"),
            ("eventdispatcher.d/07-tool.conf", "c=3\n"),
            ("eventdispatcher.d/100-tool.conf", "a=4\n"),
            ("eventdispatcher.d/60-other.conf", "a=5\n"),
        ] {
            fs::write(path.join(file), text).unwrap();
        }
        let settings = Settings::of_tool(path, "tool").unwrap();
        let values: Vec<_> =
            ["a", "b", "c"].iter().map(|name| settings.get(name).unwrap().value.as_str()).collect();
        assert_eq!(values, ["1", "2", "2"]);
        let dir = Settings::read(path).unwrap_err();
        assert!(dir.contains(&path.display().to_string()), "{dir}");
    }
}
