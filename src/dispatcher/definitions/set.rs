use std::io;
use std::path::{Path, PathBuf};

use super::definition::Definition;
use super::error::DefinitionError;
use super::problem::Problem;
use crate::dispatcher::hash::ByCommand;
use crate::dispatcher::{Message, MessageRef, Part};

/// Where the C++ library looks for definitions unless told otherwise.
pub const DEFAULT_PATH: &str = "/usr/share/eventdispatcher/messages";

/// The definitions that are part of the library, as pairs of a command and the text of its file, to be
/// installed for other programs: `<COMMAND>.conf`.
#[must_use]
pub fn built_in_files() -> &'static [(&'static str, &'static str)] {
    macro_rules! files {
        ($($command:literal)*) => {
            &[$(($command, include_str!(concat!($command, ".conf")))),*]
        };
    }
    files! {
        "ABSOLUTELY" "ALIVE" "COMMANDS" "HELP" "INVALID" "LEAK" "LOG" "LOG_ROTATE" "QUITTING" "READY"
        "RESTART" "SERVICE_UNAVAILABLE" "STOP" "UNKNOWN"
    }
}

/// The definitions of all commands.
///
/// They come from files `<COMMAND>.conf` in a list of folders. All of them are read at once, when a
/// service starts and when it is told to ([`reload`](Self::reload)): checking a message touches no disk, and
/// what is wrong with a file is known before the first message. A command is defined by the first folder
/// that has its file, else by the library ([`built_in_files`]); a command without a definition
/// may have any parameters.
///
/// ```no_run
/// use eventdispatcher::dispatcher::MessageRef;
/// use eventdispatcher::dispatcher::definitions::{DEFAULT_PATH, Definitions};
///
/// let definitions = Definitions::load(DEFAULT_PATH).map_err(|errors| {
///     errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
/// })?;
/// let message = MessageRef::parse(b"ALIVE timestamp=noon")?;
/// for problem in definitions.check(message).unwrap_err() {
///     println!("{problem}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Definitions {
    folders: Vec<PathBuf>,
    by_command: ByCommand<Definition>,
    /// What the program has added itself, which comes before the files.
    added: ByCommand<Definition>,
}

impl Definitions {
    /// None: every message is right.
    #[must_use]
    pub fn none() -> Self {
        Self { folders: Vec::new(), by_command: ByCommand::default(), added: ByCommand::default() }
    }

    /// Those of the library.
    #[must_use]
    pub fn built_in() -> Self {
        let parse = |&(command, text): &(&str, &str)| {
            // A test parses them all.
            let definition = Definition::parse(command, text, Path::new(command)).ok()?;
            Some((command.into(), definition))
        };
        Self { by_command: built_in_files().iter().filter_map(parse).collect(), ..Self::none() }
    }

    /// Those in a list of folders, with a `:` between each two, and those of the library. Folders that do
    /// not exist are no error.
    ///
    /// # Errors
    /// With every file that can't be read or used.
    pub fn load(folders: &str) -> Result<Self, Vec<DefinitionError>> {
        Self::load_folders(folders.split(':').filter(|folder| !folder.is_empty()))
    }

    /// As [`load`](Self::load), with the folders one by one.
    ///
    /// # Errors
    /// With every file that can't be read or used.
    pub fn load_folders(
        folders: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<Self, Vec<DefinitionError>> {
        let mut definitions = Self::none();
        definitions.folders = folders.into_iter().map(Into::into).collect();
        definitions.reload()?;
        Ok(definitions)
    }

    /// Reads all files again. What the program has [added](Self::add) stays.
    ///
    /// # Errors
    /// With every file that can't be read or used; then all stays as it was.
    pub fn reload(&mut self) -> Result<(), Vec<DefinitionError>> {
        let mut read = ByCommand::default();
        let mut errors = Vec::new();
        for folder in &self.folders {
            match read_folder(folder, &read) {
                Ok(definitions) => {
                    for definition in definitions {
                        match definition {
                            Ok(definition) => {
                                read.insert(definition.command().into(), definition);
                            }
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(error) => errors.push(DefinitionError::Read { file: folder.clone(), error }),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut by_command = Self::built_in().by_command;
        by_command.extend(read);
        self.by_command = by_command;
        Ok(())
    }

    /// Adds a definition that is in no file, over any other one of its command.
    pub fn add(&mut self, definition: Definition) {
        self.added.insert(definition.command().into(), definition);
    }

    /// The definition of a command.
    #[must_use]
    pub fn get(&self, command: &str) -> Option<&Definition> {
        self.added.get(command).or_else(|| self.by_command.get(command))
    }

    /// All definitions, sorted by command.
    #[must_use]
    pub fn all(&self) -> Vec<&Definition> {
        let files = self.by_command.values().filter(|file| !self.added.contains_key(file.command()));
        let mut all: Vec<_> = files.chain(self.added.values()).collect();
        all.sort_by_key(|definition| definition.command());
        all
    }

    /// Checks a message. One without a definition is right.
    ///
    /// # Errors
    /// With what is wrong, up to 16 things: see [`invalid_answer`](crate::dispatcher::invalid_answer).
    pub fn check(&self, message: MessageRef<'_>) -> Result<(), Vec<Problem>> {
        self.get(message.command()).map_or(Ok(()), |definition| definition.check(message))
    }

    /// The message with the defaults of what is missing; nothing if none is.
    #[must_use]
    pub fn complete(&self, message: MessageRef<'_>) -> Option<Message> {
        self.get(message.command())?.complete(message)
    }
}

/// Those of the library.
impl Default for Definitions {
    fn default() -> Self {
        Self::built_in()
    }
}

/// Reads the definitions of a folder, sorted by command, but for those in `known`.
fn read_folder(
    folder: &Path,
    known: &ByCommand<Definition>,
) -> io::Result<Vec<Result<Definition, DefinitionError>>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut commands = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // Other files are none of ours.
        let command = name.to_str().and_then(|name| name.strip_suffix(".conf"));
        commands.extend(command.filter(|name| Part::Command.check(name).is_ok()).map(str::to_owned));
    }
    commands.sort_unstable();
    let missing = commands.iter().filter(|command| !known.contains_key(command.as_str()));
    Ok(missing.map(|command| Definition::load(command, &folder.join(format!("{command}.conf")))).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn problems(definitions: &Definitions, text: &str) -> usize {
        definitions.check(MessageRef::parse(text.as_bytes()).unwrap()).map_or_else(|all| all.len(), |()| 0)
    }

    #[test]
    fn the_built_in_files_are_right() {
        for (command, text) in built_in_files() {
            let definition = Definition::parse(command, text, Path::new(command)).unwrap();
            assert_eq!(definition.unknown_keys(), [], "{command}");
            assert!(definition.rules().iter().all(|rule| !rule.description().is_empty()), "{command}");
        }
        assert_eq!(Definitions::built_in().all().len(), built_in_files().len());
    }

    #[test]
    fn the_built_in_messages_are_checked() {
        let check = |text: &str, expected| {
            assert_eq!(problems(&Definitions::default(), text), expected, "{text}");
        };
        check("ALIVE", 0);
        check("ALIVE serial=7;timestamp=1700000000.5", 0);
        check("ALIVE serial=", 1);
        check("ALIVE timestamp=xyz", 1);
        check("ABSOLUTELY reply_timestamp=1795219000.123456789;serial=7", 0);
        check("ABSOLUTELY serial=7", 1);
        check("COMMANDS", 1);
        check("COMMANDS list=A", 0);
        check("STOP", 0);
        check("STOP what=ever", 0);
        check("READY", 0);
        check("READY my_address=127.0.0.1:4040", 0);
        check("READY my_address=here", 1);
        check("SERVICE_UNAVAILABLE", 2);
        check("SERVICE_UNAVAILABLE destination_service=;unsent_command=X", 0);
        check("LOG timestamp=1;message=m", 0);
        check("LOG", 2);
        check("NEVER_HEARD_OF", 0);
        assert_eq!(problems(&Definitions::none(), "ALIVE serial="), 0);
    }

    #[test]
    fn the_first_folder_with_a_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["one", "two"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("one/SPEED.conf"), "[speed]\ntype=integer").unwrap();
        // Not even looked at, though it is wrong.
        fs::write(path("two/SPEED.conf"), "[speed").unwrap();
        fs::write(path("two/ALIVE.conf"), "[serial]\n[extra]").unwrap();
        // None of ours.
        fs::write(path("two/lower.conf"), "[").unwrap();
        fs::write(path("two/README"), "[").unwrap();
        let list = format!("{}::{}:{}", path("one").display(), path("none").display(), path("two").display());
        let definitions = Definitions::load(&list).unwrap();
        assert_eq!(problems(&definitions, "SPEED speed=fast"), 1);
        assert_eq!(problems(&definitions, "ALIVE"), 2);
        assert_eq!(problems(&definitions, "COMMANDS"), 1);
        assert_eq!(definitions.all().len(), built_in_files().len() + 1);
    }

    #[test]
    fn a_wrong_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("A.conf"), "[a]\ntype=integer").unwrap();
        let mut definitions = Definitions::load_folders([folder.path()]).unwrap();
        definitions.add(Definition::parse("B", "[b]", Path::new("own")).unwrap());
        assert_eq!(problems(&definitions, "A a=x"), 1);
        assert_eq!(problems(&definitions, "B"), 1);

        fs::write(file("A.conf"), "[a]\ntype=number").unwrap();
        fs::write(file("C.conf"), b"[c]\n# \xc3\xa9\xff").unwrap();
        fs::write(file("D.conf"), vec![b' '; 65_537]).unwrap();
        fs::create_dir(file("E.conf")).unwrap();
        let errors: Vec<_> = definitions.reload().unwrap_err().iter().map(ToString::to_string).collect();
        let at = |name: &str| file(name).display().to_string();
        assert_eq!(
            errors[0],
            format!(
                "{}:2:6: \"number\" is none of default, string, integer, address, timespec",
                at("A.conf")
            )
        );
        assert_eq!(errors[1], format!("{}:2:4: the file is not UTF-8", at("C.conf")));
        assert_eq!(errors[2], format!("{}:1:1: the file is longer than 65536 bytes", at("D.conf")));
        assert!(errors[3].starts_with(&at("E.conf")), "{}", errors[3]);
        assert_eq!(errors.len(), 4);
        assert_eq!(problems(&definitions, "A a=x"), 1);

        for name in ["A.conf", "C.conf", "D.conf"] {
            fs::remove_file(file(name)).unwrap();
        }
        fs::remove_dir(file("E.conf")).unwrap();
        fs::write(file("F.conf"), "[f]").unwrap();
        definitions.reload().unwrap();
        assert_eq!(problems(&definitions, "A a=x"), 0);
        assert_eq!(problems(&definitions, "B"), 1);
        assert_eq!(problems(&definitions, "F"), 1);
    }

    #[test]
    fn a_folder_that_is_none_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let errors = Definitions::load_folders([file.path()]).unwrap_err();
        assert!(matches!(&errors[..], [DefinitionError::Read { file: named, .. }] if named == file.path()));
    }
}
