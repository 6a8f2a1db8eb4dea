//! Those who come over TCP and are no clients.

use crate::support::DEADLINE;
use crate::world::World;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// Reads to the end of the connection, however it ends.
fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut got = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return got,
            Ok(count) => got.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return got,
            Err(error) => panic!("it is not closed: {error}"),
        }
    }
}

/// The beginning of a ClientHello that announces more than follows.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[test]
fn strangers_cost_nobody_but_themselves() {
    let world = World::new("<authtimeout>1</authtimeout>");
    let mut good = world.options().connect_blocking().unwrap();
    let connect = || TcpStream::connect(world.address()).unwrap();
    let began = Instant::now();
    // A scan of ports, garbage, and those who never go on.
    for _ in 0..50 {
        drop(connect());
    }
    let mut silent: Vec<TcpStream> = (0..50).map(|_| connect()).collect();
    let mut half: Vec<TcpStream> = (0..50).map(|_| connect()).collect();
    for stream in &mut half {
        stream.write_all(HALF_HELLO).unwrap();
    }
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"CLACKS x\r\nOVERHEAD A x:y\r\n", &[0; 50_000]] {
        let mut stream = connect();
        // The server may have closed before all is written.
        let _ = stream.write_all(garbage);
        let answer = until_closed(&mut stream);
        assert!(!answer.starts_with(b"CLACKS"), "plain TCP is served");
    }
    good.store(b"a", b"1").unwrap();
    let mut another = world.options().connect_blocking().unwrap();
    assert_eq!(another.retrieve(b"a").unwrap().as_deref(), Some(&b"1"[..]));

    for stream in silent.iter_mut().chain(&mut half) {
        until_closed(stream);
    }
    let took = began.elapsed();
    assert!(took >= std::time::Duration::from_secs(1), "they were given {took:?}");
    good.flush().unwrap();
    assert!(!world.server.logs("closed").contains("panicked"));
}

#[test]
fn a_stranger_who_finishes_the_handshake_must_log_in() {
    let world = World::new("<authtimeout>0.5</authtimeout>");
    let tls = eventdispatcher::tls::TlsClient::builder().roots_pem(&world.authority.pem).build().unwrap();
    let stream = eventdispatcher::tcp_stream(TcpStream::connect(world.address()).unwrap()).unwrap();
    let stream = eventdispatcher::tls::Tls::client(stream, "localhost", &tls).unwrap();
    let mut client = eventdispatcher::Blocking::new(stream, eventdispatcher::codec::Lines::new()).unwrap();
    let mut line = || client.receive(DEADLINE, str::to_owned);
    assert!(line().unwrap().starts_with("CLACKS clacksd "));
    assert_eq!(line().unwrap(), "OVERHEAD M Authentication required");
    assert!(matches!(line(), Err(eventdispatcher::BlockingError::Closed)));
    world.server.logs("no login in time, closed");
}

#[test]
fn who_ends_its_direction_still_gets_its_answers() {
    let world = World::new("");
    let stream = TcpStream::connect(world.address()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut stream = stream;
    assert!(until_closed(&mut stream).len() < 100, "nothing but an alert");
    world.options().connect_blocking().unwrap().flush().unwrap();
}
