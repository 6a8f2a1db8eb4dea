//! A prompt with line editing. What the server sends is shown above it.

use super::{Print, start};
use crate::failure::Failure;
use crate::output::visible;
use crate::shared::exit::complain;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Prompt {
    editor: DefaultEditor,
    terminal: Terminal,
}

impl Prompt {
    /// None where the terminal is not good enough.
    pub(super) fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let terminal = Terminal { before, edits: Arc::new(AtomicBool::new(true)) };
        let mut editor = DefaultEditor::new().ok()?;
        // Nothing to be undone when the connection is lost while a line is edited.
        editor.enable_bracketed_paste(false);
        Some(Self { editor, terminal })
    }

    /// Reads lines into `into`, in a thread, until the user ends it with Ctrl-D or Ctrl-C. Gives what prints lines, and what
    /// puts the terminal back when it is dropped.
    pub(super) fn start(self, mut into: UnixStream) -> Result<(Print, Terminal), Failure> {
        let Self { mut editor, terminal } = self;
        let mut printer = editor.create_external_printer().map_err(failure)?;
        let edits = terminal.edits.clone();
        start(move || {
            if let Err(error) = read_lines(&mut editor, &mut into) {
                complain("clacks", failure(error));
            }
            // Before the end of `into` is seen.
            edits.store(false, Ordering::Release);
        })?;
        let print = move |line: &[u8]| {
            let text = String::from_utf8_lossy(&visible(line, b"\t")).into_owned();
            printer.print(text + "\n").map_err(failure)
        };
        Ok((Box::new(print), terminal))
    }
}

fn read_lines(editor: &mut DefaultEditor, into: &mut UnixStream) -> Result<(), ReadlineError> {
    loop {
        let line = match editor.readline("clacks> ") {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A history that does not take a line is no reason to end.
        let _ = editor.add_history_entry(&line);
        into.write_all(format!("{line}\n").as_bytes())?;
    }
}

fn failure(error: ReadlineError) -> Failure {
    Failure::Output(io::Error::other(error))
}

/// Puts the terminal back to how it was when it is dropped: the editor may still wait for a key then.
pub(super) struct Terminal {
    before: Termios,
    /// The editor has the terminal.
    edits: Arc<AtomicBool>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.edits.load(Ordering::Acquire) {
            // There is nothing that could be done if it fails.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
            let _ = writeln!(io::stdout());
        }
    }
}
