use super::problems::Severity;

/// A problem, and the byte of the replaced text that it is about.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) severity: Severity,
    pub(super) at: usize,
    pub(super) what: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
    lenient: bool,
}

impl Notes {
    /// Whether what follows has no effect here: errors in it are but warnings.
    /// Returns what held before.
    pub(super) fn set_lenient(&mut self, lenient: bool) -> bool {
        std::mem::replace(&mut self.lenient, lenient)
    }

    pub(super) fn lenient(&self) -> bool {
        self.lenient
    }

    pub(super) fn error(&mut self, at: usize, what: impl Into<String>) {
        let severity = if self.lenient { Severity::Warning } else { Severity::Error };
        self.list.push(Note { severity, at, what: what.into() });
    }

    pub(super) fn warning(&mut self, at: usize, what: impl Into<String>) {
        self.list.push(Note { severity: Severity::Warning, at, what: what.into() });
    }

    pub(super) fn into_list(self) -> Vec<Note> {
        self.list
    }
}
