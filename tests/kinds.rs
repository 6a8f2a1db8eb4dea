//! Every kind of connection, one row each: what it is for; its own callback removes it, closes it, switches it off, gives it
//! another priority; its budget; its descriptors. What goes wrong with each kind is in the tests that `docs/kinds.md` names.

mod bed;

use bed::{pass, settle, turn, until, until_empty};
use eventdispatcher::alarm::When;
use eventdispatcher::codec::Lines;
use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef};
use eventdispatcher::{
    Budget, Command, Communicator, Fd, Fifo, FromThread, Handler, Key, ListenWatch, Reconnect, Records,
    SeqPacket, Signal, ToFifo, ToUnix, Transport, UdpBind, UdpPackets, UnixBind, UnixPackets, WaitFor, Watch,
    WithDescriptors, on_item, pipe, pipe_pair, tcp_stream, unix_pair, unix_stream,
};
use eventdispatcher::{Cx, HandlerResult};
use nix::sys::signal::{Signal as Raise, raise};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Descriptors, signals and children belong to the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- a connection of any kind ---------------------------------------------------------------------------

/// What a connection does to itself in its callback.
type Act = Box<dyn FnOnce(&Communicator, Key)>;

/// A loop, one connection in it, and what its callbacks do.
struct Stage {
    communicator: Communicator,
    folder: tempfile::TempDir,
    calls: Rc<Calls>,
}

#[derive(Default)]
struct Calls {
    count: Cell<usize>,
    /// What the next one does.
    act: RefCell<Option<Act>>,
    key: Cell<Option<Key>>,
}

impl Calls {
    fn called(&self, communicator: &Communicator) {
        self.count.set(self.count.get() + 1);
        let act = self.act.take();
        if let (Some(act), Some(key)) = (act, self.key.get()) {
            act(communicator, key);
        }
    }
}

/// A connection that was added.
struct Made {
    key: Key,
    /// Makes its callback come, once or more.
    cause: Box<dyn FnMut(&Communicator)>,
}

impl Made {
    fn new(key: impl Into<Key>, cause: impl FnMut(&Communicator) + 'static) -> Self {
        Self { key: key.into(), cause: Box::new(cause) }
    }
}

impl Stage {
    fn new() -> Self {
        let (communicator, folder) = (Communicator::new().unwrap(), tempfile::tempdir().unwrap());
        Self { communicator, folder, calls: Rc::default() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// For kinds whose callback gets something and the communicator.
    fn says<T>(&self) -> impl FnMut(T, &Communicator) + use<T> + 'static {
        let calls = self.calls.clone();
        move |_, communicator| calls.called(communicator)
    }

    /// For those whose handler gets lines.
    fn lines(&self) -> impl Handler<Lines> + use<> {
        let calls = self.calls.clone();
        on_item::<Lines, _>(move |_, cx| {
            calls.called(cx);
            Ok(())
        })
    }

    /// A stream that gets lines, and what writes some to it.
    fn stream(&self, ours: impl Transport, mut theirs: impl Write + 'static) -> Made {
        let id = self.communicator.stream(ours, Lines::new(), self.lines()).unwrap();
        Made::new(id, move |_| {
            let _ = theirs.write_all(b"x\ny\nz\n");
        })
    }
}

/// One row.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// `None`: this system has none.
    make: fn(&Stage) -> Option<Made>,
    /// It has only one callback, and ends by that.
    once: bool,
    /// How many callbacks one cause brings, at the least.
    calls: usize,
}

const fn kind(name: &'static str, calls: usize, make: fn(&Stage) -> Option<Made>) -> Kind {
    Kind { name, make, once: false, calls }
}

const fn once(name: &'static str, make: fn(&Stage) -> Option<Made>) -> Kind {
    Kind { name, make, once: true, calls: 1 }
}

/// All kinds.
const KINDS: &[Kind] = &[
    kind("tcp stream", 3, |stage| {
        let (ours, theirs) = bed::tcp_pair();
        Some(stage.stream(tcp_stream(ours).unwrap(), theirs))
    }),
    kind("tcp client", 3, |stage| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let id = stage.communicator.connect_tcp(to, Lines::new(), stage.lines()).unwrap();
        let mut theirs = listener.accept().unwrap().0;
        Some(Made::new(id, move |_| {
            let _ = theirs.write_all(b"x\ny\nz\n");
        }))
    }),
    kind("tcp listener", 1, |stage| {
        let calls = stage.calls.clone();
        let listening = stage.communicator.listen_tcp("127.0.0.1:0".parse().unwrap(), move |client| {
            calls.called(client.communicator());
            Ok(())
        });
        let (listening, mut clients) = (listening.unwrap(), Vec::new());
        Some(Made::new(listening, move |_| clients.extend(TcpStream::connect(listening.address()))))
    }),
    #[cfg(feature = "tls")]
    kind("tls stream", 3, |stage| tls(stage, unix_pair().unwrap())),
    #[cfg(feature = "tls")]
    kind("tls stream over tcp", 3, |stage| {
        let (ours, theirs) = bed::tcp_pair();
        tls(stage, (tcp_stream(ours).unwrap(), tcp_stream(theirs).unwrap()))
    }),
    kind("unix stream", 3, |stage| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Some(stage.stream(unix_stream(ours).unwrap(), theirs))
    }),
    kind("unix listener", 1, |stage| {
        let (calls, path) = (stage.calls.clone(), stage.path("listener"));
        let listener = stage.communicator.listen_unix(&path, move |client| {
            calls.called(client.communicator());
            Ok(())
        });
        let mut clients = Vec::new();
        Some(Made::new(listener.unwrap(), move |_| clients.extend(UnixStream::connect(&path))))
    }),
    kind("unix stream with descriptors", 3, |stage| {
        let (ours, theirs) = unix_pair().unwrap();
        Some(stage.stream(WithDescriptors::new(ours), theirs))
    }),
    kind("seqpacket", 3, |stage| {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        let calls = stage.calls.clone();
        let handler = on_item::<Records, _>(move |_, cx| {
            calls.called(cx);
            Ok(())
        });
        let id = stage.communicator.stream(ours, Records::new(), handler).unwrap();
        Some(Made::new(id, move |_| {
            for _ in 0..3 {
                let _ = rustix::net::send(theirs.as_fd(), b"x", rustix::net::SendFlags::NOSIGNAL);
            }
        }))
    }),
    kind("seqpacket listener", 1, |stage| {
        let (calls, bound) = (stage.calls.clone(), UnixBind::new(stage.path("packets")));
        let bound = bound.bind_seqpacket().unwrap();
        let (address, mut clients) = (bound.address().unwrap(), Vec::new());
        let listener = stage.communicator.listen(bound, move |client| {
            calls.called(client.communicator());
            Ok(())
        });
        Some(Made::new(listener.unwrap(), move |_| clients.extend(SeqPacket::connect(&address))))
    }),
    kind("udp", 3, |stage| {
        let socket = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
        let (to, calls) = (socket.local_address().unwrap(), stage.calls.clone());
        let handler = on_item::<UdpPackets, _>(move |_, cx| {
            calls.called(cx);
            Ok(())
        });
        let id = stage.communicator.datagrams(socket, handler).unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
        Some(Made::new(id, move |_| {
            for _ in 0..3 {
                let _ = theirs.send_to(b"x", to);
            }
        }))
    }),
    kind("unix datagram", 3, |stage| {
        let path = stage.path("datagrams");
        let socket = UnixBind::new(&path).bind_datagrams().unwrap();
        let calls = stage.calls.clone();
        let handler = on_item::<UnixPackets, _>(move |_, cx| {
            calls.called(cx);
            Ok(())
        });
        let id = stage.communicator.datagrams(socket, handler).unwrap();
        let theirs = UnixDatagram::unbound().unwrap();
        Some(Made::new(id, move |_| {
            for _ in 0..3 {
                let _ = theirs.send_to(b"x", &path);
            }
        }))
    }),
    kind("named pipe", 3, |stage| {
        let path = stage.path("fifo");
        let reader = Fifo::new(&path).reader().unwrap();
        let id = stage.communicator.stream(reader, Lines::new(), stage.lines()).unwrap();
        let mut theirs = std::fs::File::options().write(true).open(&path).unwrap();
        Some(Made::new(id, move |_| {
            let _ = theirs.write_all(b"x\ny\nz\n");
        }))
    }),
    kind("pipe", 3, |stage| {
        let (reader, writer) = std::io::pipe().unwrap();
        Some(stage.stream(Fd::new(reader).unwrap(), writer))
    }),
    kind("pair of pipes", 3, |stage| {
        let (ours, theirs) = pipe_pair().unwrap();
        Some(stage.stream(ours, theirs))
    }),
    kind("writing end of a pipe", 1, |stage| {
        // It has nothing to say but that its reader has gone, or that it has got everything.
        let (reader, writer) = pipe().unwrap();
        let id = stage.communicator.stream(writer, Lines::new(), OnDrained(stage.calls.clone())).unwrap();
        let limits = eventdispatcher::Limits { high_water: 1, low_water: 0, ..Default::default() };
        stage.communicator.set_limits(id, limits);
        Some(Made::new(id, move |communicator| {
            let _ = (&reader, communicator.send(id, "x"));
        }))
    }),
    kind("borrowed descriptor", 3, |stage| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let made = stage.stream(Fd::borrow(&ours).unwrap(), theirs);
        Some(Made { cause: with(ours, made.cause), ..made })
    }),
    kind("descriptor that others read", 1, |stage| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let calls = stage.calls.clone();
        let key = stage.communicator.on_ready(ours, WaitFor::Reading, move |ours, _, communicator| {
            while ours.read(&mut [0; 16]).is_ok_and(|count| count > 0) {}
            calls.called(communicator);
            Ok(WaitFor::Reading)
        });
        Some(Made::new(key.unwrap(), move |_| {
            let _ = theirs.write_all(b"x");
        }))
    }),
    kind("descriptor of others", 1, |stage| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let calls = stage.calls.clone();
        let key = stage.communicator.on_ready(ours, WaitFor::Reading, move |socket, _, communicator| {
            let mut came = false;
            while socket.read(&mut [0; 16]).is_ok_and(|count| count > 0) {
                came = true;
            }
            if came {
                calls.called(communicator);
            }
            Ok(WaitFor::Reading)
        });
        Some(Made::new(key.unwrap(), move |_| drop(theirs.write_all(b"x"))))
    }),
    kind("terminal", 3, |stage| {
        let pair = nix::pty::openpty(None, None).unwrap();
        for end in [&pair.master, &pair.slave] {
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC).unwrap();
        }
        let made = stage.stream(Fd::borrow(&pair.slave).unwrap(), std::fs::File::from(pair.master));
        Some(Made { cause: with(pair.slave, made.cause), ..made })
    }),
    kind("permanent connection", 3, |stage| {
        let path = stage.path("server");
        let listener = UnixListener::bind(&path).unwrap();
        let again = Reconnect::new("0.001".parse().unwrap());
        let id = stage.communicator.permanent(ToUnix::new(&path), again, Lines::new, stage.lines());
        until(&stage.communicator, || stage.communicator.is_connected(id));
        let mut theirs = listener.accept().unwrap().0;
        Some(Made::new(id, move |_| {
            let _ = (&listener, theirs.write_all(b"x\ny\nz\n"));
        }))
    }),
    kind("permanent named pipe", 1, |stage| {
        let again = Reconnect::new("0.001".parse().unwrap());
        let to = ToFifo::new(Fifo::new(stage.path("fifo")));
        let id = stage.communicator.permanent(to, again, Lines::new, OnDrained(stage.calls.clone()));
        let limits = eventdispatcher::Limits { high_water: 1, low_water: 0, ..Default::default() };
        stage.communicator.set_limits(id, limits);
        let reader = Fifo::new(stage.path("fifo")).keep().reader().unwrap();
        until(&stage.communicator, || stage.communicator.is_connected(id));
        Some(Made::new(id, move |communicator| {
            let _ = (&reader, communicator.send(id, "x"));
        }))
    }),
    kind("signals", 1, |stage| {
        let key = stage.communicator.signals([Signal::USR1], stage.says()).unwrap();
        Some(Made::new(key, |_| raise(Raise::SIGUSR1).unwrap()))
    }),
    kind("signals with their sender", 3, |stage| {
        let key = stage.communicator.signals_from([Signal::USR2], stage.says()).unwrap();
        Some(Made::new(key, |_| (0..3).for_each(|_| raise(Raise::SIGUSR2).unwrap())))
    }),
    once("child", |stage| {
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, mut says) = (child.id(), stage.says());
        let process = stage.communicator.child(child, move |status, communicator| {
            says(status, communicator);
        });
        let process = process.unwrap();
        assert_eq!(process.pids(), [pid]);
        Some(Made::new(process.key(), move |_| drop(process.signal(Signal::KILL))))
    }),
    kind("stops and continuations of a process", 1, |stage| {
        let mut says = stage.says();
        let command = Command::new("sleep").arg("60").kill().on_change(move |change, communicator| {
            says(change, communicator);
        });
        let (process, mut stopped) = (stage.communicator.process(command, |_, _| ()).unwrap(), false);
        Some(Made::new(process.key(), move |_| {
            stopped = !stopped;
            let _ = process.signal(if stopped { Signal::STOP } else { Signal::CONT });
        }))
    }),
    once("thread", |stage| {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (mut go, mut says) = (Some(go), stage.says());
        let key = stage
            .communicator
            .thread(
                move || {
                    let _ = wait.recv();
                },
                move |result, communicator| says(result, communicator),
            )
            .unwrap();
        Some(Made::new(key, move |_| drop(go.take())))
    }),
    kind("channel to a thread", 3, |stage| {
        let (to, end) = stage.communicator.channel::<u8, ()>(100, stage.says::<FromThread<u8>>()).unwrap();
        Some(Made::new(to.key(), move |_| {
            for number in 0..3 {
                let _ = end.send(number);
            }
        }))
    }),
    kind("channel of messages", 3, |stage| {
        struct Quiet;
        impl Hooks for Quiet {}
        let (calls, mut dispatcher) = (stage.calls.clone(), Dispatcher::new());
        let go = move |_: &mut Quiet, _: MessageRef<'_>, call: &mut Call<'_, Quiet>| {
            calls.called(call.communicator());
            Ok(())
        };
        dispatcher.on("GO", go).unwrap();
        let service = Service::new(Quiet, dispatcher).shared();
        let (to, end) = stage.communicator.message_channel(100, service).unwrap();
        let message = Message::new("GO").unwrap();
        Some(Made::new(to.key(), move |_| (0..3).for_each(|_| drop(end.send(message.clone())))))
    }),
    kind("watch", 2, |stage| {
        let folder = stage.path("watched");
        std::fs::create_dir(&folder).unwrap();
        let mut says = stage.says();
        let call =
            move |_: &eventdispatcher::WatchEvent<'_>, communicator: &Communicator| says((), communicator);
        let key = stage.communicator.watch(Watch::new().tree(&folder), call).unwrap();
        let mut number = 0;
        Some(Made::new(key, move |_| {
            number += 1;
            std::fs::write(folder.join(number.to_string()), "x").unwrap();
        }))
    }),
    kind("timer", 1, |stage| {
        let mut says = stage.says();
        let call = move |_: &eventdispatcher::Alarm, communicator: &Communicator| says((), communicator);
        let alarm = stage.communicator.alarm(When::Never, call).unwrap();
        let key = alarm.key();
        Some(Made::new(key, move |communicator| {
            let _ = alarm.set(communicator, When::After(Duration::ZERO));
        }))
    }),
    kind("listen watch", 1, |stage| {
        let mut listener = Some(TcpListener::bind("127.78.0.1:0").unwrap());
        let address = listener.as_ref().unwrap().local_addr().unwrap();
        let what = ListenWatch::new(address).pauses(Duration::from_millis(1), Duration::from_millis(2));
        let (key, calls) =
            (stage.communicator.listen_watch(what, stage.says()).unwrap(), stage.calls.clone());
        until(&stage.communicator, || calls.count.take() == 1); // that somebody listens
        Some(Made::new(key, move |_| {
            listener = match listener.take() {
                Some(_) => None,
                None => Some(TcpListener::bind(address).unwrap()),
            };
        }))
    }),
    kind("process events", 1, |stage| {
        let mut says = stage.says();
        let call =
            move |_: &eventdispatcher::ProcessEvent<'_>, communicator: &Communicator| says((), communicator);
        // Without the privilege, or in a container, there are none: `tests/process_events.rs` says what is said then.
        let key = stage.communicator.process_events(call).ok()?;
        Some(Made::new(key, |_| {
            assert!(std::process::Command::new("true").status().unwrap().success());
        }))
    }),
];

/// Keeps something as long as the other lives.
fn with(kept: impl Any, mut cause: Box<dyn FnMut(&Communicator)>) -> Box<dyn FnMut(&Communicator)> {
    Box::new(move |communicator| {
        let _ = &kept;
        cause(communicator);
    })
}

/// Its output queue is low again.
struct OnDrained(Rc<Calls>);

impl Handler<Lines> for OnDrained {
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        Ok(())
    }
    fn drained(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.0.called(cx);
        Ok(())
    }
}

/// A server, whose client is in the same loop.
#[cfg(feature = "tls")]
fn tls(stage: &Stage, (ours, theirs): (impl Transport, impl Transport)) -> Option<Made> {
    use eventdispatcher::tls::{Tls, TlsClient, TlsServer};
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = TlsServer::builder()
        .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
        .build()
        .unwrap();
    let client = TlsClient::builder().roots_pem(made.cert.pem()).build().unwrap();
    let communicator = &stage.communicator;
    let id = communicator.stream(Tls::server(ours, &server).unwrap(), Lines::new(), stage.lines()).unwrap();
    let ignore: eventdispatcher::OnItem<fn(&str, &Cx<'_, Lines>) -> HandlerResult> =
        on_item::<Lines, _>(|_, _| Ok(()));
    let far = Tls::client(theirs, "localhost", &client).unwrap();
    let far = communicator.stream(far, Lines::new(), ignore).unwrap();
    Some(Made::new(id, move |communicator| {
        for line in ["x", "y", "z"] {
            let _ = communicator.send(far, line);
        }
    }))
}

/// Runs a test on each kind.
fn each(test: impl Fn(&Kind, &Stage, &mut Made)) {
    let _alone = alone();
    for kind in KINDS {
        let stage = Stage::new();
        let Some(mut made) = (kind.make)(&stage) else {
            eprintln!("{}: not on this system", kind.name);
            continue;
        };
        stage.calls.key.set(Some(made.key));
        settle(&stage.communicator);
        stage.calls.count.set(0); // what it has told of its beginning
        println!("{}", kind.name); // shown if it fails
        test(kind, &stage, &mut made);
    }
}

impl Stage {
    /// What the next callback does.
    fn act(&self, act: impl FnOnce(&Communicator, Key) + 'static) {
        *self.calls.act.borrow_mut() = Some(Box::new(act));
    }

    /// Turns until so many callbacks have come.
    #[track_caller]
    fn called(&self, times: usize) {
        until(&self.communicator, || self.calls.count.get() >= times);
    }
}

// ---- what all of them have to do -----------------------------------------------------------------------------

#[test]
fn each_kind_calls_when_it_should_and_is_in_the_listing() {
    each(|kind, stage, made| {
        let infos = stage.communicator.connections();
        assert!(infos.iter().any(|info| info.key == made.key), "{}: {infos:?}", kind.name);
        (made.cause)(&stage.communicator);
        stage.called(kind.calls);
        settle(&stage.communicator);
        assert_eq!(stage.communicator.is_alive(made.key), !kind.once, "{}", kind.name);
        if kind.once {
            return;
        }
        let before = stage.calls.count.get();
        (made.cause)(&stage.communicator);
        stage.called(before + kind.calls);
        assert!(stage.communicator.close(made.key), "{}", kind.name);
        until(&stage.communicator, || {
            !stage.communicator.connections().iter().any(|info| info.key == made.key)
        });
    });
}

#[test]
fn each_kind_may_be_removed_or_closed_in_its_own_callback_and_is_not_called_again() {
    for close in [false, true] {
        each(|kind, stage, made| {
            stage.act(move |communicator, key| {
                // One that has only this callback has ended with it as well.
                assert!(if close { communicator.close(key) } else { communicator.remove(key) });
                assert!(!communicator.is_alive(key) && !communicator.close(key));
                assert!(!communicator.enable(key, true) && !communicator.set_priority(key, 1));
            });
            (made.cause)(&stage.communicator);
            stage.called(1);
            assert!(stage.calls.act.borrow().is_none(), "{}", kind.name);
            (made.cause)(&stage.communicator);
            settle(&stage.communicator);
            assert_eq!(stage.calls.count.get(), 1, "{}: called after its end", kind.name);
            assert!(!stage.communicator.is_alive(made.key), "{}", kind.name);
        });
    }
}

#[test]
fn each_kind_may_be_switched_off_in_its_own_callback_and_forgets_nothing_meanwhile() {
    each(|kind, stage, made| {
        stage.act(|communicator, key| assert!(communicator.enable(key, false)));
        (made.cause)(&stage.communicator);
        stage.called(1);
        if kind.once {
            return until(&stage.communicator, || !stage.communicator.is_alive(made.key));
        }
        (made.cause)(&stage.communicator);
        for _ in 0..3 {
            settle(&stage.communicator);
            pass(Duration::from_millis(2));
        }
        assert_eq!(stage.calls.count.get(), 1, "{}: called while it was off", kind.name);
        assert!(stage.communicator.enable(made.key, true), "{}", kind.name);
        stage.called(1 + kind.calls.min(2));
    });
}

#[test]
fn each_kind_may_be_switched_off_before_its_only_callback() {
    each(|kind, stage, made| {
        assert!(stage.communicator.enable(made.key, false), "{}", kind.name);
        (made.cause)(&stage.communicator);
        for _ in 0..3 {
            settle(&stage.communicator);
            pass(Duration::from_millis(2));
        }
        assert_eq!(stage.calls.count.get(), 0, "{}: called while it was off", kind.name);
        assert!(stage.communicator.enable(made.key, true), "{}", kind.name);
        stage.called(kind.calls);
    });
}

#[test]
fn each_kind_may_get_another_priority_in_its_own_callback() {
    each(|kind, stage, made| {
        assert_eq!(stage.communicator.priority(made.key), Some(100), "{}", kind.name);
        let first = Rc::new(Cell::new(false));
        stage.act({
            let first = first.clone();
            move |communicator, key| {
                assert!(communicator.set_priority(key, 7));
                assert_eq!(communicator.priority(key), Some(7));
                first.set(true);
            }
        });
        (made.cause)(&stage.communicator);
        stage.called(1);
        assert!(first.get(), "{}", kind.name);
        if kind.once {
            return;
        }
        stage.called(kind.calls);
        settle(&stage.communicator);
        // From the next turn on it comes before a timer of priority 50, though that has been over for longer.
        let order = Rc::new(RefCell::new(Vec::new()));
        let timer = stage.communicator.after(Duration::ZERO, {
            let order = order.clone();
            move |_| order.borrow_mut().push("timer")
        });
        assert!(stage.communicator.set_timer_priority(timer, 50));
        stage.act({
            let order = order.clone();
            move |_, _| order.borrow_mut().push("connection")
        });
        (made.cause)(&stage.communicator);
        pass(Duration::from_millis(2));
        until(&stage.communicator, || order.borrow().len() == 2);
        // What is called for after its output has left, or has to wait for another process or a look, comes in a later turn.
        let late = [
            "writing",
            "permanent named",
            "tls",
            "terminal",
            "stops",
            "listen watch",
            "process events",
            "tcp",
        ];
        if !late.iter().any(|late| kind.name.starts_with(late)) {
            assert_eq!(*order.borrow(), ["connection", "timer"], "{}", kind.name);
        }
    });
}

#[test]
fn each_kind_keeps_to_its_budget() {
    each(|kind, stage, made| {
        let budget = Budget { callbacks: 1, ..Budget::default() };
        assert!(stage.communicator.set_budget(made.key, budget), "{}", kind.name);
        (made.cause)(&stage.communicator);
        let mut most = 0;
        until(&stage.communicator, || {
            let before = stage.calls.count.get();
            turn(&stage.communicator);
            most = most.max(stage.calls.count.get() - before);
            stage.calls.count.get() >= kind.calls
        });
        assert!(most <= 1, "{}: {most} callbacks in one turn", kind.name);
    });
}

// ---- descriptors --------------------------------------------------------------------------------------------

const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// The descriptors of the process: what they are, and their flags.
fn descriptors() -> BTreeMap<String, (String, u32)> {
    let names = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names
        .filter_map(|name| {
            // The descriptor with which this is read is gone by now.
            let what = std::fs::read_link(format!("/proc/self/fd/{name}")).ok()?;
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
            Some((name, (what.to_string_lossy().into_owned(), flags)))
        })
        .collect()
}

#[test]
fn no_kind_leaves_a_descriptor_and_all_are_closed_on_exec() {
    let ends: [fn(&Stage, Key); 3] = [
        |stage, key| {
            stage.communicator.remove(key);
        },
        |stage, _| {
            stage.communicator.close_all();
            until_empty(&stage.communicator);
        },
        |_, _| (),
    ];
    let _alone = alone();
    for kind in KINDS {
        // The first time, what stays for good may be made: handlers of signals, for example.
        for (round, end) in [ends[0]].into_iter().chain(ends).enumerate() {
            let before = descriptors();
            let stage = Stage::new();
            let Some(mut made) = (kind.make)(&stage) else { continue };
            stage.calls.key.set(Some(made.key));
            settle(&stage.communicator);
            for (fd, (what, flags)) in descriptors() {
                let inherited = before.contains_key(&fd);
                assert!(inherited || flags & CLOSE_ON_EXEC != 0, "{}: {fd} is {what}", kind.name);
            }
            stage.calls.count.set(0);
            (made.cause)(&stage.communicator);
            stage.called(1);
            end(&stage, made.key);
            drop((stage, made));
            if round > 0 {
                // A thread may not have dropped its end yet.
                let end = std::time::Instant::now() + bed::DEADLINE;
                while descriptors() != before {
                    assert!(
                        std::time::Instant::now() < end,
                        "{}: {before:?}, {:?}",
                        kind.name,
                        descriptors()
                    );
                    std::thread::yield_now();
                }
            }
        }
    }
}

// ---- the table itself ---------------------------------------------------------------------------------------

/// The words for kinds that the sources have: what is added, and what transports and listeners are called.
fn words(folder: &std::path::Path, words: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("clacks") && !path.ends_with("tests") {
                self::words(&path, words);
            }
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for start in [
            "self.add(\"",
            "const KIND: &'static str = \"",
            "fn kind(&self) -> &'static str {\n        \"",
            "Kind::File => \"",
            "Kind::Pipe => \"",
            "Kind::Socket => \"",
            "Kind::Other => \"",
        ] {
            let found = code.split(start).skip(1).filter_map(|rest| rest.split('"').next());
            words.extend(found.map(str::to_owned));
        }
    }
}

#[test]
fn the_table_has_a_row_for_every_kind_that_the_sources_know() {
    let mut known = BTreeSet::new();
    let alone = alone();
    words(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/connections"), &mut known);
    assert!(known.len() > 15 && known.contains("watch") && known.contains("unix datagram"), "{known:?}");
    drop(alone);
    let rows = RefCell::new(BTreeSet::new());
    each(|kind, stage, made| {
        let info = stage.communicator.connection(made.key).expect("it is there");
        assert!(rows.borrow_mut().insert((kind.name, info.kind.to_owned())), "{} twice", kind.name);
        (made.cause)(&stage.communicator);
    });
    let rows: BTreeSet<String> = rows.into_inner().into_iter().map(|(_, kind)| kind).collect();
    // Words of traits for kinds of others; what is always ready, and read to its end at once; what may be missing here.
    let others = ["stream", "listener", "file", "process events"];
    let missing: Vec<_> =
        known.iter().filter(|kind| !rows.contains(*kind) && !others.contains(&kind.as_str())).collect();
    let missing: Vec<_> =
        missing.into_iter().filter(|kind| cfg!(feature = "tls") || *kind != "tls").collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}
