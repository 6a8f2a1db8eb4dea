//! What can be set about keeping the cache.

use std::path::PathBuf;
use std::time::Duration;

/// How a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistenceOptions {
    /// The file. Its backup, its journal and what is set aside stand beside it, with longer names.
    pub file: PathBuf,
    /// A changed cache is written at most so often; at least 0.1 s. Default: 10 s.
    pub interval: Duration,
    /// Is there a journal, so that what was acknowledged survives the end of the process? Default: yes.
    pub journal: bool,
    /// When the journal is brought to the disk itself. Default: each second.
    pub sync: JournalSync,
}

impl PersistenceOptions {
    /// The defaults, for this file.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            interval: Duration::from_secs(10),
            journal: true,
            sync: JournalSync::default(),
        }
    }
}

/// When the journal is brought from the system's memory to the disk itself, where it survives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JournalSync {
    /// When the system likes.
    None,
    /// A second after a change at the latest, beside the loop.
    #[default]
    Interval,
    /// Before anybody hears of a change. Costs the time of the disk in each turn that changes something.
    Always,
}
