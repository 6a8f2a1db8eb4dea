//! Processes that this one has started: what becomes of them, as events, and how they are stopped.
//!
//! Only the processes that were handed over are waited for; children that other code has started are never reaped.

use super::signals::{Caught, Signal};
use crate::communicator::{Closed, Communicator, Driver, Key, OutQueue, Outcome, Turn, Written};
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::wait::{Id as WaitFor, WaitPidFlag, WaitStatus, waitid};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The timer for the next step in stopping.
const NEXT_STEP: u64 = 0;
/// So many stops and continuations of one process are told in one turn.
const CHANGES: usize = 8;

impl Communicator {
    /// Calls `done` when `child` has ended, with its status, or with an error when somebody else has reaped it. It keeps the loop
    /// running until then. Streams of the child that its owner has not taken are closed. Not called for a connection that is removed or closed
    /// before that, by [`close_all`](Self::close_all) too; the child goes on.
    ///
    /// [`Command`](crate::Command) starts a process and connects its streams, too.
    ///
    /// # Errors
    /// When no descriptor is left. The child goes on then, as it does when the connection is removed.
    ///
    /// ```
    /// let communicator = eventdispatcher::Communicator::new()?;
    /// let child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// communicator.child(child, |status, _| assert_eq!(status.unwrap().code(), Some(3)))?;
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn child(
        &self,
        child: Child,
        done: impl FnOnce(io::Result<ExitStatus>, &Communicator) + 'static,
    ) -> io::Result<Process> {
        let done = move |mut finished: Finished, communicator: &Communicator| {
            done(finished.statuses.pop().unwrap_or_else(|| Err(io::Error::other("no status"))), communicator);
        };
        self.add_process(vec![child], Plan::default(), Box::new(done))
    }

    pub(super) fn add_process(&self, children: Vec<Child>, plan: Plan, done: Done) -> io::Result<Process> {
        reap_left();
        let (running, failed) = open_all(children);
        let state = Rc::new(RefCell::new(State {
            running,
            group: plan.group,
            kill: plan.kill,
            steps: Vec::new(),
            timer: None,
        }));
        let driver =
            OnProcess { watched: Watched { state: state.clone(), signals: None }, plan, done: Some(done) };
        let mut driver = Box::new(driver);
        if let Some(error) = failed {
            driver.release();
            return Err(error);
        }
        if driver.plan.changes.is_some() {
            match Caught::new([signal_hook::consts::SIGCHLD], SignalOnly) {
                Ok(signals) => driver.watched.signals = Some(signals),
                Err(error) => {
                    driver.release();
                    return Err(error);
                }
            }
        }
        let key = self.add("process", true, driver)?;
        // It is called when the last of its streams has gone.
        self.core(|core| core.open(key).map(|slot| slot.rest.most_children = 1));
        Ok(Process { key, state })
    }
}

pub(super) type Done = Box<dyn FnOnce(Finished, &Communicator)>;
pub(super) type OnChange = Box<dyn FnMut(Change, &Communicator)>;

/// How processes are watched.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) changes: Option<OnChange>,
    /// They are a process group of their own.
    pub(super) group: bool,
    /// They are killed when nobody watches them any more.
    pub(super) kill: bool,
    pub(super) captured: Rc<RefCell<Captured>>,
}

#[derive(Debug, Default)]
pub(super) struct Captured {
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
    pub(super) cut: bool,
}

/// What became of a [process](crate::Command), or of a chain of them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The status of each in the order of the chain; an error when somebody else has reaped it.
    pub statuses: Vec<io::Result<ExitStatus>>,
    /// What it wrote to its standard output, if that was captured.
    pub output: Vec<u8>,
    /// What it, or all in the chain, wrote to the standard error, if that was captured.
    pub errors: Vec<u8>,
    /// There was more than should be captured; the rest was thrown away.
    pub cut: bool,
}

impl Finished {
    /// Whether all of them have ended with exit code 0.
    pub fn success(&self) -> bool {
        self.statuses.iter().all(|status| matches!(status, Ok(status) if status.success()))
    }

    /// The exit code of the last in the chain; `None` if a signal has ended it.
    pub fn code(&self) -> Option<i32> {
        self.statuses.last()?.as_ref().ok()?.code()
    }
}

/// What happens to a process that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// This signal has stopped it.
    Stopped {
        /// Which process.
        pid: u32,
        /// By what.
        signal: Signal,
    },
    /// It goes on after a stop.
    Continued {
        /// Which process.
        pid: u32,
    },
}

/// How a process is stopped: each signal in its turn, until it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation(Vec<(Signal, Duration)>);

impl Escalation {
    /// Each signal, and how long to wait before the next; with the last there is nothing more to do.
    pub fn new(steps: impl IntoIterator<Item = (Signal, Duration)>) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// `INT`, after 2 seconds `TERM`, after 5 more `KILL`.
impl Default for Escalation {
    fn default() -> Self {
        Self::new([
            (Signal::INT, Duration::from_secs(2)),
            (Signal::TERM, Duration::from_secs(5)),
            (Signal::KILL, Duration::ZERO),
        ])
    }
}

/// A process, or a chain of them, that the loop watches. Cheap to clone; it does not keep the process.
#[derive(Clone)]
pub struct Process {
    key: Key,
    state: Rc<RefCell<State>>,
}

impl Process {
    /// The connection: it ends when the process has ended and its streams are drained. Removed or closed, the process is
    /// not watched any more; it goes on unless [`Command::kill`](crate::Command::kill) says otherwise.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The numbers of those that have not ended, in the order of the chain. Those of a [group](crate::Command::group) count as
    /// such until its streams have ended.
    pub fn pids(&self) -> Vec<u32> {
        self.state
            .borrow()
            .running
            .iter()
            .filter(|one| one.status.is_none())
            .map(|one| one.child.id())
            .collect()
    }

    /// Sends a signal to those that have not ended; to the whole group if they are [one](crate::Command::group). Never to
    /// a process that got the number of an ended one.
    ///
    /// # Errors
    /// `NotFound` when all have ended; else as the system says.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.state.borrow().signal(signal)
    }

    /// Stops it: sends the first signal of `escalation` now, and each of the next when its time has come and the process
    /// has not ended. Another one that is under way is replaced. `false`: there is nothing to stop.
    pub fn stop(&self, communicator: &Communicator, escalation: &Escalation) -> bool {
        if !communicator.is_alive(self.key) || self.pids().is_empty() {
            return false;
        }
        let mut steps = escalation.0.clone();
        steps.reverse();
        self.state.borrow_mut().steps = steps;
        step(&self.state, communicator, self.key);
        true
    }

    pub(super) fn set_kill(&self, kill: bool) {
        self.state.borrow_mut().kill = kill;
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}, {:?})", self.key, self.pids())
    }
}

/// The next step in stopping.
fn step(state: &RefCell<State>, communicator: &Communicator, key: Key) {
    let mut state = state.borrow_mut();
    if let Some(timer) = state.timer.take() {
        communicator.cancel(timer);
    }
    let Some((signal, pause)) = state.steps.pop() else { return };
    if let Err(error) = state.signal(signal) {
        log::warn!("connection {key}: {signal} could not be sent: {error}");
    }
    if !state.steps.is_empty() {
        state.timer = communicator.timer(key, pause, NEXT_STEP);
    }
}

struct State {
    running: Vec<One>,
    group: bool,
    kill: bool,
    /// What is still to be sent, the next at the end.
    steps: Vec<(Signal, Duration)>,
    timer: Option<crate::TimerId>,
}

struct One {
    child: Child,
    /// Tells of its end; until then.
    descriptor: Option<OwnedFd>,
    status: Option<io::Result<ExitStatus>>,
}

impl State {
    fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut alive = self.running.iter().filter(|one| one.status.is_none()).peekable();
        if alive.peek().is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended"));
        }
        if let (true, Some(leader)) = (self.group, self.running.first()) {
            let name = nix::sys::signal::Signal::try_from(signal.0)?;
            // The group has its number as long as one of it is not reaped.
            let group = i32::try_from(leader.child.id()).map_err(io::Error::other)?;
            return Ok(nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), name)?);
        }
        let name = rustix::process::Signal::from_named_raw(signal.0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{signal} can't be sent")))?;
        let mut sent = Ok(());
        for descriptor in alive.filter_map(|one| one.descriptor.as_ref()) {
            match pidfd_send_signal(descriptor, name) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {} // it has just ended
                Err(error) => sent = Err(error.into()),
            }
        }
        sent
    }
}

/// With a descriptor for each, as far as there are descriptors.
fn open_all(children: Vec<Child>) -> (Vec<One>, Option<io::Error>) {
    let mut failed = None;
    let open = |mut child: Child| {
        (child.stdin, child.stdout, child.stderr) = (None, None, None);
        let descriptor = match pidfd_open(Pid::from_child(&child), PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Some(descriptor),
            Err(error) => {
                failed = Some(io::Error::from(error));
                None
            }
        };
        One { child, descriptor, status: None }
    };
    (children.into_iter().map(open).collect(), failed)
}

/// Processes that nobody watches any more and that have not ended: else each would stay a zombie.
static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// They will be reaped when they have ended, without waiting for it now.
pub(super) fn leave(children: impl IntoIterator<Item = Child>) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).extend(children);
}

/// Reaps what has ended of those that were left, each time that something is done with a process.
fn reap_left() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// What the poll watches: the end of each process, and `CHLD` if stops are to be told.
struct Watched {
    state: Rc<RefCell<State>>,
    signals: Option<Caught>,
}

impl Watched {
    fn each(&mut self, mut call: impl FnMut(&mut dyn Source) -> io::Result<()>) -> io::Result<()> {
        for descriptor in self.state.borrow().running.iter().filter_map(|one| one.descriptor.as_ref()) {
            call(&mut SourceFd(&descriptor.as_raw_fd()))?;
        }
        self.signals.as_mut().map_or(Ok(()), |signals| call(signals.source()))
    }
}

impl Source for Watched {
    fn register(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        self.each(|source| source.register(registry, token, Interest::READABLE))
    }
    fn reregister(&mut self, registry: &Registry, token: Token, _: Interest) -> io::Result<()> {
        self.each(|source| source.reregister(registry, token, Interest::READABLE))
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.each(|source| source.deregister(registry))
    }
}

struct OnProcess {
    watched: Watched,
    plan: Plan,
    done: Option<Done>,
}

impl OnProcess {
    /// Reaps those that have ended. Whether all have.
    fn reap(&mut self, registry: &Registry) -> bool {
        let mut state = self.watched.state.borrow_mut();
        for one in state.running.iter_mut().filter(|one| one.status.is_none()) {
            one.status = one.child.try_wait().transpose();
            if one.status.is_some()
                && let Some(descriptor) = one.descriptor.take()
            {
                let _ = SourceFd(&descriptor.as_raw_fd()).deregister(registry);
            }
        }
        state.running.iter().all(|one| one.status.is_some())
    }

    /// Tells of stops and continuations.
    fn changes(&mut self, communicator: &Communicator) {
        let (Some(call), Some(signals)) = (&mut self.plan.changes, &mut self.watched.signals) else { return };
        signals.pending().for_each(drop);
        let mut changes = Vec::new();
        for one in &self.watched.state.borrow().running {
            let Some(descriptor) = &one.descriptor else { continue };
            let pid = one.child.id();
            let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG;
            for _ in 0..CHANGES {
                match waitid(WaitFor::PIDFd(descriptor.as_fd()), flags) {
                    Ok(WaitStatus::Stopped(_, signal)) => {
                        changes.push(Change::Stopped { pid, signal: Signal(signal as i32) });
                    }
                    Ok(WaitStatus::Continued(_)) => changes.push(Change::Continued { pid }),
                    _ => break,
                }
            }
        }
        changes.into_iter().for_each(|change| call(change, communicator));
    }
}

impl Driver for OnProcess {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(&mut self.watched)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let communicator = turn.communicator;
        reap_left();
        self.changes(communicator);
        // As long as its leader is not reaped, a group can be sent signals: those of it that hold its streams may outlive the leader.
        let held = self.plan.group && !communicator.core(|core| core.has_room(turn.key));
        let all = !held && self.reap(communicator.registry());
        for &timer in turn.due {
            if communicator.core(|core| core.take_timer(turn.key, timer)) == Some(NEXT_STEP) && !all {
                step(&self.watched.state, communicator, turn.key);
            }
        }
        if !communicator.is_enabled(turn.key) {
            return Outcome::Again; // it was switched off, or removed, by what it was told
        }
        // Its streams go first.
        if !all || !communicator.core(|core| core.has_room(turn.key)) {
            return Outcome::Wait;
        }
        let statuses = std::mem::take(&mut self.watched.state.borrow_mut().running);
        let Captured { output, errors, cut } = self.plan.captured.take();
        let statuses = statuses.into_iter().filter_map(|one| one.status).collect();
        if let Some(done) = self.done.take() {
            done(Finished { statuses, output, errors, cut }, communicator);
        }
        Outcome::End(Closed::Eof)
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        (self.done, self.plan.changes) = (None, None);
    }

    fn release(&mut self) {
        self.watched.signals = None;
        let mut state = self.watched.state.borrow_mut();
        if state.kill {
            let _ = state.signal(Signal::KILL);
            // One that there was no descriptor for has its number for itself as long as it is not reaped.
            for one in state.running.iter_mut().filter(|one| one.status.is_none() && one.descriptor.is_none())
            {
                let _ = one.child.kill();
            }
        }
        let running = std::mem::take(&mut state.running);
        leave(running.into_iter().filter(|one| one.status.is_none()).map(|one| one.child));
    }
}
