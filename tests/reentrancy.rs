//! What callbacks may do to the loop that calls them: everything, and nothing of it calls anybody back before they return.

mod bed;

use bed::{Log, Probe, assert_log, has_ended, pass, receive, run, settle, turn, unix, until};
use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Key, Limits, SendError, Signal, Timeouts, TimerId,
    communicator, on_item, unix_stream,
};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

const LONG: Duration = Duration::from_secs(3600);

// ---- to others -------------------------------------------------------------------------------------------

/// Some connections and timers, and what is done to them.
struct World {
    log: Log,
    /// While `everything` runs, nobody else does.
    inside: Rc<Cell<bool>>,
    removed: Id<Lines>,
    closed: Id<Lines>,
    disabled: Id<Lines>,
    sent: Id<Lines>,
    timer: TimerId,
    peers: Vec<UnixStream>,
    added: RefCell<Option<UnixStream>>,
}

impl World {
    fn new(communicator: &Communicator) -> Rc<Self> {
        let log = Log::default();
        let inside = Rc::new(Cell::new(false));
        let mut peers = Vec::new();
        let mut make = |name| {
            let (id, peer) = unix(communicator, Lines::new(), Self::watch(&log, &inside, name));
            peers.push(peer);
            id
        };
        let (removed, closed, disabled, sent) =
            (make("removed"), make("closed"), make("disabled"), make("sent"));
        let timer = communicator.after(LONG, {
            let dropped = log.dropped("timer's closure");
            move |_| drop(dropped)
        });
        settle(communicator);
        log.take();
        let added = RefCell::default();
        Rc::new(Self { log, inside, removed, closed, disabled, sent, timer, peers, added })
    }

    /// A handler that says so when it is called, or dropped, inside somebody else's callback.
    fn watch(log: &Log, inside: &Rc<Cell<bool>>, name: &'static str) -> Probe<Lines> {
        struct Watch(Log, Rc<Cell<bool>>, &'static str);
        impl Watch {
            fn look(&self) -> HandlerResult {
                if self.1.get() {
                    self.0.say(format!("{} nested", self.2));
                }
                Ok(())
            }
        }
        impl Drop for Watch {
            fn drop(&mut self) {
                let _ = self.look();
                self.0.say(format!("{} dropped", self.2));
            }
        }
        let watch = Rc::new(Watch(log.clone(), inside.clone(), name));
        let watches = [(); 3].map(|()| watch.clone());
        let [connected, message, closed] = watches;
        log.probe(name)
            .on_connected(move |_| connected.look())
            .on_message(move |_, _| message.look())
            .on_closed(move |_, _| {
                let _ = closed.look();
            })
    }

    /// Does all there is to do, of which nothing may happen before it returns.
    fn everything(&self, communicator: &Communicator) {
        self.inside.set(true);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"hello\n").unwrap();
        let added = Self::watch(&self.log, &self.inside, "added");
        let added = communicator.stream(unix_stream(ours).unwrap(), Lines::new(), added).unwrap();
        *self.added.borrow_mut() = Some(theirs);
        let results = [
            communicator.is_alive(added),
            communicator.remove(self.removed),
            !communicator.is_alive(self.removed),
            communicator.close(self.closed),
            !communicator.is_alive(self.closed),
            communicator.enable(self.disabled, false),
            communicator.set_priority(self.disabled, 3),
            communicator.send(self.sent, "direct").is_ok(),
            communicator.send(self.closed, "late") == Err(SendError::Gone),
            communicator.broadcast([self.sent, self.removed, added], "to all")
                == Ok(vec![(self.removed, SendError::Gone)]),
            communicator.cancel(self.timer),
            !communicator.cancel(self.timer),
            communicator.timer(self.sent, Duration::ZERO, 1).is_some(),
            communicator.set_timeouts(self.sent, Timeouts::default()),
            communicator.connections().len() == communicator.len(),
        ];
        let says = self.log.clone();
        communicator.after(Duration::ZERO, move |_| says.say("timer"));
        self.log.say(format!("did everything but {:?}", results.iter().position(|done| !done)));
        self.inside.set(false);
    }

    /// What came of it.
    #[track_caller]
    fn check(&self, communicator: &Communicator, whence: &str) {
        let mut peers = self.peers.iter().map(|peer| peer.try_clone().unwrap());
        let mut peer = || peers.next().unwrap();
        let (mut removed, mut closed, mut disabled, mut sent) = (peer(), peer(), peer(), peer());
        until(communicator, || self.log.len() > 0);
        disabled.write_all(b"not yet\n").unwrap();
        until(communicator, || self.log.has("added \"hello\"") && self.log.has("sent Timer(1)"));
        assert!(has_ended(&mut removed), "{whence}");
        assert!(has_ended(&mut closed), "{whence}");
        assert_eq!(receive(communicator, &mut sent, 14), b"direct\nto all\n", "{whence}");
        assert_eq!(
            receive(communicator, self.added.borrow_mut().as_mut().unwrap(), 7),
            b"to all\n",
            "{whence}"
        );
        settle(communicator);
        let mut log = self.log.take();
        assert_eq!(log.remove(0), "did everything but None", "{whence}");
        log.sort();
        let expected = [
            "added \"hello\"",
            "added connected",
            "closed closed: Local",
            "closed dropped",
            "removed dropped",
            "sent Timer(1)",
            "timer",
            "timer's closure dropped",
        ];
        assert_eq!(log, expected, "{whence}");
    }
}

#[test]
fn every_callback_of_a_connection_may_do_everything_to_others() {
    type Hook = fn(Probe<Lines>, Rc<World>) -> Probe<Lines>;
    let hooks: [(&str, Hook); 6] = [
        ("connected", |probe, world| {
            probe.on_connected(move |cx| {
                world.everything(cx);
                Ok(())
            })
        }),
        ("message", |probe, world| {
            probe.on_message(move |_, cx| {
                world.everything(cx);
                Ok(())
            })
        }),
        ("timeout", |probe, world| {
            probe.on_timeout(move |_, cx| {
                world.everything(cx);
                Ok(())
            })
        }),
        ("drained", |probe, world| {
            probe.on_drained(move |cx| {
                world.everything(cx);
                Ok(())
            })
        }),
        ("eof", |probe, world| {
            probe.on_eof(move |cx| {
                world.everything(cx);
                Ok(())
            })
        }),
        ("closed", |probe, world| probe.on_closed(move |_, cx| world.everything(cx))),
    ];
    for (whence, hook) in hooks {
        let communicator = Communicator::new().unwrap();
        let world = World::new(&communicator);
        let probe = hook(Log::default().probe(""), world.clone());
        let (id, mut peer) = unix(&communicator, Lines::new(), probe);
        communicator.set_limits(id, Limits { high_water: 1, ..Limits::default() });
        peer.write_all(b"x\n").unwrap();
        communicator.send(id, "x").unwrap();
        communicator.timer(id, Duration::ZERO, 1);
        if matches!(whence, "eof" | "closed") {
            peer.shutdown(std::net::Shutdown::Write).unwrap();
        }
        world.check(&communicator, whence);
    }
}

#[test]
fn every_other_callback_may_do_everything_too() {
    type Cause = fn(&Communicator, Rc<World>);
    let causes: [(&str, Cause); 6] = [
        ("after", |communicator, world| {
            communicator.after(Duration::ZERO, move |communicator| world.everything(communicator));
        }),
        ("every", |communicator, world| {
            let own = Rc::new(Cell::new(None));
            let timer = communicator.every(Duration::ZERO, {
                let own = own.clone();
                move |communicator| {
                    world.everything(communicator);
                    own.take().map(|timer| communicator.cancel(timer));
                }
            });
            own.set(Some(timer));
        }),
        ("at", |communicator, world| {
            communicator.at(SystemTime::now(), move |communicator| world.everything(communicator)).unwrap();
        }),
        ("signal", |communicator, world| {
            communicator
                .signals([Signal::USR2], move |_, communicator| world.everything(communicator))
                .unwrap();
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
        }),
        ("accept", |communicator, world| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            let listener = communicator
                .listen_unix(&path, move |client| {
                    let _ = &folder;
                    world.everything(client.communicator());
                    client.communicator().remove(client.listener());
                    Ok(())
                })
                .unwrap();
            communicator.set_name(listener, "listener");
            drop(UnixStream::connect(&path).unwrap());
        }),
        ("drop", |communicator, world| {
            struct OnDrop(Rc<World>, Communicator);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.everything(&self.1);
                }
            }
            let own = OnDrop(world, communicator.clone());
            let (id, _peer) = unix(
                communicator,
                Lines::new(),
                on_item::<Lines, _>(move |_, _| {
                    let _ = &own;
                    Ok(())
                }),
            );
            communicator.remove(id);
        }),
    ];
    for (whence, cause) in causes {
        let communicator = Communicator::new().unwrap();
        let world = World::new(&communicator);
        cause(&communicator, world.clone());
        world.check(&communicator, whence);
    }
}

// ---- to those who are about to be called ----------------------------------------------------------------

#[test]
fn whom_a_callback_takes_away_is_not_called_in_the_same_turn() {
    type Act = fn(&Communicator, Id<Lines>);
    let acts: [(Act, &[&str], &[&str]); 5] = [
        (|communicator, id| assert!(communicator.remove(id)), &[], &[]),
        (|communicator, id| assert!(communicator.close(id)), &["second closed: Local"], &[]),
        (|communicator, id| assert!(communicator.enable(id, false)), &[], &["second \"x\"", "second \"y\""]),
        (|communicator, id| assert!(communicator.read(id, false)), &[], &["second \"x\"", "second \"y\""]),
        (
            |communicator, id| assert!(communicator.send(id, "z").is_ok()),
            &["second \"x\""],
            &["second \"y\""],
        ),
    ];
    for (act, then, later) in acts {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (second, mut second_peer) = unix(&communicator, Lines::new(), log.probe("second"));
        let first = log.probe("first").on_message(move |_, cx| {
            act(cx, second);
            Ok(())
        });
        let (_, mut first_peer) = unix(&communicator, Lines::new(), first);
        settle(&communicator);
        log.take();
        first_peer.write_all(b"x\n").unwrap();
        second_peer.write_all(b"x\n").unwrap();
        turn(&communicator);
        let expected: Vec<&str> = ["first \"x\""].iter().chain(then).copied().collect();
        assert_log(&log, &expected);
        let _ = second_peer.write_all(b"y\n");
        communicator.enable(second, true);
        communicator.read(second, true);
        settle(&communicator);
        assert_log(&log, later);
    }
}

// ---- to itself -----------------------------------------------------------------------------------------------

#[test]
fn a_callback_may_do_everything_to_its_own_connection() {
    type Act = fn(&Cx<'_, Lines>);
    // What it does at its first item of three, what is called, and what the other side gets.
    let acts: [(&str, Act, &[&str], &str); 9] = [
        ("nothing", |_| (), &["\"1\"", "\"2\"", "\"3\"", "eof", "closed: Eof", "dropped"], ""),
        (
            "remove",
            |cx| assert!(cx.remove(cx.id()) && !cx.remove(cx.id()) && !cx.is_alive(cx.id())),
            &["\"1\"", "dropped"],
            "",
        ),
        (
            "close",
            |cx| {
                cx.close();
                assert!(!cx.is_alive(cx.id()) && cx.reply("late") == Err(SendError::Gone));
            },
            &["\"1\"", "closed: Local", "dropped"],
            "",
        ),
        (
            "reply and close",
            |cx| {
                cx.reply("bye").unwrap();
                cx.close();
            },
            &["\"1\"", "closed: Local", "dropped"],
            "bye\n",
        ),
        (
            "reply and remove",
            |cx| {
                cx.reply("lost").unwrap();
                cx.remove(cx.id());
            },
            &["\"1\"", "dropped"],
            "",
        ),
        (
            "close and remove",
            |cx| {
                cx.close();
                assert!(cx.remove(cx.id()));
            },
            &["\"1\"", "dropped"],
            "",
        ),
        (
            "off and on",
            |cx| {
                assert!(cx.enable(cx.id(), false) && cx.enable(cx.id(), true) && cx.set_priority(cx.id(), 9))
            },
            &["\"1\"", "\"2\"", "\"3\"", "eof", "closed: Eof", "dropped"],
            "",
        ),
        (
            "shut down",
            |cx| {
                cx.reply("all").unwrap();
                assert!(cx.shutdown_write(cx.id()) && cx.reply("late") == Err(SendError::Gone));
            },
            &["\"1\"", "\"2\"", "\"3\"", "eof", "closed: Eof", "dropped"],
            "all\n",
        ),
        (
            "a timer, cancelled",
            |cx| {
                let timer = cx.after(Duration::ZERO, 5).unwrap();
                assert!(cx.is_set(timer) && cx.cancel(timer));
            },
            &["\"1\"", "\"2\"", "\"3\"", "eof", "closed: Eof", "dropped"],
            "",
        ),
    ];
    for (what, act, expected, output) in acts {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let dropped = log.dropped("");
        let mut first = true;
        let probe = log.probe("").on_message(move |_, cx| {
            let _ = &dropped;
            if std::mem::take(&mut first) {
                act(cx);
            }
            Ok(())
        });
        let (id, mut peer) = unix(&communicator, Lines::new(), probe);
        peer.write_all(b"1\n2\n3\n").unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        run(&communicator);
        let called: Vec<String> = log.take().iter().map(|line| line.trim().to_string()).collect();
        let expected: Vec<&str> = ["connected"].iter().chain(expected).copied().collect();
        assert_eq!(called, expected, "{what}");
        assert!(!communicator.is_alive(id));
        let mut got = String::new();
        let ended = peer.read_to_string(&mut got);
        assert_eq!(got, output, "{what}: {ended:?}");
    }
}

#[test]
fn what_a_connection_sends_to_itself_and_others_is_written_after_the_callbacks() {
    // Two that answer each other would never end if one ran inside the other.
    let communicator = Communicator::new().unwrap();
    let ids: Rc<RefCell<Vec<Id<Lines>>>> = Rc::default();
    let depth = Rc::new(Cell::new(0));
    let most = Rc::new(Cell::new(0));
    let (mut streams, count) = (Vec::new(), Rc::new(Cell::new(0)));
    for _ in 0..2 {
        let (all, depth, most, count) = (ids.clone(), depth.clone(), most.clone(), count.clone());
        let (ours, theirs) = UnixStream::pair().unwrap();
        streams.push(theirs);
        let handler = on_item::<Lines, _>(move |line, cx| {
            depth.set(depth.get() + 1);
            most.set(most.get().max(depth.get()));
            for id in &*all.borrow() {
                cx.send(*id, line)?;
            }
            count.set(count.get() + 1);
            depth.set(depth.get() - 1);
            Ok(())
        });
        let id = communicator.stream(unix_stream(ours).unwrap(), Lines::new(), handler).unwrap();
        ids.borrow_mut().push(id);
    }
    for stream in &mut streams {
        stream.write_all(b"x\n").unwrap();
    }
    for stream in &mut streams {
        assert_eq!(receive(&communicator, stream, 4), b"x\nx\n");
    }
    assert_eq!((most.get(), count.get()), (1, 2));
}

#[test]
fn the_last_callback_may_begin_anew() {
    // As a client that connects again: it finds its old name gone, and the loop goes on with the new one.
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let peers: Rc<RefCell<Vec<UnixStream>>> = Rc::default();
    fn again(communicator: &Communicator, log: &Log, peers: &Rc<RefCell<Vec<UnixStream>>>, left: u32) {
        let probe = log.probe("").on_closed({
            let (log, peers) = (log.clone(), peers.clone());
            move |_, cx| {
                let old = cx.id();
                log.say(format!("{left} {:?} {:?}", cx.is_alive(old), cx.send(old, "late")));
                if left > 0 {
                    again(cx, &log, &peers, left - 1);
                }
            }
        });
        let (_, peer) = unix(communicator, Lines::new(), probe);
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        peers.borrow_mut().push(peer);
    }
    again(&communicator, &log, &peers, 2);
    run(&communicator);
    let life = |left| {
        ["connected".to_string(), "eof".into(), "closed: Eof".into(), format!("{left} false Err(Gone)")]
    };
    assert_eq!(log.take(), [life(2), life(1), life(0)].concat());
}

/// Many connections, one handler; each item names who is to be treated how.
struct Shared {
    ids: Vec<Id<Lines>>,
    log: Log,
}

impl Handler<Lines> for Shared {
    fn message(&mut self, item: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.log.say(item);
        let others = self.ids.iter().filter(|id| **id != cx.id());
        for id in others {
            match item {
                "remove" => drop(cx.remove(*id)),
                "close" => drop(cx.communicator().close(*id)),
                _ => cx.send(*id, item)?,
            }
        }
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        self.log.say(why.to_string());
    }
}

#[test]
fn connections_that_share_a_handler_may_treat_each_other() {
    for (item, expected) in [
        ("send", &["send"][..]),
        ("remove", &["remove"]),
        ("close", &["close", "closed by this program", "closed by this program"]),
    ] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let shared = Rc::new(RefCell::new(Shared { ids: Vec::new(), log: log.clone() }));
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (id, peer) = unix(&communicator, Lines::new(), shared.clone());
            shared.borrow_mut().ids.push(id);
            peers.push(peer);
        }
        settle(&communicator);
        peers[1].write_all(format!("{item}\n").as_bytes()).unwrap();
        settle(&communicator);
        assert_log(&log, expected);
        if item == "send" {
            assert_eq!(receive(&communicator, &mut peers[0], 5), b"send\n");
        }
        let left = if item == "send" { 3 } else { 1 };
        assert_eq!((communicator.len(), Rc::strong_count(&shared)), (left, left + 1));
    }
}

// ---- destructors ------------------------------------------------------------------------------------------

/// A handler that says so when it is dropped.
fn mortal(communicator: &Communicator, log: &Log, name: &str) -> (Id<Lines>, UnixStream) {
    let dropped = log.dropped(name);
    unix(
        communicator,
        Lines::new(),
        on_item::<Lines, _>(move |_, _| {
            let _ = &dropped;
            Ok(())
        }),
    )
}

#[test]
fn destructors_run_after_the_callback_in_the_order_in_which_things_were_taken_away() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (a, _a) = mortal(&communicator, &log, "a");
    let (b, _b) = mortal(&communicator, &log, "b");
    let dropped = log.dropped("timer");
    let timer = communicator.after(LONG, move |_| drop(dropped));
    let (d, _d) = mortal(&communicator, &log, "d");
    let own = log.dropped("own");
    let probe = log.probe("").on_message({
        let log = log.clone();
        move |_, cx| {
            let _ = &own;
            cx.remove(b);
            cx.remove(a);
            cx.cancel(timer);
            cx.remove(cx.id());
            cx.remove(d);
            log.say("returns");
            Ok(())
        }
    });
    let (_, mut peer) = unix(&communicator, Lines::new(), probe);
    settle(&communicator);
    log.take();
    peer.write_all(b"x\n").unwrap();
    turn(&communicator);
    let mut found = log.take();
    assert!(found.contains(&"own dropped".to_string()));
    found.retain(|line| line != "own dropped"); // which is at hand only when the callback has returned
    assert_eq!(found, ["\"x\"", "returns", "b dropped", "a dropped", "timer dropped", "d dropped"]);
    // The descriptors are closed at once.
    assert!(communicator.is_empty());
}

#[test]
fn a_destructor_that_panics_ends_nothing_else() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor, as it should");
        }
    }
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let panics = Panics;
    let (id, _peer) = unix(
        &communicator,
        Lines::new(),
        on_item::<Lines, _>(move |_, _| {
            let _ = &panics;
            Ok(())
        }),
    );
    let (other, mut other_peer) = unix(&communicator, Lines::new(), log.probe("other"));
    settle(&communicator);
    communicator.after(Duration::ZERO, move |communicator| {
        communicator.remove(id);
    });
    settle(&communicator);
    other_peer.write_all(b"x\n").unwrap();
    settle(&communicator);
    assert_log(&log, &["other connected", "other \"x\""]);
    communicator.remove(other);
}

#[test]
fn a_thread_may_end_with_handlers_that_ask_for_its_communicator_when_they_are_dropped() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            assert_eq!(communicator().len(), communicator().connections().len());
        }
    }
    impl Handler<Lines> for Asks {
        fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
            cx.stop();
            Ok(())
        }
        fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
            Ok(())
        }
    }
    for runs in [true, false] {
        let thread = std::thread::spawn(move || {
            let (_, peer) = unix(&communicator(), Lines::new(), Asks);
            if runs {
                communicator().run().unwrap();
                assert!(communicator().is_empty());
            }
            drop(peer);
        });
        thread.join().unwrap();
    }
}

// ---- names ----------------------------------------------------------------------------------------------------

/// Nothing that takes a name finds anything.
#[track_caller]
fn is_unknown(communicator: &Communicator, id: Id<Lines>, timer: TimerId) {
    let key = id.key();
    let found = [
        communicator.is_alive(key),
        communicator.remove(key),
        communicator.close(key),
        communicator.shutdown_write(key),
        communicator.enable(key, false),
        communicator.is_enabled(key),
        communicator.read(key, false),
        communicator.set_priority(key, 1),
        communicator.set_name(key, "x"),
        communicator.set_limits(key, Limits { output: 0, ..Limits::default() }),
        communicator.set_budget(key, eventdispatcher::Budget::default()),
        communicator.set_timeouts(key, Timeouts::default()),
        communicator.set_deadline(key, Some(Instant::now())),
        communicator.set_most_clients(key, 1),
        communicator.timer(key, Duration::ZERO, 1).is_some(),
        communicator.priority(key).is_some(),
        communicator.name(key).is_some(),
        communicator.connection(key).is_some(),
        communicator.queued_bytes(key) > 0,
        communicator.send(id, "x") != Err(SendError::Gone),
        communicator.broadcast([id], "x") != Ok(vec![(id, SendError::Gone)]),
        communicator.cancel(timer),
        communicator.is_set(timer),
        communicator.set_timer_priority(timer, 1),
    ];
    assert_eq!(found, [false; 24]);
}

#[test]
fn a_stale_name_finds_nothing_even_where_its_place_is_taken() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (old, _peer) = unix(&communicator, Lines::new(), log.probe("old"));
    let old_timer = communicator.after(LONG, |_| ());
    communicator.remove(old);
    communicator.cancel(old_timer);
    is_unknown(&communicator, old, old_timer);

    let (new, mut peer) = unix(&communicator, Lines::new(), log.probe("new"));
    let new_timer = communicator.after(LONG, |_| ());
    assert_eq!(slot_of(old), slot_of(new), "else this shows nothing");
    is_unknown(&communicator, old, old_timer);
    peer.write_all(b"x\n").unwrap();
    settle(&communicator);
    assert_log(&log, &["new connected", "new \"x\""]);
    assert!(communicator.is_set(new_timer) && communicator.is_enabled(new));
    assert!(old.key() != new.key() && old_timer != new_timer);
}

/// The first part of the text of a name.
fn slot_of(id: Id<Lines>) -> String {
    let key: Key = id.into();
    assert_eq!(key.to_string(), id.to_string());
    key.to_string().split('.').next().unwrap().to_string()
}

#[test]
fn names_of_one_communicator_are_unknown_to_another() {
    let (here, there, log) = (Communicator::new().unwrap(), Communicator::new().unwrap(), Log::default());
    let (id, _peer) = unix(&here, Lines::new(), log.probe(""));
    let (own, _own_peer) = unix(&there, Lines::new(), log.probe(""));
    let timer = here.after(LONG, |_| ());
    let own_timer = there.after(LONG, |_| ());
    assert_eq!(slot_of(id), slot_of(own), "else this shows nothing");
    is_unknown(&there, id, timer);
    is_unknown(&here, own, own_timer);
    assert!(here.is_alive(id) && there.is_alive(own) && here.is_set(timer) && there.is_set(own_timer));
}

// ---- turns inside turns ----------------------------------------------------------------------------------

#[test]
fn turns_inside_callbacks_are_refused_and_do_no_harm() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let tries = {
        let log = log.clone();
        move |communicator: &Communicator| {
            let before = (communicator.len(), communicator.connections().len());
            let refused =
                [communicator.turn(Some(Duration::ZERO)), communicator.turn(None), communicator.run()]
                    .map(|result| result.is_err_and(|error| error.to_string().contains("from inside")));
            let after = (communicator.len(), communicator.connections().len());
            log.say(format!("{refused:?} {}", before == after));
        }
    };
    let refused = "[true, true, true] true";
    let probe = log.probe("").on_message({
        let tries = tries.clone();
        move |_, cx| {
            tries(cx);
            Ok(())
        }
    });
    let (id, mut peer) = unix(&communicator, Lines::new(), probe);
    let timer = communicator.after(LONG, |_| ());
    peer.write_all(b"x\n").unwrap();
    settle(&communicator);
    assert_log(&log, &["connected", "\"x\"", refused]);
    communicator.after(Duration::ZERO, tries.clone());
    let remote = communicator.remote().unwrap();
    let posted = std::thread::spawn(move || {
        remote.post(|communicator| {
            communicator
                .set_name(communicator.connections()[0].key, &format!("{:?}", communicator.run().is_err()));
        })
    });
    posted.join().unwrap().unwrap();
    settle(&communicator);
    assert_log(&log, &[refused]);
    assert_eq!(communicator.name(id).as_deref(), Some("true"));

    struct OnDrop<F: FnMut(&Communicator)>(F, Communicator);
    impl<F: FnMut(&Communicator)> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)(&self.1);
        }
    }
    // A destructor may run outside of any turn, too.
    for inside in [true, false] {
        let on_drop = OnDrop(tries.clone(), communicator.clone());
        let timer = communicator.after(LONG, move |_| drop(on_drop));
        if inside {
            communicator.after(Duration::ZERO, move |communicator| {
                communicator.cancel(timer);
            });
            settle(&communicator);
        } else {
            communicator.cancel(timer);
        }
        assert_log(&log, &[refused]);
    }
    assert!(communicator.is_alive(id) && communicator.is_set(timer), "all is as it was");
    // Another communicator is another matter.
    communicator.after(Duration::ZERO, {
        let log = log.clone();
        move |_| {
            pass(Duration::from_millis(1));
            log.say("passed");
        }
    });
    settle(&communicator);
    assert_log(&log, &["passed"]);
}

#[test]
fn what_stop_leaves_is_removed_without_a_callback() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = log.probe("a").on_message(|_, cx| {
        cx.reply("still written")?;
        cx.stop();
        Ok(())
    });
    let (_, mut peer) = unix(&communicator, Lines::new(), probe);
    let (_other, _other_peer) = mortal(&communicator, &log, "b");
    let dropped = log.dropped("timer");
    communicator.after(LONG, move |_| drop(dropped));
    peer.write_all(b"x\ny\n").unwrap();
    run(&communicator);
    let mut found = log.take();
    found[3..].sort();
    assert_eq!(found, ["a connected", "a \"x\"", "a \"y\"", "b dropped", "timer dropped"]);
    assert!(communicator.is_empty());
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "still written\nstill written\n");
    // And it can be used again.
    let (_, peer) = unix(&communicator, Lines::new(), log.probe("c"));
    drop(peer);
    run(&communicator);
    assert_log(&log, &["c connected", "c eof", "c closed: Eof"]);
}

#[test]
fn close_all_lets_everybody_finish() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let probe = |name| {
        log.probe::<Lines>(name).on_message(|_, cx| {
            cx.reply("bye")?;
            cx.close_all();
            Ok(())
        })
    };
    let (_, mut a) = unix(&communicator, Lines::new(), probe("a"));
    let (_b, _b_peer) = unix(&communicator, Lines::new(), probe("b"));
    communicator.after(LONG, |_| ());
    settle(&communicator);
    a.write_all(b"x\n").unwrap();
    run(&communicator);
    let expected = ["a connected", "b connected", "a \"x\"", "a closed: Local", "b closed: Local"];
    assert_log(&log, &expected);
    let mut got = String::new();
    a.read_to_string(&mut got).unwrap();
    assert_eq!(got, "bye\n");
}

// ---- the end of the program ---------------------------------------------------------------------------------------

/// Says in the environment of this test's own program how it is to end.
const ENDS: &str = "ED_TEST_ENDS";

#[test]
fn a_program_may_end_wherever_it_is() {
    /// Ends the program when it is dropped, if it is to.
    struct Ends(bool);
    impl Drop for Ends {
        fn drop(&mut self) {
            // The thread's communicator can be asked to the last.
            let _ = communicator().connections();
            if self.0 {
                std::process::exit(7);
            }
        }
    }
    let ways = ["callback", "destructor", "post", "before any turn"];
    let Ok(way) = std::env::var(ENDS) else {
        for way in ways {
            let mut program = std::process::Command::new(std::env::current_exe().unwrap());
            program.args(["a_program_may_end_wherever_it_is", "--exact", "--test-threads=1"]);
            let ended = program.env(ENDS, way).output().unwrap();
            assert_eq!(ended.status.code(), Some(7), "{way}: {ended:?}");
        }
        return;
    };
    let ends = Ends(way == "destructor");
    let kept = Ends(false);
    communicator().after(Duration::from_secs(3600), move |_| drop(kept));
    match &*way {
        "callback" => drop(communicator().after(Duration::ZERO, |_| std::process::exit(7))),
        "destructor" => drop(communicator().after(Duration::ZERO, move |_| drop(ends))),
        "post" => communicator().remote().unwrap().post(|_| std::process::exit(7)).unwrap(),
        _ => std::process::exit(7),
    }
    communicator().run().unwrap();
}
