//! Keeps programs running: starts them, starts those that end again after a pause that grows, and stops them all in order.
//!
//! `supervisor FILE [FIRST LAST STOP]`: each line of the file is a name, a program and its arguments, with blanks between; `#` begins a
//! comment. The pauses before a restart go from FIRST to LAST milliseconds (100 and 10000), doubled each time, and begin anew
//! when a program has run for LAST. `INT` or `TERM` stops everything: each program gets `TERM`, after STOP milliseconds
//! (5000) `KILL`. A second one kills at once. `HUP`, `USR1` and `USR2` are passed on.
//!
//! What the programs write is printed line by line, with their names in front.

use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Command, Communicator, Cx, Escalation, Fd, Handler, HandlerResult, Id, Process, Signal, communicator,
    on_item, process::Finished, signals::Received,
};
use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

struct Supervisor {
    services: Vec<Service>,
    first: Duration,
    last: Duration,
    stop: Duration,
    stopping: bool,
    output: Id<Lines>,
}

/// One program.
struct Service {
    name: String,
    program: Vec<String>,
    process: Option<Process>,
    /// Before it is started again.
    pause: Duration,
    /// By the loop's clock.
    started: Duration,
}

type Shared = Rc<RefCell<Supervisor>>;

/// Starts a program, or tries to.
fn start(shared: &Shared, index: usize, communicator: &Communicator) {
    let mut supervisor = shared.borrow_mut();
    if supervisor.stopping {
        return;
    }
    let output = supervisor.output;
    let Service { name, program, .. } = &supervisor.services[index];
    let command = Command::new(&program[0])
        .args(&program[1..])
        .connect_output(Lines::new(), prints(output, name))
        .connect_errors(Lines::new(), prints(output, name))
        .group() // with whatever it starts; and the terminal's Ctrl-C goes to this process only
        .kill();
    let ended = shared.clone();
    let started = communicator.process(command, move |finished, communicator| {
        ended_with(&ended, index, &finished, communicator);
    });
    let service = &mut supervisor.services[index];
    service.started = communicator.time();
    match started {
        Ok(process) => {
            let pids: Vec<String> = process.pids().iter().map(ToString::to_string).collect();
            say(output, communicator, &format!("{}: started as {}", service.name, pids.join(", ")));
            communicator.set_name(process.key(), &service.name);
            service.process = Some(process);
        }
        Err(error) => {
            say(output, communicator, &format!("{}: can't be started: {error}", service.name));
            drop(supervisor);
            again(shared, index, communicator);
        }
    }
}

/// A handler that prints lines with a name in front.
fn prints(output: Id<Lines>, name: &str) -> impl Handler<Lines> + use<> {
    let name = name.to_owned();
    on_item::<Lines, _>(move |line: &str, cx: &Cx<'_, Lines>| {
        say(output, cx, &format!("{name}| {line}"));
        Ok(())
    })
}

fn ended_with(shared: &Shared, index: usize, finished: &Finished, communicator: &Communicator) {
    let mut supervisor = shared.borrow_mut();
    let (output, last) = (supervisor.output, supervisor.last);
    let service = &mut supervisor.services[index];
    service.process = None;
    for status in &finished.statuses {
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        say(output, communicator, &format!("{}: ended, {how}", service.name));
    }
    if communicator.time().saturating_sub(service.started) >= last {
        service.pause = Duration::ZERO;
    }
    drop(supervisor);
    again(shared, index, communicator);
}

/// Starts a program again after its pause; or ends, if it was the last to be stopped.
fn again(shared: &Shared, index: usize, communicator: &Communicator) {
    let mut supervisor = shared.borrow_mut();
    if supervisor.stopping {
        if supervisor.services.iter().all(|service| service.process.is_none()) {
            communicator.close_all();
        }
        return;
    }
    let (first, last, output) = (supervisor.first, supervisor.last, supervisor.output);
    let service = &mut supervisor.services[index];
    service.pause = (service.pause * 2).clamp(first, last);
    let pause = service.pause;
    say(output, communicator, &format!("{}: again in {} ms", service.name, pause.as_millis()));
    let shared = shared.clone();
    communicator.after(pause, move |communicator| start(&shared, index, communicator));
}

fn signal(shared: &Shared, received: Received, communicator: &Communicator) {
    let mut supervisor = shared.borrow_mut();
    let output = supervisor.output;
    say(output, communicator, &format!("supervisor: {}", without_number(received)));
    let running = supervisor.services.iter().filter_map(|service| service.process.as_ref());
    match received.signal {
        Signal::INT | Signal::TERM => {
            let escalation = if supervisor.stopping {
                Escalation::new([(Signal::KILL, Duration::ZERO)])
            } else {
                Escalation::new([(Signal::TERM, supervisor.stop), (Signal::KILL, Duration::ZERO)])
            };
            let stopped = running.filter(|process| process.stop(communicator, &escalation)).count();
            if stopped == 0 && supervisor.services.iter().all(|service| service.process.is_none()) {
                communicator.close_all();
            }
            supervisor.stopping = true;
        }
        other => {
            for process in running {
                // One that has just ended needs it no more.
                let _ = process.signal(other);
            }
        }
    }
}

fn without_number(received: Received) -> String {
    match received.sender {
        Some(sender) => format!("{} from user {}", received.signal, sender.uid),
        None => received.signal.to_string(),
    }
}

/// Prints a line. When nobody takes what is printed, programs go on all the same.
fn say(output: Id<Lines>, communicator: &Communicator, line: &str) {
    let _ = communicator.send(output, line);
}

struct Output;

impl Handler<Lines> for Output {
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        Ok(())
    }
}

fn services(text: &str) -> Result<Vec<Service>, String> {
    let mut services: Vec<Service> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned);
        let Some(name) = words.next() else { continue };
        let program: Vec<String> = words.collect();
        if program.is_empty() {
            return Err(format!("line {}: {name}: a program is missing", number + 1));
        }
        if services.iter().any(|service| service.name == name) {
            return Err(format!("line {}: there is a {name} already", number + 1));
        }
        let (pause, started) = (Duration::ZERO, Duration::ZERO);
        services.push(Service { name, program, process: None, pause, started });
    }
    if services.is_empty() { Err("there is nothing to start".into()) } else { Ok(services) }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, times) = arguments.split_first().ok_or("usage: supervisor FILE [FIRST LAST STOP]")?;
    let time = |index: usize, unless: u64| -> Result<Duration, Box<dyn Error>> {
        let Some(text) = times.get(index) else { return Ok(Duration::from_millis(unless)) };
        let millis =
            text.parse().map_err(|error| format!("{text}: not a number of milliseconds: {error}"))?;
        Ok(Duration::from_millis(millis))
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let services = services(&text).map_err(|error| format!("{path}: {error}"))?;
    let first = time(0, 100)?;
    let last = time(1, 10_000)?.max(first);
    let communicator = communicator();
    let output = communicator.stream(Fd::stdout()?, Lines::new(), Output)?;
    let count = services.len();
    let supervisor = Supervisor { services, first, last, stop: time(2, 5000)?, stopping: false, output };
    let shared = Rc::new(RefCell::new(supervisor));
    let caught = [Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1, Signal::USR2];
    communicator.signals_from(caught, {
        let shared = shared.clone();
        move |received, communicator| signal(&shared, received, communicator)
    })?;
    for index in 0..count {
        start(&shared, index, &communicator);
    }
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}
