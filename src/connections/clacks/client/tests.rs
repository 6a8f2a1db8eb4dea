//! Both kinds of client against a server that only writes down what it gets: the same commands, the same lines, the same errors.

use super::manners::Manners;
use super::{BlockingClient, Client, ClientError, Event, Login};
use crate::communicator::{Communicator, Reconnect};
use mio::net::UnixStream as MioStream;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// The lines that a server got after the login.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Vec<String>>>);

impl Got {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// All but those that only ask for a sign.
    fn commands(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| !line.starts_with("FLUSH ")).collect()
    }
}

/// Serves one client: it may listen, and manage, and signal nothing but what does not begin with `x`.
fn serve(stream: UnixStream, got: &Got) {
    let mut out = stream.try_clone().unwrap();
    let mut say = |text: String| drop(out.write_all(text.as_bytes()));
    say("CLACKS a test\nOVERHEAD M Authentication required\n".to_owned());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "CLACKS" => continue,
            "FLUSH" => say(format!("FLUSHED {rest}\n")),
            "RETRIEVE" => say(format!("RETRIEVED {rest}={}\r\n", longest_value(rest))),
            "STATUS" => say("STATUSSTART\nSTATUS a=1=2\nSTATUS b=\nSTATUSEND\n".to_owned()),
            "OVERHEAD" if rest.starts_with("A ") => {
                say("OVERHEAD O Welcome!\n".to_owned());
                continue;
            }
            "OVERHEAD" if rest.starts_with('G') => say("OVERHEAD E permission_denied\n".to_owned()),
            "SET" if rest.starts_with('x') => say("OVERHEAD E permission_denied\n".to_owned()),
            "LISTEN" => say(format!("SET {rest}=another\nOVERHEAD M hello\n")),
            _ => {}
        }
        got.0.lock().unwrap().push(line);
    }
}

fn served(got: &Got) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let got = got.clone();
    thread::spawn(move || serve(theirs, &got));
    ours.set_nonblocking(true).unwrap();
    ours
}

fn manners(name: Option<&str>, every: Duration) -> Manners {
    let mut manners = Manners::default();
    manners.remember(name);
    if let Some(remember) = &mut manners.remember {
        remember.every = every;
    }
    manners
}

/// What both kinds of client do, for the same tests.
trait Kind {
    fn start(stream: UnixStream, manners: Manners) -> Self;
    fn call<T: 'static>(
        &mut self,
        blocking: impl FnOnce(&mut BlockingClient) -> Result<T, ClientError>,
        evented: impl FnOnce(&Client, Slot<T>) -> Result<(), ClientError>,
    ) -> Result<T, ClientError>;
    fn leave_out_unchanged(&mut self);
    fn set(&mut self, name: &str, value: &str);
    fn events(&mut self) -> Vec<Event>;

    fn command(
        &mut self,
        blocking: impl FnOnce(&mut BlockingClient) -> Result<(), ClientError>,
        evented: impl FnOnce(&Client) -> Result<(), ClientError>,
    ) {
        let done = self.call(blocking, |client, slot| {
            evented(client)?;
            client.flush(move |answer, _| *slot.borrow_mut() = Some(answer))
        });
        done.unwrap();
    }
}

type Slot<T> = Rc<RefCell<Option<Result<T, ClientError>>>>;

impl Kind for BlockingClient {
    fn start(stream: UnixStream, manners: Manners) -> Self {
        let stream = MioStream::from_std(stream);
        Self::begin(stream, &Login::new("ada", "hush"), manners).unwrap()
    }

    fn call<T: 'static>(
        &mut self,
        blocking: impl FnOnce(&mut BlockingClient) -> Result<T, ClientError>,
        _: impl FnOnce(&Client, Slot<T>) -> Result<(), ClientError>,
    ) -> Result<T, ClientError> {
        blocking(self)
    }

    fn leave_out_unchanged(&mut self) {
        Self::leave_out_unchanged(self, true);
    }

    fn set(&mut self, name: &str, value: &str) {
        match Self::set(self, name.as_bytes(), value.as_bytes()) {
            Ok(()) | Err(ClientError::PermissionDenied) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next_event(Duration::ZERO).unwrap()).collect()
    }
}

/// A client with its loop.
struct Evented {
    communicator: Communicator,
    client: Client,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Evented {
    fn until(&self, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !done() {
            assert!(Instant::now() < end, "it did not come: {:?}", self.events.borrow());
            self.communicator.turn(Some(Duration::from_millis(5))).unwrap();
        }
    }
}

impl Kind for Evented {
    fn start(stream: UnixStream, manners: Manners) -> Self {
        let communicator = Communicator::new().unwrap();
        let events = Rc::<RefCell<Vec<Event>>>::default();
        let told = events.clone();
        let handler = move |event: &Event, _: &Client| {
            told.borrow_mut().push(event.clone());
            Ok(())
        };
        let stream = MioStream::from_std(stream);
        let login = Login::new("ada", "hush");
        let client = Client::start(&communicator, stream, "", &login, manners, handler).unwrap();
        let evented = Self { communicator, client, events };
        evented.until(|| !evented.events.borrow().is_empty());
        let connected = evented.events.borrow_mut().remove(0);
        assert_eq!(connected, Event::Connected { server: "a test".to_owned() });
        evented
    }

    fn call<T: 'static>(
        &mut self,
        _: impl FnOnce(&mut BlockingClient) -> Result<T, ClientError>,
        evented: impl FnOnce(&Client, Slot<T>) -> Result<(), ClientError>,
    ) -> Result<T, ClientError> {
        let slot = Slot::default();
        evented(&self.client, slot.clone())?;
        self.until(|| slot.borrow().is_some());
        let answer = slot.borrow_mut().take();
        answer.expect("it is there")
    }

    fn leave_out_unchanged(&mut self) {
        self.client.leave_out_unchanged(true);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.client.set(name.as_bytes(), value.as_bytes()).unwrap();
        let slot = Slot::default();
        let done = slot.clone();
        self.client.flush(move |answer, _| *done.borrow_mut() = Some(answer)).unwrap();
        self.until(|| slot.borrow().is_some());
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events.borrow_mut())
    }
}

fn signs_of_life<K: Kind>() {
    let got = Got::default();
    let mut client = K::start(served(&got), Manners::default());
    client.command(|client| client.ping(), |client| client.ping());
    client.command(|client| client.no_ping(), |client| client.no_ping());
    client.command(|client| client.ping(), |client| client.ping());
    client.command(|client| client.ping(), |client| client.ping());
    // To connect is a sign, and the second one comes too soon.
    assert_eq!(got.commands(), ["NOPING", "PING"]);
}

#[test]
fn a_sign_of_life_is_given_when_one_is_due() {
    signs_of_life::<BlockingClient>();
    signs_of_life::<Evented>();
}

/// What makes a line of 16 MiB when it is stored.
fn longest_value(key: &str) -> String {
    "x".repeat(super::super::MAX_LINE - format!("STORE {key}=").len())
}

fn longest<K: Kind>() {
    let mut client = K::start(served(&Got::default()), Manners::default());
    let value = client.call(
        |client| client.retrieve(b"k"),
        |client, slot| client.retrieve(b"k", move |answer, _| *slot.borrow_mut() = Some(answer)),
    );
    let value = value.unwrap().expect("it is there");
    assert!(value == longest_value("k").into_bytes(), "{} bytes came", value.len());
}

#[test]
fn what_was_the_longest_line_to_a_server_can_be_read_when_it_comes_back() {
    longest::<BlockingClient>();
    longest::<Evented>();
}

fn says_and_asks<K: Kind>() {
    let got = Got::default();
    let mut client = K::start(served(&got), Manners::default());
    let status = client.call(
        |client| client.status(),
        |client, slot| client.status(move |answer, _| *slot.borrow_mut() = Some(answer)),
    );
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(status.unwrap(), [field("a", "1=2"), field("b", "")]);
    client.command(|client| client.shut_down(0), |client| client.shut_down(0));
    client.command(|client| client.shut_down(70), |client| client.shut_down(70));
    client.command(|client| client.monitor(true), |client| client.monitor(true));
    client.command(|client| client.monitor(false), |client| client.monitor(false));
    assert_eq!(got.commands(), ["STATUS", "OVERHEAD S 1", "OVERHEAD S 70", "MONITOR", "UNMONITOR"]);
}

#[test]
fn both_ask_for_the_status_and_stop_the_server() {
    says_and_asks::<BlockingClient>();
    says_and_asks::<Evented>();
}

fn unchanged<K: Kind>() {
    let got = Got::default();
    let mut client = K::start(served(&got), Manners::default());
    client.set("a", "0");
    client.set("a", "0");
    client.leave_out_unchanged();
    for (name, value) in [("a", "1"), ("a", "1"), ("a", "2"), ("a", "1"), ("b", "1"), ("a", "1")] {
        client.set(name, value);
    }
    client.command(|client| client.set_always(b"a", b"1"), |client| client.set_always(b"a", b"1"));
    client.command(|client| client.set_and_store(b"c", b"1"), |client| client.set_and_store(b"c", b"1"));
    client.set("c", "1");
    let all = ["a=0", "a=0", "a=1", "a=2", "a=1", "b=1", "a=1"].map(|pair| format!("SET {pair}"));
    assert_eq!(got.commands(), [&all[..], &["SETANDSTORE c=1".to_owned()]].concat());

    // What was refused nobody has heard, and what another client says has been heard since.
    let before = got.commands().len();
    client.set("x", "1");
    client.set("x", "1");
    client.set("a", "1");
    client.command(|client| client.listen(b"a"), |client| client.listen(b"a"));
    client.set("a", "1");
    client.set("a", "1");
    let after = &got.commands()[before..];
    assert_eq!(after.iter().filter(|line| *line == "SET x=1").count(), 2, "{after:?}");
    assert_eq!(after.last().unwrap(), "SET a=1", "{after:?}");
    assert_eq!(after.iter().skip_while(|line| *line != "LISTEN a").count(), 2, "{after:?}");
}

#[test]
fn unchanged_values_are_left_out_if_asked_for() {
    unchanged::<BlockingClient>();
    unchanged::<Evented>();
}

fn informal<K: Kind>() {
    let got = Got::default();
    let mut client = K::start(served(&got), Manners::default());
    client.command(|client| client.listen(b"n"), |client| client.listen(b"n"));
    let set = Event::Set { name: b"n".to_vec(), value: b"another".to_vec() };
    assert_eq!(client.events(), [set, Event::Informal { message: "hello".to_owned() }]);
}

#[test]
fn what_the_server_says_informally_is_an_event() {
    informal::<BlockingClient>();
    informal::<Evented>();
}

#[test]
fn a_name_goes_round_and_its_refusal_is_nobodys() {
    let got = Got::default();
    let manners = manners(Some("Ada\nLovelace"), Duration::from_millis(1));
    let mut client = <Evented as Kind>::start(served(&got), manners.clone());
    client.client.store(b"k", b"1").unwrap();
    let round = |got: &Got| got.commands().iter().filter(|line| *line == "OVERHEAD GNU Ada Lovelace").count();
    client.until(|| round(&got) >= 3);
    client.command(|_| Ok(()), |client| client.store(b"k", b"2"));
    assert_eq!(client.events(), []);
    assert_eq!(got.commands().iter().filter(|line| line.starts_with("STORE")).count(), 2);

    let got = Got::default();
    let mut client = <BlockingClient as Kind>::start(served(&got), manners);
    let end = Instant::now() + DEADLINE;
    while round(&got) < 3 {
        assert!(Instant::now() < end, "{:?}", got.lines());
        client.store(b"k", b"1").unwrap();
    }
    assert_eq!(client.events(), []);
}

#[test]
fn a_name_goes_round_only_if_there_is_one_and_not_before_its_time() {
    for manners in [Manners::default(), manners(None, Duration::ZERO), manners(Some(" \n"), Duration::ZERO)] {
        let got = Got::default();
        let mut client = <Evented as Kind>::start(served(&got), manners.clone());
        client.command(|_| Ok(()), |client| client.notify(b"n"));
        assert_eq!(got.commands(), ["NOTIFY n"]);
        let got = Got::default();
        let mut client = <BlockingClient as Kind>::start(served(&got), manners);
        client.notify(b"n").unwrap();
        client.notify(b"n").unwrap();
        assert_eq!(got.commands(), ["NOTIFY n", "NOTIFY n"]);
    }
}

#[test]
fn a_client_that_lasts_says_noping_again_and_forgets_what_was_heard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let got = [Got::default(), Got::default()];
    let (servers, streams) = (got.clone(), Arc::new(Mutex::new(Vec::new())));
    let theirs = streams.clone();
    thread::spawn(move || {
        for got in servers {
            let (stream, _) = listener.accept().unwrap();
            theirs.lock().unwrap().push(stream.try_clone().unwrap());
            serve(stream, &got);
        }
    });
    let communicator = Communicator::new().unwrap();
    let events = Rc::<RefCell<Vec<Event>>>::default();
    let told = events.clone();
    let handler = move |event: &Event, _: &Client| {
        told.borrow_mut().push(event.clone());
        Ok(())
    };
    let to = crate::connections::ToUnix::new(&path);
    let reconnect = Reconnect::new("0.001".parse().unwrap());
    let client = Client::lasting(&communicator, to, &Login::new("ada", "hush"), reconnect, handler);
    let mut evented = Evented { communicator, client, events };
    evented.until(|| !evented.events.borrow().is_empty());
    evented.client.leave_out_unchanged(true);
    evented.set("a", "1");
    evented.set("a", "1");
    evented.client.no_ping().unwrap();
    evented.command(|_| Ok(()), |_| Ok(()));
    assert_eq!(got[0].commands(), ["SET a=1", "NOPING"]);

    streams.lock().unwrap()[0].shutdown(std::net::Shutdown::Both).unwrap();
    let is_back = |event: &Event| matches!(event, Event::Reconnected { .. });
    evented.until(|| evented.events.borrow().iter().any(is_back));
    evented.set("a", "1");
    assert_eq!(got[1].commands(), ["NOPING", "SET a=1"]);
    evented.command(|_| Ok(()), |client| client.ping());
    evented.command(|_| Ok(()), |client| client.ping());
    assert_eq!(got[1].commands(), ["NOPING", "SET a=1", "PING"]);
}

#[test]
fn a_server_that_takes_no_output_is_left() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (&theirs).write_all(b"CLACKS a test\nOVERHEAD O Welcome!\n").unwrap();
    let communicator = Communicator::new().unwrap();
    let why = Rc::<RefCell<Option<String>>>::default();
    struct Ears(Rc<RefCell<Option<String>>>);
    impl super::ClientHandler for Ears {
        fn event(&mut self, _: &Event, client: &Client) -> crate::communicator::HandlerResult {
            client.store(b"k", &vec![b'x'; 4 << 20])?;
            Ok(())
        }
        fn disconnected(&mut self, why: ClientError, _: &Client) {
            *self.0.borrow_mut() = Some(why.to_string());
        }
    }
    let manners = Manners::with_timeout(Duration::from_millis(50));
    let login = Login::new("ada", "hush");
    let stream = MioStream::from_std(ours);
    let client = Client::start(&communicator, stream, "", &login, manners, Ears(why.clone())).unwrap();
    let evented = Evented { communicator, client, events: Rc::default() };
    evented.until(|| why.borrow().is_some());
    assert_eq!(why.borrow().as_deref(), Some("disconnected: the server takes no output"));
    drop(theirs);
}
