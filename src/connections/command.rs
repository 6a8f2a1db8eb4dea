//! Programs to run, with their streams connected.

use super::fd::Fd;
use super::pipe::Duplex;
use super::process::{Captured, Change, Finished, Plan, Process, leave};
use super::transport::Transport;
use crate::codec::{Codec, Raw};
use crate::communicator::{Communicator, Cx, Handler, HandlerResult, Key};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::rc::Rc;

/// A program to run, or a chain of them, each reading what the one before it writes; with the streams attached to codecs and
/// handlers, fed, or captured. [`Communicator::process`] starts it.
///
/// The standard input is empty unless something is said, the standard output and error are those of this process.
///
/// ```
/// use eventdispatcher::{Command, Communicator};
///
/// let communicator = Communicator::new()?;
/// let sorted = Command::new("sort").pipe(Command::new("head").args(["-n", "1"]))
///     .feed("pear\napple\nplum\n")
///     .capture_output(1 << 20);
/// communicator.process(sorted, |finished, _| {
///     assert!(finished.success());
///     assert_eq!(finished.output, b"apple\n");
/// })?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// To talk with it:
///
/// ```
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Command, Communicator, Cx, Handler, HandlerResult};
///
/// struct Asks;
/// impl Handler<Lines> for Asks {
///     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
///         Ok(cx.reply("6 * 7")?)
///     }
///     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
///         assert_eq!(line, "42");
///         cx.close(); // the program finds the end of its input
///         Ok(())
///     }
/// }
///
/// let communicator = Communicator::new()?;
/// let calculator = Command::new("sh").args(["-c", "while read sum; do echo $(($sum)); done"]);
/// communicator.process(calculator.connect(Lines::new(), Asks), |finished, _| assert!(finished.success()))?;
/// communicator.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "it does nothing before it is given to Communicator::process"]
pub struct Command {
    chain: Vec<std::process::Command>,
    input: Input,
    output: Output,
    errors: Output,
    /// For input and output at once, in the place of both.
    both: Option<Attach<Duplex>>,
    plan: Plan,
}

/// Makes a connection of a stream.
type Attach<T> = Box<dyn FnOnce(&Communicator, T) -> io::Result<Key>>;

enum Input {
    Empty,
    Same,
    Feed(Vec<u8>),
    Attach(Attach<Fd>),
}

enum Output {
    Same,
    Nowhere,
    Capture(usize),
    Attach(Attach<Fd>),
}

/// The standard library's command; what it says of the three standard streams is replaced.
impl From<std::process::Command> for Command {
    fn from(command: std::process::Command) -> Self {
        Self {
            chain: vec![command],
            input: Input::Empty,
            output: Output::Same,
            errors: Output::Same,
            both: None,
            plan: Plan::default(),
        }
    }
}

/// # The program
impl Command {
    /// A program by its path, or by its name in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        std::process::Command::new(program).into()
    }

    /// Adds an argument. Nothing takes it apart: there is no shell.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.last(|command| {
            command.arg(arg);
        })
    }

    /// Adds arguments.
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.last(|command| {
            command.args(args);
        })
    }

    /// Sets a variable of its environment, which is otherwise that of this process.
    pub fn env(self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.last(|command| {
            command.env(name, value);
        })
    }

    /// Sets the folder in which it begins.
    pub fn current_dir(self, folder: impl AsRef<Path>) -> Self {
        self.last(|command| {
            command.current_dir(folder);
        })
    }

    /// Adds the programs of `next` to the chain: they read what this one writes. The ways for the output, errors, groups and so on
    /// are those of this one.
    pub fn pipe(mut self, next: Self) -> Self {
        self.chain.extend(next.chain);
        self
    }

    fn last(mut self, change: impl FnOnce(&mut std::process::Command)) -> Self {
        if let Some(command) = self.chain.last_mut() {
            change(command);
        }
        self
    }
}

/// # Its streams
impl Command {
    /// It reads from where this process does.
    pub fn same_input(mut self) -> Self {
        self.input = Input::Same;
        self
    }

    /// It reads these bytes and then the end. It is no error when it does not read them all.
    pub fn feed(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Feed(bytes.into());
        self
    }

    /// What is sent on a connection goes to its input; it is told of the end of its reader as
    /// [`eof`](Handler::eof).
    pub fn connect_input<C: Codec, H: Handler<C>>(mut self, codec: C, handler: H) -> Self {
        self.input = Input::Attach(attach(codec, handler));
        self
    }

    /// Each item that it writes comes to `handler`.
    pub fn connect_output<C: Codec, H: Handler<C>>(mut self, codec: C, handler: H) -> Self {
        self.output = Output::Attach(attach(codec, handler));
        self
    }

    /// Each item that it, or any in the chain, writes to its standard error comes to `handler`.
    pub fn connect_errors<C: Codec, H: Handler<C>>(mut self, codec: C, handler: H) -> Self {
        self.errors = Output::Attach(attach(codec, handler));
        self
    }

    /// Its input and output are one connection, as if it were a socket. What is sent when it has closed its input is
    /// thrown away, so that its last words still come.
    pub fn connect<C: Codec, H: Handler<C>>(mut self, codec: C, handler: H) -> Self {
        self.both = Some(attach(codec, handler));
        self
    }

    /// Keeps what it writes, up to `most` bytes, for [`Finished::output`]; what is more is thrown away.
    pub fn capture_output(mut self, most: usize) -> Self {
        self.output = Output::Capture(most);
        self
    }

    /// Keeps what it, or any in the chain, writes to its standard error, up to `most` bytes, for [`Finished::errors`];
    /// what is more is thrown away.
    pub fn capture_errors(mut self, most: usize) -> Self {
        self.errors = Output::Capture(most);
        self
    }

    /// Throws its output away.
    pub fn no_output(mut self) -> Self {
        self.output = Output::Nowhere;
        self
    }

    /// Throws away what it, or any in the chain, writes to its standard error.
    pub fn no_errors(mut self) -> Self {
        self.errors = Output::Nowhere;
        self
    }
}

/// # Its life
impl Command {
    /// Calls `call` when one of the chain is stopped or goes on. What follows too fast upon another may be told as one.
    /// `CHLD` loses its default effect, which is none, in the whole process.
    pub fn on_change(mut self, call: impl FnMut(Change, &Communicator) + 'static) -> Self {
        self.plan.changes = Some(Box::new(call));
        self
    }

    /// Makes the chain a process group of its own: signals go to whatever they start, too, also when they themselves have ended
    /// and what they have started holds their streams; and the terminal's Ctrl-C does not reach them.
    pub fn group(mut self) -> Self {
        self.plan.group = true;
        self
    }

    /// Kills it when its connection is removed or closed, or the communicator is dropped, before it has ended. Nobody waits for its end
    /// then: what [`process`](Communicator::process) was to call is not called.
    pub fn kill(mut self) -> Self {
        self.plan.kill = true;
        self
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.chain).finish()
    }
}

impl Communicator {
    /// Starts `command`. `done` is called once, when all of it has ended and its streams are drained. A process that it
    /// has started and that has not closed the streams keeps them.
    ///
    /// A connection that is removed or closed before that, by [`close_all`](Self::close_all) too, watches it no more: `done` is never called,
    /// but dropped, also where [`kill`](Command::kill) ends what was watched. [`Process::stop`] ends it and has `done` called.
    ///
    /// # Errors
    /// When one of the programs can't be started, which the error names, or no descriptor is left; what was started already
    /// is killed.
    pub fn process(
        &self,
        command: Command,
        done: impl FnOnce(Finished, &Communicator) + 'static,
    ) -> io::Result<Process> {
        let Command { chain, input, output, errors, both, mut plan } = command;
        let mut ends = Ends::default();
        let first = match (&both, &input) {
            (Some(_), _) | (None, Input::Feed(_) | Input::Attach(_)) => {
                let (reader, writer) = io::pipe()?;
                ends.input = Some(Fd::new(writer)?);
                Stdio::from(reader)
            }
            (None, Input::Empty) => Stdio::null(),
            (None, Input::Same) => Stdio::inherit(),
        };
        let last = match &both {
            Some(_) => Way::pipe(&mut ends.output)?,
            None => Way::of(&output, &mut ends.output)?,
        };
        let all = Way::of(&errors, &mut ends.errors)?;
        let children = spawn(chain, first, last, &all, plan.group)?;
        drop(all); // else the end would never come
        let (kill, captured) = (std::mem::replace(&mut plan.kill, true), plan.captured.clone());
        let process = self.add_process(children, plan, Box::new(done))?;
        let streams = Streams { communicator: self, process: process.key(), captured };
        match streams.connect(ends, input, output, errors, both) {
            Ok(()) => {
                process.set_kill(kill);
                Ok(process)
            }
            Err(error) => {
                self.remove(process.key());
                Err(error)
            }
        }
    }
}

/// This side's ends of the pipes.
#[derive(Default)]
struct Ends {
    input: Option<Fd>,
    output: Option<Fd>,
    errors: Option<Fd>,
}

/// Where the programs write.
enum Way {
    Same,
    Nowhere,
    Pipe(io::PipeWriter),
}

impl Way {
    fn pipe(end: &mut Option<Fd>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        *end = Some(Fd::new(reader)?);
        Ok(Self::Pipe(writer))
    }

    fn of(output: &Output, end: &mut Option<Fd>) -> io::Result<Self> {
        match output {
            Output::Same => Ok(Self::Same),
            Output::Nowhere => Ok(Self::Nowhere),
            Output::Capture(_) | Output::Attach(_) => Self::pipe(end),
        }
    }

    fn stdio(&self) -> io::Result<Stdio> {
        Ok(match self {
            Self::Same => Stdio::inherit(),
            Self::Nowhere => Stdio::null(),
            Self::Pipe(writer) => writer.try_clone()?.into(),
        })
    }
}

/// Starts all of a chain, or none.
fn spawn(
    chain: Vec<std::process::Command>,
    first: Stdio,
    last: Way,
    errors: &Way,
    group: bool,
) -> io::Result<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    let started = spawn_into(&mut children, chain, first, last, errors, group);
    if let Err(error) = started {
        for child in &mut children {
            let _ = child.kill();
        }
        leave(children);
        return Err(error);
    }
    Ok(children)
}

fn spawn_into(
    children: &mut Vec<Child>,
    chain: Vec<std::process::Command>,
    first: Stdio,
    last: Way,
    errors: &Way,
    group: bool,
) -> io::Result<()> {
    let mut input = Some(first);
    let mut chain = chain.into_iter().peekable();
    while let Some(mut command) = chain.next() {
        command.stdin(input.take().unwrap_or_else(Stdio::null));
        command.stderr(errors.stdio()?);
        if chain.peek().is_some() {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer);
            input = Some(reader.into());
        } else {
            command.stdout(last.stdio()?);
        }
        if group {
            let leader = children.first().map_or(0, Child::id);
            command.process_group(i32::try_from(leader).map_err(io::Error::other)?);
        }
        let child = command.spawn().map_err(|error| {
            let name = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("can't start {name}: {error}"))
        })?;
        children.push(child);
    }
    Ok(())
}

/// Connects this side's ends.
struct Streams<'a> {
    communicator: &'a Communicator,
    process: Key,
    captured: Rc<RefCell<Captured>>,
}

impl Streams<'_> {
    fn connect(
        self,
        ends: Ends,
        input: Input,
        output: Output,
        errors: Output,
        both: Option<Attach<Duplex>>,
    ) -> io::Result<()> {
        match (both, ends.input, ends.output) {
            (Some(attach), Some(to), Some(from)) => {
                self.own(attach(self.communicator, Duplex::new(from, to).forgiving())?);
            }
            (_, to, from) => {
                self.input(input, to)?;
                self.output(output, from, |captured| &mut captured.output)?;
            }
        }
        self.output(errors, ends.errors, |captured| &mut captured.errors)
    }

    fn input(&self, input: Input, end: Option<Fd>) -> io::Result<()> {
        match (input, end) {
            (Input::Feed(bytes), Some(end)) => {
                let id = self.communicator.stream(end, Raw, Feeds)?;
                self.own(id.key());
                self.communicator.send(id, &bytes).map_err(io::Error::other)?;
                self.communicator.shutdown_write(id);
            }
            (Input::Attach(attach), Some(end)) => self.own(attach(self.communicator, end)?),
            _ => {}
        }
        Ok(())
    }

    fn output(
        &self,
        output: Output,
        end: Option<Fd>,
        place: fn(&mut Captured) -> &mut Vec<u8>,
    ) -> io::Result<()> {
        let key = match (output, end) {
            (Output::Capture(most), Some(end)) => {
                let capture = Captures { captured: self.captured.clone(), place, most };
                self.communicator.stream(end, Raw, capture)?.key()
            }
            (Output::Attach(attach), Some(end)) => attach(self.communicator, end)?,
            _ => return Ok(()),
        };
        self.own(key);
        Ok(())
    }

    /// The process ends after its streams.
    fn own(&self, stream: Key) {
        self.communicator.core(|core| core.set_parent(stream, self.process));
    }
}

fn attach<T: Transport, C: Codec, H: Handler<C>>(codec: C, handler: H) -> Attach<T> {
    Box::new(move |communicator, transport| Ok(communicator.stream(transport, codec, handler)?.key()))
}

/// Only writes.
struct Feeds;

impl Handler<Raw> for Feeds {
    fn message(&mut self, _: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        Ok(())
    }
}

struct Captures {
    captured: Rc<RefCell<Captured>>,
    place: fn(&mut Captured) -> &mut Vec<u8>,
    most: usize,
}

impl Handler<Raw> for Captures {
    fn message(&mut self, bytes: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        let mut captured = self.captured.borrow_mut();
        let place = (self.place)(&mut captured);
        let room = bytes.len().min(self.most.saturating_sub(place.len()));
        place.extend_from_slice(&bytes[..room]);
        captured.cut |= room < bytes.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
