//! Actions: who gets which message, and what happens when they change the table or fail.

use crate::world::{World, answers, line};
use eventdispatcher::HandlerResult;
use eventdispatcher::connections::messages::{Action, Call, Dispatcher, EntryError, Hooks};
use eventdispatcher::dispatcher::definitions::{Definition, Definitions};
use eventdispatcher::dispatcher::{Entry, Message, MessageRef, Priority};
use std::io::Write;
use std::path::Path;

/// Writes down what its actions got.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
}

impl Hooks for Log {}

impl Log {
    fn note(&mut self, message: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.lines.push(String::from_utf8(message.to_text()?)?);
        Ok(())
    }
}

fn lines(dispatcher: Dispatcher<Log>, input: &str) -> Vec<String> {
    let (_, service) = World::new(Log::default(), dispatcher).finish(input);
    service.borrow().state.lines.clone()
}

#[test]
fn an_action_is_a_method_of_the_state() {
    let mut dispatcher = Dispatcher::new();
    dispatcher.on("SAVE", Log::note).unwrap();
    assert_eq!(lines(dispatcher, "SAVE b=2;a=1\n{\"command\":\"SAVE\"}\nOTHER\n"), ["SAVE a=1;b=2", "SAVE"]);
}

#[test]
fn captures_are_at_hand() {
    let mut dispatcher = Dispatcher::new();
    dispatcher
        .on("EVENT<number>", |_: &mut Log, message, call| {
            let number = call.captures().number("number");
            call.answer(message, Message::build("GOT").with("number", number.unwrap_or(0) + 1))
        })
        .unwrap();
    assert_eq!(answers(Log::default(), dispatcher, "<:me EVENT41\nEVENT\n"), "me/GOT number=42\n");
}

#[test]
fn entries_come_by_priority_until_one_keeps_the_message() {
    let mut dispatcher = Dispatcher::new();
    let note = |what: &'static str| {
        Action::new(move |log: &mut Log, _: MessageRef<'_>, _: &mut Call<'_, Log>| {
            log.lines.push(what.to_owned());
            Ok(())
        })
    };
    let entry = |what| Entry::new("X".parse().unwrap(), note(what));
    dispatcher.add(entry("stops")).unwrap();
    dispatcher.add(entry("never").priority(Priority::SYSTEM)).unwrap();
    dispatcher.add(entry("looks on").priority(Priority::CALLBACK).go_on()).unwrap();
    assert_eq!(lines(dispatcher, "X\n"), ["looks on", "stops"]);
}

#[test]
fn a_second_entry_is_an_error_that_names_both() {
    let mut dispatcher = Dispatcher::new();
    dispatcher.on("X", Log::note).unwrap();
    let first = line!() - 1;
    let error = dispatcher.on("X", Log::note).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EntryError::Duplicate(_)), "{text}");
    for line in [first, first + 2] {
        assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
    }
    assert!(matches!(dispatcher.on("", Log::note), Err(EntryError::Pattern(_))));
}

#[test]
fn an_action_adds_and_removes_entries() {
    let mut dispatcher = Dispatcher::new();
    let tag = dispatcher.new_tag();
    dispatcher
        .on("OPEN", move |_: &mut Log, _, call| {
            for pattern in ["NOTE", "NOTE_*"] {
                let entry = Entry::new(pattern.parse()?, Action::new(Log::note)).tag(tag);
                call.dispatcher().add(entry)?;
            }
            Ok(())
        })
        .unwrap();
    dispatcher
        .on("CLOSE", move |_: &mut Log, message, call| {
            let count = call.dispatcher().remove_tag(tag);
            call.answer(message, Message::build("CLOSED").with("entries", count))
        })
        .unwrap();
    let mut world = World::new(Log::default(), dispatcher);
    let input = "NOTE n=1\nOPEN\nNOTE n=2\nNOTE_X n=3\nCLOSE\n";
    assert_eq!(world.ask(input), "CLOSED entries=2\n");
    assert_eq!(world.ask("NOTE n=4\nOPEN\nNOTE n=5\nCLOSE\n"), "CLOSED entries=2\n");
    assert_eq!(world.service.borrow().state.lines, ["NOTE n=2", "NOTE_X n=3", "NOTE n=5"]);
}

#[test]
fn an_action_removes_itself_and_those_behind_it() {
    let mut dispatcher = Dispatcher::new();
    let behind = Entry::new("X".parse().unwrap(), Action::new(Log::note)).priority(Priority::MAX);
    let behind = dispatcher.add(behind).unwrap();
    let once = Action::new(move |log: &mut Log, _: MessageRef<'_>, call: &mut Call<'_, Log>| {
        log.lines.push("once".to_owned());
        let own = call.dispatcher().table().entries()[0].id;
        assert!(call.dispatcher().remove(own));
        assert!(!call.dispatcher().remove(own));
        assert!(call.dispatcher().remove(behind));
        // The next message is the first for this one.
        call.dispatcher().on("X", Log::note)?;
        Ok(())
    });
    dispatcher.add(Entry::new("X".parse().unwrap(), once).go_on()).unwrap();
    assert_eq!(lines(dispatcher, "X n=1\nX n=2\n"), ["once", "X n=2"]);
}

#[test]
fn a_failing_action_ends_its_own_connection() {
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("FAIL", |_: &mut Log, _, _| Err("no".into())).unwrap();
    let mut world = World::new(Log::default(), dispatcher);
    let mut other = world.connect();
    assert_eq!(world.ask("FAIL\nFOO\n"), "");
    other.write_all(b"FOO\n").unwrap();
    assert_eq!(line(&world.communicator, &mut other), "UNKNOWN command=FOO\n");
}

fn definition(command: &str, text: &str) -> Definition {
    Definition::parse(command, text, Path::new(command)).unwrap()
}

#[test]
fn each_message_is_checked_by_its_own_definition() {
    let mut dispatcher = Dispatcher::new();
    dispatcher.set_catch_all(Log::note).unwrap();
    let input = "COMMANDS list=A\nOTHER\nCOMMANDS\nREADY my_address=x\nOTHER a=1\n";
    let (output, service) = World::new(Log::default(), dispatcher).finish(input);
    assert_eq!(service.borrow().state.lines, ["COMMANDS list=A", "OTHER", "OTHER a=1"]);
    let answers: Vec<_> = output.lines().map(|line| line.split(';').next().unwrap_or_default()).collect();
    assert_eq!(answers, ["INVALID command=COMMANDS", "INVALID command=READY"]);
    let service = service.borrow();
    let entry = &service.dispatcher.table().entries()[0];
    assert_eq!((entry.hits, entry.refused), (5, 2));
    let counts = service.dispatcher.coverage().get("COMMANDS");
    assert_eq!((counts.received, counts.refused), (2, 1));
    assert_eq!(service.dispatcher.coverage().get("INVALID").sent, 2);
}

#[test]
fn defaults_are_filled_in() {
    let mut definitions = Definitions::none();
    definitions.add(definition("GO", "[speed]\ntype=integer\nflags=optional\nmaximum=300\ndefault=50\n"));
    let mut dispatcher = Dispatcher::new().with_definitions(definitions);
    dispatcher.on("GO", Log::note).unwrap();
    let input = "GO\nGO speed=9\nGO speed=301\nGO a=1\n";
    assert_eq!(lines(dispatcher, input), ["GO speed=50", "GO speed=9", "GO a=1;speed=50"]);
}

#[test]
fn definitions_change_from_inside_an_action() {
    let mut dispatcher = Dispatcher::new();
    dispatcher.on("X", Log::note).unwrap();
    dispatcher
        .on("STRICT", |_: &mut Log, _, call| {
            call.dispatcher().definitions_mut().add(definition("X", "unknown-parameters=refused\n[a]\n"));
            Ok(())
        })
        .unwrap();
    let (output, service) =
        World::new(Log::default(), dispatcher).finish("X b=1\nSTRICT\nX b=1;a=1\nX a=1;serial=7\n");
    assert_eq!(output, "INVALID command=X;message=b is not known\n");
    assert_eq!(service.borrow().state.lines, ["X b=1", "X a=1;serial=7"]);
}

#[test]
fn what_a_peer_makes_up_does_not_fill_the_counts() {
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("SAVE", Log::note).unwrap();
    dispatcher.on("EVENT<number>", Log::note).unwrap();
    let mut input: String = (0..3000).map(|number| format!("MADE_UP_{number}\nEVENT{number}\n")).collect();
    input.push_str("SAVE\n");
    let (output, service) = World::new(Log::default(), dispatcher).finish(&input);
    assert_eq!(output.lines().count(), 3000);
    let service = service.borrow();
    let coverage = service.dispatcher.coverage();
    let commands: Vec<_> = coverage.commands().iter().map(|(command, _)| *command).collect();
    assert_eq!(commands, ["SAVE", "UNKNOWN"]);
    assert_eq!(coverage.others().received, 6000);
    let entries = service.dispatcher.table().entries();
    let events = entries.iter().find(|entry| entry.pattern.to_string() == "EVENT<number>").unwrap();
    assert_eq!(events.hits, 3000);
}

#[test]
fn what_is_passed_on_as_it_came_does_not_fill_the_counts() {
    let mut dispatcher = Dispatcher::new();
    dispatcher
        .on("*", |_: &mut Log, message, call| {
            call.reply(message)?;
            Ok(call.reply(Message::new("OWN")?.view())?)
        })
        .unwrap();
    let input: String = (0..2000).map(|number| format!("MADE_UP_{number}\n")).collect();
    let (output, service) = World::new(Log::default(), dispatcher).finish(&input);
    assert_eq!(output.lines().count(), 4000);
    let service = service.borrow();
    let coverage = service.dispatcher.coverage();
    let commands: Vec<_> = coverage.commands().iter().map(|(command, _)| *command).collect();
    assert_eq!(commands, ["OWN"]);
    assert_eq!((coverage.get("OWN").sent, coverage.others().sent), (2000, 2000));
}

#[test]
fn a_message_goes_to_many() {
    let mut dispatcher = Dispatcher::new();
    struct Chat {
        members: Vec<eventdispatcher::Id<eventdispatcher::dispatcher::Messages>>,
    }
    impl Hooks for Chat {
        fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
            self.members.extend(call.peer().stream());
            Ok(())
        }
    }
    dispatcher
        .on("SAY", |chat: &mut Chat, message, call| {
            let refused = call.broadcast(chat.members.iter().copied(), message)?;
            assert_eq!(refused.len(), 1);
            chat.members.retain(|id| refused.iter().all(|(gone, _)| gone != id));
            Ok(())
        })
        .unwrap();
    let mut world = World::new(Chat { members: Vec::new() }, dispatcher);
    let (mut second, third) = (world.connect(), world.connect());
    while world.service.borrow().state.members.len() < 3 {
        world.communicator.turn(None).unwrap();
    }
    drop(third);
    while world.communicator.len() > 2 {
        world.communicator.turn(None).unwrap();
    }
    assert_eq!(world.ask("SAY what=hello\n"), "SAY what=hello\n");
    assert_eq!(line(&world.communicator, &mut second), "SAY what=hello\n");
    let counts = world.service.borrow().dispatcher.coverage().get("SAY");
    assert_eq!((counts.received, counts.sent), (1, 2));
}
