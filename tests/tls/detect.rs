//! TLS and plain on one listener.

use crate::certificates::{Authority, fitting};
use crate::stage::{Seen, line, log, plain, raw_client, raw_session, run_until, run_with, send};
use eventdispatcher::codec::Lines;
use eventdispatcher::{Communicator, Cx, Listening, Timeouts};
use std::io::Read;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

/// A server that answers each line with itself and whether it came over TLS.
fn serve(seen: &Seen) -> (Communicator, Listening, Authority) {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), seen.clone());
    let listening = communicator
        .listen_tcp("127.0.0.1:0".parse().unwrap(), move |client| {
            let answer = |event: &str, cx: &Cx<'_, Lines>| {
                if !["connected", "eof"].contains(&event) && !event.starts_with("closed") {
                    let tls = cx.tls_info(cx.id()).is_some();
                    let kind = cx.connection(cx.id()).map(|info| info.kind);
                    assert_eq!(kind, Some(if tls { "tls" } else { "tcp" }));
                    cx.reply(&format!("{event} {tls}"))?;
                }
                Ok(())
            };
            client.detect_tls(&server).serve(Lines::new(), log(&seen, answer))?;
            Ok(())
        })
        .unwrap();
    (communicator, listening, authority)
}

#[test]
fn plain_and_tls_clients_are_served_by_one_listener() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen);
    let address = listening.address();
    let other = thread::spawn(move || {
        let mut over_tls = raw_client(address, &authority);
        let mut over_tcp = plain(address);
        send(&mut over_tls, "one\n");
        send(&mut over_tcp, "one\n");
        send(&mut over_tls, "two\n");
        send(&mut over_tcp, "two\n");
        [line(&mut over_tls), line(&mut over_tcp), line(&mut over_tls), line(&mut over_tcp)]
    });
    let answers = run_with(&communicator, &seen, other);
    assert_eq!(answers, ["one true", "one false", "two true", "two false"]);
}

#[test]
fn not_a_byte_of_a_plain_client_is_lost_however_it_arrives() {
    let seen = Seen::default();
    let (communicator, listening, _) = serve(&seen);
    // The first ones look like the beginning of a hello for a while.
    for text in
        ["\u{16}\u{3}\u{1}\u{2}\u{3}no hello\n", "\u{16}\u{3}\n", "\u{16}\n", "\n", "a\n", "a longer line\n"]
    {
        for split in 0..text.len().min(8) {
            let mut other = plain(listening.address());
            other.set_nodelay(true).unwrap();
            let (first, rest) = text.split_at(split);
            send(&mut other, first);
            // Whatever it takes for the server to have seen the first part.
            communicator.turn(Some(Duration::from_millis(1))).unwrap();
            communicator.turn(Some(Duration::ZERO)).unwrap();
            send(&mut other, rest);
            let other = thread::spawn(move || line(&mut other));
            let answer = run_with(&communicator, &seen, other);
            assert_eq!(answer, format!("{} false", text.trim_end_matches('\n')), "split at {split}");
        }
    }
}

#[test]
fn a_hello_in_single_bytes_is_known() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen);
    let mut session = raw_session(&authority);
    let mut stream = plain(listening.address());
    stream.set_nodelay(true).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    for byte in hello {
        send(&mut stream, [byte]);
        communicator.turn(Some(Duration::from_millis(1))).unwrap();
    }
    let other = thread::spawn(move || {
        let mut other = rustls::StreamOwned::new(session, stream);
        send(&mut other, "hello\n");
        line(&mut other)
    });
    assert_eq!(run_with(&communicator, &seen, other), "hello true");
}

#[test]
fn who_says_nothing_or_not_enough_is_gone_at_the_deadline() {
    let seen = Seen::default();
    let (communicator, listening, _) = serve(&seen);
    let connect = Some(Duration::from_millis(50));
    communicator.set_timeouts(listening, Timeouts { connect, ..Timeouts::default() });
    for bytes in ["", "\u{16}", "\u{16}\u{3}\u{1}"] {
        let before = seen.count();
        let mut other = plain(listening.address());
        send(&mut other, bytes);
        run_until(&communicator, &seen, || seen.count() > before);
        assert_eq!(seen.last(), "closed: timed out: not connected in time");
        run_until(&communicator, &seen, || communicator.len() == 1);
    }
}

#[test]
fn who_ends_before_it_is_known_is_a_plain_client() {
    let seen = Seen::default();
    let (communicator, listening, _) = serve(&seen);
    for bytes in ["", "\u{16}\u{3}\n", "\u{16}\u{3}"] {
        let before = seen.count();
        let mut other = plain(listening.address());
        send(&mut other, bytes);
        other.shutdown(Shutdown::Write).unwrap();
        run_until(&communicator, &seen, || communicator.len() == 1 && seen.count() > before);
        let mut expected = vec!["connected"];
        if let Some(line) = bytes.strip_suffix('\n') {
            expected.push(line);
        }
        expected.extend(["eof", "closed: closed by this program"]);
        assert_eq!(seen.all()[before..], expected);
        let mut answer = String::new();
        other.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.is_empty(), expected.len() == 3, "{answer:?}");
    }
}
