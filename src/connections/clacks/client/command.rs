//! Commands put together for sending.

use super::error::ClientError;

/// One line, in a buffer of its own.
pub(super) struct CommandLine(Vec<u8>);

impl CommandLine {
    pub(super) fn word(word: &str) -> Self {
        Self(word.as_bytes().to_vec())
    }

    /// `WORD name`
    pub(super) fn named(word: &str, name: &[u8]) -> Result<Self, ClientError> {
        // The first byte may be anything but a line end.
        let bad = |(at, byte): (usize, &u8)| matches!(byte, b'\r' | b'\n') || at > 0 && *byte == b'=';
        if name.is_empty() || name.iter().enumerate().any(bad) {
            return Err(ClientError::BadName(String::from_utf8_lossy(name).into_owned()));
        }
        Ok(Self([word.as_bytes(), b" ", name].concat()))
    }

    /// `WORD name=value`
    pub(super) fn pair(word: &str, name: &[u8], value: &[u8]) -> Result<Self, ClientError> {
        let mut line = Self::named(word, name)?;
        line.0.push(b'=');
        line.0.extend_from_slice(value);
        line.checked()
    }

    /// `WORD name` or `WORD name=step`
    pub(super) fn step(word: &str, name: &[u8], step: Option<&str>) -> Result<Self, ClientError> {
        match step {
            Some(step) => Self::pair(word, name, step.as_bytes()),
            None => Self::named(word, name),
        }
    }

    /// The server stops in so many seconds; 0 would mean nothing.
    pub(super) fn shutdown(seconds: u32) -> Self {
        Self(format!("OVERHEAD S {}", seconds.max(1)).into_bytes())
    }

    /// Whatever the program wants to say.
    pub(super) fn raw(line: &[u8]) -> Result<Self, ClientError> {
        Self(line.to_vec()).checked()
    }

    fn checked(self) -> Result<Self, ClientError> {
        if self.0.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(ClientError::BadValue);
        }
        Ok(self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
