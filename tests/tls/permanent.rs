//! Connections that reconnect by themselves, with TLS.

use crate::certificates::{Authority, fitting};
use crate::stage::{Seen, line, raw_server, run_until, run_with, send};
use eventdispatcher::codec::Lines;
use eventdispatcher::tls::{BeforeTls, TlsClient, ToStartTls, ToTls};
use eventdispatcher::{
    Attempt, Away, Closed, Communicator, Connect, Cx, Handler, HandlerResult, Pauses, Reconnect, TcpConnect,
    ToUnix, on_item,
};
use mio::net::TcpStream;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Writes down what happens.
struct Lasting(Seen);

impl Handler<Lines> for Lasting {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        let tls = cx.tls_info(cx.id()).ok_or("no TLS")?;
        self.0.add(format!("connected, verified: {}", tls.verified));
        Ok(())
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.0.add(line);
        Ok(())
    }
    fn failed(&mut self, why: &Closed, _: &Cx<'_, Lines>) -> HandlerResult {
        self.0.add(format!("failed: {why}"));
        Ok(())
    }
    fn lost(&mut self, why: &Closed, cx: &Cx<'_, Lines>) -> HandlerResult {
        assert!(cx.tls_info(cx.id()).is_some());
        self.0.add(format!("lost: {why}"));
        Ok(())
    }
}

fn quickly() -> Reconnect {
    let away = Away { bytes: 64 << 20, ..Away::default() };
    Reconnect::new(Pauses::every(Duration::from_millis(5))).away(away)
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn each_attempt_shakes_hands_anew_and_what_fails_there_is_tried_again() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (right, wrong) = (authority.server("localhost"), stranger.server("localhost"));
    let listener = TcpListener::bind(any_port()).unwrap();
    let client = TlsClient::builder().roots_pem(&authority.pem).build().unwrap();
    let to = ToTls::new(TcpConnect::from(listener.local_addr().unwrap()), "localhost", &client).unwrap();
    let name = format!("localhost ({})", listener.local_addr().unwrap());
    assert_eq!(to.name(), name);

    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let id = communicator.permanent(to, quickly(), Lines::new, Lasting(seen.clone()));
    let long = "x".repeat(24 << 20);
    for item in ["one", &long, "three"] {
        communicator.send(id, item).unwrap();
    }
    let long_again = long.clone();
    let server = std::thread::spawn(move || {
        // Somebody else's certificate, no TLS at all, cut off in the middle of an item, and then the right one.
        let _ = raw_server(&listener, &wrong).read(&mut [0]);
        let (mut plain, _) = listener.accept().unwrap();
        plain.write_all(b"220 not what you think\r\n").unwrap();
        let _ = plain.read(&mut [0; 1000]);
        drop(plain);
        let mut first = raw_server(&listener, &right);
        assert_eq!(line(&mut first), "one");
        first.read_exact(&mut vec![0; 1 << 20]).unwrap();
        drop(first);
        let mut second = raw_server(&listener, &right);
        let mut got = vec![0; long_again.len() + 7];
        second.read_exact(&mut got).unwrap();
        assert!(got == format!("{long_again}\nthree\n").into_bytes(), "begins {:?}", &got[..20]);
        send(&mut second, "thanks\n");
        second.conn.send_close_notify();
        let _ = second.flush();
    });
    run_with(&communicator, &seen, server);
    run_until(&communicator, &seen, || seen.has("lost: ended by the other side"));
    let all = seen.all();
    let starts = |n: usize, start: &str| assert!(all[n].starts_with(start), "{n}: {start:?} in {all:?}");
    starts(0, "failed: could not connect: ");
    starts(1, "failed: could not connect: ");
    starts(2, "connected, verified: true");
    starts(3, "lost: failed: ");
    starts(4, "connected, verified: true");
    starts(5, "thanks");
    starts(6, "lost: ended by the other side");
}

#[test]
fn it_works_over_unix_sockets_and_connectors_that_answer_later() {
    /// Answers on the next turn.
    #[derive(Debug)]
    struct Later(SocketAddr);
    impl Connect for Later {
        type Transport = TcpStream;
        fn connect(&mut self, attempt: Attempt<TcpStream>) {
            let Some(communicator) = attempt.communicator() else { return };
            let address = self.0;
            communicator.after(Duration::ZERO, move |_| {
                attempt.done(TcpStream::connect(address));
            });
        }
    }

    let (_, server, client) = fitting();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server");
    let communicator = Communicator::new().unwrap();
    let echo = || {
        on_item::<Lines, _>(|line: &str, cx: &Cx<'_, Lines>| {
            cx.reply(line)?;
            cx.close();
            Ok(())
        })
    };
    let tls = server.clone();
    communicator
        .listen_unix(&path, move |client| {
            client.tls(&tls)?.serve(Lines::new(), echo())?;
            Ok(())
        })
        .unwrap();
    let listening = communicator
        .listen_tls(any_port(), &server, move |client| {
            client.serve(Lines::new(), echo())?;
            Ok(())
        })
        .unwrap();
    fn check<K: Connect>(communicator: &Communicator, below: K, client: &TlsClient) {
        let to = ToTls::new(below, "localhost", client).unwrap();
        let seen = Seen::default();
        let id = communicator.permanent::<ToTls<K>, _, _>(to, quickly(), Lines::new, Lasting(seen.clone()));
        for round in 1..4 {
            communicator.send(id, &format!("round {round}")).unwrap();
            run_until(communicator, &seen, || seen.has(&format!("round {round}")));
        }
        run_until(communicator, &seen, || {
            seen.all().iter().filter(|line| line.starts_with("lost")).count() == 3
        });
        communicator.remove(id);
    }
    check(&communicator, ToUnix::new(&path), &client);
    check(&communicator, Later(listening.address()), &client);
    let wrong = ToTls::new(Later(listening.address()), "no name", &client).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidInput);
}

fn talk(number: usize, line: &str) -> std::io::Result<BeforeTls> {
    match (number, line) {
        (0, "") => Ok(BeforeTls::Listen),
        (1, "welcome") => Ok(BeforeTls::Say(b"STARTTLS\n".to_vec())),
        (2, "wait") => Ok(BeforeTls::Listen),
        (3, "GO ON") => Ok(BeforeTls::Start),
        _ => Err(std::io::Error::other(format!("line {number} is {line:?}"))),
    }
}

#[test]
fn each_attempt_talks_before_tls_and_nothing_leaves_without_it() {
    let (_, server, client) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let listening = communicator
        .listen_tcp(any_port(), move |client| {
            let server = server.clone();
            let answer = move |line: &str, cx: &Cx<'_, Lines>| {
                if line == "STARTTLS" {
                    cx.reply("wait")?;
                    cx.reply("GO ON")?;
                    return Ok(cx.start_tls_server(cx.id(), &server)?);
                }
                assert!(cx.tls_info(cx.id()).is_some(), "{line} came without TLS");
                cx.reply(&line.to_uppercase())?;
                cx.close();
                Ok(())
            };
            let communicator = client.communicator();
            let id = client.serve(Lines::new(), on_item::<Lines, _>(answer))?;
            Ok(communicator.send(id, "welcome")?)
        })
        .unwrap();
    let to = ToStartTls::new(TcpConnect::from(listening.address()), "localhost", &client, talk).unwrap();
    assert_eq!(to.name(), format!("localhost ({})", listening.address()));
    let id = communicator.permanent(to, quickly(), Lines::new, Lasting(seen.clone()));
    // One for each connection: what is not answered yet is sent again only if it was not written.
    for (word, answer) in [("one", "ONE"), ("two", "TWO"), ("three", "THREE")] {
        communicator.send(id, word).unwrap();
        run_until(&communicator, &seen, || seen.last().starts_with("lost"));
        assert!(seen.has(answer), "{:?}", seen.all());
        seen.add("next");
    }
    let all = seen.all();
    assert_eq!(all.iter().filter(|event| *event == "connected, verified: true").count(), 3, "{all:?}");
}

#[test]
fn who_does_not_agree_to_tls_or_says_too_much_has_failed() {
    let long = "x".repeat(20_000);
    let cases = [
        ("go away\n".to_owned(), "line 1 is \"go away\""),
        ("welcome\r\nwait\nNO\n".to_owned(), "line 3 is \"NO\""),
        ("welcome\nwait\nGO ON\nbehind".to_owned(), "6 bytes of input stand before the layer"),
        ("welcome\nwa".to_owned(), "the other side has closed in the handshake"),
        (long, "the other side says too much before TLS"),
        ("welcome\nwait\nGO ON\n".to_owned(), "the other side has closed in the handshake"),
        ("\u{ff}".to_owned() + "\n", "line 1 is"),
    ];
    let authority = Authority::new();
    let client = TlsClient::builder().roots_pem(&authority.pem).build().unwrap();
    for (says, expected) in cases {
        let listener = TcpListener::bind(any_port()).unwrap();
        let below = TcpConnect::from(listener.local_addr().unwrap());
        let to = ToStartTls::new(below, "localhost", &client, talk).unwrap();
        let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
        let once = Reconnect::new(Pauses::never());
        let id = communicator.permanent(to, once, Lines::new, Lasting(seen.clone()));
        communicator.send(id, "secret").unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(says.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        let heard = run_with(&communicator, &seen, server);
        assert!(!String::from_utf8_lossy(&heard).contains("secret"), "{heard:?}");
        run_until(&communicator, &seen, || seen.has("failed"));
        assert!(seen.all().iter().any(|event| event.contains(expected)), "{expected}: {:?}", seen.all());
    }
}
