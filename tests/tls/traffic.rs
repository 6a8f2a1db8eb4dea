//! Much, little, and everything at once.

use crate::certificates::{Authority, fitting};
use crate::stage::{Seen, line, log, quiet, raw_client, run_until, run_with, send};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::tls::{Tls, TlsVersion};
use eventdispatcher::{Budget, Communicator, Cx, Handler, HandlerResult, Limits, SendError, Timeouts};
use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

/// Sends so many lines as soon as it can, and expects as many.
struct Much {
    count: usize,
    received: Rc<Cell<usize>>,
}

fn numbered(number: usize) -> String {
    format!("{number:>01000}")
}

impl Handler<Lines> for Much {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        for number in 0..self.count {
            cx.reply(&numbered(number))?;
        }
        Ok(())
    }
    fn message(&mut self, line: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        let number = self.received.get();
        assert!(line == numbered(number), "line {number} is {line}");
        self.received.set(number + 1);
        Ok(())
    }
}

#[test]
fn three_megabytes_go_both_ways_at_once() {
    let authority = Authority::new();
    let server = Authority::serve(&authority.server("localhost")).build().unwrap();
    let count = 3000;
    for (unix, version) in [
        (false, TlsVersion::Tls12),
        (false, TlsVersion::Tls13),
        (true, TlsVersion::Tls12),
        (true, TlsVersion::Tls13),
    ] {
        let client = authority.trust().versions([version]).build().unwrap();
        let communicator = Communicator::new().unwrap();
        let (there, back) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let much = Much { count, received: back.clone() };
        let received = there.clone();
        if unix {
            let (ours, theirs) = eventdispatcher::unix_pair().unwrap();
            let theirs = Tls::server(theirs, &server).unwrap();
            communicator.stream(theirs, Lines::new(), Much { count, received }).unwrap();
            let ours = Tls::client(ours, "localhost", &client).unwrap();
            communicator.stream(ours, Lines::new(), much).unwrap();
        } else {
            let listening = communicator
                .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
                    incoming.serve(Lines::new(), Much { count, received: received.clone() })?;
                    Ok(())
                })
                .unwrap();
            communicator
                .connect_tls(
                    ("localhost", listening.address().port()),
                    "localhost",
                    &client,
                    Lines::new(),
                    much,
                )
                .unwrap();
        }
        run_until(&communicator, &Seen::default(), || there.get() == count && back.get() == count);
    }
}

#[test]
fn a_thousand_lines_in_one_record_all_arrive_within_small_budgets_and_without_more_data() {
    let (authority, server, _) = fitting();
    for budget in [
        Budget { callbacks: 7, time: Duration::MAX, ..Budget::default() },
        Budget { bytes: 1, time: Duration::MAX, ..Budget::default() },
        Budget::default(),
    ] {
        let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
        let log_seen = seen.clone();
        let listening = communicator
            .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
                incoming.serve(Lines::new(), log(&log_seen, quiet))?;
                Ok(())
            })
            .unwrap();
        communicator.set_budget(listening, budget);
        let mut other = raw_client(listening.address(), &authority);
        let other = thread::spawn(move || {
            let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
            assert!(lines.len() < 16 << 10, "it fits into one record");
            send(&mut other, lines);
            other
        });
        run_until(&communicator, &seen, || seen.count() == 1001);
        assert_eq!(seen.last(), "line 999");
        drop(other.join().unwrap());
    }
}

#[test]
fn lines_that_wait_inside_while_nothing_is_read_come_when_it_is_read_again() {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let log_seen = seen.clone();
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            let each_stops = |event: &str, cx: &Cx<'_, Lines>| {
                if event.starts_with("line") || event == "connected" {
                    let id = cx.id();
                    cx.read(id, false);
                    cx.after(Duration::from_millis(1), 0);
                } else {
                    cx.read(cx.id(), true);
                }
                Ok(())
            };
            incoming.serve(Lines::new(), Pausing(log(&log_seen, each_stops)))?;
            Ok(())
        })
        .unwrap();
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        send(&mut other, (0..10).map(|number| format!("line {number}\n")).collect::<String>());
        other
    });
    run_until(&communicator, &seen, || seen.has("line 9"));
    drop(other.join().unwrap());
}

/// Goes on at a timer instead of ending.
struct Pausing<A>(crate::stage::Log<A>);

impl<A: FnMut(&str, &Cx<'_, Lines>) -> HandlerResult + 'static> Handler<Lines> for Pausing<A> {
    fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.0.connected(cx)
    }
    fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.0.message(line, cx)
    }
    fn timeout(&mut self, _: eventdispatcher::Timeout, cx: &Cx<'_, Lines>) -> HandlerResult {
        (self.0.act)("on", cx)
    }
}

#[test]
fn the_other_side_may_change_its_keys_while_this_one_only_writes() {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let log_seen = seen.clone();
    let (count, chunk) = (200, "x".repeat(10_000));
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            let chunk = chunk.clone();
            let act = move |event: &str, cx: &Cx<'_, Lines>| {
                match event {
                    "connected" => (0..count).try_for_each(|_| cx.reply(&chunk))?,
                    "how are you?" => cx.reply("well")?,
                    _ => {}
                }
                Ok(())
            };
            incoming.serve(Lines::new(), log(&log_seen, act))?;
            Ok(())
        })
        .unwrap();
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        for number in 0..count {
            let mut chunk = [0; 10_001];
            other.read_exact(&mut chunk).unwrap();
            if number % 10 == 0 {
                other.conn.refresh_traffic_keys().unwrap();
                other.conn.complete_io(&mut other.sock).unwrap();
            }
        }
        send(&mut other, "how are you?\n");
        (line(&mut other), other)
    });
    let (answer, _other) = run_with(&communicator, &seen, other);
    assert_eq!(answer, "well");
    assert!(seen.has("how are you?") && !seen.has("closed"), "{seen:?}");
}

#[test]
fn what_a_client_does_not_take_is_bounded_and_ends_it_in_time() {
    let (authority, server, _) = fitting();
    let (communicator, seen) = (Communicator::new().unwrap(), Seen::default());
    let log_seen = seen.clone();
    let listening = communicator
        .listen_tls("127.0.0.1:0".parse().unwrap(), &server, move |incoming| {
            let fill = |event: &str, cx: &Cx<'_, Lines>| {
                if event == "connected" {
                    let line = "x".repeat(10_000);
                    let full = loop {
                        if let Err(error) = cx.reply(&line) {
                            break error;
                        }
                    };
                    assert!(matches!(full, SendError::Full { queued } if queued < 20 << 20), "{full}");
                }
                Ok(())
            };
            incoming.serve(Lines::new(), log(&log_seen, fill))?;
            Ok(())
        })
        .unwrap();
    communicator.set_limits(listening, Limits { output: 16 << 20, ..Limits::default() });
    let stalled = Some(Duration::from_millis(50));
    let linger = Duration::from_millis(50);
    communicator.set_timeouts(listening, Timeouts { stalled, linger, ..Timeouts::default() });
    let mut other = raw_client(listening.address(), &authority);
    let other = thread::spawn(move || {
        send(&mut other, "I never read\n");
        other
    });
    run_until(&communicator, &seen, || seen.has("timeout") && communicator.len() == 1);
    assert_eq!(
        seen.all()[1..],
        ["I never read", "timeout: the other side takes no output", "closed: closed by this program",]
    );
    drop(other.join().unwrap());
}

/// Sends pieces of every size, and keeps what comes.
struct Pieces {
    sizes: Vec<usize>,
    received: Rc<Cell<usize>>,
}

impl Handler<Raw> for Pieces {
    fn connected(&mut self, cx: &Cx<'_, Raw>) -> HandlerResult {
        for &size in &self.sizes {
            cx.reply(&vec![7; size])?;
        }
        Communicator::shutdown_write(cx, cx.id());
        Ok(())
    }
    fn message(&mut self, bytes: &[u8], _: &Cx<'_, Raw>) -> HandlerResult {
        assert!(bytes.iter().all(|&byte| byte == 7));
        self.received.set(self.received.get() + bytes.len());
        Ok(())
    }
}

#[test]
fn pieces_of_every_size_arrive_whole_with_the_end_behind_them() {
    let (_, server, client) = fitting();
    let record = 16 << 10;
    for sizes in
        [vec![1], vec![record - 1], vec![record], vec![record + 1], vec![1, record, 3 * record, 1], vec![]]
    {
        let (communicator, total) = (Communicator::new().unwrap(), sizes.iter().sum::<usize>());
        let (ours, theirs) = eventdispatcher::unix_pair().unwrap();
        let received = Rc::new(Cell::new(0));
        let back = Rc::new(Cell::new(0));
        let other = Pieces { sizes: sizes.clone(), received: received.clone() };
        communicator.stream(Tls::server(theirs, &server).unwrap(), Raw, other).unwrap();
        let own = Pieces { sizes: sizes.clone(), received: back.clone() };
        communicator.stream(Tls::client(ours, "localhost", &client).unwrap(), Raw, own).unwrap();
        run_until(&communicator, &Seen::default(), || communicator.is_empty());
        assert_eq!((received.get(), back.get()), (total, total), "{sizes:?}");
    }
}
