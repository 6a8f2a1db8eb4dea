//! Those who do not speak TLS, or not to the end.

use crate::certificates::{Authority, fitting};
use crate::stage::{Seen, echo, log, plain, raw_client, raw_session, run_until, run_with, send};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::TlsError;
use eventdispatcher::{Closed, Communicator, Cx, Handler, HandlerResult, Listening, Timeouts};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

fn serve(seen: &Seen, connect: Option<Duration>) -> (Communicator, Listening, Authority) {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), seen.clone());
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            incoming.serve(Lines::new(), log(&seen, echo))?;
            Ok(())
        })
        .unwrap();
    communicator.set_timeouts(listening, Timeouts { connect, ..Timeouts::default() });
    (communicator, listening, authority)
}

/// The first bytes of a handshake.
fn hello(authority: &Authority) -> Vec<u8> {
    let mut bytes = Vec::new();
    raw_session(authority).write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn garbage_and_half_handshakes_end_only_their_own_connection() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, None);
    let not_tls = "closed: could not connect: the other side does not speak TLS";
    let cut = "closed: could not connect: TLS: the other side has closed in the handshake";
    let hello = hello(&authority);
    let mut mangled = hello.clone();
    mangled[9..].fill(0xff);
    // A hello of 65535 zeros, in records of the largest size.
    let mut record = vec![22, 3, 1, 64, 0];
    record.resize(5 + (16 << 10), 0);
    let mut long = record.repeat(5);
    long[5..9].copy_from_slice(&[1, 0, 255, 255]);
    let cases: [(Vec<u8>, &str); 10] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), not_tls),
        (b"hello\n".to_vec(), not_tls),
        (vec![0; 100_000], not_tls),
        (vec![0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10], not_tls),
        (mangled, "closed: could not connect: TLS: received corrupt message"),
        (long, "closed: could not connect: TLS: message buffer full"),
        (vec![], cut),
        (hello[..1].to_vec(), cut),
        (hello[..hello.len() - 1].to_vec(), cut),
        (hello, cut),
    ];
    // It stays all the time.
    let mut good = raw_client(listening.address(), &authority);
    for (bytes, text) in cases {
        let before = seen.count();
        let mut other = plain(listening.address());
        let other = thread::spawn(move || {
            // It may be closed before everything is sent.
            let _ = other.write_all(&bytes);
            let _ = other.shutdown(Shutdown::Write);
            let _ = other.read_to_end(&mut Vec::new());
            send(&mut good, "still there\n");
            let answer = crate::stage::line(&mut good);
            (good, answer)
        });
        let answer;
        (good, answer) = run_with(&communicator, &seen, other);
        assert_eq!(answer, "still there");
        let ended: Vec<_> =
            seen.all()[before..].iter().filter(|event| event.starts_with("closed")).cloned().collect();
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert!(ended[0].starts_with(text), "{ended:?}");
        assert_eq!(communicator.len(), 2);
    }
}

#[test]
fn who_is_refused_gets_an_alert() {
    let seen = Seen::default();
    let (communicator, listening, _) = serve(&seen, None);
    for bytes in [b"hello\n".to_vec(), vec![b'x'; 50_000]] {
        let mut other = plain(listening.address());
        let other = thread::spawn(move || {
            send(&mut other, bytes);
            let mut answer = Vec::new();
            other.read_to_end(&mut answer).unwrap();
            answer
        });
        let answer = run_with(&communicator, &seen, other);
        // A record of type alert: fatal, decode_error (RFC 8446, section 6).
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50]);
    }
}

#[test]
fn who_does_not_finish_the_handshake_is_gone_at_the_deadline() {
    let seen = Seen::default();
    let limit = Duration::from_millis(100);
    let (communicator, listening, authority) = serve(&seen, Some(limit));
    let hello = hello(&authority);
    let begun = Instant::now();
    let others: Vec<_> = [&hello[..0], &hello[..1], &hello[..hello.len() / 2], &hello[..]]
        .into_iter()
        .map(|bytes| {
            let mut other = plain(listening.address());
            send(&mut other, bytes);
            other
        })
        .collect();
    run_until(&communicator, &seen, || seen.count() == others.len());
    assert!(begun.elapsed() >= limit);
    assert!(seen.all().iter().all(|event| event == "closed: timed out: not connected in time"), "{seen:?}");
    assert_eq!(communicator.len(), 1);
    for mut other in others {
        // The end, behind what the server may have said.
        let _ = other.read_to_end(&mut Vec::new());
        assert_eq!(other.read(&mut [0; 1]).unwrap_or(0), 0);
    }
}

/// Keeps why it ended.
struct Keep(Seen);

impl Handler<Lines> for Keep {
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.0.add(line);
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        let Closed::Connect(error) = why else { return self.0.add(format!("not in the handshake: {why}")) };
        self.0.add(format!("{:?}", TlsError::of(error)));
    }
}

#[test]
fn a_client_sees_that_a_server_does_not_speak_tls() {
    let (_, _, client) = fitting();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for (greeting, error) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "Some(NotTls)"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "Some(NotTls)"),
        ("", "Some(CutOffInHandshake)"),
    ] {
        let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
        let keep = Keep(seen.clone());
        communicator.connect_tls(address, "localhost", &client, Lines::new(), keep).unwrap();
        let listener = listener.try_clone().unwrap();
        let other = thread::spawn(move || {
            let (mut other, _) = listener.accept().unwrap();
            // The whole hello is read, so that nothing is reset.
            let mut head = [0; 5];
            other.read_exact(&mut head).unwrap();
            let len = u64::from(u16::from_be_bytes([head[3], head[4]]));
            std::io::copy(&mut (&other).take(len), &mut std::io::sink()).unwrap();
            send(&mut other, greeting);
            let _ = other.shutdown(Shutdown::Write);
            let _ = other.read_to_end(&mut Vec::new());
        });
        run_with(&communicator, &seen, other);
        run_until(&communicator, &seen, || communicator.is_empty());
        assert_eq!(seen.all(), [error], "{greeting:?}");
    }
}

#[test]
fn a_handshake_in_single_bytes_comes_to_its_end() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, None);
    let mut session = raw_session(&authority);
    let mut stream = plain(listening.address());
    stream.set_nodelay(true).unwrap();
    let other = thread::spawn(move || {
        while session.is_handshaking() {
            let mut bytes = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut bytes).unwrap();
            }
            for byte in bytes {
                send(&mut stream, [byte]);
            }
            if session.is_handshaking() {
                session.read_tls(&mut stream).unwrap();
                session.process_new_packets().unwrap();
            }
        }
        let mut other = rustls::StreamOwned::new(session, stream);
        send(&mut other, "hello\n");
        crate::stage::line(&mut other)
    });
    assert_eq!(run_with(&communicator, &seen, other), "hello");
}
