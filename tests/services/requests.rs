//! Requests: what comes back, and what comes of those that nothing comes back for.

use crate::world::{World, line};
use eventdispatcher::connections::messages::{
    Call, Dispatcher, Hooks, Link, NoAnswer, Request, RequestError, Service,
};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::{
    Blocking, BlockingError, Communicator, HandlerResult, Id, Reconnect, SendError, ToUnix, unix_pair,
    unix_stream,
};
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// Asks, and writes down what comes of it.
#[derive(Default)]
struct Asks {
    results: Vec<String>,
    /// Those of connections that are established.
    ids: Vec<Id<Messages>>,
}

impl Hooks for Asks {
    fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        self.ids.extend(call.peer().stream());
        Ok(())
    }
}

#[test]
fn a_request_ends_with_the_connection_that_took_it_also_when_that_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let communicator = Communicator::new().unwrap();
    let service = Service::new(Asks::default(), Dispatcher::with_built_in()).shared();
    let reconnect = Reconnect::new("0.01".parse().unwrap());
    let id = communicator.permanent(ToUnix::new(&path), reconnect, Messages::new, service.clone());
    let ask = |command| {
        let link = Link::new(&communicator, id);
        service.borrow_mut().call(&link, |_, call| call.request(request(command, LONG))).unwrap();
    };
    let turn_until = |done: &dyn Fn(&Asks) -> bool| {
        while !done(&service.borrow().state) {
            communicator.turn(Some(Duration::from_secs(20))).unwrap();
        }
    };

    turn_until(&|asks| asks.ids.len() == 1);
    let mut peer = listener.accept().unwrap().0;
    ask("FIRST");
    assert!(line(&communicator, &mut peer).starts_with("FIRST serial="));
    drop(peer);
    turn_until(&|asks| asks.results == ["FIRST: Closed"]);

    // It waits until there is a connection again.
    ask("SECOND");
    turn_until(&|asks| asks.ids.len() == 2);
    let mut peer = listener.accept().unwrap().0;
    let asked = line(&communicator, &mut peer);
    assert!(asked.starts_with("SECOND serial="), "{asked}");
    peer.write_all(format!("ANSWER serial={}\n", serial(&asked)).as_bytes()).unwrap();
    turn_until(&|asks| asks.results == ["FIRST: Closed", "SECOND: ANSWER"]);
    assert_eq!(service.borrow().dispatcher.requests(), 0);
}

const LONG: Duration = Duration::from_secs(600);

/// A request that writes down what comes of it.
fn request(command: &str, timeout: Duration) -> Request<Asks> {
    let text = command.to_owned();
    Request::new(Message::new(command).unwrap(), move |asks: &mut Asks, answer, _| {
        asks.results.push(match answer {
            Ok(message) => format!("{text}: {}", message.command()),
            Err(error) => format!("{text}: {error:?}"),
        });
        Ok(())
    })
    .timeout(timeout)
}

/// A service with one connection, established, and the other end of it.
fn asking() -> (World<Asks>, Id<Messages>) {
    let world = World::new(Asks::default(), Dispatcher::with_built_in());
    while world.service.borrow().state.ids.is_empty() {
        world.communicator.turn(None).unwrap();
    }
    let id = world.service.borrow().state.ids[0];
    (world, id)
}

fn ask(world: &World<Asks>, id: Id<Messages>, request: Request<Asks>) -> Result<(), RequestError> {
    let mut service = world.service.borrow_mut();
    service.call(&Link::new(&world.communicator, id), |_, call| call.request(request))
}

fn serial(line: &str) -> String {
    MessageRef::parse(line.as_bytes()).unwrap().text("serial").unwrap().into_owned()
}

/// Lets the service read `input`, the last line of which has to be a request that it answers.
fn give(world: &mut World<Asks>, input: &str) {
    let answer = world.ask(&format!("{input}ALIVE serial=end\n"));
    assert!(answer.contains(";serial=end"), "{answer}");
}

fn results(world: &World<Asks>) -> Vec<String> {
    std::mem::take(&mut world.service.borrow_mut().state.results)
}

#[test]
fn an_answer_is_known_by_its_serial() {
    let (mut world, id) = asking();
    ask(&world, id, request("GET", LONG)).unwrap();
    ask(&world, id, request("PUT", LONG)).unwrap();
    let (get, put) = (world.line(), world.line());
    assert!(get.starts_with("GET serial=") && put.starts_with("PUT serial="), "{get}{put}");
    let (get, put) = (serial(&get), serial(&put));
    assert_ne!(get, put);
    // What has another serial, or none, is for the table.
    give(&mut world, &format!("DONE serial={put}\nGOT serial={get}\n"));
    assert_eq!(results(&world), ["PUT: DONE", "GET: GOT"]);
    assert_eq!(world.service.borrow().dispatcher.requests(), 0);
    // A serial is used once; and that an answer comes twice is nothing to answer.
    give(&mut world, &format!("GOT serial={get}\n"));
    assert_eq!(results(&world), [""; 0]);
}

#[test]
fn requests_of_the_other_side_are_no_answers() {
    let (mut world, id) = asking();
    ask(&world, id, request("GET", LONG)).unwrap();
    let serial = serial(&world.line());
    let number = serial.rsplit('-').next().unwrap();
    for theirs in ["1", number, &format!("0{serial}"), &format!("{serial}0"), "", &serial.to_uppercase()] {
        if theirs != serial {
            world.ask(&format!("GOT serial={theirs}\n"));
        }
    }
    assert_eq!(results(&world), [""; 0]);
    // Nor is what comes through another connection.
    let mut other = world.connect();
    other.write_all(format!("GOT serial={serial}\nFOO\n").as_bytes()).unwrap();
    assert_eq!(line(&world.communicator, &mut other), "UNKNOWN command=FOO\n");
    assert_eq!(results(&world), [""; 0]);
    give(&mut world, &format!("GOT serial={serial}\n"));
    assert_eq!(results(&world), ["GET: GOT"]);
}

#[test]
fn a_refusal_ends_a_request() {
    let check = |answer: &str, expected: &[&str]| {
        let (mut world, id) = asking();
        for command in ["GET", "PUT", "GET"] {
            ask(&world, id, request(command, LONG)).unwrap();
        }
        let first = serial(&world.line());
        world.line();
        world.line();
        give(&mut world, &answer.replace("FIRST", &first));
        assert_eq!(results(&world), expected, "{answer}");
        assert_eq!(world.service.borrow().dispatcher.requests(), 3 - expected.len());
    };
    check("UNKNOWN command=GET;serial=FIRST\n", &["GET: Unknown"]);
    check("INVALID command=GET;message=a is empty;serial=FIRST\n", &["GET: Invalid(\"a is empty\")"]);
    // Of those that do not repeat the serial.
    check("UNKNOWN command=PUT\n", &["PUT: Unknown"]);
    check("UNKNOWN command=GET\nUNKNOWN command=GET\n", &["GET: Unknown", "GET: Unknown"]);
    check("INVALID command=GET\n", &["GET: Invalid(\"\")"]);
    check("SERVICE_UNAVAILABLE destination_service=;unsent_command=PUT\n", &["PUT: Unavailable"]);
    check("SERVICE_UNAVAILABLE destination_service=x;unsent_command=PUT\n", &[]);
    check("UNKNOWN command=OTHER\nUNKNOWN\nINVALID message=PUT\n", &[]);
}

#[test]
fn an_answer_may_be_known_by_its_command() {
    let (mut world, id) = asking();
    ask(&world, id, request("HELP", LONG).answered_by("COMMANDS")).unwrap();
    ask(&world, id, request("HELP", LONG)).unwrap();
    world.line();
    world.line();
    give(&mut world, "COMMANDS list=A;serial=theirs\n");
    assert_eq!(results(&world), [""; 0]);
    give(&mut world, "COMMANDS list=A\nCOMMANDS list=B\n");
    assert_eq!(results(&world), ["HELP: COMMANDS"]);
}

#[test]
fn an_answer_that_is_not_as_defined_is_none() {
    let (mut world, id) = asking();
    ask(&world, id, request("HELP", LONG)).unwrap();
    let serial = serial(&world.line());
    let answer = world.ask(&format!("COMMANDS serial={serial}\n"));
    assert_eq!(answer, format!("INVALID command=COMMANDS;message=list is missing;serial={serial}\n"));
    assert_eq!(results(&world), ["HELP: Invalid(\"list is missing\")"]);
}

#[test]
fn a_request_waits_so_long_and_no_longer() {
    let (mut world, id) = asking();
    ask(&world, id, request("LATE", Duration::from_millis(1))).unwrap();
    ask(&world, id, request("GET", LONG)).unwrap();
    let late = serial(&world.line());
    while world.service.borrow().state.results.is_empty() {
        world.communicator.turn(None).unwrap();
    }
    assert_eq!(results(&world), ["LATE: TimedOut"]);
    // What comes later is for the table; where nobody takes it there, it is not answered: it is an answer.
    assert!(world.ask(&format!("GOT serial={late}\n")).starts_with("GET "));
    give(&mut world, "");
    assert_eq!(world.service.borrow().dispatcher.requests(), 1);
    let took = |asks: &mut Asks, message: MessageRef<'_>, _: &mut Call<'_, Asks>| {
        asks.results.push(format!("late: {}", message.command()));
        Ok(())
    };
    world.service.borrow_mut().dispatcher.on("GOT", took).unwrap();
    give(&mut world, &format!("GOT serial={late}\n"));
    assert_eq!(results(&world), ["late: GOT"]);
}

#[test]
fn each_connection_has_its_own_requests() {
    const EACH: usize = 2_000;
    let (mut world, first) = asking();
    let mut other = world.connect();
    while world.service.borrow().state.ids.len() < 2 {
        world.communicator.turn(None).unwrap();
    }
    let second = world.service.borrow().state.ids[1];
    let quiet = |command| request(command, LONG).answered_by("GOT");
    for _ in 0..EACH {
        ask(&world, first, quiet("GET")).unwrap();
        ask(&world, second, quiet("GET")).unwrap();
    }
    world.communicator.turn(None).unwrap();
    // Refusals and answers without a serial end those of their own connection, the oldest first.
    let thread = std::thread::spawn(move || {
        let text = "UNKNOWN command=GET\nGOT\n".repeat(EACH / 2);
        other.write_all(text.as_bytes()).unwrap();
        std::io::copy(&mut other, &mut std::io::sink()).unwrap();
    });
    while world.service.borrow().dispatcher.requests() > EACH {
        world.communicator.turn(None).unwrap();
    }
    let results = results(&world);
    assert_eq!(results.len(), EACH);
    let refused = results.iter().filter(|result| *result == "GET: Unknown").count();
    assert_eq!(refused, EACH / 2);
    assert_eq!(world.service.borrow().dispatcher.requests(), EACH);
    world.communicator.remove(second);
    thread.join().unwrap();
    for _ in 0..EACH {
        assert!(world.line().starts_with("GET serial="));
    }
    give(&mut world, "GOT\n");
    assert_eq!(world.service.borrow().dispatcher.requests(), EACH - 1);
}

#[test]
fn a_request_ends_with_its_connection() {
    let (world, id) = asking();
    let mut other = world.connect();
    while world.service.borrow().state.ids.len() < 2 {
        world.communicator.turn(None).unwrap();
    }
    let second = world.service.borrow().state.ids[1];
    ask(&world, second, request("PUT", LONG)).unwrap();
    ask(&world, id, request("GET", LONG)).unwrap();
    drop(world.peer);
    while world.communicator.is_alive(id) {
        world.communicator.turn(None).unwrap();
    }
    while world.service.borrow().dispatcher.requests() > 1 {
        world.communicator.turn(None).unwrap();
    }
    assert_eq!(std::mem::take(&mut world.service.borrow_mut().state.results), ["GET: Closed"]);
    assert!(line(&world.communicator, &mut other).starts_with("PUT "));
}

#[test]
fn requests_of_connections_that_were_removed_make_room() {
    let (world, id) = asking();
    let _other = world.connect();
    while world.service.borrow().state.ids.len() < 2 {
        world.communicator.turn(None).unwrap();
    }
    let second = world.service.borrow().state.ids[1];
    world.service.borrow_mut().dispatcher.set_requests_max(2);
    ask(&world, id, request("STAYS", LONG)).unwrap();
    ask(&world, second, request("GONE", LONG).answered_by("X")).unwrap();
    ask(&world, id, request("MORE", LONG)).unwrap_err();
    world.communicator.remove(second);
    ask(&world, id, request("MORE", LONG)).unwrap();
    assert_eq!(world.service.borrow().dispatcher.requests(), 2);
    assert_eq!(results(&world), [""; 0]);
}

#[test]
fn there_is_a_limit_to_requests_and_what_was_not_sent_does_not_wait() {
    let (world, id) = asking();
    world.service.borrow_mut().dispatcher.set_requests_max(2);
    let illegal = Message::build("X").server("a").finish().unwrap();
    let request_of = |message| Request::new(message, |_: &mut Asks, _, _| panic!("it was not sent"));
    let error = ask(&world, id, request_of(illegal)).unwrap_err();
    assert!(matches!(error, RequestError::Send(SendError::Encode(_))), "{error}");
    ask(&world, id, request("A", LONG)).unwrap();
    ask(&world, id, request("B", LONG)).unwrap();
    let error = ask(&world, id, request_of(Message::new("C").unwrap())).unwrap_err();
    assert_eq!(error, RequestError::TooMany { limit: 2 });
    world.communicator.remove(id);
    world.service.borrow_mut().dispatcher.set_requests_max(3);
    let error = ask(&world, id, request_of(Message::new("D").unwrap())).unwrap_err();
    assert_eq!(error, RequestError::Send(SendError::Gone));
}

#[test]
fn a_callback_asks_again() {
    let (mut world, id) = asking();
    let again = Request::new(Message::new("FIRST").unwrap(), |_: &mut Asks, answer, call| {
        assert_eq!(answer.err(), Some(NoAnswer::Unknown));
        call.request(request("SECOND", LONG))?;
        Ok(())
    });
    ask(&world, id, again).unwrap();
    let first = serial(&world.line());
    let second = serial(&world.ask(&format!("UNKNOWN command=FIRST;serial={first}\n")));
    give(&mut world, &format!("DONE serial={second}\n"));
    assert_eq!(results(&world), ["SECOND: DONE"]);
}

#[test]
fn a_failing_callback_ends_its_connection() {
    let (mut world, id) = asking();
    let fails = Request::new(Message::new("GET").unwrap(), |_: &mut Asks, _, _| Err("no".into()));
    ask(&world, id, fails).unwrap();
    let serial = serial(&world.line());
    assert_eq!(world.ask(&format!("GOT serial={serial}\n")), "");
}

#[test]
fn two_services_ask_each_other() {
    struct Store;
    impl Hooks for Store {}
    let communicator = Communicator::new().unwrap();
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher
        .on("GET", |_: &mut Store, message, call| {
            call.answer(message, Message::build("VALUE").with("value", 7))
        })
        .unwrap();
    let store = Service::new(Store, dispatcher);
    let asks = Service::new(Asks::default(), Dispatcher::with_built_in()).shared();
    let (ours, theirs) = UnixStream::pair().unwrap();
    communicator.stream(unix_stream(theirs).unwrap(), Messages::new(), store).unwrap();
    let id = communicator.stream(unix_stream(ours).unwrap(), Messages::new(), asks.clone()).unwrap();
    let get = Message::build("GET").sent_from("", "asks").finish().unwrap();
    let request = Request::new(get, |asks: &mut Asks, answer, call| {
        asks.results.push(answer?.text("value")?.into_owned());
        call.close_all();
        Ok(())
    });
    asks.borrow_mut().dispatcher.request(&Link::new(&communicator, id), request).unwrap();
    communicator.run().unwrap();
    assert_eq!(asks.borrow().state.results, ["7"]);
}

/// Answers the first line that comes through `theirs` with `answers`.
fn respond(theirs: UnixStream, answers: &str) -> std::thread::JoinHandle<()> {
    let answers = answers.to_owned();
    std::thread::spawn(move || {
        let mut theirs = theirs;
        let mut request = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&theirs), &mut request).unwrap();
        assert!(request.contains("GET"), "{request}");
        theirs.write_all(answers.as_bytes()).unwrap();
        // Stays until the other side has gone.
        let _ = std::io::Read::read(&mut theirs, &mut [0]);
    })
}

#[test]
fn without_a_loop_a_request_waits_for_its_answer() {
    let check = |request: &str, answers: &str, expected: &str| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let thread = respond(theirs, answers);
        let mut client = Blocking::new(unix_stream(ours).unwrap(), Messages::new()).unwrap();
        let request = MessageRef::parse(request.as_bytes()).unwrap();
        let answer = client.send_and_wait(request, Duration::from_secs(10)).unwrap();
        assert_eq!(String::from_utf8(answer.view().to_text().unwrap()).unwrap(), expected);
        drop(client);
        thread.join().unwrap();
    };
    check("GET", "\nno message:\nANY serial=1\nLATER\n", "ANY serial=1");
    let others = "EVENT\nGOT serial=8\nUNKNOWN command=PUT\nINVALID command=GET;serial=6\n";
    check("GET serial=7", &format!("{others}GOT serial=7\n"), "GOT serial=7");
    check("GET serial=7", &format!("{others}UNKNOWN command=GET\n"), "UNKNOWN command=GET");
    check("GET serial=7", &format!("{others}INVALID command=GET\n"), "INVALID command=GET");
    // What a communicator daemon says of a service that is not there.
    let gone =
        |service: &str| format!("SERVICE_UNAVAILABLE destination_service={service};unsent_command=GET\n");
    check("a/GET serial=7", &format!("{}{}", gone("b"), gone("a")), gone("a").trim_end());
}

#[test]
fn without_a_loop_a_request_waits_so_long_and_no_longer() {
    let (ours, theirs) = unix_pair().unwrap();
    let mut client = Blocking::new(ours, Messages::new()).unwrap();
    let request = Message::new("GET").unwrap();
    let error = client.send_and_wait(request.view(), Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, BlockingError::TimedOut), "{error}");
    drop(theirs);
    let error = client.send_and_wait(request.view(), Duration::from_secs(10)).unwrap_err();
    assert!(matches!(error, BlockingError::Closed | BlockingError::Io(_)), "{error}");
}
