//! Services over what is no socket: pipes, named pipes, a channel to a thread.

use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Peer, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{
    Communicator, Duplex, Fifo, FromThread, HandlerResult, Key, Reconnect, SendError, ToFifo, ToThread, pipe,
    pipe_pair,
};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

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

/// The other end of a channel, as somebody to answer.
struct Thread<'a> {
    communicator: &'a Communicator,
    to: &'a ToThread<Message>,
}

impl Peer for Thread<'_> {
    fn communicator(&self) -> &Communicator {
        self.communicator
    }
    fn key(&self) -> Key {
        self.to.key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.to.send(message.to_message()).map_err(|_| SendError::Gone)
    }
}

#[test]
fn a_service_answers_a_thread() {
    let (communicator, answers) = (Communicator::new().unwrap(), service());
    let thread: Rc<OnceCell<ToThread<Message>>> = Rc::default();
    let (service, back) = (Rc::clone(&answers), Rc::clone(&thread));
    let (to, end) = communicator
        .channel(4, move |event: FromThread<Message>, communicator| {
            if let (FromThread::Message(message), Some(to)) = (event, back.get()) {
                service.borrow_mut().dispatch(message.view(), &Thread { communicator, to }).unwrap();
            }
        })
        .unwrap();
    thread.set(to).unwrap();
    let asks = std::thread::spawn(move || {
        end.send(question()).unwrap();
        let answer = end.receive().expect("an answer");
        end.send(Message::new("STOP").unwrap()).unwrap();
        answer.view().to_text().unwrap()
    });
    communicator.run().unwrap();
    assert_eq!(asks.join().unwrap(), b"DOUBLED number=42");
}
