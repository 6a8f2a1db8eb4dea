//! TCP clients and listeners: which address is taken, what is said when none answers, and what is set of the sockets.

mod bed;

use bed::{DEADLINE, Log, assert_log, receive, run, settle, until, until_empty};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{
    Blocking, Closed, Communicator, Handler, KeepAlive, TcpBind, TcpConnect, TcpOptions, on_item,
};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen};
use nix::sys::socket::{getsockopt, socket, sockopt};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Longer than any test may take.
const NEVER: Duration = Duration::from_secs(3600);

fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Where nobody listens, and nobody will as long as this is held: the port is bound.
fn refusing() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address: SockaddrIn = getsockname(socket.as_raw_fd()).unwrap();
    (socket, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()))
}

/// Where nobody answers: a listener whose only place is taken.
fn silent() -> ((OwnedFd, TcpStream), SocketAddr) {
    let (socket, address) = refusing();
    listen(&socket, Backlog::new(0).unwrap()).unwrap();
    let first = TcpStream::connect(address).unwrap();
    ((socket, first), address)
}

/// Why a connection was not made.
fn failure(to: impl Into<TcpConnect>) -> (ErrorKind, String) {
    struct Why(Rc<RefCell<Option<(ErrorKind, String)>>>);
    impl Handler<Raw> for Why {
        fn message(&mut self, _: &[u8], _: &eventdispatcher::Cx<'_, Raw>) -> eventdispatcher::HandlerResult {
            Ok(())
        }
        fn closed(&mut self, why: &Closed, _: &eventdispatcher::Cx<'_, Raw>) {
            let Closed::Connect(error) = why else { panic!("{why:?}") };
            *self.0.borrow_mut() = Some((error.kind(), error.to_string()));
        }
    }
    let (communicator, why) = (Communicator::new().unwrap(), Rc::default());
    communicator.connect_tcp(to, Raw, Why(Rc::clone(&why))).unwrap();
    run(&communicator);
    why.take().expect("it was told")
}

// ---- clients ------------------------------------------------------------------------------------------------

#[test]
fn the_first_address_that_answers_is_taken() {
    let (good, address) = server();
    let (_refuses, refused) = refusing();
    let (_holds, unheard) = silent();
    let soon = Duration::from_millis(10);
    let no_address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let v6: SocketAddr = "[::1]:1".parse().unwrap();
    for (addresses, delay) in [
        (vec![address], NEVER),
        // Who refuses is followed at once.
        (vec![refused, address], NEVER),
        (vec![refused, no_address, refused, refused, address], NEVER),
        (vec![v6, refused, address], NEVER),
        // Who says nothing is followed after a while.
        (vec![unheard, address], soon),
        (vec![unheard, unheard, refused, address], soon),
        (vec![unheard, refused, unheard, address, refused], soon),
        // And so is one that runs beside another that is silent.
        (vec![address, unheard], NEVER),
    ] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let to = TcpConnect::to_any(addresses.clone()).attempt_delay(delay);
        let id = communicator.connect_tcp(to, Lines::new(), log.probe("")).unwrap();
        communicator.send(id, "sent while it connects").unwrap();
        until(&communicator, || log.has("connected"));
        let (mut theirs, _) = good.accept().unwrap();
        let got = receive(&communicator, &mut theirs, 23);
        assert_eq!(got, b"sent while it connects\n", "{addresses:?}");
        theirs.write_all(b"hello\n").unwrap();
        until(&communicator, || log.has("\"hello\""));
        drop(theirs);
        until_empty(&communicator);
        assert_log(&log, &["connected", "\"hello\"", "eof", "closed: Eof"]);
    }
}

#[test]
fn a_name_is_resolved_each_time() {
    let (good, address) = server();
    let to = TcpConnect::to("localhost", address.port());
    for _ in 0..3 {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let id = communicator.connect_tcp(to.clone(), Lines::new(), log.probe("")).unwrap();
        assert_eq!(communicator.name(id).unwrap().as_ref(), format!("localhost:{}", address.port()));
        assert_eq!(communicator.connection(id).unwrap().kind, "tcp");
        until(&communicator, || log.has("connected"));
        drop(good.accept().unwrap());
        until_empty(&communicator);
    }
}

#[test]
fn many_names_at_once_are_all_resolved() {
    let (good, address) = server();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    for n in 0..100 {
        let name = if n % 10 == 9 { "a".repeat(300) } else { "localhost".to_owned() };
        communicator.connect_tcp((name.as_str(), address.port()), Lines::new(), log.probe("")).unwrap();
    }
    let mut streams = Vec::new();
    good.set_nonblocking(true).unwrap();
    until(&communicator, || {
        while let Ok((stream, _)) = good.accept() {
            streams.push(stream);
        }
        log.count("connected") == 90 && streams.len() == 90 && communicator.len() == 90
    });
    drop(streams);
    until_empty(&communicator);
    assert_eq!(log.count("closed: Eof"), 90);
    assert_eq!(log.len(), 90 * 3 + 10, "{:?}", log.all());
}

#[test]
fn whoever_is_not_reached_is_named_with_the_reason() {
    let (_refuses, refused) = refusing();
    let (_holds, unheard) = silent();
    let port = refused.port();
    let soon = Duration::from_millis(30);
    let os = "Connection refused (os error 111)";
    let check = |to: TcpConnect, kind: ErrorKind, text: &str| {
        assert_eq!(failure(to), (kind, text.to_owned()));
    };
    check(refused.into(), ErrorKind::ConnectionRefused, &format!("{refused}: {os}"));
    check(
        TcpConnect::to("localhost", port),
        ErrorKind::ConnectionRefused,
        &format!("localhost:{port}: no address answers (127.0.0.1:{port}: {os})"),
    );
    check(
        TcpConnect::to_any([refused, refused]),
        ErrorKind::ConnectionRefused,
        &format!("{refused}, {refused}: no address answers ({refused}: {os}; {refused}: {os})"),
    );
    check(TcpConnect::to_any([]).deadline(soon), ErrorKind::AddrNotAvailable, ": it has no address");
    check(
        TcpConnect::from(unheard).deadline(soon),
        ErrorKind::TimedOut,
        &format!("{unheard}: no connection within 30ms ({unheard}: no answer)"),
    );
    check(
        TcpConnect::to_any([refused, unheard]).deadline(soon),
        ErrorKind::TimedOut,
        &format!("{refused}, {unheard}: no connection within 30ms ({refused}: {os}; {unheard}: no answer)"),
    );
    let (_, text) = failure(TcpConnect::to(&"a".repeat(300), 1));
    assert!(text.starts_with("aaaaaaaa") && text.contains(":1: failed to lookup address"), "{text}");
    let (kind, text) = failure(TcpConnect::to("a\0b", 1));
    assert_eq!(kind, ErrorKind::InvalidInput, "{text}");
    let (_, text) = failure(TcpConnect::from(refused).device("nosuch0"));
    assert_eq!(text, format!("{refused}: No such device (os error 19)"));
    let source: IpAddr = "::1".parse().unwrap();
    let (kind, text) = failure(TcpConnect::from(refused).source(source));
    assert_eq!(text, format!("{refused}: ::1, which to connect from, is of the other family"));
    assert_eq!(kind, ErrorKind::InvalidInput);
    let options = TcpOptions { user_timeout: Some(Duration::ZERO), ..TcpOptions::default() };
    let (_, text) = failure(TcpConnect::from(refused).options(options));
    assert_eq!(text, format!("{refused}: TcpOptions: user_timeout is out of range"));
}

#[test]
fn the_time_for_connecting_holds_for_the_whole() {
    let (_holds, unheard) = silent();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let to = TcpConnect::to_any([unheard; 5]).attempt_delay(Duration::from_millis(10));
    let id = communicator.connect_tcp(to, Lines::new(), log.probe("")).unwrap();
    let timeouts =
        eventdispatcher::Timeouts { connect: Some(Duration::from_millis(100)), ..Default::default() };
    communicator.set_timeouts(id, timeouts);
    run(&communicator);
    assert_log(&log, &["closed: TimedOut(Connect)"]);
}

#[test]
fn one_that_is_switched_off_while_it_connects_waits() {
    let (good, address) = server();
    let (_refuses, refused) = refusing();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let to = TcpConnect::to_any([refused, address]).attempt_delay(NEVER);
    let id = communicator.connect_tcp(to, Lines::new(), log.probe("")).unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap();
    communicator.enable(id, false);
    settle(&communicator);
    assert_log(&log, &[]);
    communicator.enable(id, true);
    until(&communicator, || log.has("connected"));
    drop(good);
    assert!(communicator.remove(id));
    assert!(communicator.is_empty());
}

#[test]
fn callbacks_of_a_dialled_connection_may_do_anything_to_it() {
    let (good, address) = server();
    for what in ["remove", "close", "disable", "first", "fail"] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let handler = log.probe("").on_connected(move |cx| {
            match what {
                "remove" => assert!(cx.remove(cx.id())),
                "close" => cx.close(),
                "disable" => assert!(cx.enable(cx.id(), false)),
                "first" => assert!(cx.set_priority(cx.id(), 0)),
                _ => return Err("told to fail".into()),
            }
            Ok(())
        });
        let id = communicator.connect_tcp(address, Lines::new(), handler).unwrap();
        until(&communicator, || log.has("connected"));
        let (mut theirs, _) = good.accept().unwrap();
        theirs.write_all(b"x\n").unwrap();
        match what {
            "disable" => {
                settle(&communicator);
                assert_log(&log, &["connected"]);
                communicator.enable(id, true);
            }
            "first" => assert_eq!(communicator.priority(id), Some(0)),
            _ => {}
        }
        drop(theirs);
        until_empty(&communicator);
        let expected: &[&str] = match what {
            "remove" => &["connected"],
            "close" => &["connected", "closed: Local"],
            "disable" => &["\"x\"", "eof", "closed: Eof"],
            "first" => &["connected", "\"x\"", "eof", "closed: Eof"],
            _ => &["connected", "closed: Handler(told to fail)"],
        };
        assert_log(&log, expected);
    }
}

#[test]
fn a_client_comes_from_the_address_and_the_device_that_it_was_given() {
    let (good, address) = server();
    let communicator = Communicator::new().unwrap();
    let to = TcpConnect::from(address).source("127.0.0.2".parse().unwrap()).device("lo");
    communicator.connect_tcp(to, Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap();
    settle(&communicator);
    let (theirs, peer) = good.accept().unwrap();
    assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 2));
    drop(theirs);
    until_empty(&communicator);
}

#[test]
fn a_blocking_stream_connects_in_the_same_way() {
    let (good, address) = server();
    let (_refuses, refused) = refusing();
    let echo = std::thread::spawn(move || {
        let (mut theirs, _) = good.accept().unwrap();
        let mut line = [0; 6];
        theirs.read_exact(&mut line).unwrap();
        theirs.write_all(&line).unwrap();
    });
    let dial = TcpConnect::to_any([refused, address]).attempt_delay(NEVER).dial();
    let mut stream = Blocking::new(dial, Lines::new()).unwrap();
    stream.send("hello", DEADLINE).unwrap();
    assert_eq!(stream.receive(DEADLINE, str::to_owned).unwrap(), "hello");
    echo.join().unwrap();

    let (_holds, unheard) = silent();
    let dial = TcpConnect::from(unheard).deadline(Duration::from_millis(30)).dial();
    let mut stream = Blocking::new(dial, Lines::new()).unwrap();
    let (begin, failed) = (Instant::now(), stream.send("hello", DEADLINE));
    assert!(failed.unwrap_err().to_string().contains("no connection within 30ms"));
    assert!(begin.elapsed() < DEADLINE);
}

#[test]
fn with_a_reset_on_close_the_other_side_sees_a_reset() {
    let (good, address) = server();
    for reset_on_close in [false, true] {
        let communicator = Communicator::new().unwrap();
        let to = TcpConnect::from(address).options(TcpOptions { reset_on_close, ..Default::default() });
        let id = communicator.connect_tcp(to, Raw, on_item::<Raw, _>(|_, _| Ok(()))).unwrap();
        let (mut theirs, _) = {
            settle(&communicator);
            good.accept().unwrap()
        };
        until(&communicator, || communicator.connection(id).unwrap().state == eventdispatcher::State::Open);
        assert!(communicator.remove(id));
        let end = theirs.read(&mut [0; 10]).map_err(|error| error.kind());
        assert_eq!(end, if reset_on_close { Err(ErrorKind::ConnectionReset) } else { Ok(0) });
    }
}

// ---- listeners ----------------------------------------------------------------------------------------------

#[test]
fn clients_have_the_options_of_their_listener() {
    let options = TcpOptions {
        no_delay: true,
        keep_alive: Some(KeepAlive {
            idle: Duration::from_secs(33),
            interval: Duration::from_secs(7),
            probes: 3,
        }),
        user_timeout: Some(Duration::from_secs(44)),
        reset_on_close: true,
    };
    for (options, expected) in
        [(TcpOptions::default(), (true, false, 0, false)), (options, (true, true, 44_000, true))]
    {
        let keeps_alive = options.keep_alive.is_some();
        let communicator = Communicator::new().unwrap();
        let bound = TcpBind::new("127.0.0.1:0".parse().unwrap()).options(options).bind().unwrap();
        let address = bound.address();
        let taken = Rc::new(RefCell::new(None));
        let place = taken.clone();
        communicator
            .listen(bound, move |client| {
                *place.borrow_mut() = Some(client.into_stream());
                Ok(())
            })
            .unwrap();
        let _client = TcpStream::connect(address).unwrap();
        until(&communicator, || taken.borrow().is_some());
        let stream = taken.take().unwrap();
        let found = (
            getsockopt(&stream, sockopt::TcpNoDelay).unwrap(),
            getsockopt(&stream, sockopt::KeepAlive).unwrap(),
            getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(),
            getsockopt(&stream, sockopt::Linger).unwrap().l_onoff != 0,
        );
        assert_eq!(found, expected);
        if keeps_alive {
            let times = (
                getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(),
                getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(),
                getsockopt(&stream, sockopt::TcpKeepCount).unwrap(),
            );
            assert_eq!(times, (33, 7, 3));
        }
    }
}

#[test]
fn an_address_that_is_in_use_is_refused_unless_both_share_it() {
    let bind = TcpBind::new("127.0.0.1:0".parse().unwrap());
    let first = bind.bind().unwrap();
    let again = TcpBind::new(first.address());
    for bind in [again.clone(), again.clone().reuse_port(true), again.reuse_address(false)] {
        let error = bind.bind().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let text = format!("can't listen on {}: Address already in use", first.address());
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    let first = bind.reuse_port(true).bind().unwrap();
    let second = TcpBind::new(first.address()).reuse_port(true).bind().unwrap();
    assert_eq!(first.address(), second.address());

    let error = TcpBind::new("127.0.0.1:0".parse().unwrap()).device("nosuch0").bind().unwrap_err();
    assert_eq!(error.to_string(), "can't listen on 127.0.0.1:0 of nosuch0: No such device (os error 19)");
}

#[test]
fn a_listener_for_ipv6_takes_ipv4_as_it_was_told() {
    for only in [false, true] {
        let bound = TcpBind::new("[::]:0".parse().unwrap()).only_v6(only).bind().unwrap();
        let port = bound.address().port();
        assert!(TcpStream::connect(("::1", port)).is_ok());
        assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_err(), only);
    }
}

#[test]
fn as_many_wait_as_the_backlog_allows() {
    // What is more than the system allows is as much as it allows.
    TcpBind::new("127.0.0.1:0".parse().unwrap()).backlog(u16::MAX).bind().unwrap();
    let bound = TcpBind::new("127.0.0.1:0".parse().unwrap()).backlog(0).bind().unwrap();
    let first = TcpStream::connect_timeout(&bound.address(), DEADLINE);
    assert!(first.is_ok());
    let second = TcpStream::connect_timeout(&bound.address(), Duration::from_millis(50));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::TimedOut);
}
