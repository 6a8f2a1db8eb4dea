//! TLS that starts in mid-stream.

use crate::certificates::{Authority, fitting};
use crate::stage::{Seen, line, log, plain, raw_server, raw_session, run_until, run_with, send};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::TlsClient;
use eventdispatcher::{Communicator, Cx, Listening};
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener};
use std::thread;

/// A server that starts TLS at the line `STARTTLS`, behind `before` lines of an answer.
fn serve(seen: &Seen, before: usize) -> (Communicator, Listening, Authority) {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), seen.clone());
    let listening = communicator
        .listen_tcp("127.0.0.1:0".parse().unwrap(), move |client| {
            let server = server.clone();
            let answer = move |event: &str, cx: &Cx<'_, Lines>| {
                match event {
                    "STARTTLS" => {
                        (0..before).try_for_each(|number| cx.reply(&format!("{number:>0100}")))?;
                        cx.reply("GO ON")?;
                        cx.start_tls_server(cx.id(), &server)?;
                        cx.reply("inside")?;
                    }
                    "upgraded" => {
                        let info = cx.tls_info(cx.id()).ok_or("no TLS")?;
                        cx.reply(&format!("{} asked for {:?}", info.version, info.server_name))?;
                    }
                    "hello" => cx.reply("hello")?,
                    _ => {}
                }
                Ok(())
            };
            client.serve(Lines::new(), log(&seen, answer))?;
            Ok(())
        })
        .unwrap();
    (communicator, listening, authority)
}

#[test]
fn a_server_starts_tls_behind_all_that_it_has_said() {
    // So much that it does not fit into the socket.
    let before = 100_000;
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, before);
    let mut other = plain(listening.address());
    let other = thread::spawn(move || {
        send(&mut other, "hello\nSTARTTLS\n");
        assert_eq!(line(&mut other), "hello");
        let mut said = vec![0; before * 101 + 6];
        other.read_exact(&mut said).unwrap();
        assert!(said.ends_with(b"GO ON\n"));
        let mut inside = rustls::StreamOwned::new(raw_session(&authority), other);
        send(&mut inside, "hello\n");
        ([line(&mut inside), line(&mut inside), line(&mut inside)], inside)
    });
    let (answers, _other) = run_with(&communicator, &seen, other);
    assert_eq!(answers, ["inside", "TLS 1.3 asked for Some(\"localhost\")", "hello"]);
    // When the queue is low depends on the sockets.
    run_until(&communicator, &seen, || seen.has("drained"));
    let events: Vec<_> = seen.all().into_iter().filter(|event| event != "drained").collect();
    assert_eq!(events, ["connected", "hello", "STARTTLS", "upgraded", "hello"]);
}

#[test]
fn plain_text_behind_the_request_ends_the_connection_and_is_not_taken_for_protected() {
    for injected in ["RCPT TO: eve\n", "half a li", "\n"] {
        let seen = Seen::default();
        let (communicator, listening, _) = serve(&seen, 0);
        let mut other = plain(listening.address());
        let other = thread::spawn(move || {
            send(&mut other, format!("STARTTLS\n{injected}"));
            let mut answer = String::new();
            let _ = other.read_to_string(&mut answer);
            answer
        });
        assert_eq!(run_with(&communicator, &seen, other), "", "not even the answer is sent");
        run_until(&communicator, &seen, || communicator.len() == 1);
        let text = format!("{} bytes of input stand before the layer, where none may be", injected.len());
        assert_eq!(seen.all(), ["connected", "STARTTLS", &format!("closed: failed: {text}")]);
    }
}

#[test]
fn plain_text_that_comes_later_is_no_handshake() {
    let seen = Seen::default();
    let (communicator, listening, _) = serve(&seen, 0);
    let mut other = plain(listening.address());
    let other = thread::spawn(move || {
        send(&mut other, "STARTTLS\n");
        assert_eq!(line(&mut other), "GO ON");
        send(&mut other, "RCPT TO: eve\n");
        let mut answer = Vec::new();
        other.read_to_end(&mut answer).unwrap();
        answer
    });
    let answer = run_with(&communicator, &seen, other);
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 50], "an alert and nothing in plain");
    run_until(&communicator, &seen, || communicator.len() == 1);
    assert_eq!(seen.all(), ["connected", "STARTTLS", "closed: failed: the other side does not speak TLS"]);
}

/// A client that asks for TLS, and says its secret only behind the handshake.
fn ask(seen: &Seen, client: TlsClient, name: &'static str) -> (Communicator, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let communicator = Communicator::new().unwrap();
    let handler = log(seen, move |event: &str, cx: &Cx<'_, Lines>| {
        match event {
            "connected" => cx.reply("STARTTLS")?,
            "GO ON" => {
                cx.start_tls_client(cx.id(), name, &client)?;
                cx.reply("secret")?;
            }
            "upgraded" => assert!(cx.tls_info(cx.id()).is_some_and(|info| info.verified)),
            "well" => cx.close(),
            _ => {}
        }
        Ok(())
    });
    communicator.connect_tcp(listener.local_addr().unwrap(), Lines::new(), handler).unwrap();
    (communicator, listener)
}

#[test]
fn a_client_starts_tls_when_it_may() {
    let (authority, _, client) = fitting();
    let seen = Seen::default();
    let (communicator, listener) = ask(&seen, client, "localhost");
    let other = thread::spawn(move || {
        let mut inside = raw_server(&listener, &authority.server("localhost"));
        assert_eq!(line(&mut inside.sock), "STARTTLS");
        send(&mut inside.sock, "GO ON\n");
        assert_eq!(line(&mut inside), "secret");
        send(&mut inside, "well\n");
        inside.read(&mut [0; 1]).map_err(|error| error.kind())
    });
    assert_eq!(run_with(&communicator, &seen, other), Ok(0));
    run_until(&communicator, &seen, || communicator.is_empty());
    assert_eq!(seen.all(), ["connected", "GO ON", "upgraded", "well", "closed: closed by this program"]);
}

#[test]
fn a_client_says_nothing_to_who_is_not_the_server_it_expects() {
    let (authority, _, client) = fitting();
    let seen = Seen::default();
    let (communicator, listener) = ask(&seen, client, "b.example");
    let other = thread::spawn(move || {
        let mut inside = raw_server(&listener, &authority.server("localhost"));
        assert_eq!(line(&mut inside.sock), "STARTTLS");
        send(&mut inside.sock, "GO ON\n");
        inside.read(&mut [0; 1]).map_err(|error| error.kind())
    });
    assert_eq!(run_with(&communicator, &seen, other), Err(ErrorKind::InvalidData), "it got an alert");
    run_until(&communicator, &seen, || communicator.is_empty());
    let text = "TLS: the other side's certificate is refused: it is not for b.example but for localhost";
    assert_eq!(seen.all(), ["connected", "GO ON", &format!("closed: failed: {text}")]);
}

#[test]
fn an_answer_that_somebody_has_put_behind_the_agreement_ends_the_client() {
    let (_, _, client) = fitting();
    let seen = Seen::default();
    let (communicator, listener) = ask(&seen, client, "localhost");
    let other = thread::spawn(move || {
        let (mut other, _) = listener.accept().unwrap();
        assert_eq!(line(&mut other), "STARTTLS");
        send(&mut other, "GO ON\nwell\n");
        let mut answer = String::new();
        let _ = other.read_to_string(&mut answer);
        answer
    });
    assert_eq!(run_with(&communicator, &seen, other), "", "not a word of what was meant for TLS");
    run_until(&communicator, &seen, || communicator.is_empty());
    let text = "closed: failed: 5 bytes of input stand before the layer, where none may be";
    assert_eq!(seen.all(), ["connected", "GO ON", text]);
}

#[test]
fn a_server_that_ends_instead_of_shaking_hands_ends_the_client() {
    let (_, _, client) = fitting();
    let seen = Seen::default();
    let (communicator, listener) = ask(&seen, client, "localhost");
    let other = thread::spawn(move || {
        let (mut other, _) = listener.accept().unwrap();
        assert_eq!(line(&mut other), "STARTTLS");
        send(&mut other, "GO ON\n");
        other.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = other.read_to_end(&mut rest);
        rest
    });
    let rest = run_with(&communicator, &seen, other);
    assert!(rest.is_empty() || rest.starts_with(&[22, 3]), "{rest:?}");
    assert!(!rest.windows(6).any(|bytes| bytes == b"secret"));
    run_until(&communicator, &seen, || communicator.is_empty());
    let text = "closed: failed: TLS: the other side has closed in the handshake";
    assert_eq!(seen.all(), ["connected", "GO ON", text]);
}

#[test]
fn a_name_that_is_none_changes_nothing() {
    let (_, server, client) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let (ours, _theirs) = eventdispatcher::unix_pair().unwrap();
    let id =
        communicator.stream(ours, Lines::new(), log(&seen, |_: &str, _: &Cx<'_, Lines>| Ok(()))).unwrap();
    let kind = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(communicator.start_tls_client(id, "localhost", &client)), ErrorKind::ResourceBusy);
    run_until(&communicator, &seen, || seen.has("connected"));
    assert_eq!(kind(communicator.start_tls_client(id, "not a name", &client)), ErrorKind::InvalidInput);
    communicator.start_tls_client(id, "localhost", &client).unwrap();
    assert_eq!(kind(communicator.start_tls_server(id, &server)), ErrorKind::ResourceBusy);
    communicator.close(id);
    assert_eq!(kind(communicator.start_tls_server(id, &server)), ErrorKind::NotConnected);
}
