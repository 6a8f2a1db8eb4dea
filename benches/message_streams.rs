//! Messages from end to end: two loops, each in a thread of its own, and a stream between them. What is sent is written as text,
//! read, found in a table of 10 entries and counted by an action.
//!
//! `cargo bench --bench message_streams` prints a table; each figure is the best of some runs, as what else a machine does only
//! makes it slower.

use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages, ParseError};
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Limits};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// What comes to a handler.
type Came<'a> = std::result::Result<MessageRef<'a>, ParseError>;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    runs: usize,
    /// One way, of 32 bytes; a quarter of it of 1 KiB.
    messages: u64,
    round_trips: usize,
}

const FULL: Effort = Effort { runs: 7, messages: 4_000_000, round_trips: 30_000 };
/// Whether it works at all.
const TRIAL: Effort = Effort { runs: 1, messages: 20_000, round_trips: 100 };

/// Where the receiver is.
#[derive(Clone)]
enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

fn main() -> Result<()> {
    let trial = std::env::args().any(|argument| argument == "--test");
    let effort = if trial { TRIAL } else { FULL };
    let folder = tempfile::tempdir()?;
    println!("|  | messages/s | MB/s | round trip, mean | p50 | p99 |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (transport, is_unix) in [("Unix", true), ("TCP", false)] {
        for (size, payload) in [("32 bytes", 32), ("1 KiB", 1024)] {
            let path = folder.path().join("bench.sock");
            let path = is_unix.then_some(path.as_path());
            let messages = if payload > 100 { effort.messages / 4 } else { effort.messages };
            let mut rate: f64 = 0.0;
            let mut best = [f64::INFINITY; 3];
            for _ in 0..effort.runs {
                rate = rate.max(one_way(path, payload, messages)?);
                for (best, time) in best.iter_mut().zip(round_trips(path, payload, effort.round_trips)?) {
                    *best = best.min(time);
                }
            }
            let [mean, p50, p99] = best;
            let bytes = message(payload)?.view().to_text()?.len() as f64 + 1.0;
            println!(
                "| {transport}, {size} | {rate:.0} | {:.0} | {mean:.1} µs | {p50:.1} µs | {p99:.1} µs |",
                rate * bytes / 1e6
            );
        }
    }
    Ok(())
}

fn message(payload: usize) -> Result<Message> {
    Ok(Message::build("PUT").with("data", "x".repeat(payload)).finish()?)
}

/// What the receiver knows.
struct Sink {
    /// So many are still to come.
    left: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Hooks for Sink {}

impl Sink {
    fn put(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        self.first.get_or_insert_with(Instant::now);
        let data = message.get("data").ok_or("no data")?;
        self.left = self.left.saturating_sub(u64::from(!data.is_empty()));
        if self.left == 0 {
            self.last = Some(Instant::now());
            call.close_all();
        }
        Ok(())
    }

    fn ask(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        call.answer(message, Message::build("ANSWER"))
    }
}

/// Starts the receiver in a thread of its own; gives where it is, and later how long the messages took to come.
fn receiver(path: Option<&Path>, left: u64) -> Result<(Place, thread::JoinHandle<Result<Duration>>)> {
    let (give, take) = channel();
    let path = path.map(Path::to_owned);
    let thread = thread::spawn(move || -> Result<Duration> {
        let communicator = Communicator::new()?;
        let mut dispatcher = Dispatcher::new();
        dispatcher.on("PUT", Sink::put).map_err(|error| error.to_string())?;
        dispatcher.on("ASK", Sink::ask).map_err(|error| error.to_string())?;
        for number in 2..10 {
            dispatcher.on(&format!("OTHER_{number}"), Sink::put).map_err(|error| error.to_string())?;
        }
        let service = Service::new(Sink { left, first: None, last: None }, dispatcher).shared();
        let clients = Rc::clone(&service);
        let place = match path {
            Some(path) => {
                communicator.listen_unix(&path, move |client| {
                    client.serve(Messages::new(), Rc::clone(&clients))?;
                    Ok(())
                })?;
                Place::Unix(path)
            }
            None => {
                let listening = communicator.listen_tcp("127.0.0.1:0".parse()?, move |client| {
                    client.serve(Messages::new(), Rc::clone(&clients))?;
                    Ok(())
                })?;
                Place::Tcp(listening.address())
            }
        };
        give.send((place, communicator.remote()?))?;
        communicator.run()?;
        let Sink { first, last, .. } = &service.borrow().state;
        Ok(last.zip(*first).map_or(Duration::ZERO, |(last, first)| last - first))
    });
    match take.recv() {
        Ok((place, _)) => Ok((place, thread)),
        Err(_) => Err(match thread.join() {
            Ok(Err(error)) => error,
            _ => "the receiver ended".into(),
        }),
    }
}

fn connect<H: Handler<Messages>>(communicator: &Communicator, place: &Place, handler: H) -> Result<()> {
    match place {
        Place::Unix(path) => communicator.connect_unix(path, Messages::new(), handler)?,
        Place::Tcp(address) => communicator.connect_tcp(*address, Messages::new(), handler)?,
    };
    Ok(())
}

/// Sends as long as there is room.
struct Source {
    message: Message,
    left: u64,
}

impl Source {
    fn pump(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        let high_water = Limits::default().high_water;
        while self.left > 0 && cx.queued_bytes(cx.id()) < high_water {
            for _ in 0..self.left.min(100) {
                cx.reply(self.message.view())?;
                self.left -= 1;
            }
        }
        if self.left == 0 {
            cx.close();
        }
        Ok(())
    }
}

impl Handler<Messages> for Source {
    fn connected(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.pump(cx)
    }
    fn drained(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.pump(cx)
    }
    fn message(&mut self, _: Came<'_>, _: &Cx<'_, Messages>) -> HandlerResult {
        Err("nobody asked".into())
    }
}

/// Messages per second.
fn one_way(path: Option<&Path>, payload: usize, messages: u64) -> Result<f64> {
    let (place, receiver) = receiver(path, messages)?;
    let communicator = Communicator::new()?;
    connect(&communicator, &place, Source { message: message(payload)?, left: messages })?;
    communicator.run()?;
    let time = receiver.join().map_err(|_| "the receiver panicked")??;
    Ok(messages as f64 / time.as_secs_f64())
}

/// Asks again when it is answered.
struct Asking {
    question: Message,
    asked: Instant,
    times: Rc<RefCell<Vec<Duration>>>,
    rounds: usize,
}

impl Asking {
    fn ask(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.asked = Instant::now();
        Ok(cx.reply(self.question.view())?)
    }
}

impl Handler<Messages> for Asking {
    fn connected(&mut self, cx: &Cx<'_, Messages>) -> HandlerResult {
        self.ask(cx)
    }
    fn message(&mut self, answer: Came<'_>, cx: &Cx<'_, Messages>) -> HandlerResult {
        answer?;
        self.times.borrow_mut().push(self.asked.elapsed());
        if self.times.borrow().len() < self.rounds {
            return self.ask(cx);
        }
        cx.reply(Message::build("PUT").with("data", "end").finish()?.view())?;
        cx.close();
        Ok(())
    }
}

/// Mean, median and 99th percentile of a round trip, in microseconds.
fn round_trips(path: Option<&Path>, payload: usize, rounds: usize) -> Result<[f64; 3]> {
    let (place, receiver) = receiver(path, 1)?;
    let communicator = Communicator::new()?;
    let times = Rc::new(RefCell::new(Vec::with_capacity(rounds)));
    let question = Message::build("ASK").with("data", "x".repeat(payload)).finish()?;
    let asking = Asking { question, asked: Instant::now(), times: Rc::clone(&times), rounds };
    connect(&communicator, &place, asking)?;
    communicator.run()?;
    receiver.join().map_err(|_| "the receiver panicked")??;
    let mut times = times.take();
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let at = |part: usize| times.get(times.len() * part / 100).copied().map_or(f64::NAN, micros);
    let mean = micros(times.iter().sum()) / times.len() as f64;
    Ok([mean, at(50), at(99)])
}
