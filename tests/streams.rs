//! The life of a stream connection, over TCP and Unix sockets.

mod bed;

use bed::{
    DEADLINE, Dropped, Log, Peer, assert_log, has_ended, reason, receive, receive_all, run, settle, tcp,
    turn, unix, until,
};
use eventdispatcher::codec::{
    ByteLines, Codec, Delimited, Delimiter, Fixed, Frame, LengthPrefixed, Lines, Netstring, Raw, U16Be,
};
use eventdispatcher::{
    Closed, Communicator, Cx, Fd, Handler, HandlerResult, Id, Limits, SendError, State, TcpConnect, Timeout,
    Timeouts, Transport, WithDescriptors, on_item, tcp_stream, unix_stream,
};
use nix::sys::socket::{Backlog, listen};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::cell::Cell;
use std::fmt::Debug;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A connection of either kind: the behaviour is one.
#[track_caller]
fn connect<C: Codec>(
    kind: &str,
    communicator: &Communicator,
    codec: C,
    handler: impl Handler<C>,
) -> (Id<C>, Box<dyn Peer>) {
    if kind == "tcp" {
        let (id, peer) = tcp(communicator, codec, handler);
        (id, Box::new(peer))
    } else {
        let (id, peer) = unix(communicator, codec, handler);
        (id, Box::new(peer))
    }
}

fn both_kinds(check: impl Fn(&str)) {
    for kind in ["unix", "tcp"] {
        println!("over {kind}"); // shown when it fails
        check(kind);
    }
}

#[test]
fn a_stream_is_established_hands_over_lines_and_ends_in_that_order() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe(""));
        assert!(communicator.is_alive(id));
        until(&communicator, || log.len() == 1);
        assert_log(&log, &["connected"]);

        // Half a line makes nothing.
        peer.write_all(b"on").unwrap();
        until(&communicator, || communicator.connection(id).unwrap().bytes_in == 2);
        assert_log(&log, &[]);
        peer.write_all(b"e\ntwo\r\n\nfo").unwrap();
        until(&communicator, || log.len() == 3);
        assert_log(&log, &["\"one\"", "\"two\"", "\"\""]);
        peer.write_all(b"ur\nunfinished").unwrap();
        peer.end();
        run(&communicator);
        assert_log(&log, &["\"four\"", "eof", "closed: Eof"]);
        assert!(!communicator.is_alive(id));
        assert!(has_ended(&mut peer));
    });
}

#[test]
fn a_line_may_be_cut_anywhere() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    for byte in "ä b\r\nc\n".as_bytes() {
        peer.write_all(&[*byte]).unwrap();
        turn(&communicator);
    }
    assert_log(&log, &["connected", "\"ä b\"", "\"c\""]);
}

#[test]
fn long_lines_arrive_whole_and_too_long_ones_end_the_connection() {
    fn check(codec: Lines, input: usize, lengths: &[usize], reason: &str) {
        both_kinds(|kind| {
            let (communicator, log) = (Communicator::new().unwrap(), Log::default());
            let (id, mut peer) = {
                let seen = log.clone();
                let probe = log.probe("").quiet().on_message(move |line: &str, _| {
                    let (first, rest) = line.split_at(1);
                    seen.say(format!("{} × {first}", line.len()));
                    if rest.bytes().any(|byte| byte != first.as_bytes()[0]) {
                        Err("mixed up".into())
                    } else {
                        Ok(())
                    }
                });
                connect(kind, &communicator, codec.clone(), probe)
            };
            communicator.set_limits(id, Limits { input, ..Limits::default() });
            let letters = "abcdefg";
            let sent: String =
                letters.chars().zip(lengths).map(|(a, &n)| a.to_string().repeat(n) + "\n").collect();
            let writer = std::thread::spawn(move || {
                let _ = peer.write_all(sent.as_bytes()); // the too long one is not read to its end
                peer.end();
                let _ = peer.read(&mut [0]);
            });
            run(&communicator);
            writer.join().unwrap();
            let mut expected = vec!["connected".to_string()];
            let good = lengths.len() - usize::from(reason != "Eof");
            expected.extend(letters.chars().zip(&lengths[..good]).map(|(a, n)| format!("{n} × {a}")));
            if reason == "Eof" {
                expected.push("eof".to_string());
            }
            expected.push(format!("closed: {reason}"));
            assert_eq!(log.take(), expected, "{lengths:?}");
        });
    }
    const MIB: usize = 1 << 20;
    check(Lines::new(), 16 * MIB, &[MIB, 1, MIB], "Eof");
    check(Lines::new(), 16 * MIB, &[1, MIB + 1], "Decode(TooLong { limit: 1048576 })");
    check(Lines::new().max(10), 16 * MIB, &[10, 10, 11], "Decode(TooLong { limit: 10 })");
    check(Lines::new().max(8 * MIB), 16 * MIB, &[100, 5 * MIB, 3, 300_000, 70_000], "Eof");
    check(Lines::new().max(8 * MIB), 2 * MIB, &[100, 5 * MIB], "Decode(TooLong { limit: 2097152 })");
}

#[test]
fn bytes_that_are_no_line_end_the_connection() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    peer.write_all(b"good\nb\xff\nlost\n").unwrap();
    run(&communicator);
    assert_log(
        &log,
        &["connected", "\"good\"", "closed: Decode(Invalid { what: \"a line is not UTF-8\", at: 1 })"],
    );
    assert!(has_ended(&mut peer));
}

#[test]
fn everything_that_was_sent_before_a_hang_up_arrives() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let count = Rc::new(Cell::new(0));
        let (_, mut peer) = {
            let count = count.clone();
            let probe = log.probe("").quiet().on_message(move |line: &str, _| {
                let expected = count.replace(count.get() + 1);
                if line.parse() == Ok(expected) { Ok(()) } else { Err("out of order".into()) }
            });
            connect(kind, &communicator, Lines::new(), probe)
        };
        settle(&communicator);
        let writer = std::thread::spawn(move || {
            let lines: String = (0..10_000).map(|n: u32| format!("{n}\n")).collect();
            peer.write_all(lines.as_bytes()).unwrap();
            drop(peer);
        });
        // All of it, and the hang-up, is there before the first turn that could see it.
        writer.join().unwrap();
        run(&communicator);
        assert_eq!(count.get(), 10_000u32);
        assert_log(&log, &["connected", "eof", "closed: Eof"]);
    });
}

#[test]
fn nothing_stays_behind_urgent_data() {
    fn check(communicator: &Communicator, log: &Log, peer: &mut (impl Write + AsFd)) {
        until(communicator, || log.len() == 1);
        for (at, urgent) in [true, false, true, true, false].into_iter().enumerate() {
            peer.write_all(b"before\n").unwrap();
            if urgent {
                rustix::net::send(&*peer, b"!", SendFlags::OOB).unwrap();
            }
            peer.write_all(b"behind\n").unwrap();
            until(communicator, || log.count("\"behind\"") == at + 1);
        }
        assert_eq!((log.count("\"before\""), log.len()), (5, 11));
    }
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut peer) = tcp(&communicator, Lines::new(), log.probe(""));
    check(&communicator, &log, &mut peer);

    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = TcpConnect::to("127.0.0.1", listener.local_addr().unwrap().port());
    communicator.connect_tcp(to, Lines::new(), log.probe("")).unwrap();
    until(&communicator, || log.len() == 1);
    check(&communicator, &log, &mut listener.accept().unwrap().0);

    // Unix sockets may know no urgent data.
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
    let (here, _there) = UnixStream::pair().unwrap();
    if rustix::net::send(&here, b"!", SendFlags::OOB).is_ok() {
        check(&communicator, &log, &mut peer);
    }
}

#[test]
fn nothing_stays_behind_bytes_with_a_descriptor() {
    // Who reads lines, and who passes them on.
    for piped in [false, true] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (from, mut peer) = unix(&communicator, Lines::new(), log.probe(""));
        let (to, mut far) = unix(&communicator, Lines::new(), log.probe(""));
        if piped {
            communicator.pipe_to(from, to).unwrap();
        }
        until(&communicator, || log.len() == 2);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptor = [peer.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptor)));
        let bytes = [IoSlice::new(b"one\n")];
        rustix::net::sendmsg(&peer, &bytes, &mut control, SendFlags::empty()).unwrap();
        peer.write_all(b"two\n").unwrap();
        if piped {
            assert_eq!(receive(&communicator, &mut far, 8), b"one\ntwo\n");
        } else {
            until(&communicator, || log.len() == 4);
            assert_log(&log, &["connected", "connected", "\"one\"", "\"two\""]);
        }
    }
}

#[test]
fn a_reset_is_told_after_what_came_before_it() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = tcp(&communicator, Lines::new(), log.probe(""));
    communicator.send(id, "unread").unwrap();
    peer.write_all(b"last\n").unwrap();
    until(&communicator, || communicator.connection(id).unwrap().bytes_out == 7);
    until(&communicator, || log.has("\"last\""));
    until(&communicator, || peer.peek(&mut [0; 7]).is_ok());
    drop(peer); // with input that was not read, which makes it a reset
    run(&communicator);
    assert_log(&log, &["connected", "\"last\"", "closed: Io(ConnectionReset)"]);
}

#[test]
fn a_handler_may_stay_when_the_other_side_has_ended_its_direction() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe("").on_eof(|_| Ok(())));
        peer.write_all(b"question\n").unwrap();
        peer.end();
        until(&communicator, || log.has("eof"));
        assert_log(&log, &["connected", "\"question\"", "eof"]);

        // Long after, and more than the system buffers.
        for n in 0..1000 {
            communicator.send(id, &format!("{n:>1000}")).unwrap();
        }
        let answer = receive(&communicator, &mut peer, 1_001_000);
        assert!(answer.starts_with(b"   ") && answer.ends_with(b" 999\n"));
        settle(&communicator);
        assert!(communicator.is_alive(id), "half open until somebody closes it");
        communicator.close(id);
        run(&communicator);
        assert_log(&log, &["closed: Local"]);
        assert!(has_ended(&mut peer));
    });
}

#[test]
fn a_connection_may_end_its_own_direction_and_go_on_reading() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe(""));
        communicator.send(id, &"x".repeat(700_000)).unwrap();
        assert!(communicator.shutdown_write(id));
        assert_eq!(communicator.send(id, "late"), Err(SendError::Gone));
        let got = receive_all(&communicator, &mut peer);
        assert_eq!(got.len(), 700_001, "what was queued comes before the end");

        assert!(communicator.is_alive(id));
        peer.write_all(b"still here\n").unwrap();
        until(&communicator, || log.has("\"still here\""));
        drop(peer);
        run(&communicator);
        assert_log(&log, &["connected", "\"still here\"", "eof", "closed: Eof"]);
        assert!(!communicator.shutdown_write(id));
    });
}

#[test]
fn a_closed_connection_is_written_to_the_end_in_the_background() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe(""));
        settle(&communicator);
        for _ in 0..8 {
            communicator.send(id, &"x".repeat(1 << 20)).unwrap();
        }
        assert!(communicator.close(id));
        assert!(!communicator.is_alive(id) && !communicator.close(id));
        assert_eq!(communicator.send(id, "late"), Err(SendError::Gone));
        until(&communicator, || log.has("closed: Local"));
        settle(&communicator);
        assert_eq!(
            (communicator.len(), communicator.is_empty()),
            (1, false),
            "it counts until all is written"
        );
        let info = communicator.connection(id).unwrap();
        assert_eq!(info.state, State::Closing);
        assert!(info.queued > 0, "a slow reader");

        let got = receive_all(&communicator, &mut peer);
        assert_eq!(got.len(), 8 * ((1 << 20) + 1));
        drop(peer);
        run(&communicator);
        assert_eq!((communicator.len(), communicator.connection(id)), (0, None));
        assert_log(&log, &["connected", "closed: Local"]);
    });
}

#[test]
fn what_is_not_taken_within_the_linger_time_is_dropped() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe(""));
        let linger = Duration::from_millis(50);
        communicator.set_timeouts(id, Timeouts { linger, ..Timeouts::default() });
        for _ in 0..8 {
            communicator.send(id, &"x".repeat(1 << 20)).unwrap();
        }
        settle(&communicator);
        let closed = Instant::now();
        communicator.close(id);
        run(&communicator);
        assert!(closed.elapsed() >= linger);
        assert_log(&log, &["connected", "closed: Local"]);
        let mut got = Vec::new();
        let _ = peer.read_to_end(&mut got); // TCP may tell of the loss
        assert!(got.len() < 8 << 20, "{} bytes came", got.len());
    });
}

#[test]
fn a_last_word_is_not_lost_though_the_other_side_still_sends() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let probe = log.probe("").quiet().on_message(|_, cx| {
            cx.reply("enough")?;
            cx.close();
            Ok(())
        });
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), probe);
        communicator.set_timeouts(id, Timeouts { linger: 2 * DEADLINE, ..Timeouts::default() });
        let speaker = std::thread::spawn(move || {
            let spoke = peer.write_all(&b"blah\n".repeat(1 << 20));
            let mut heard = String::new();
            spoke.and_then(|()| peer.read_to_string(&mut heard)).map(|_| heard)
        });
        run(&communicator);
        assert_log(&log, &["connected", "closed: Local"]);
        match speaker.join().unwrap() {
            Ok(heard) => assert_eq!(heard, "enough\n"),
            // A Unix socket is closed at once: who goes on speaking is told so.
            Err(error) if kind == "unix" => {
                assert!(
                    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
            }
            Err(error) => panic!("the connection was cut: {error}"),
        }
    });
}

#[test]
fn remove_is_immediate_and_silent() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let dropped = log.dropped("handler");
        let probe = log.probe("").on_message(move |_, _| {
            let _ = &dropped;
            Ok(())
        });
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), probe);
        settle(&communicator);
        assert_log(&log, &["connected"]);
        communicator.send(id, "lost").unwrap();
        assert!(communicator.remove(id));
        assert_log(&log, &["handler dropped"]);
        assert_eq!((communicator.len(), communicator.is_alive(id)), (0, false));
        assert!(has_ended(&mut peer));
        assert!(!communicator.remove(id));
        settle(&communicator);
        assert_log(&log, &[]);
    });
}

/// Fails in one of its callbacks, in one way or the other.
struct Fails {
    log: Log,
    at: &'static str,
    how: fn(&'static str) -> HandlerResult,
    _dropped: Dropped,
}

impl Fails {
    fn called(&self, callback: &'static str) -> HandlerResult {
        self.log.say(callback);
        if self.at == callback { (self.how)(callback) } else { Ok(()) }
    }
}

impl Handler<Lines> for Fails {
    fn connected(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.called("connected")
    }
    fn message(&mut self, _: &str, _: &Cx<'_, Lines>) -> HandlerResult {
        self.called("message")
    }
    fn timeout(&mut self, _: Timeout, _: &Cx<'_, Lines>) -> HandlerResult {
        self.called("timeout")
    }
    fn drained(&mut self, _: &Cx<'_, Lines>) -> HandlerResult {
        self.called("drained")
    }
    fn eof(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
        self.called("eof")?;
        cx.close();
        Ok(())
    }
    fn closed(&mut self, why: &Closed, _: &Cx<'_, Lines>) {
        self.log.say(format!("closed: {}", reason(why)));
        let _ = self.called("closed");
    }
}

/// Everything that is called, in one life of a connection.
const LIFE: [&str; 8] =
    ["connected", "message", "timeout", "drained", "message", "eof", "closed: Local", "closed"];

/// Lives that life, as far as it gets, beside a bystander.
#[track_caller]
fn live_and_fail(at: &'static str, how: fn(&'static str) -> HandlerResult, expected: &[&str]) {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (other, mut other_peer) = unix(&communicator, Lines::new(), log.probe("other"));
    settle(&communicator);
    log.take();

    let fails = Fails { log: log.clone(), at, how, _dropped: log.dropped("handler") };
    let (id, mut peer) = unix(&communicator, Lines::new(), fails);
    communicator.set_limits(id, Limits { high_water: 1, ..Limits::default() });
    let _ = communicator.send(id, "pressed");
    communicator.timer(id, Duration::ZERO, 1);
    peer.write_all(b"item\n").unwrap();
    settle(&communicator);
    let _ = peer.write_all(b"item\n"); // there may be nobody any more
    peer.end();
    until(&communicator, || communicator.len() == 1);
    assert_log(&log, expected);
    assert!(!communicator.is_alive(id));
    // A Unix socket tells of input that was not read.
    let ended = peer.read_to_end(&mut Vec::new());
    assert!(ended.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::ConnectionReset), "{ended:?}");

    other_peer.write_all(b"x\n").unwrap();
    settle(&communicator);
    assert_log(&log, &["other \"x\""]);
    communicator.remove(other);
}

#[test]
fn an_error_in_a_callback_ends_its_connection_and_no_other() {
    for at in ["connected", "message", "timeout", "drained", "eof"] {
        let so_far = LIFE.iter().position(|callback| *callback == at).unwrap() + 1;
        let why = format!("closed: Handler({at} failed)");
        let expected: Vec<&str> =
            LIFE[..so_far].iter().copied().chain([why.as_str(), "closed", "handler dropped"]).collect();
        live_and_fail(at, |callback| Err(format!("{callback} failed").into()), &expected);
    }
}

#[test]
fn a_panic_in_a_callback_ends_its_connection_without_another_call() {
    for at in ["connected", "message", "timeout", "drained", "eof", "closed"] {
        let so_far = LIFE.iter().position(|callback| *callback == at).unwrap() + 1;
        let expected: Vec<&str> = LIFE[..so_far].iter().copied().chain(["handler dropped"]).collect();
        live_and_fail(at, |callback| panic!("in {callback}, as it should"), &expected);
    }
}

#[test]
fn what_a_handler_closes_gets_nothing_more_of_the_same_packet() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut peer) = unix(&communicator, Lines::new(), {
        log.probe("").on_message(|line, cx| {
            if line == "quit" {
                cx.reply("bye")?;
                cx.close();
            }
            Ok(())
        })
    });
    peer.write_all(b"hello\nquit\nlost\n").unwrap();
    run(&communicator);
    assert_log(&log, &["connected", "\"hello\"", "\"quit\"", "closed: Local"]);
    let mut got = String::new();
    peer.read_to_string(&mut got).unwrap();
    assert_eq!(got, "bye\n");
}

#[test]
fn a_connection_that_is_closed_before_its_first_turn_is_told_only_that() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, Lines::new(), log.probe(""));
        peer.write_all(b"x\n").unwrap();
        communicator.close(id);
        run(&communicator);
        assert_log(&log, &["closed: Local"]);
    });
}

#[test]
fn writing_to_somebody_who_is_gone_ends_the_connection() {
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, peer) = connect(kind, &communicator, Lines::new(), log.probe("").on_eof(|_| Ok(())));
        drop(peer);
        until(&communicator, || log.has("eof"));
        // TCP takes the first bytes, and is told then.
        until(&communicator, || communicator.send(id, "anybody?").is_err());
        run(&communicator);
        assert_log(&log, &["connected", "eof", "closed: Io(BrokenPipe)"]);
    });
}

#[test]
fn closing_somebody_who_is_gone_does_not_wait_for_the_linger_time() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, peer) = unix(&communicator, Lines::new(), log.probe("").on_eof(|_| Ok(())));
    communicator.set_timeouts(id, Timeouts { linger: 2 * DEADLINE, ..Timeouts::default() });
    drop(peer);
    settle(&communicator);
    // From a callback of somebody else, so that writing fails between the two.
    communicator.after(Duration::ZERO, move |communicator| {
        let _ = communicator.send(id, "lost");
        communicator.close(id);
    });
    run(&communicator);
    assert_log(&log, &["connected", "eof", "closed: Local"]);
}

/// An address on which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_refused_connect_is_told_once() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let address = nobody();
    let id = communicator.connect_tcp(address, Lines::new(), log.probe("")).unwrap();
    let info = communicator.connection(id).unwrap();
    assert_eq!((info.state, &*info.name), (State::Connecting, &*address.to_string()));
    communicator.send(id, "to be lost").unwrap();
    run(&communicator);
    assert_log(&log, &["closed: Connect(ConnectionRefused)"]);
}

#[test]
fn what_is_sent_while_it_connects_is_written_afterwards() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = communicator.connect_tcp(listener.local_addr().unwrap(), Lines::new(), log.probe("")).unwrap();
    communicator.send(id, "early").unwrap();
    assert_eq!(communicator.queued_bytes(id), 6);
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(receive(&communicator, &mut peer, 6), b"early\n");
    assert_log(&log, &["connected"]);
    assert_eq!(communicator.queued_bytes(id), 0);
}

#[test]
fn a_connect_that_is_not_answered_ends_at_its_timeout() {
    // A listener whose queue is full does not answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let _fills_it = TcpStream::connect(address).unwrap();

    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let connect = Some(Duration::from_millis(50));
    let begun = Instant::now();
    let id = communicator.connect_tcp(address, Lines::new(), log.probe("")).unwrap();
    communicator.set_timeouts(id, Timeouts { connect, ..Timeouts::default() });
    communicator.send(id, "lost").unwrap();
    run(&communicator);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_log(&log, &["closed: TimedOut(Connect)"]);
}

#[test]
fn a_unix_socket_without_a_listener_is_an_error_that_names_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let dead = folder.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for (path, kind) in
        [(folder.path().join("none"), ErrorKind::NotFound), (dead, ErrorKind::ConnectionRefused)]
    {
        let error = communicator.connect_unix(&path, Lines::new(), Log::default().probe("")).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(communicator.is_empty());
}

#[test]
fn a_connection_has_a_name_and_its_traffic_is_counted() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut peer) = tcp(&communicator, Lines::new(), log.probe(""));
    assert_eq!(communicator.name(id).as_deref(), Some(""));
    assert!(communicator.set_name(id, "printer") && communicator.set_priority(id, 7));
    communicator.send(id, "1234").unwrap();
    let queued = communicator.connection(id).unwrap();
    assert_eq!((queued.state, queued.queued, queued.bytes_out), (State::Connecting, 5, 0));
    peer.write_all(b"a\nbb\nhalf").unwrap();
    until(&communicator, || communicator.connection(id).unwrap().bytes_in == 9);
    receive(&communicator, &mut peer, 5);

    let info = communicator.connection(id).unwrap();
    assert_eq!(communicator.connections(), std::slice::from_ref(&info));
    assert_eq!((info.key, &*info.name, info.kind, info.priority), (id.key(), "printer", "tcp", 7));
    assert_eq!((info.enabled, info.reading, info.state), (true, true, State::Open));
    assert_eq!((info.bytes_in, info.bytes_out, info.items_in, info.queued), (9, 5, 2, 0));
    communicator.enable(id, false);
    communicator.read(id, false);
    assert_eq!(
        communicator.connection(id).unwrap().to_string(),
        format!("{id} (tcp \"printer\", priority 7, open, disabled, not read, in 9, out 5, queued 0)")
    );

    communicator.remove(id);
    assert_eq!(
        (communicator.name(id), communicator.priority(id), communicator.connection(id)),
        (None, None, None)
    );
    assert!(!communicator.set_name(id, "gone") && !communicator.set_priority(id, 1));
    assert!(communicator.connections().is_empty());
}

struct Semicolons;

impl Delimiter for Semicolons {
    const BYTES: &'static [u8] = b";;";
}

/// Items come in although the wire cuts them in the middle, and go out as the format has them.
#[track_caller]
fn speak<C>(codec: C, wire: &[u8], items: &[&str], end: &str, out: &[u8], send: impl Fn(&Communicator, Id<C>))
where
    C: Codec + Clone,
    for<'a> C::In<'a>: Debug,
{
    both_kinds(|kind| {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (id, mut peer) = connect(kind, &communicator, codec.clone(), log.probe(""));
        send(&communicator, id);
        let (first, second) = wire.split_at(wire.len() / 2);
        peer.write_all(first).unwrap();
        let bytes_in = |count| communicator.connection(id).is_none_or(|info| info.bytes_in == count as u64);
        until(&communicator, || bytes_in(first.len()));
        peer.write_all(second).unwrap();
        peer.end();
        run(&communicator);
        let expected: Vec<&str> = ["connected"].iter().chain(items).copied().collect();
        let mut found = log.take();
        let last = found.split_off(found.len() - 1);
        found.retain(|line| line != "eof");
        assert_eq!(
            (found, last),
            (expected.iter().map(ToString::to_string).collect(), vec![format!("closed: {end}")])
        );
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_eq!(got, out);
    });
}

#[test]
fn every_codec_speaks_over_a_socket() {
    speak(Raw, b"ab", &["[97]", "[98]"], "Eof", b"xyz", |communicator, id| {
        communicator.send(id, b"x").unwrap();
        communicator.send(id, b"yz").unwrap();
    });
    speak(ByteLines::new(), b"\xff\r\nb\nc", &["[255]", "[98]"], "Eof", b"\xfe\n", |communicator, id| {
        communicator.send(id, b"\xfe").unwrap();
    });
    speak(ByteLines::new().keep_last(true), b"b\nc", &["[98]", "[99]"], "Eof", b"", |_, _| ());
    speak(
        Fixed::<3>::new(),
        b"abcdef",
        &["[97, 98, 99]", "[100, 101, 102]"],
        "Eof",
        b"xyz",
        |communicator, id| {
            communicator.send(id, b"xyz").unwrap();
        },
    );
    speak(
        Delimited::<Semicolons>::new(),
        b"a;;;;b;c;;",
        &["[97]", "[]", "[98, 59, 99]"],
        "Eof",
        b"x;;",
        |communicator, id| {
            communicator.send(id, b"x").unwrap();
        },
    );
    speak(
        LengthPrefixed::<U16Be>::new(),
        b"\0\x01a\0\0\0\x02bc",
        &[
            "Frame { header: U16Be, payload: [97] }",
            "Frame { header: U16Be, payload: [] }",
            "Frame { header: U16Be, payload: [98, 99] }",
        ],
        "Eof",
        b"\0\x02xy",
        |communicator, id| communicator.send(id, Frame { header: U16Be, payload: b"xy" }).unwrap(),
    );
    speak(
        Netstring::new(),
        b"1:a,0:,2:bc,",
        &["[97]", "[]", "[98, 99]"],
        "Eof",
        b"3:xyz,",
        |communicator, id| {
            communicator.send(id, b"xyz").unwrap();
        },
    );
    // What breaks the format ends the connection behind what was good; so does an end inside an item, where
    // the format can tell.
    speak(
        Netstring::new(),
        b"1:a,1:b;",
        &["[97]"],
        "Decode(Invalid { what: \"a netstring does not end with a comma\", at: 3 })",
        b"",
        |_, _| (),
    );
    speak(Netstring::new(), b"1:a,3:b", &["[97]"], "Decode(Truncated)", b"", |_, _| ());
    speak(LengthPrefixed::<U16Be>::new(), b"\0\x03ab", &[], "Decode(Truncated)", b"", |_, _| ());
}

// ---- transports -------------------------------------------------------------------------------------------------

#[test]
fn packets_in_a_descriptor_are_read_whole() {
    for piped in [false, true] {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (communicator, got) = (Communicator::new().unwrap(), Rc::new(Cell::new(0)));
        let count = got.clone();
        let handler = on_item::<Raw, _>(move |bytes: &[u8], _| {
            count.set(count.get() + bytes.len());
            Ok(())
        });
        let from = communicator.stream(Fd::new(OwnedFd::from(ours)).unwrap(), Raw, handler).unwrap();
        let (to, mut far) = unix(&communicator, Raw, on_item::<Raw, _>(|_, _| Ok(())));
        communicator.set_limits(to, Limits { high_water: 10, ..Limits::default() });
        if piped {
            communicator.pipe_to(from, to).unwrap();
        }
        for n in 1..=5 {
            theirs.send(&[7; 10_000]).unwrap();
            if piped {
                assert_eq!(receive(&communicator, &mut far, 10_000), [7; 10_000]);
            } else {
                until(&communicator, || got.get() >= n * 10_000);
            }
        }
    }
}

#[test]
fn a_transport_tells_how_much_there_is_to_read() {
    fn check<W: Write>(mut ours: impl Transport, theirs: impl FnOnce() -> W) {
        let deadline = Instant::now() + DEADLINE;
        let wait = |what: &str, done: &mut dyn FnMut() -> bool| {
            while !done() {
                assert!(Instant::now() < deadline, "{what}");
                std::thread::yield_now();
            }
        };
        wait("it is not established", &mut || ours.establish().unwrap());
        assert_eq!(ours.waiting(), Some(0), "{}", ours.kind());
        let mut theirs = theirs();
        theirs.write_all(b"twelve bytes").unwrap();
        wait(&format!("{}: 12 bytes do not wait", ours.kind()), &mut || ours.waiting() == Some(12));
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    check(unix_stream(ours).unwrap(), || theirs);
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    check(WithDescriptors::new(mio::net::UnixStream::from_std(ours)), || theirs);
    let (ours, theirs) = std::io::pipe().unwrap();
    check(Fd::new(ours).unwrap(), || theirs);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let ours = TcpStream::connect(at).unwrap();
    check(tcp_stream(ours).unwrap(), || listener.accept().unwrap().0);
    let ours = TcpConnect::to("127.0.0.1", at.port()).dial();
    check(ours, || listener.accept().unwrap().0);
}
