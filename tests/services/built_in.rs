//! The built-in commands: what goes in, what comes out.

use crate::world::{World, answers, line, read_all};
use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Link, Service};
use eventdispatcher::dispatcher::{Entry, Message, MessageRef, Messages, Pattern};
use eventdispatcher::{Communicator, HandlerResult, Pauses, Reconnect, unix_stream};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

struct Plain;
impl Hooks for Plain {}

const LIST: &str = "ABSOLUTELY,ALIVE,COMMANDS,HELP,INVALID,LEAK,LOG_ROTATE,QUITTING,READY,RESTART,SERVICE_UNAVAILABLE,STOP,UNKNOWN";

#[test]
fn each_command_has_its_answer() {
    let check = |input: &str, expected: &str| {
        assert_eq!(answers(Plain, Dispatcher::with_built_in(), input), expected, "{input:?}");
    };
    check("HELP\n", &format!("COMMANDS list={LIST}\n"));
    check("<web:cart me:store/HELP\n", &format!("web:cart/COMMANDS list={LIST}\n"));
    for unanswered in
        ["LEAK", "LOG_ROTATE", "READY", "READY my_address=1.2.3.4", "RESTART", "STOP", "QUITTING"]
    {
        check(&format!("{unanswered}\n"), "");
    }
    check("SERVICE_UNAVAILABLE destination_service=s;unsent_command=X\n", "");
    // The answers of other services.
    check("ABSOLUTELY reply_timestamp=1.5\nCOMMANDS list=A\n", "");
    check("INVALID command=X;message=m\nUNKNOWN command=X\n", "");
}

#[test]
fn an_unknown_command_is_said_to_be_unknown() {
    let check = |input: &str, expected: &str| {
        assert_eq!(answers(Plain, Dispatcher::with_built_in(), input), expected, "{input:?}");
    };
    check("FOO a=1\n", "UNKNOWN command=FOO\n");
    check("unknown_lower x=1\n", "UNKNOWN command=unknown_lower\n");
    check("X-Y\n{\"command\":\"Z\"}\n", "UNKNOWN command=X-Y\nUNKNOWN command=Z\n");
    check("<web:cart FOO serial=7\n", "web:cart/UNKNOWN command=FOO;serial=7\n");
    // Would be sent to everybody.
    check("<*:* FOO\n", "UNKNOWN command=FOO\n");
}

#[test]
fn a_message_that_is_not_as_defined_is_said_to_be_invalid() {
    let check = |input: &str, expected: &str| {
        assert_eq!(answers(Plain, Dispatcher::with_built_in(), input), expected, "{input:?}");
    };
    check("ALIVE serial=\n", "INVALID command=ALIVE;message=serial is empty\n");
    check("<web:cart COMMANDS\n", "web:cart/INVALID command=COMMANDS;message=list is missing\n");
    let answer = answers(Plain, Dispatcher::with_built_in(), "ALIVE serial=x;timestamp=noon\n");
    assert!(answer.starts_with("INVALID command=ALIVE;message=timestamp is not "), "{answer}");
    assert!(answer.ends_with(";serial=x\n"), "{answer}");
    // These are never answered.
    check("INVALID command=\nUNKNOWN message=\n", "");
}

#[test]
fn alive_is_answered_with_what_came_and_the_time() {
    let before = std::time::SystemTime::now();
    let answer =
        answers(Plain, Dispatcher::with_built_in(), "<web:cart ALIVE serial=7;timestamp=1700000000.5\n");
    let answer = MessageRef::parse(answer.as_bytes()).unwrap();
    assert_eq!((answer.server(), answer.service(), answer.command()), ("web", "cart", "ABSOLUTELY"));
    assert_eq!(answer.get("serial").as_deref(), Some(&b"7"[..]));
    assert_eq!(answer.get("timestamp").as_deref(), Some(&b"1700000000.5"[..]));
    let text = answer.text("reply_timestamp").unwrap();
    assert_eq!(text.split_once('.').map(|(_, decimals)| decimals.len()), Some(9), "{text}");
    let time: eventdispatcher::dispatcher::Timespec = answer.value("reply_timestamp").unwrap();
    assert!(time >= before.into() && time <= std::time::SystemTime::now().into(), "{text}");
}

#[test]
fn bad_lines_are_counted_and_the_connection_stays() {
    let world = World::new(Plain, Dispatcher::with_built_in());
    let (output, service) = world.finish("HELLO  a=1\n\nbad:/X\n{\"command\"\n\u{1}\nFOO\n");
    assert_eq!(output, "UNKNOWN command=FOO\n");
    assert_eq!(service.borrow().dispatcher.coverage().bad_lines(), 4);
}

#[test]
fn help_lists_what_the_table_holds() {
    struct Helpful;
    impl Hooks for Helpful {
        fn help(&self, commands: &mut BTreeSet<String>) {
            commands.insert("EVENT7".to_owned());
        }
    }
    let mut dispatcher = Dispatcher::new();
    dispatcher.add_built_in().unwrap();
    let ids: Vec<_> = dispatcher
        .table()
        .entries()
        .iter()
        .filter(|entry| entry.pattern.exact().is_some_and(|c| c != "HELP"))
        .map(|entry| entry.id)
        .collect();
    for id in ids {
        assert!(dispatcher.remove(id));
    }
    dispatcher.on("SAVE", |_: &mut Helpful, _, _| Ok(())).unwrap();
    dispatcher.on("EVENT<number>", |_, _, _| Ok(())).unwrap();
    dispatcher.on("LOG_*", |_, _, _| Ok(())).unwrap();
    let predicate = Pattern::predicate(|message| message.has("secret"));
    let action = eventdispatcher::connections::messages::Action::new(|_: &mut Helpful, _, _| Ok(()));
    dispatcher.add(Entry::new(predicate, action)).unwrap();
    let output = answers(Helpful, dispatcher, "HELP\n");
    assert_eq!(output, "COMMANDS list=EVENT7,HELP,SAVE;patterns=EVENT<number>,LOG_*\n");
}

#[test]
fn a_service_has_its_own_of_every_command() {
    for command in LIST.split(',') {
        let mut dispatcher = Dispatcher::with_built_in();
        dispatcher
            .on(command, |_: &mut Plain, message, call| call.answer(message, Message::build("OWN")))
            .unwrap();
        let parameters = match command {
            "ABSOLUTELY" => " reply_timestamp=1",
            "COMMANDS" => " list=A",
            "SERVICE_UNAVAILABLE" => " destination_service=;unsent_command=",
            _ => "",
        };
        assert_eq!(answers(Plain, dispatcher, &format!("{command}{parameters}\n")), "OWN\n", "{command}");
    }
    let mut dispatcher = Dispatcher::with_built_in();
    let own = |_: &mut Plain, message: MessageRef<'_>, call: &mut Call<'_, Plain>| {
        call.answer(message, Message::build("REST"))
    };
    dispatcher.set_catch_all(own).unwrap();
    dispatcher.set_catch_all(own).unwrap_err();
    assert_eq!(answers(Plain, dispatcher, "FOO\n"), "REST\n");
    // An own catch-all that was there first stays.
    let mut dispatcher = Dispatcher::new();
    dispatcher.set_catch_all(own).unwrap();
    dispatcher.add_built_in().unwrap();
    assert_eq!(answers(Plain, dispatcher, "FOO\n"), "REST\n");
}

#[test]
fn the_built_in_commands_are_added_once() {
    let mut dispatcher = Dispatcher::<Plain>::with_built_in();
    let error = dispatcher.add_built_in().unwrap_err();
    assert_eq!(error.what, "ABSOLUTELY");
}

/// Writes down which of its hooks were called.
#[derive(Default)]
struct Hooked {
    calls: Vec<String>,
}

impl Hooks for Hooked {
    fn log_rotate(&mut self, _: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.calls.push("log_rotate".to_owned());
        Ok(())
    }
    fn restart(&mut self, message: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.calls.push(format!("restart {}", message.text("why")?));
        Ok(())
    }
    fn ready(&mut self, _: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let dispatcher = call.dispatcher();
        self.calls.push(format!("ready {} {:?}", dispatcher.is_ready(), dispatcher.my_address()));
        Ok(())
    }
    fn stop(&mut self, quitting: bool, _: &mut Call<'_, Self>) -> HandlerResult {
        self.calls.push(format!("stop {quitting}"));
        Ok(())
    }
}

#[test]
fn hooks_are_called() {
    let input = "LOG_ROTATE\nRESTART why=new\nREADY\nREADY my_address=1.2.3.4:5\nREADY my_address=[::1]:5\nREADY my_address=10.0.0.1\nSTOP\nQUITTING\n";
    let (output, service) = World::new(Hooked::default(), Dispatcher::with_built_in()).finish(input);
    assert_eq!(output, "");
    assert_eq!(
        service.borrow().state.calls,
        [
            "log_rotate",
            "restart new",
            "ready true None",
            "ready true Some(1.2.3.4)",
            "ready true Some(::1)",
            "ready true Some(10.0.0.1)",
            "stop false",
            "stop true"
        ]
    );
}

#[test]
fn stop_ends_the_loop_in_order() {
    let mut dispatcher = Dispatcher::with_built_in();
    // Much more than the socket takes at once.
    let value = "x".repeat(100_000);
    dispatcher
        .on("MUCH", move |_: &mut Plain, message, call| {
            (0..50).try_for_each(|_| call.answer(message, Message::build("PART").with("value", &*value)))
        })
        .unwrap();
    let mut world = World::new(Plain, dispatcher);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let clients = world.service.clone();
    world
        .communicator
        .listen_unix(&path, move |client| {
            client.serve(Messages::new(), clients.clone())?;
            Ok(())
        })
        .unwrap();
    world.communicator.every(std::time::Duration::from_secs(3600), |_| {});
    world.peer.write_all(b"MUCH\nSTOP\n").unwrap();
    let mut peer = world.peer.try_clone().unwrap();
    let reader = std::thread::spawn(move || read_all(&mut peer));
    world.communicator.run().unwrap();
    drop(world.peer);
    assert_eq!(reader.join().unwrap().matches("PART value=").count(), 50);
    assert!(!path.exists(), "the service still listens");
}

#[test]
fn a_service_registers_and_leaves() {
    struct Registered;
    impl Hooks for Registered {
        fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
            call.register()
        }
    }
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.set_name("my_service").unwrap();
    let mut world = World::new(Registered, dispatcher);
    assert_eq!(world.line(), "REGISTER service=my_service;version=1\n");
    assert!(!world.service.borrow().dispatcher.is_ready());
    let answer = world.ask("READY my_address=10.1.2.3\nALIVE\n");
    assert!(answer.starts_with("ABSOLUTELY "), "{answer}");
    assert!(world.service.borrow().dispatcher.is_ready());
    // Whoever says STOP, the daemon is told.
    let mut other = world.connect();
    assert_eq!(line(&world.communicator, &mut other), "REGISTER service=my_service;version=1\n");
    other.write_all(b"STOP\n").unwrap();
    world.communicator.run().unwrap();
    assert_eq!(read_all(&mut world.peer), "UNREGISTER service=my_service\n");
    assert!(!world.service.borrow().dispatcher.is_ready());
}

#[test]
fn a_permanent_connection_registers_before_what_waits_for_it() {
    struct Registered;
    impl Hooks for Registered {
        fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
            call.register()?;
            call.reply(Message::new("SECOND")?.view())?; // behind what waits
            Ok(call.greet(Message::new("FIRST")?.view())?)
        }
    }
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.set_name("s").unwrap();
    let service = Service::new(Registered, dispatcher).shared();
    let (ours, mut daemon) = UnixStream::pair().unwrap();
    let mut ours = Some(ours);
    let connect = move || unix_stream(ours.take().ok_or(std::io::ErrorKind::ConnectionRefused)?);
    let communicator = Communicator::new().unwrap();
    let id =
        communicator.permanent(connect, Reconnect::new(Pauses::never()), Messages::new, Rc::clone(&service));
    communicator.send(id, Message::new("WAITS").unwrap().view()).unwrap();
    daemon.write_all(b"STOP\n").unwrap();
    communicator.run().unwrap();
    let came = read_all(&mut daemon);
    assert_eq!(came, "REGISTER service=s;version=1\nFIRST\nWAITS\nSECOND\nUNREGISTER service=s\n");
    assert_eq!(service.borrow().dispatcher.coverage().get("REGISTER").sent, 1);
}

#[test]
fn a_daemon_that_quits_is_not_left() {
    struct Registered;
    impl Hooks for Registered {
        fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
            call.register()
        }
    }
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.set_name("s").unwrap();
    let (output, service) = World::new(Registered, dispatcher).finish("READY\nQUITTING\n");
    assert_eq!(output, "REGISTER service=s;version=1\n");
    assert!(!service.borrow().dispatcher.is_ready());
    // Without a name there is nothing to register.
    assert_eq!(answers(Registered, Dispatcher::with_built_in(), "HELP\n"), "");
    assert!(Dispatcher::<Plain>::new().set_name("web-1").is_err());
}

#[test]
fn two_services_do_not_answer_each_other_for_ever() {
    struct Ends;
    impl Hooks for Ends {}
    let mut world = World::new(Plain, Dispatcher::with_built_in());
    // The other one ends all when the last answer has come: what would have been answered was answered before.
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher
        .on("ABSOLUTELY", |_: &mut Ends, message, call| {
            if message.text("serial")? == "last" {
                call.close_all();
            }
            Ok(())
        })
        .unwrap();
    let other = eventdispatcher::connections::messages::Service::new(Ends, dispatcher).shared();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let left = world.service.clone();
    world.communicator.stream(unix_stream(ours).unwrap(), Messages::new(), left).unwrap();
    let id = world.communicator.stream(unix_stream(theirs).unwrap(), Messages::new(), other.clone()).unwrap();
    let communicator = world.communicator.clone();
    for text in [
        "HELP",
        "FOO",
        "ALIVE serial=1",
        "ALIVE serial=",
        "COMMANDS",
        "COMMANDS list=A",
        "UNKNOWN command=X",
        "UNKNOWN command=",
        "INVALID command=",
        "ABSOLUTELY",
        "ALIVE serial=last",
    ] {
        let message = MessageRef::parse(text.as_bytes()).unwrap().to_message();
        other.borrow_mut().dispatcher.send(&Link::new(&communicator, id), message.view()).unwrap();
    }
    communicator.run().unwrap();
    let counts = |service: &eventdispatcher::connections::messages::Coverage| {
        service
            .commands()
            .iter()
            .map(|(command, counts)| format!("{command} {}/{}", counts.received, counts.sent))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        counts(world.service.borrow().dispatcher.coverage()),
        "ABSOLUTELY 1/2, ALIVE 3/0, COMMANDS 2/1, HELP 1/0, INVALID 1/3, UNKNOWN 2/1"
    );
    assert_eq!(
        counts(other.borrow().dispatcher.coverage()),
        "ABSOLUTELY 2/1, ALIVE 0/3, COMMANDS 1/2, FOO 0/1, HELP 0/1, INVALID 3/1, UNKNOWN 1/2"
    );
    assert_eq!(world.service.borrow().dispatcher.coverage().others().received, 1);
    assert_eq!(world.line(), "");
}
