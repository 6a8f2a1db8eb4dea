//! The layers over every kind of stream, one row each, plain and with TLS around it: calls that wait, connections that
//! reconnect, TLS from mid-stream on, pipes.

mod bed;

use bed::{DEADLINE, until};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{
    Blocking, BlockingError, Closed, Communicator, Cx, Duplex, Fd, Handler, HandlerResult, Reconnect,
    TcpConnect, Transport, WithDescriptors, on_item, tcp_stream, unix_pair, unix_stream,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread::{self, JoinHandle};

// ---- streams of any kind --------------------------------------------------------------------------------

/// One end of a stream; made where it is used, for transports stay on their threads.
type End = Box<dyn FnOnce() -> Box<dyn Transport> + Send>;

fn end<T: Transport>(make: impl FnOnce() -> T + Send + 'static) -> End {
    Box::new(move || Box::new(make()))
}

/// Two ends that are connected, or will be: the client's, which may still be connecting, and the server's.
type Pair = fn() -> (End, End);

/// All kinds of streams that go both ways.
const STREAMS: [(&str, Pair); 6] = [
    ("tcp", || {
        let (server, client) = bed::tcp_pair();
        (end(|| tcp_stream(client).unwrap()), end(|| tcp_stream(server).unwrap()))
    }),
    ("tcp that connects", || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        (
            end(move || {
                let mut dial = TcpConnect::from(to).dial();
                assert!(dial.establish().is_ok()); // it has begun, so that it can be accepted
                dial
            }),
            end(move || tcp_stream(listener.accept().unwrap().0).unwrap()),
        )
    }),
    ("unix", || {
        let (client, server) = UnixStream::pair().unwrap();
        (end(|| unix_stream(client).unwrap()), end(|| unix_stream(server).unwrap()))
    }),
    ("unix with descriptors", || {
        let (client, server) = unix_pair().unwrap();
        (end(|| WithDescriptors::new(client)), end(|| WithDescriptors::new(server)))
    }),
    ("pair of pipes", || {
        let ((read_client, write_server), (read_server, write_client)) =
            (io::pipe().unwrap(), io::pipe().unwrap());
        (
            end(|| Duplex::new(Fd::new(read_client).unwrap(), Fd::new(write_client).unwrap())),
            end(|| Duplex::new(Fd::new(read_server).unwrap(), Fd::new(write_server).unwrap())),
        )
    }),
    ("descriptor", || {
        let (client, server) = UnixStream::pair().unwrap();
        (end(|| Fd::new(client).unwrap()), end(|| Fd::new(server).unwrap()))
    }),
];

/// Every kind, plain and inside TLS.
fn each(test: impl Fn(&str, &dyn Fn() -> (End, End))) {
    for (name, pair) in STREAMS {
        println!("{name}"); // shown if it fails
        test(name, &pair);
        #[cfg(feature = "tls")]
        {
            println!("tls over {name}");
            test(name, &|| {
                let (client, server) = pair();
                (end(|| tls::client(client())), end(|| tls::server(server())))
            });
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use eventdispatcher::Transport;
    use eventdispatcher::tls::{Tls, TlsClient, TlsServer};
    use std::sync::LazyLock;

    pub(super) static BOTH: LazyLock<(TlsClient, TlsServer)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let server = TlsServer::builder().certificate_pem(made.cert.pem(), made.signing_key.serialize_pem());
        let client = TlsClient::builder().roots_pem(made.cert.pem());
        (client.build().unwrap(), server.build().unwrap())
    });

    pub(super) fn client<T: Transport>(below: T) -> Tls<T> {
        Tls::client(below, "localhost", &BOTH.0).unwrap()
    }

    pub(super) fn server<T: Transport>(below: T) -> Tls<T> {
        Tls::server(below, &BOTH.1).unwrap()
    }
}

/// More than any kind holds on its way.
fn long() -> String {
    "long ".repeat(400_000)
}

// ---- calls that wait ----------------------------------------------------------------------------------------

type Calls = Blocking<Box<dyn Transport>, Lines>;

/// A stream without a loop.
fn calls(end: End) -> Calls {
    let mut calls = Blocking::new(end(), Lines::new().max(1 << 24)).unwrap();
    calls.set_input_max(1 << 24);
    calls
}

/// Answers each line with itself on a thread of its own, until the other side ends. How many there were.
fn echoes(end: End) -> JoinHandle<usize> {
    thread::spawn(move || {
        let mut calls = calls(end);
        for count in 0.. {
            match calls.receive(DEADLINE, str::to_owned) {
                Ok(line) => calls.send(&line, DEADLINE).unwrap(),
                Err(BlockingError::Closed) => {
                    calls.finish(DEADLINE).unwrap();
                    return count;
                }
                Err(error) => panic!("after {count}: {error}"),
            }
        }
        0
    })
}

#[test]
fn calls_wait_over_every_kind_of_stream() {
    each(|name, pair| {
        let (client, server) = pair();
        let (server, mut client) = (echoes(server), calls(client));
        for line in ["one", "", &long(), "last"] {
            client.send(line, DEADLINE).unwrap_or_else(|error| panic!("{name}: {error}"));
            let answer = client.receive(DEADLINE, str::to_owned);
            assert!(answer.unwrap() == line, "{name}");
        }
        // The end of each direction comes in order.
        client.finish(DEADLINE).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(server.join().unwrap(), 4, "{name}");
    });
}

#[test]
fn a_call_over_any_kind_of_stream_ends_in_time_and_when_the_other_side_is_gone() {
    each(|name, pair| {
        let (client, server) = pair();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let silent = thread::spawn(move || {
            let mut calls = calls(server);
            assert_eq!(calls.receive(DEADLINE, str::to_owned).unwrap(), "hello");
            let _ = receiver.recv();
        });
        let mut client = calls(client);
        client.send("hello", DEADLINE).unwrap();
        let late = client.receive(std::time::Duration::from_millis(5), |_| ());
        assert!(matches!(late, Err(BlockingError::TimedOut)), "{name}: {late:?}");
        drop(sender);
        silent.join().unwrap();
        let gone = client.receive(DEADLINE, |_| ());
        // Cut off is what it is inside TLS: nobody has said that it is the end.
        assert!(matches!(gone, Err(BlockingError::Closed | BlockingError::Io(_))), "{name}: {gone:?}");
    });
}

#[cfg(feature = "tls")]
#[test]
fn tls_starts_in_mid_stream_of_calls_over_every_kind() {
    for (name, pair) in STREAMS {
        let (client, server) = pair();
        let server = thread::spawn(move || {
            let mut calls = calls(server);
            assert_eq!(calls.receive(DEADLINE, str::to_owned).unwrap(), "STARTTLS");
            calls.queue("GO ON").unwrap();
            let mut calls = calls.upgrade(DEADLINE, |below| Ok(tls::server(below))).unwrap();
            let line = calls.receive(DEADLINE, str::to_owned).unwrap();
            calls.send(&line.to_uppercase(), DEADLINE).unwrap();
            assert!(matches!(calls.receive(DEADLINE, |_| ()), Err(BlockingError::Closed)));
            calls.finish(DEADLINE).unwrap();
        });
        let mut client = calls(client);
        client.send("STARTTLS", DEADLINE).unwrap();
        assert_eq!(client.receive(DEADLINE, str::to_owned).unwrap(), "GO ON");
        let mut client = client.upgrade(DEADLINE, |below| Ok(tls::client(below))).unwrap();
        client.send("secret", DEADLINE).unwrap();
        assert_eq!(client.receive(DEADLINE, str::to_owned).unwrap(), "SECRET", "{name}");
        client.finish(DEADLINE).unwrap();
        server.join().unwrap();
    }
}

// ---- in the loop --------------------------------------------------------------------------------------------

/// Sends numbers, each when the one before was answered, and writes down what happens.
struct Counts {
    seen: Rc<RefCell<Vec<String>>>,
    last: u32,
}

impl Handler<Lines> for Counts {
    fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.seen.borrow_mut().push("connected".into());
        Ok(())
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.seen.borrow_mut().push(line.into());
        let next = line.parse::<u32>()? + 1;
        if next > self.last {
            cx.close();
        } else if next % 3 != 0 {
            cx.reply(&next.to_string())?;
        } // else it is sent while the connection is away
        Ok(())
    }
    fn lost(&mut self, _: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
        let next = self.seen.borrow().last().ok_or("nothing came")?.parse::<u32>()? + 1;
        self.seen.borrow_mut().push("lost".into());
        cx.send(cx.id(), &next.to_string())?;
        Ok(())
    }
}

#[test]
fn a_connection_reconnects_over_every_kind_of_stream_and_loses_nothing() {
    each(|name, pair| {
        // The pairs are made beforehand: four connections.
        let mut pairs: VecDeque<(End, End)> = (0..4).map(|_| pair()).collect();
        let (communicator, seen) = (Communicator::new().unwrap(), Rc::new(RefCell::new(Vec::new())));
        let server = communicator.clone();
        let connect = move || {
            let (client, other) = pairs.pop_front().ok_or(io::ErrorKind::ConnectionRefused)?;
            // Each server ends its stream after the answer to 2, 5, 8 …
            let answer = |line: &str, cx: &Cx<'_, Lines>| {
                cx.reply(line)?;
                if line.parse::<u32>()? % 3 == 2 {
                    cx.close();
                }
                Ok(())
            };
            let client = client();
            server.stream(other(), Lines::new(), on_item::<Lines, _>(answer))?;
            Ok(client)
        };
        let again = Reconnect::new("0.001".parse().unwrap());
        let handler = Counts { seen: seen.clone(), last: 10 };
        let id = communicator.permanent(connect, again, Lines::new, handler);
        communicator.send(id, "0").unwrap(); // it is away
        until(&communicator, || !communicator.is_alive(id));
        let expected = "connected 0 1 2 lost connected 3 4 5 lost connected 6 7 8 lost connected 9 10";
        assert_eq!(seen.borrow().join(" "), expected, "{name}");
    });
}

/// A handler that asks for TLS when it is connected, and for an answer when it has it.
#[cfg(feature = "tls")]
struct Asks(Rc<RefCell<String>>);

#[cfg(feature = "tls")]
impl Handler<Lines> for Asks {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        Ok(cx.reply("STARTTLS")?)
    }
    fn upgraded(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        Ok(cx.reply("secret")?)
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        match line {
            "GO ON" => cx.start_tls_client(cx.id(), "localhost", &tls::BOTH.0)?,
            answer => {
                self.0.borrow_mut().push_str(answer);
                cx.close();
            }
        }
        Ok(())
    }
}

#[cfg(feature = "tls")]
#[test]
fn tls_starts_in_mid_stream_over_every_kind() {
    for (name, pair) in STREAMS {
        let communicator = Communicator::new().unwrap();
        let (client, server) = pair();
        let answer = |line: &str, cx: &Cx<'_, Lines>| {
            if line == "STARTTLS" {
                cx.reply("GO ON")?;
                return Ok(cx.start_tls_server(cx.id(), &tls::BOTH.1)?);
            }
            assert!(cx.tls_info(cx.id()).is_some());
            Ok(cx.reply(&line.to_uppercase())?)
        };
        let got = Rc::new(RefCell::new(String::new()));
        communicator.stream(client(), Lines::new(), Asks(got.clone())).unwrap();
        communicator.stream(server(), Lines::new(), on_item::<Lines, _>(answer)).unwrap();
        bed::until_empty(&communicator);
        assert_eq!(*got.borrow(), "SECRET", "{name}");
    }
}

#[test]
fn every_kind_of_stream_is_piped_to_another_one() {
    each(|name, pair| {
        let ((client, near), (far, server)) = (pair(), STREAMS[2].1());
        let ignore = || on_item::<Raw, _>(|_, _| Ok(()));
        let client = thread::spawn(move || {
            let mut client = calls(client);
            for line in ["one", &long(), "last"] {
                client.send(line, DEADLINE).unwrap();
                assert!(client.receive(DEADLINE, str::to_owned).unwrap() == line);
            }
            client.finish(DEADLINE).unwrap();
        });
        let communicator = Communicator::new().unwrap();
        let near = communicator.stream(near(), Raw, ignore()).unwrap();
        let far = communicator.stream(far(), Raw, ignore()).unwrap();
        communicator.join(near, far).unwrap();
        let server = echoes(server);
        until(&communicator, || communicator.is_empty() && client.is_finished() && server.is_finished());
        client.join().unwrap();
        assert_eq!(server.join().unwrap(), 3, "{name}");
    });
}
