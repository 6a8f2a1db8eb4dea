//! One generator: a thread, a loop, some connections.

use super::codec::{Chunk, Counted};
use super::report::Measurement;
use crate::failure::Failure;
use eventdispatcher::connections::clacks::client::{ClientError, ClientOptions};
use eventdispatcher::connections::clacks::{Flags, ServerLine};
use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, Id, Limits, Signal};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The last line of an opening.
const READY: &[u8] = b"clacks-bench-ready";

/// For how long.
#[derive(Debug, Clone)]
pub(super) struct Times {
    /// What is measured.
    pub(super) seconds: Duration,
    /// So long without an answer is too long.
    pub(super) timeout: Duration,
}

impl Times {
    fn warm_up(&self) -> Duration {
        (self.seconds / 5).min(Duration::from_millis(500))
    }
}

/// What is sent, and what is counted.
pub(super) trait Load: 'static {
    /// How many connections it needs.
    fn connections(&self) -> usize;

    /// What a connection sends after its login. When the server has done all of that, it begins.
    fn opening(&self, connection: usize) -> Vec<u8>;

    /// The length of each line that is counted, its end included.
    fn reply_length(&self) -> usize;

    /// All connections are there.
    fn begin(&mut self, traffic: &mut Traffic<'_>);

    /// So many lines have come.
    fn replies(&mut self, connection: usize, lines: usize, traffic: &mut Traffic<'_>);
}

/// What a [`Load`] can do.
pub(super) struct Traffic<'a> {
    communicator: &'a Communicator,
    connections: &'a [Id<Counted>],
    measurement: Option<&'a mut Measurement>,
    failure: &'a mut Option<Failure>,
    pub(super) now: Instant,
}

impl Traffic<'_> {
    pub(super) fn send(&mut self, connection: usize, bytes: &[u8]) {
        let Some(&id) = self.connections.get(connection) else { return };
        if let Err(error) = self.communicator.send(id, bytes) {
            self.failure.get_or_insert(ClientError::from(error).into());
        }
    }

    /// Counts what is done.
    pub(super) fn done(&mut self, messages: usize) {
        if let Some(measurement) = &mut self.measurement {
            measurement.messages += messages as u64;
        }
    }

    /// Notes the time since `sent`, for so many.
    pub(super) fn latency(&mut self, sent: Instant, count: usize) {
        if let Some(measurement) = &mut self.measurement {
            measurement.latency(self.now.saturating_duration_since(sent), count as u64);
        }
    }
}

/// Runs a load for the time that it is measured.
pub(super) fn run(
    load: Box<dyn Load>,
    options: &ClientOptions,
    times: &Times,
) -> Result<Measurement, Failure> {
    let communicator = Communicator::new().map_err(Failure::System)?;
    let (route, login) = (options.route()?, options.login()?);
    let login = login.lines().map(|line| line + "\r\n").concat();
    let connections = load.connections();
    let run = Rc::new(RefCell::new(Run {
        load,
        times: times.clone(),
        connections: Vec::with_capacity(connections),
        openings: connections,
        phase: Phase::Opening,
        measurement: Measurement::nothing()?,
        progress: 0,
        failure: None,
    }));
    for connection in 0..connections {
        let end = End { run: run.clone(), connection };
        let id =
            communicator.stream(route.connect()?, Counted::default(), end).map_err(ClientError::Connect)?;
        // What waits is limited by the load's window.
        communicator.set_limits(id, Limits { output: usize::MAX, ..Limits::default() });
        let opening = run.borrow().load.opening(connection);
        // Without PING: the loop may be busy with other things than timers.
        let opening = [login.as_bytes(), b"NOPING\r\n", &opening, b"FLUSH ", READY, b"\r\n"].concat();
        communicator.send(id, &opening).map_err(ClientError::from)?;
        run.borrow_mut().connections.push(id);
    }
    let interrupted = run.clone();
    let caught = communicator.signals([Signal::INT, Signal::TERM], move |_, communicator| {
        interrupted.borrow_mut().fail(Failure::Interrupted, communicator);
    });
    caught.map_err(Failure::System)?;
    let (stalled, mut before) = (run.clone(), 0);
    communicator.every(times.timeout, move |communicator| {
        let run = &mut *stalled.borrow_mut();
        if std::mem::replace(&mut before, run.progress) == run.progress {
            run.fail(ClientError::TimedOut.into(), communicator);
        }
    });
    communicator.run().map_err(Failure::System)?;
    let run = &mut *run.borrow_mut();
    match run.failure.take() {
        Some(failure) => Err(failure),
        None => Ok(std::mem::replace(&mut run.measurement, Measurement::nothing()?)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    WarmUp,
    /// Since when.
    Measuring(Instant),
    Ended,
}

struct Run {
    load: Box<dyn Load>,
    times: Times,
    connections: Vec<Id<Counted>>,
    /// Connections that are not ready yet.
    openings: usize,
    phase: Phase,
    measurement: Measurement,
    /// Grows with all that comes.
    progress: u64,
    failure: Option<Failure>,
}

impl Run {
    fn fail(&mut self, failure: Failure, communicator: &Communicator) {
        self.failure.get_or_insert(failure);
        self.phase = Phase::Ended;
        communicator.stop();
    }

    fn traffic(&mut self, communicator: &Communicator, call: impl FnOnce(&mut dyn Load, &mut Traffic<'_>)) {
        let Self { load, connections, measurement, failure, phase, .. } = self;
        let is_measured = matches!(phase, Phase::Measuring(_));
        let measurement = is_measured.then_some(measurement);
        let mut traffic = Traffic { communicator, connections, measurement, failure, now: Instant::now() };
        call(&mut **load, &mut traffic);
        if failure.is_some() {
            *phase = Phase::Ended;
            communicator.stop();
        }
    }

    fn end(&mut self, communicator: &Communicator) {
        if let Phase::Measuring(since) = self.phase {
            self.measurement.ran(since.elapsed());
        }
        self.phase = Phase::Ended;
        communicator.stop();
    }
}

/// A connection's end on this side.
struct End {
    run: Rc<RefCell<Run>>,
    connection: usize,
}

impl End {
    /// Looks at lines one by one. How many of them count; or why it can't go on.
    fn look(&self, chunk: &Chunk<'_>, length: usize) -> Result<(usize, bool), ClientError> {
        let (mut count, mut is_ready) = (0, false);
        for line in chunk.each() {
            match ServerLine::parse(line) {
                _ if line.len() + 2 == length => count += 1,
                ServerLine::Flushed(READY) => is_ready = true,
                ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::ERROR) => {
                    return Err(match overhead.value {
                        b"permission_denied" => ClientError::PermissionDenied,
                        words => ClientError::Refused(String::from_utf8_lossy(words).into_owned()),
                    });
                }
                ServerLine::Overhead(overhead) if overhead.flags.contains(Flags::AUTH_FAILED) => {
                    return Err(ClientError::LoginFailed);
                }
                ServerLine::Clacks(_) | ServerLine::Overhead(_) | ServerLine::Nop => {}
                ServerLine::Quit => return Err(ClientError::Quit),
                ServerLine::Timeout => return Err(ClientError::TimedOutByServer),
                _ => return Err(ClientError::NotClacks(String::from_utf8_lossy(line).into_owned())),
            }
        }
        Ok((count, is_ready))
    }

    /// All connections are there: the load begins, and so does its time.
    fn begin(&self, run: &mut Run, communicator: &Communicator) {
        run.phase = Phase::WarmUp;
        let (warm, ends) = (self.run.clone(), self.run.clone());
        let (warm_up, seconds) = (run.times.warm_up(), run.times.seconds);
        communicator.after(warm_up, move |communicator| {
            let run = &mut *warm.borrow_mut();
            if run.phase == Phase::WarmUp {
                run.phase = Phase::Measuring(Instant::now());
            }
            communicator.after(seconds, move |communicator| ends.borrow_mut().end(communicator));
        });
        run.traffic(communicator, |load, traffic| load.begin(traffic));
    }
}

impl Handler<Counted> for End {
    fn message(&mut self, chunk: Chunk<'_>, cx: &Cx<'_, Counted>) -> HandlerResult {
        let run = &mut *self.run.borrow_mut();
        run.progress += 1;
        let length = run.load.reply_length();
        let (lines, is_ready) = if run.phase != Phase::Opening && chunk.is_all(length) {
            (chunk.lines, false)
        } else {
            match self.look(&chunk, length) {
                Ok(looked) => looked,
                Err(error) => {
                    run.fail(error.into(), cx);
                    return Ok(());
                }
            }
        };
        match run.phase {
            Phase::Opening if is_ready => {
                run.openings = run.openings.saturating_sub(1);
                if run.openings == 0 {
                    self.begin(run, cx);
                }
            }
            Phase::Opening | Phase::Ended => {}
            Phase::WarmUp | Phase::Measuring(_) => {
                run.traffic(cx, |load, traffic| load.replies(self.connection, lines, traffic));
            }
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Counted>) {
        let run = &mut *self.run.borrow_mut();
        if run.phase != Phase::Ended {
            run.fail(ClientError::Disconnected(why.to_string()).into(), cx);
        }
    }
}
