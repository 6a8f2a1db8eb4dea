//! Services over what is no socket: pipes, named pipes, a channel to a thread.

use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Peer, Request, Service, ThreadLink};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{
    Closed, Communicator, Duplex, Fifo, HandlerResult, Reconnect, SendError, ThreadEnd, ToFifo, pipe,
    pipe_pair,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Doubles numbers, and ends its side when it has got an answer.
#[derive(Default)]
struct Doubler {
    answers: Vec<String>,
}

impl Hooks for Doubler {}

impl Doubler {
    fn double(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let number = message.value::<i64>("number")?;
        call.answer(message, Message::build("DOUBLED").with("number", 2 * number))
    }

    fn doubled(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        self.answers.push(String::from_utf8(message.to_text()?)?);
        call.close_all();
        Ok(())
    }
}

type Shared = Rc<RefCell<Service<Doubler>>>;

fn service() -> Shared {
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("DOUBLE", Doubler::double).unwrap();
    dispatcher.on("DOUBLED", Doubler::doubled).unwrap();
    Service::new(Doubler::default(), dispatcher).shared()
}

fn question() -> Message {
    Message::build("DOUBLE").with("number", 21).finish().unwrap()
}

fn check(service: &Shared) {
    assert_eq!(service.borrow().state.answers, ["DOUBLED number=42"]);
}

#[test]
fn services_talk_through_a_pair_of_pipes() {
    let (communicator, asks, answers) = (Communicator::new().unwrap(), service(), service());
    let (one, two) = pipe_pair().unwrap();
    communicator.stream(one, Messages::new(), Rc::clone(&answers)).unwrap();
    let id = communicator.stream(two, Messages::new(), Rc::clone(&asks)).unwrap();
    communicator.send(id, question().view()).unwrap();
    communicator.run().unwrap();
    check(&asks);
}

#[test]
fn services_talk_through_two_pipes_that_lead_one_way_each() {
    let (communicator, asks, answers) = (Communicator::new().unwrap(), service(), service());
    let ((read_question, write_question), (read_answer, write_answer)) = (pipe().unwrap(), pipe().unwrap());
    let (near, far) = (Duplex::new(read_answer, write_question), Duplex::new(read_question, write_answer));
    communicator.stream(far, Messages::new(), Rc::clone(&answers)).unwrap();
    let id = communicator.stream(near, Messages::new(), Rc::clone(&asks)).unwrap();
    communicator.send(id, question().view()).unwrap();
    communicator.run().unwrap();
    check(&asks);
}

#[test]
fn a_service_hears_through_a_named_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = || Fifo::new(folder.path().join("service"));
    let (communicator, hears) = (Communicator::new().unwrap(), service());
    // The writer is there before its reader.
    let to = ToFifo::new(fifo());
    let again = Reconnect::new("0.01".parse().unwrap());
    let id = communicator.permanent(to, again, Messages::new, service());
    let message = Message::build("DOUBLED").with("number", 42).finish().unwrap();
    communicator.send(id, message.view()).unwrap();
    communicator.stream(fifo().keep().reader().unwrap(), Messages::new(), Rc::clone(&hears)).unwrap();
    communicator.run().unwrap();
    check(&hears);
}

#[test]
fn a_service_answers_a_thread() {
    let (communicator, answers) = (Communicator::new().unwrap(), service());
    let (_, end) = communicator.message_channel(4, answers).unwrap();
    let asks = std::thread::spawn(move || {
        end.send(question()).unwrap();
        let answer = end.receive().expect("an answer");
        end.send(Message::new("STOP").unwrap()).unwrap();
        assert_eq!(end.receive(), None, "the service has ended the channel");
        answer.view().to_text().unwrap()
    });
    communicator.run().unwrap();
    assert_eq!(asks.join().unwrap(), b"DOUBLED number=42");
}

/// Asks a thread, and writes down what happens to the channel.
#[derive(Default)]
struct Asks {
    seen: Vec<String>,
    /// So long it waits for each answer.
    patience: Duration,
}

impl Asks {
    fn service(patience: Duration) -> Rc<RefCell<Service<Self>>> {
        let mut dispatcher = Dispatcher::with_built_in();
        dispatcher
            .on("NUMBER", |asks: &mut Self, message, _| {
                asks.seen.push(String::from_utf8(message.to_text()?)?);
                Ok(())
            })
            .unwrap();
        dispatcher.on("FAIL", |_: &mut Self, _, _| Err("told to fail".into())).unwrap();
        dispatcher
            .on("REST", |_: &mut Self, _, call| {
                let key = call.key();
                assert!(call.enable(key, false) && call.set_priority(key, 9));
                call.after(Duration::ZERO, move |communicator| assert!(communicator.enable(key, true)));
                Ok(())
            })
            .unwrap();
        dispatcher
            .on("GO", |_: &mut Self, _, call| {
                assert!(call.remove(call.key()));
                Ok(())
            })
            .unwrap();
        Service::new(Self { seen: Vec::new(), patience }, dispatcher).shared()
    }
}

impl Hooks for Asks {
    fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        self.seen.push("connected".to_owned());
        let request = Request::new(question(), |asks: &mut Self, answer, _| {
            asks.seen.push(match answer {
                Ok(message) => String::from_utf8_lossy(&message.get("number").unwrap()).into_owned(),
                Err(why) => format!("{why:?}"),
            });
            Ok(())
        });
        Ok(call.request(request.timeout(self.patience))?)
    }
    fn drained(&mut self, _: &mut Call<'_, Self>) -> HandlerResult {
        self.seen.push("drained".to_owned());
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &mut Call<'_, Self>) {
        self.seen.push(format!("closed: {why}"));
    }
}

const LONG: Duration = Duration::from_secs(600);

fn number(number: i64) -> Message {
    Message::build("NUMBER").with("n", number).finish().unwrap()
}

type End = ThreadEnd<Message, Message>;

/// How long the service waits, what the thread does, and what the service has seen.
type Case = (Duration, fn(End), &'static [&'static str]);

#[test]
fn a_service_asks_a_thread_and_hears_of_its_end() {
    let cases: [Case; 6] = [
        (
            LONG,
            |end| {
                let question = end.receive().unwrap();
                let answer = Message::build("DOUBLED").with("number", 42).answer_to(question.view());
                end.send(answer.finish().unwrap()).unwrap();
            },
            &["connected", "42", "closed: ended by the other side"],
        ),
        (
            LONG,
            |end| {
                end.receive().unwrap();
                end.send(number(1)).unwrap();
            },
            &["connected", "NUMBER n=1", "Closed", "closed: ended by the other side"],
        ),
        (
            Duration::from_millis(1),
            |end| {
                end.receive().unwrap();
                assert_eq!(end.receive(), None);
            },
            &["connected", "TimedOut", "Closed by the test", "closed: closed by this program"],
        ),
        (
            LONG,
            |end| {
                for message in [number(1), Message::new("FAIL").unwrap(), number(2)] {
                    let _ = end.send(message);
                }
                while end.receive().is_some() {}
            },
            &["connected", "NUMBER n=1", "Closed", "closed: its handler failed: told to fail"],
        ),
        (
            LONG,
            |end| {
                for message in [number(1), Message::new("REST").unwrap(), number(2)] {
                    end.send(message).unwrap();
                }
            },
            &["connected", "NUMBER n=1", "NUMBER n=2", "Closed", "closed: ended by the other side"],
        ),
        (
            LONG,
            |end| {
                for message in [number(1), Message::new("GO").unwrap(), number(2)] {
                    let _ = end.send(message);
                }
                while end.receive().is_some() {}
            },
            &["connected", "NUMBER n=1"],
        ),
    ];
    for (patience, thread, expected) in cases {
        let (communicator, service) = (Communicator::new().unwrap(), Asks::service(patience));
        let (to, end) = communicator.message_channel(4, Rc::clone(&service)).unwrap();
        let thread = std::thread::spawn(move || thread(end));
        if expected.contains(&"TimedOut") {
            while service.borrow().state.seen.len() < 2 {
                communicator.turn(Some(Duration::from_secs(20))).unwrap();
            }
            service.borrow_mut().state.seen.push("Closed by the test".to_owned());
            assert!(communicator.close(to.key()));
        }
        communicator.run().unwrap();
        thread.join().unwrap();
        assert_eq!(service.borrow().state.seen, expected);
        assert_eq!(ThreadLink::new(&communicator, &to).send(question().view()), Err(SendError::Gone));
    }
}

#[test]
fn a_channel_of_messages_has_its_bound_and_is_said_to_have_room_again() {
    let (communicator, service) = (Communicator::new().unwrap(), Asks::service(LONG));
    let (to, end) = communicator.message_channel(3, Rc::clone(&service)).unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap(); // its question is there
    let link = ThreadLink::new(&communicator, &to);
    for n in [1, 2] {
        link.send(number(n).view()).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(link.send(number(3).view()), Err(SendError::Full { queued: 3 }));
    }
    let thread = std::thread::spawn(move || [end.receive(), end.receive(), end.receive()].len());
    assert_eq!(thread.join().unwrap(), 3);
    communicator.run().unwrap();
    let seen = &service.borrow().state.seen;
    assert_eq!(*seen, ["connected", "drained", "Closed", "closed: ended by the other side"]);
}

#[test]
fn a_channel_has_a_deadline_and_timers_of_its_own() {
    let (communicator, service) = (Communicator::new().unwrap(), Asks::service(LONG));
    let (to, _end) = communicator.message_channel(1, Rc::clone(&service)).unwrap();
    assert!(communicator.set_deadline(to.key(), Some(std::time::Instant::now())));
    communicator.run().unwrap();
    let seen = &service.borrow().state.seen;
    assert_eq!(*seen, ["connected", "Closed", "closed: timed out: the deadline is over"]);
}
