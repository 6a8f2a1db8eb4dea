//! Programs of this package as processes.
#![allow(dead_code, reason = "each test uses its part")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// After so long a program that still runs is killed, and with it the test fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program with arguments, and with nothing in its environment that would tell it of a server.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    for name in ["CLACKS_SOCKET", "CLACKS_USER", "CLACKS_PASSWORD", "CLACKS_PASSWORD_FILE", "CLACKS_LOG"] {
        command.env_remove(name);
    }
    // A folder that is not there.
    command.env("XDG_RUNTIME_DIR", "/nonexistent").env("TERM", "dumb");
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.stdout).expect("the output is text")
    }

    /// Expects success without complaints, and gives the output.
    pub(crate) fn success(&self) -> &str {
        assert_eq!((self.code(), &*self.stderr), (Some(0), ""), "{self:?}");
        self.text()
    }

    /// Expects an exit code and what was said on standard error, as a beginning.
    pub(crate) fn failure(&self, code: i32, stderr: &str) {
        assert_eq!(self.code(), Some(code), "{self:?}");
        assert!(self.stderr.starts_with(stderr), "{stderr:?} is expected: {self:?}");
        assert_eq!(self.text(), "", "{self:?}");
    }
}

/// A program that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    /// Dropped when the program has ended, so that nobody kills it.
    _watch: Sender<()>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let pid = Pid::from_raw(child.id().try_into().expect("a pid is small"));
        let (watch, ended) = mpsc::channel::<()>();
        thread::spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                // It is not waited for yet, so the pid is still its own.
                let _ = kill(pid, Signal::SIGKILL);
            }
        });
        Self { stdout: child.stdout.take().map(BufReader::new), child, _watch: watch }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid is small"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program can be signalled");
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("standard input is a pipe")
    }

    /// The other end of standard input, which stays open for as long as it is held.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe")
    }

    /// Stops reading what the program writes, as `head` does when it has enough.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// The next line that the program writes, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("standard output is a pipe");
        stdout.read_line(&mut line).expect("the output is text");
        match line.strip_suffix('\n') {
            Some(line) => line.to_owned(),
            None => panic!("a line is expected, the program ended after {line:?}: {:?}", self.child),
        }
    }

    /// Waits for the end.
    pub(crate) fn done(mut self) -> Done {
        self.child.stdin = None;
        let mut stdout = Vec::new();
        if let Some(reader) = &mut self.stdout {
            reader.read_to_end(&mut stdout).expect("the output can be read");
        }
        let mut stderr = String::new();
        if let Some(reader) = &mut self.child.stderr {
            reader.read_to_string(&mut stderr).expect("what is said on standard error is text");
        }
        let status = self.child.wait().expect("the program can be waited for");
        Done { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, with `stdin`.
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Done {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    // A program that does not read its input may be gone.
    let _ = running.stdin().write_all(stdin);
    running.done()
}
