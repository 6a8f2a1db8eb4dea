//! A program as a user starts it: with arguments, an environment, signals, and what it says.

use std::fmt::Debug;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::DEADLINE;

/// A program that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    stdout: Said,
    stderr: Said,
}

/// How it ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command without anything in its environment that makes clacksd behave otherwise.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let plain = name.as_encoded_bytes();
        if plain.starts_with(b"PC_") || matches!(plain, b"XDG_RUNTIME_DIR" | b"TMPDIR") {
            command.env_remove(name);
        }
    }
    command
}

impl Program {
    /// Starts it, without a standard input.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// Starts it with this standard input.
    #[track_caller]
    pub(crate) fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Said::of(process.stdout.take());
        let stderr = Said::of(process.stderr.take());
        Self { process, stdout, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits until its standard output has `text`, and gives all of it.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        self.wait_for(&self.stdout, text)
    }

    /// Waits until its standard error has `text`, and gives all of it.
    #[track_caller]
    pub(crate) fn logs(&self, text: &str) -> String {
        self.wait_for(&self.stderr, text)
    }

    #[track_caller]
    fn wait_for(&self, said: &Said, text: &str) -> String {
        said.wait(|said, _| said.contains(text)).unwrap_or_else(|| {
            panic!("it did not say {text:?} but {:?} and {:?}", self.stdout.now(), self.stderr.now())
        })
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(self.process.id()), signal).expect("a child that was not waited for can be signalled");
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        // At its end, and not before, both are closed.
        let [stdout, stderr] = [&self.stdout, &self.stderr].map(|said| {
            said.wait(|_, ended| ended)
                .unwrap_or_else(|| panic!("it runs on, and said {:?}, {:?}", said.now(), self.stderr.now()))
        });
        let status = self.process.wait().expect("a child can be waited for");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// Fails unless this is the exit code, and what was said.
    #[track_caller]
    pub(crate) fn check(&self, code: i32, stdout: &str, stderr: &str) {
        let got = (self.status.code(), self.stdout.as_str(), self.stderr.as_str());
        assert_eq!(got, (Some(code), stdout, stderr));
    }
}

/// What a program has written to one of its outputs.
#[derive(Debug, Clone, Default)]
struct Said(Arc<(Mutex<Written>, Condvar)>);

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// The program has closed it.
    ended: bool,
}

impl Said {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let said = Self::default();
        let (mut pipe, to) = (pipe.expect("the output is a pipe"), said.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let got = pipe.read(&mut bytes).unwrap_or(0);
                let mut written = to.lock();
                written.bytes.extend_from_slice(&bytes[..got]);
                written.ended = got == 0;
                to.0.1.notify_all();
                if got == 0 {
                    return;
                }
            }
        });
        said
    }

    /// All that was said, as soon as `enough` says so of it and of whether it has ended; `None` if that
    /// does not happen in time.
    fn wait(&self, enough: impl Fn(&str, bool) -> bool) -> Option<String> {
        let deadline = Instant::now() + DEADLINE;
        let mut written = self.lock();
        loop {
            let text = String::from_utf8_lossy(&written.bytes).into_owned();
            if enough(&text, written.ended) {
                return Some(text);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if written.ended || left.is_zero() {
                return None;
            }
            written = self.0.1.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn now(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(id.try_into().expect("a process id is positive"))
}

/// A number in `/proc/PID/status`: memory in KiB, counts as they are.
#[track_caller]
pub(crate) fn status(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    field(&text, name).unwrap_or_else(|| panic!("{path} has no {name}: {text}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How much memory the process has, in bytes.
#[track_caller]
pub(crate) fn memory(pid: impl Debug) -> u64 {
    status(&format!("/proc/{pid:?}/status"), "VmRSS") << 10
}
