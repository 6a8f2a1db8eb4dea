//! How streams end: in order, cut off, and by one side only.

use crate::certificates::fitting;
use crate::stage::{Seen, log, quiet, raw_client, run_until, run_with, send};
use eventdispatcher::codec::Lines;
use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, Listening};
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::thread;

/// A server whose handlers write down what happens.
fn serve(
    seen: &Seen,
    act: impl FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + Clone + 'static,
) -> (Communicator, Listening, crate::certificates::Authority) {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), seen.clone());
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            incoming.serve(Lines::new(), log(&seen, act.clone()))?;
            Ok(())
        })
        .unwrap();
    (communicator, listening, authority)
}

#[test]
fn the_end_mark_ends_in_order_and_an_end_without_it_is_a_cut() {
    for marked in [true, false] {
        let seen = Seen::default();
        let (communicator, listening, authority) = serve(&seen, quiet);
        let mut other = raw_client(listening.address(), &authority);
        let other = thread::spawn(move || {
            send(&mut other, "last\nunfinished");
            if marked {
                other.conn.send_close_notify();
                other.conn.complete_io(&mut other.sock).unwrap();
            }
            other.sock.shutdown(Shutdown::Write).unwrap();
            // What this side sends at its end.
            other.read(&mut [0; 10]).map_err(|error| error.kind())
        });
        let answer = run_with(&communicator, &seen, other);
        run_until(&communicator, &seen, || communicator.len() == 1);
        let text = "closed: failed: TLS: the stream was cut off: it ended without close_notify";
        let expected: &[&str] = match marked {
            true => &["connected", "last", "eof", "closed: closed by this program"],
            false => &["connected", "last", text],
        };
        assert_eq!(seen.all(), expected);
        assert_eq!(answer, Ok(0), "this side ends with the mark, whatever the other one did");
    }
}

#[test]
fn closing_sends_everything_and_the_end_mark() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, |event, cx| {
        if event == "go" {
            (0..1000).try_for_each(|_| cx.reply(&"x".repeat(999)))?;
            cx.close();
        }
        Ok(())
    });
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        send(&mut other, "go\n");
        let mut all = Vec::new();
        other.read_to_end(&mut all).map(|_| all.len()).map_err(|error| error.kind())
    });
    assert_eq!(run_with(&communicator, &seen, other), Ok(1_000_000));
    run_until(&communicator, &seen, || communicator.len() == 1);
}

/// Answers what it got when the other side has ended, and ends only then.
struct AtTheEnd(Vec<String>);

impl Handler<Lines> for AtTheEnd {
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.0.push(line.to_owned());
        Ok(())
    }
    fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.after(std::time::Duration::from_millis(5), 0);
        Ok(())
    }
    fn timeout(&mut self, _: eventdispatcher::Timeout, cx: &Cx<'_, Lines>) -> HandlerResult {
        cx.reply(&self.0.join("+"))?;
        cx.close();
        Ok(())
    }
}

#[test]
fn one_direction_can_end_before_the_other() {
    let (_, server, client) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, |incoming| {
            incoming.serve(Lines::new(), AtTheEnd(Vec::new()))?;
            Ok(())
        })
        .unwrap();
    let asks = log(&seen, |event: &str, cx: &Cx<'_, Lines>| {
        if event == "connected" {
            cx.reply("one")?;
            cx.reply("two")?;
            cx.shutdown_write(cx.id());
        }
        Ok(())
    });
    communicator.connect_tls(listening.address(), "localhost", &client, Lines::new(), asks).unwrap();
    run_until(&communicator, &seen, || communicator.len() == 1);
    assert_eq!(seen.all(), ["connected", "one+two", "eof", "closed: closed by this program"]);
}

#[test]
fn damage_in_the_middle_ends_the_connection_behind_what_was_good() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, quiet);
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        send(&mut other, "good\n");
        // As if somebody on the way had put it there.
        send(&mut other.sock, [23, 3, 3, 0, 32].iter().chain(&[0; 32]).copied().collect::<Vec<u8>>());
        let error = other.read(&mut [0; 10]).unwrap_err();
        (error.kind(), error.to_string())
    });
    let (kind, text) = run_with(&communicator, &seen, other);
    assert_eq!((kind, text.as_str()), (ErrorKind::InvalidData, "received fatal alert: BadRecordMac"));
    run_until(&communicator, &seen, || communicator.len() == 1);
    assert_eq!(seen.all(), ["connected", "good", "closed: failed: TLS: cannot decrypt peer's message"]);
}

#[test]
fn a_reset_is_not_taken_for_an_end_in_order() {
    let seen = Seen::default();
    let (communicator, listening, authority) = serve(&seen, |event, cx| {
        if event == "go" {
            cx.reply("you will not read this")?;
        }
        Ok(())
    });
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        send(&mut other, "go\n");
        // The answer is there, and unread: closing resets.
        other.sock.peek(&mut [0; 10]).unwrap();
        drop(other);
    });
    run_with(&communicator, &seen, other);
    run_until(&communicator, &seen, || communicator.len() == 1);
    assert_eq!(seen.all()[..2], ["connected", "go"]);
    assert!(seen.last().starts_with("closed: failed: "), "{:?}", seen.all());
}
