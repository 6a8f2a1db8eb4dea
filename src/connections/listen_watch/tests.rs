use super::*;
use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

// Tests that need a port for themselves listen on an address that nobody else uses: 127.77.0.x.

/// Each way to look, at one address.
fn ways(address: SocketAddr) -> Vec<(&'static str, Look)> {
    let mut ways = vec![("proc", Look::Proc(look::Proc::new(address).unwrap()))];
    match look::Diag::new(address) {
        Ok(diag) => ways.push(("diag", Look::Diag(diag))),
        // A kernel, or a container, without it: there the other way is the only one.
        Err(error) => assert!(matches!(Look::new(address), Ok(Look::Proc(_))), "{error}"),
    }
    ways
}

#[track_caller]
fn until(communicator: &Communicator, done: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it did not come");
        communicator.turn(Some(20 * MS)).unwrap();
    }
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Where to listen, and whether that is seen at the addresses.
#[test]
fn each_way_sees_the_same_listeners() {
    let mut cases = vec![
        ("127.0.0.1:0", vec![("127.0.0.1", true), ("127.0.0.2", false), ("0.0.0.0", false)]),
        ("0.0.0.0:0", vec![("127.0.0.1", true), ("127.0.0.2", true), ("0.0.0.0", true)]),
    ];
    if has_ipv6() {
        cases.push(("[::1]:0", vec![("::1", true), ("127.0.0.1", false), ("::", false)]));
        cases.push(("[::]:0", vec![("::1", true), ("127.0.0.1", true), ("::", true)]));
    }
    for (at, addresses) in cases {
        let listener = TcpListener::bind(at).unwrap();
        let port = listener.local_addr().unwrap().port();
        // A connection on the same port is none that listens.
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connected = listener.accept().unwrap();
        let mut all = Vec::new();
        for (ip, expected) in addresses {
            let address = SocketAddr::new(ip.parse().unwrap(), port);
            for (way, mut look) in ways(address) {
                assert_eq!(look.is_listening().unwrap(), expected, "{way}: {at} seen at {address}");
                all.push((way, address, look));
            }
        }
        drop(listener);
        for (way, address, mut look) in all {
            assert!(!look.is_listening().unwrap(), "{way}: {address} after the end");
        }
        drop((client, connected));
    }
}

#[test]
fn what_is_bound_and_does_not_listen_is_not_told() {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &"127.77.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    for listens in [false, true] {
        for (way, mut look) in ways(address) {
            assert_eq!(look.is_listening().unwrap(), listens, "{way}");
        }
        listen(&socket, 1).unwrap();
    }
}

#[test]
fn start_and_end_are_told_each_way() {
    let first = TcpListener::bind("127.77.0.2:0").unwrap();
    let address = first.local_addr().unwrap();
    let mut first = Some(first);
    for (way, look) in ways(address) {
        let communicator = Communicator::new().unwrap();
        let told = Rc::new(RefCell::new(Vec::new()));
        let what = ListenWatch::new(address).pauses(MS, 10 * MS);
        let changes = told.clone();
        let key = communicator
            .add_listen_watch(what, look, move |change, _| changes.borrow_mut().push(change))
            .unwrap();
        let info = communicator.connection(key).unwrap();
        assert_eq!((info.kind, info.name.to_string()), ("listen watch", address.to_string()));
        let (started, stopped) = (ListenChange::Started, ListenChange::Stopped);
        until(&communicator, || *told.borrow() == [started]);
        drop(first.take());
        until(&communicator, || *told.borrow() == [started, stopped]);
        first = Some(TcpListener::bind(address).unwrap());
        until(&communicator, || *told.borrow() == [started, stopped, started]);
        communicator.close(key);
        communicator.run().unwrap();
        assert_eq!(told.borrow().len(), 3, "{way}");
    }
}

#[test]
fn the_longer_nothing_happens_the_rarer_it_looks() {
    let listener = TcpListener::bind("127.77.0.3:0").unwrap();
    let address = listener.local_addr().unwrap();
    let communicator = Communicator::new().unwrap();
    let what = ListenWatch::new(address).pauses(10 * MS, 40 * MS);
    communicator.listen_watch(what, |_, _| ()).unwrap();
    let start = Instant::now();
    while start.elapsed() < 300 * MS {
        communicator.turn(Some(300 * MS)).unwrap();
    }
    // At 0, 10, 30, 70, 110, 150, 190, 230, 270 ms, and the turn that was in progress at the end.
    assert!(communicator.turn_number() <= 12, "{} turns", communicator.turn_number());
    // Without a limit on the last, it would be doubled for ever.
    let (first, last) = (what.first, what.pauses(50 * MS, MS).last);
    assert_eq!((first, last), (10 * MS, 50 * MS));
    assert_eq!(what.pauses(Duration::ZERO, Duration::ZERO).last, MS);
}

#[test]
fn its_own_call_may_switch_it_off_or_take_it_away() {
    let listener = TcpListener::bind("127.77.0.4:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    for what in ["off", "remove", "close", "panic"] {
        let communicator = Communicator::new().unwrap();
        let (calls, key) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let (called, itself) = (calls.clone(), key.clone());
        let watch = ListenWatch::new(address).pauses(MS, MS);
        let added = communicator
            .listen_watch(watch, move |_, communicator| {
                called.set(called.get() + 1);
                let key: Key = itself.get().unwrap();
                match what {
                    "off" => communicator.enable(key, false),
                    "remove" => communicator.remove(key),
                    "close" => communicator.close(key),
                    _ => panic!("in a listen watch, as it should"),
                };
            })
            .unwrap();
        key.set(Some(added));
        until(&communicator, || calls.get() == 1);
        drop(listener.take());
        for _ in 0..20 {
            communicator.turn(Some(MS)).unwrap();
        }
        assert_eq!(calls.get(), 1, "{what}");
        assert_eq!(communicator.enable(added, true), what == "off");
        if what == "off" {
            until(&communicator, || calls.get() == 2);
        }
        communicator.remove(added);
        assert!(communicator.is_empty(), "{what}");
        listener = Some(TcpListener::bind(address).unwrap());
    }
}

#[test]
fn other_calls_set_no_more_timers() {
    let communicator = Communicator::new().unwrap();
    let what = ListenWatch::new(([127, 0, 0, 1], 1).into()).pauses(3600 * 1000 * MS, 3600 * 1000 * MS);
    let key = communicator.listen_watch(what, |_, _| ()).unwrap();
    let timers = || communicator.core(|core| core.slot(key).unwrap().rest.timers.len());
    until(&communicator, || communicator.wait_hint().is_some_and(|wait| wait > MS * 1000));
    assert_eq!(timers(), 1);
    // The program's own timers, and the timeouts of every connection.
    for tag in [TAG, 7] {
        communicator.timer(key, Duration::ZERO, tag);
    }
    communicator.set_timeouts(key, crate::Timeouts { idle: Some(MS), ..crate::Timeouts::default() });
    for _ in 0..5 {
        let turn = communicator.turn_number();
        until(&communicator, || communicator.turn_number() > turn + 1);
        communicator.turn(Some(2 * MS)).unwrap();
    }
    assert_eq!(timers(), 1);
}
