use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use subtle::ConstantTimeEq;

use super::error::CredentialsError;

/// The longest password file that is read, in bytes.
pub const MAX_PASSWORD_FILE: usize = 4096;

/// A password: it is never shown, and compared in a time that does not depend on its bytes.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be put on the wire or to be compared, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

/// The password in a file that the user named: its first line, without the line end. Whose it is, and
/// who may read it, is up to the user, so that it may come through a pipe or from a secret store.
///
/// # Errors
/// When it can't be read, is no UTF-8, is longer than [`MAX_PASSWORD_FILE`], or the first line is empty.
pub fn read_password_file(path: &Path) -> Result<Password, CredentialsError> {
    let file = File::open(path).map_err(|error| CredentialsError::io("open", path, error))?;
    let text = read_text(file, path)?;
    let line = text.split('\n').next().unwrap_or_default();
    non_empty(line.strip_suffix('\r').unwrap_or(line), path)
}

/// The text of `file`, which is at `path`.
pub(super) fn read_text(file: File, path: &Path) -> Result<String, CredentialsError> {
    let mut bytes = Vec::new();
    file.take(MAX_PASSWORD_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CredentialsError::io("read", path, error))?;
    if bytes.len() > MAX_PASSWORD_FILE {
        return Err(CredentialsError::content(path, "is too long to be a password file"));
    }
    String::from_utf8(bytes).map_err(|_| CredentialsError::content(path, "is no UTF-8 text"))
}

pub(super) fn non_empty(line: &str, path: &Path) -> Result<Password, CredentialsError> {
    if line.is_empty() {
        return Err(CredentialsError::content(path, "has no password in its first line"));
    }
    Ok(Password::new(line))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_password_does_not_show_itself() {
        assert_eq!(format!("{:?}", Some(Password::new("hush"))), "Some(Password(…))");
        assert_eq!(Password::new("hush").expose(), "hush");
    }

    #[test]
    fn passwords_are_equal_when_their_text_is() {
        assert_eq!(Password::new("hush"), Password::new("hush"));
        for other in ["husH", "hus", "hush ", ""] {
            assert_ne!(Password::new("hush"), Password::new(other), "{other:?}");
        }
    }

    #[test]
    fn the_first_line_of_a_file_is_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            let result = read_password_file(&path);
            result.map(|password| password.expose().to_owned()).map_err(|error| error.to_string())
        };
        let longest = "x".repeat(MAX_PASSWORD_FILE);
        for (text, wanted) in [
            ("hush", "hush"),
            ("hush\n", "hush"),
            ("hush\r\n", "hush"),
            (" hush \nsecond line\n", " hush "),
            ("hüsh\r\r\n", "hüsh\r"),
            (&longest, &longest),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(wanted.into()), "{text:?}");
        }
        let shown = path.display();
        for text in ["", "\n", "\r\n", "\nhush\n"] {
            assert_eq!(read(text.as_bytes()), Err(format!("{shown} has no password in its first line")));
        }
        assert_eq!(read(b"hush\xff\n"), Err(format!("{shown} is no UTF-8 text")));
        assert_eq!(
            read(format!("{longest}x").as_bytes()),
            Err(format!("{shown} is too long to be a password file"))
        );
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        assert_eq!(
            read_password_file(&path).unwrap_err().to_string(),
            format!("can't open {}: No such file or directory (os error 2)", path.display())
        );
        assert_eq!(
            read_password_file(folder.path()).unwrap_err().to_string(),
            format!("can't read {}: Is a directory (os error 21)", folder.path().display())
        );
    }
}
