//! What happens to all processes of the system, as the kernel's process connector tells it.

use super::netlink::{DONE, Netlink, u16_at, u32_at, u64_at};
use crate::communicator::{
    Closed, Communicator, Driver, Key, OutQueue, Outcome, Ready, Spent, Turn, Written,
};
use mio::event::Source;
use rustix::net::netlink::CONNECTOR;
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The connector's group, and its address, for processes.
const PROCESSES: u32 = 1;
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// The length of the connector's header.
const HEADER: usize = 20;
/// So many bytes of events may wait in the kernel, which counts about ten times what an event needs.
const ROOM: usize = 4 << 20;
/// An event has less than 100 bytes.
const BUFFER: usize = 4096;
/// So many events of others are passed over while the kernel's answer to the subscription is looked for.
const LOOKS: usize = 100_000;

impl Communicator {
    /// Calls `call` for what happens to any process of the system: its start and end, the program it runs, its users and groups,
    /// its session and name.
    ///
    /// The kernel tells only who is in its first namespaces of users and processes; before Linux 6.6 the network administrator's
    /// privilege (`CAP_NET_ADMIN`) is needed, too. While it is switched off the kernel keeps about 5000 events.
    ///
    /// # Errors
    /// `PermissionDenied` without the privilege or in a container; `Unsupported` when the kernel was built without it.
    ///
    /// ```no_run
    /// use eventdispatcher::{Communicator, process_events::Happened};
    ///
    /// let communicator = Communicator::new()?;
    /// communicator.process_events(|event, _| {
    ///     if let Happened::Exit { status, .. } = event.happened {
    ///         println!("process {} has ended: {status}", event.task.process);
    ///     }
    /// })?;
    /// communicator.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn process_events(
        &self,
        call: impl FnMut(&ProcessEvent<'_>, &Communicator) + 'static,
    ) -> io::Result<Key> {
        let subscription = Subscription::open()?;
        let driver = OnProcesses { subscription: Some(subscription), call: Some(call) };
        let key = self.add("process events", true, Box::new(driver))?;
        self.core(|core| core.make_ready(key, Ready::INPUT)); // what came before it was added
        Ok(key)
    }
}

/// Something that happened to a process.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ProcessEvent<'a> {
    /// What.
    pub happened: Happened<'a>,
    /// To whom; for [`Happened::Fork`] the new one. All zero for [`Happened::Lost`].
    pub task: Task,
    /// On which processor.
    pub cpu: u32,
    /// When, since the system was started, sleep not counted.
    pub uptime: Duration,
}

/// A thread of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Task {
    /// The process: what is mostly called its pid.
    pub process: u32,
    /// The thread; the first one of a process has its number.
    pub thread: u32,
}

/// What happened to a process.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Happened<'a> {
    /// It, or a thread of it, was made.
    Fork {
        /// By whom.
        parent: Task,
    },
    /// It runs another program now.
    Exec,
    /// It has another user.
    User {
        /// The real user.
        real: u32,
        /// The effective user.
        effective: u32,
    },
    /// It has another group.
    Group {
        /// The real group.
        real: u32,
        /// The effective group.
        effective: u32,
    },
    /// It leads a new session.
    Session,
    /// It has another name.
    Name(&'a [u8]),
    /// It is traced, or (`None`) no more.
    Traced {
        /// By whom.
        tracer: Option<Task>,
    },
    /// It is about to dump its memory, after a signal that ends it so.
    CoreDump {
        /// Whose child it is; `None`: an older kernel does not say.
        parent: Option<Task>,
    },
    /// It has ended.
    Exit {
        /// How.
        status: ExitStatus,
        /// Which signal its parent gets; 0 for none, such as for a thread.
        signal: i32,
        /// Whose child it is; `None`: an older kernel does not say.
        parent: Option<Task>,
    },
    /// Something that this library does not know, by the kernel's number.
    Other(u32),
    /// The kernel had to drop events: they came faster than they were taken.
    Lost,
}

impl<'a> ProcessEvent<'a> {
    /// `None` for what tells of no process, such as answers to subscriptions.
    fn parse(event: &'a [u8]) -> Option<Self> {
        let what = u32_at(event, 0)?;
        let data = event.get(16..)?;
        let task_at = |place| Some(Task { thread: u32_at(data, place)?, process: u32_at(data, place + 4)? });
        let mut task = task_at(0)?;
        let happened = match what {
            0 => return None,
            1 => {
                let parent = task;
                task = task_at(8)?;
                Happened::Fork { parent }
            }
            2 => Happened::Exec,
            4 => Happened::User { real: u32_at(data, 8)?, effective: u32_at(data, 12)? },
            0x40 => Happened::Group { real: u32_at(data, 8)?, effective: u32_at(data, 12)? },
            0x80 => Happened::Session,
            0x100 => Happened::Traced { tracer: task_at(8).filter(|tracer| tracer.process != 0) },
            0x200 => {
                let name = data.get(8..24)?;
                Happened::Name(name.split(|byte| *byte == 0).next().unwrap_or_default())
            }
            0x4000_0000 => Happened::CoreDump { parent: task_at(8) },
            0x8000_0000 => Happened::Exit {
                status: ExitStatus::from_raw(u32_at(data, 8)?.cast_signed()),
                signal: u32_at(data, 12)?.cast_signed(),
                parent: task_at(16),
            },
            other => Happened::Other(other),
        };
        let uptime = Duration::from_nanos(u64_at(event, 8)?);
        Some(Self { happened, task, cpu: u32_at(event, 4)?, uptime })
    }

    fn lost() -> Self {
        let (task, uptime) = (Task::default(), Duration::ZERO);
        Self { happened: Happened::Lost, task, cpu: 0, uptime }
    }
}

/// For logs: `process 17: exec`.
impl fmt::Display for ProcessEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.happened, Happened::Lost) {
            return f.write_str("events of processes were lost");
        }
        write!(f, "process {}", self.task.process)?;
        if self.task.thread != self.task.process {
            write!(f, ", thread {}", self.task.thread)?;
        }
        match self.happened {
            Happened::Fork { parent } => write!(f, ": made by {}", parent.process),
            Happened::Exec => f.write_str(": exec"),
            Happened::User { real, effective } => write!(f, ": user {real}, effective {effective}"),
            Happened::Group { real, effective } => write!(f, ": group {real}, effective {effective}"),
            Happened::Session => f.write_str(": leads a new session"),
            Happened::Name(name) => write!(f, ": named {:?}", String::from_utf8_lossy(name)),
            Happened::Traced { tracer: Some(tracer) } => write!(f, ": traced by {}", tracer.process),
            Happened::Traced { tracer: None } => f.write_str(": not traced any more"),
            Happened::CoreDump { .. } => f.write_str(": dumps its memory"),
            Happened::Exit { status, .. } => write!(f, ": ended, {status}"),
            Happened::Other(what) => write!(f, ": event {what:#x}"),
            Happened::Lost => Ok(()),
        }
    }
}

/// The kernel tells this process.
struct Subscription {
    socket: Netlink,
    buffer: Vec<u8>,
}

impl Subscription {
    fn open() -> io::Result<Self> {
        let socket = Netlink::open(CONNECTOR, PROCESSES).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => denied("CAP_NET_ADMIN is needed"),
            _ if error.raw_os_error() == Some(nix::libc::EPROTONOSUPPORT) => {
                io::Error::new(ErrorKind::Unsupported, "the kernel has no process connector")
            }
            _ => error,
        })?;
        socket.set_room(ROOM);
        let mut subscription = Self { socket, buffer: vec![0; BUFFER] };
        subscription.subscribe()?;
        Ok(subscription)
    }

    /// The kernel answers before `send` has returned, to all who listen: the answer is known by its number.
    fn subscribe(&mut self) -> io::Result<()> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let asked = std::process::id().rotate_left(10) ^ ASKED.fetch_add(1, Ordering::Relaxed);
        self.send(LISTEN, asked)?;
        for _ in 0..LOOKS {
            let messages = match self.socket.receive(&mut self.buffer) {
                Ok(messages) => messages,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => continue,
                Err(error) => return Err(error),
            };
            for message in messages {
                let Some(event) = event(message.payload) else { continue };
                let answers = u32_at(message.payload, 12) == Some(asked.wrapping_add(1));
                if answers && u32_at(event, 0) == Some(0) {
                    return match u32_at(event, 16) {
                        Some(0) => Ok(()),
                        _ => Err(denied("CAP_NET_ADMIN is needed")),
                    };
                }
            }
        }
        Err(denied("it does so only outside of containers, in the first namespaces of users and processes"))
    }

    fn send(&self, what: u32, number: u32) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + 4);
        for number in [PROCESSES, PROCESSES, 0, number] {
            message.extend(number.to_ne_bytes());
        }
        message.extend(4_u16.to_ne_bytes());
        message.extend(0_u16.to_ne_bytes());
        message.extend(what.to_ne_bytes());
        self.socket.send(DONE, 0, &message)
    }
}

/// Older kernels go on telling the others at the same price when nobody listens any more and nobody says so.
impl Drop for Subscription {
    fn drop(&mut self) {
        let _ = self.send(IGNORE, 0);
    }
}

fn denied(why: &str) -> io::Error {
    let text = format!("the kernel does not tell of processes: {why}");
    io::Error::new(ErrorKind::PermissionDenied, text)
}

/// The event in a message of the connector, if it is one of processes.
fn event(message: &[u8]) -> Option<&[u8]> {
    let address = (u32_at(message, 0)?, u32_at(message, 4)?);
    let length = usize::from(u16_at(message, 16)?);
    message.get(HEADER..)?.get(..length).filter(|_| address == (PROCESSES, PROCESSES))
}

struct OnProcesses<F> {
    subscription: Option<Subscription>,
    call: Option<F>,
}

impl<F: FnMut(&ProcessEvent<'_>, &Communicator) + 'static> Driver for OnProcesses<F> {
    fn source(&mut self) -> Option<&mut dyn Source> {
        self.subscription.as_mut().map(|subscription| &mut subscription.socket as &mut dyn Source)
    }

    fn ready(&mut self, turn: &Turn<'_>) -> Outcome {
        let (Some(Subscription { socket, buffer }), Some(call)) = (&mut self.subscription, &mut self.call)
        else {
            return Outcome::Wait;
        };
        let mut spent = Spent::nothing(&turn.settings);
        loop {
            if !turn.communicator.core(|core| core.may_read(turn.key)) || spent.all() {
                return Outcome::Again;
            }
            match socket.receive(buffer) {
                // The kernel puts one event into a datagram.
                Ok(messages) => {
                    let events = messages.filter_map(|message| event(message.payload));
                    for event in events.filter_map(ProcessEvent::parse) {
                        call(&event, turn.communicator);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Wait,
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    call(&ProcessEvent::lost(), turn.communicator);
                }
                Err(error) => return Outcome::End(Closed::Io(error)),
            }
            spent.callback();
        }
    }

    fn write(&mut self, _: &mut OutQueue, _: usize) -> io::Result<Written> {
        Ok(Written::default())
    }

    fn closed(&mut self, _: Closed, _: &Turn<'_>) {
        self.call = None;
    }

    fn release(&mut self) {
        self.subscription = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event as the kernel writes it.
    fn bytes(what: u32, data: &[u32]) -> Vec<u8> {
        let mut bytes = what.to_ne_bytes().to_vec();
        bytes.extend(3_u32.to_ne_bytes());
        bytes.extend(1_500_000_000_u64.to_ne_bytes());
        bytes.extend(data.iter().flat_map(|number| number.to_ne_bytes()));
        bytes
    }

    #[test]
    fn every_event_is_told() {
        let check = |what, data: &[u32], expected: &str| {
            let bytes = bytes(what, data);
            let event = ProcessEvent::parse(&bytes).unwrap_or_else(|| panic!("{expected}: not told"));
            assert_eq!(event.to_string(), expected);
            assert_eq!((event.cpu, event.uptime), (3, Duration::from_millis(1500)));
        };
        check(1, &[5, 4, 9, 9, 0, 0], "process 9: made by 4");
        check(1, &[4, 4, 12, 9, 0, 0], "process 9, thread 12: made by 4");
        check(2, &[9, 9, 0, 0, 0, 0], "process 9: exec");
        check(4, &[9, 9, 1000, 0, 0, 0], "process 9: user 1000, effective 0");
        check(0x40, &[9, 9, 7, 8, 0, 0], "process 9: group 7, effective 8");
        check(0x80, &[9, 9, 0, 0, 0, 0], "process 9: leads a new session");
        let name = u32::from_ne_bytes(*b"name");
        check(0x200, &[9, 9, name, 0, name, 0], "process 9: named \"name\"");
        check(0x200, &[9, 9, name, name, name, name], "process 9: named \"namenamenamename\"");
        check(0x100, &[9, 9, 4, 4, 0, 0], "process 9: traced by 4");
        check(0x100, &[9, 9, 0, 0, 0, 0], "process 9: not traced any more");
        check(0x4000_0000, &[9, 9, 4, 4, 0, 0], "process 9: dumps its memory");
        check(0x4000_0000, &[9, 9], "process 9: dumps its memory");
        check(0x8000_0000, &[9, 9, 3 << 8, 17, 4, 4], "process 9: ended, exit status: 3");
        check(0x8000_0000, &[9, 9, 9, 17], "process 9: ended, signal: 9 (SIGKILL)");
        check(0x10, &[9, 9], "process 9: event 0x10");
    }

    #[test]
    fn what_an_older_kernel_does_not_say_is_not_made_up() {
        for (data, known) in [(&[9, 9, 0, 17, 4, 4][..], true), (&[9, 9, 0, 17], false)] {
            let bytes = bytes(0x8000_0000, data);
            let event = ProcessEvent::parse(&bytes).map(|event| event.happened);
            let Some(Happened::Exit { parent, signal: 17, .. }) = event else { panic!("{event:?}") };
            assert_eq!(parent, known.then_some(Task { process: 4, thread: 4 }));
        }
    }

    #[test]
    fn nothing_that_is_cut_off_can_do_harm() {
        for what in [0, 1, 2, 4, 0x40, 0x80, 0x100, 0x200, 0x10, 0x4000_0000, 0x8000_0000] {
            let bytes = bytes(what, &[9; 6]);
            assert_eq!(ProcessEvent::parse(&bytes).is_some(), what != 0, "{what:#x}");
            for length in 0..24 {
                assert!(ProcessEvent::parse(&bytes[..length]).is_none(), "{what:#x}, {length} bytes");
            }
            for length in 24..bytes.len() {
                let _ = ProcessEvent::parse(&bytes[..length]);
            }
        }
        let mut message = vec![0; HEADER];
        message[0..8].copy_from_slice(&[1_u32.to_ne_bytes(), 1_u32.to_ne_bytes()].concat());
        message[16..18].copy_from_slice(&2_u16.to_ne_bytes());
        message.extend(b"abc");
        assert_eq!(event(&message), Some(&b"ab"[..]));
        assert_eq!(event(&message[..HEADER + 1]), None);
        assert_eq!(event(&message[..17]), None);
        message[4] = 2;
        assert_eq!(event(&message), None);
    }
}
