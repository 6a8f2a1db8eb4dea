//! Connections that are joined: what comes in at one goes out at the other, at the pace of the slower side.

mod bed;

use bed::{Log, assert_log, receive, receive_all, run, settle, tcp, unix, until, until_empty};
use eventdispatcher::codec::{Lines, Raw};
use eventdispatcher::{
    Budget, Communicator, Cx, HandlerResult, Id, Limits, OnItem, PipeError, Reconnect, Records, SeqPacket,
    TcpConnect, Timeouts, ToUnix, Transport, UdpBind, UdpPackets, on_item,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

type Ignore = OnItem<fn(&[u8], &Cx<'_, Raw>) -> HandlerResult>;

fn ignore() -> Ignore {
    on_item::<Raw, _>(|_, _| Ok(()))
}

/// Writes until no more is taken, for as long as the loop does anything. How many bytes.
fn flood(communicator: &Communicator, into: &mut UnixStream) -> usize {
    into.set_nonblocking(true).unwrap();
    let mut sent = 0;
    loop {
        let before = sent;
        while let Ok(count) = into.write(&[b'x'; 10_000]) {
            sent += count;
        }
        settle(communicator);
        if sent == before {
            into.set_nonblocking(false).unwrap();
            return sent;
        }
    }
}

/// Both ends of a proxy, and the two outside.
fn proxy(communicator: &Communicator, log: &Log) -> (Id<Raw>, UnixStream, Id<Raw>, UnixStream) {
    let (near, client) = unix(communicator, Raw, log.probe("near").quiet());
    let (far, server) = unix(communicator, Raw, log.probe("far").quiet());
    communicator.join(near, far).unwrap();
    settle(communicator);
    assert_log(log, &["near connected", "far connected"]);
    (near, client, far, server)
}

#[test]
fn everything_passes_both_ways_and_each_end_by_itself() {
    const BYTES: usize = 20_000_000;
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, mut client) = tcp(&communicator, Raw, log.probe("near").quiet());
    let (far, mut server) = unix(&communicator, Raw, log.probe("far").quiet());
    communicator.join(near, far).unwrap();
    let content = |seed: u8| move |n: usize| (n as u8).wrapping_mul(31).wrapping_add(seed);
    let asks = std::thread::spawn(move || {
        client.write_all(&(0..BYTES).map(content(1)).collect::<Vec<_>>()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.into_iter().eq((0..BYTES).map(content(2))));
    });
    let answers = std::thread::spawn(move || {
        let mut question = Vec::new();
        // The end comes behind everything, and the other direction is still there.
        server.read_to_end(&mut question).unwrap();
        assert!(question.into_iter().eq((0..BYTES).map(content(1))));
        server.write_all(&(0..BYTES).map(content(2)).collect::<Vec<_>>()).unwrap();
    });
    run(&communicator);
    asks.join().unwrap();
    answers.join().unwrap();
    let mut log = log.take();
    log.retain(|line| !line.ends_with(" drained"));
    assert_eq!(log, ["near connected", "far connected", "far closed: Eof", "near closed: Eof"]);
}

#[test]
fn a_slow_side_slows_the_other_down_and_little_is_held() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    for (high_water, low_water) in [(1 << 20, 64 << 10), (100_000, 50_000), (5_000, 0)] {
        let (near, mut client, far, mut server) = proxy(&communicator, &log);
        communicator.set_limits(far, Limits { high_water, low_water, ..Limits::default() });
        let mut sent = flood(&communicator, &mut client);
        let queued = communicator.queued_bytes(far);
        assert!((high_water..high_water + 4096).contains(&queued), "{queued} of {high_water}");
        assert_eq!(communicator.queued_bytes(near), 0);
        // It goes on when the other side takes something, and stops again.
        let taken = receive(&communicator, &mut server, queued).len();
        sent += flood(&communicator, &mut client);
        assert!(communicator.queued_bytes(far) < high_water + 4096);
        // The other direction is free meanwhile.
        server.write_all(b"still here").unwrap();
        assert_eq!(receive(&communicator, &mut client, 10), b"still here");
        client.shutdown(Shutdown::Write).unwrap();
        let rest = receive_all(&communicator, &mut server).len();
        assert_eq!(taken + rest, sent);
        drop(server);
        until_empty(&communicator);
        log.take();
    }
}

#[test]
fn a_pipe_begins_behind_the_item_that_asks_for_it() {
    for callbacks in [1, 8192] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let (far, mut server) = unix(&communicator, Raw, log.probe("far"));
        let handler = log.probe("near").on_message(move |line: &str, cx: &Cx<'_, Lines>| {
            if line == "connect" {
                cx.reply("ok")?;
                cx.join(cx.id(), far)?;
            }
            Ok(())
        });
        let (near, mut client) = unix(&communicator, Lines::new(), handler);
        communicator.set_budget(near, Budget { callbacks, time: Duration::MAX, ..Budget::default() });
        client.write_all(b"first\nconnect\nno line\nany more").unwrap();
        let through = b"no line\nany more";
        assert_eq!(receive(&communicator, &mut server, through.len()), through);
        assert_eq!(receive(&communicator, &mut client, 3), b"ok\n");
        server.write_all(b"nor this").unwrap();
        assert_eq!(receive(&communicator, &mut client, 8), b"nor this");
        drop((client, server));
        until_empty(&communicator);
        let closed: Vec<String> = log.take().split_off(4);
        assert!(closed.iter().all(|line| line.contains("closed: ")) && closed.len() == 2, "{closed:?}");
    }
}

#[test]
fn what_makes_no_item_yet_goes_first() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, mut client) = unix(&communicator, Lines::new(), log.probe("near"));
    let (far, mut server) = unix(&communicator, Raw, log.probe("far"));
    client.write_all(b"half a li").unwrap();
    settle(&communicator);
    communicator.pipe_to(near, far).unwrap();
    assert_eq!(receive(&communicator, &mut server, 9), b"half a li");
    client.write_all(b"ne\n").unwrap();
    assert_eq!(receive(&communicator, &mut server, 3), b"ne\n");
    assert_eq!(communicator.connection(near).unwrap().unread, 0);
    assert_log(&log, &["near connected", "far connected"]);
}

#[test]
fn one_way_the_end_comes_to_the_handler_too() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, mut client) = unix(&communicator, Raw, log.probe("near"));
    let (far, mut server) = unix(&communicator, Raw, log.probe("far"));
    communicator.pipe_to(near, far).unwrap();
    settle(&communicator);
    client.write_all(b"all").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(receive_all(&communicator, &mut server), b"all");
    until(&communicator, || communicator.len() == 1);
    // The other one can still be read.
    server.write_all(b"answer").unwrap();
    drop(server);
    until_empty(&communicator);
    assert_log(
        &log,
        &[
            "near connected",
            "far connected",
            "near eof",
            "near closed: Eof",
            &format!("far {:?}", b"answer"),
            "far eof",
            "far closed: Eof",
        ],
    );
}

#[test]
fn an_end_that_was_told_before_is_passed_on() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, client) = unix(&communicator, Raw, log.probe("near").on_eof(|_| Ok(())));
    let (far, mut server) = unix(&communicator, Raw, log.probe("far"));
    client.shutdown(Shutdown::Write).unwrap();
    settle(&communicator);
    assert_log(&log, &["near connected", "near eof", "far connected"]);
    communicator.join(near, far).unwrap();
    assert_eq!(receive_all(&communicator, &mut server), b"");
    drop(server);
    until_empty(&communicator);
    assert_log(&log, &["far closed: Eof", "near closed: Eof"]);
}

#[test]
fn whoever_fails_takes_the_other_one_along_which_writes_what_it_has() {
    for what in ["reset", "handler", "timeout", "close", "remove", "deadline"] {
        let (communicator, log) = (Communicator::new().unwrap(), Log::default());
        let handler = log.probe("near").on_timeout(move |_, cx| match what {
            "handler" => Err("told to fail".into()),
            "remove" => {
                cx.remove(cx.id());
                Ok(())
            }
            "close" => {
                cx.close();
                Ok(())
            }
            _ => unreachable!(),
        });
        let near_handler = match what {
            "reset" | "timeout" | "deadline" => log.probe("near"),
            _ => handler,
        };
        let (near, mut client) = tcp(&communicator, Raw, near_handler);
        let (far, mut server) = unix(&communicator, Raw, log.probe("far"));
        communicator.join(near, far).unwrap();
        client.write_all(b"what it has").unwrap();
        until(&communicator, || communicator.connection(near).unwrap().bytes_in == 11);
        match what {
            "reset" => {
                // Closing with unread input resets.
                server.write_all(b"unread").unwrap();
                until(&communicator, || communicator.connection(near).unwrap().bytes_out == 6);
                until(&communicator, || client.peek(&mut [0; 10]).is_ok_and(|count| count == 6));
                drop(client);
            }
            "timeout" => {
                let idle = Some(Duration::from_millis(1));
                communicator.set_timeouts(near, Timeouts { idle, ..Timeouts::default() });
            }
            "deadline" => {
                communicator.set_deadline(near, Some(std::time::Instant::now()));
            }
            _ => assert!(communicator.timer(near, Duration::ZERO, 1).is_some()),
        }
        assert_eq!(receive_all(&communicator, &mut server), b"what it has", "{what}");
        let log = log.take();
        let expected = match what {
            "reset" => "near closed: Io(ConnectionReset)",
            "handler" => "near closed: Handler(told to fail)",
            "timeout" => "near closed: TimedOut(Idle)",
            "deadline" => "near closed: TimedOut(Deadline)",
            "close" => "near closed: Local",
            _ => "near Timer(1)",
        };
        assert!(log.iter().any(|line| line == expected), "{what}: {log:?}");
        assert!(log.iter().any(|line| line == "far closed: Pipe"), "{what}: {log:?}");
    }
}

#[test]
fn who_can_not_be_written_to_any_more_is_still_heard() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (_, mut client, _, mut server) = proxy(&communicator, &log);
    // It answers before it has read everything, and goes.
    server.write_all(b"enough").unwrap();
    drop(server);
    let _ = client.write_all(&[b'x'; 1000]);
    assert_eq!(receive_all(&communicator, &mut client), b"enough");
    until_empty(&communicator);
    assert_eq!(log.len(), 2, "{:?}", log.all());
}

#[test]
fn a_pipe_holds_still_while_either_side_is_switched_off() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, mut client, far, mut server) = proxy(&communicator, &log);
    server.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let switches: [&dyn Fn(bool) -> bool; 2] =
        [&|on| communicator.enable(near, on), &|on| communicator.read(near, on)];
    for switch in switches {
        assert!(switch(false));
        client.write_all(b"x").unwrap();
        settle(&communicator);
        assert_eq!(server.read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(switch(true));
        assert_eq!(receive(&communicator, &mut server, 1), b"x");
        server.set_nonblocking(true).unwrap();
    }
    // What is queued is written all the same.
    communicator.enable(far, false);
    communicator.set_priority(near, 1);
    client.write_all(b"y").unwrap();
    assert_eq!(receive(&communicator, &mut server, 1), b"y");
}

#[test]
fn a_pipe_may_lead_to_one_that_still_connects_or_never_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (near, mut client) = unix(&communicator, Raw, log.probe("near"));
    client.write_all(b"early").unwrap();
    let to = TcpConnect::to("localhost", address.port());
    let far = communicator.connect_tcp(to, Raw, log.probe("far")).unwrap();
    communicator.join(near, far).unwrap();
    until(&communicator, || log.has("far connected"));
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(receive(&communicator, &mut server, 5), b"early");
    drop(server);
    assert_eq!(receive_all(&communicator, &mut client), b"");
    drop((client, listener));
    until_empty(&communicator);
    log.take();

    let (near, mut client) = unix(&communicator, Raw, log.probe("near"));
    let far = communicator.connect_tcp(address, Raw, log.probe("far")).unwrap();
    communicator.join(near, far).unwrap();
    client.write_all(b"early").unwrap();
    assert_eq!(receive_all(&communicator, &mut client), b"");
    until_empty(&communicator);
    let log = log.take();
    assert!(log.contains(&"far closed: Connect(ConnectionRefused)".to_owned()), "{log:?}");
    assert!(log.contains(&"near closed: Pipe".to_owned()), "{log:?}");
}

#[test]
fn a_chain_of_pipes_passes_everything_on_and_ends_together() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (first, mut client) = unix(&communicator, Raw, log.probe("first").quiet());
    let (mut from, mut held) = (first, Vec::new());
    for _ in 0..20 {
        // A pair inside: what goes in at one comes out at the other.
        let (one, other) = eventdispatcher::unix_pair().unwrap();
        let into = communicator.stream(one, Raw, ignore()).unwrap();
        let out = communicator.stream(other, Raw, ignore()).unwrap();
        communicator.join(from, into).unwrap();
        held.push(out);
        from = out;
    }
    let (last, mut server) = unix(&communicator, Raw, log.probe("last").quiet());
    communicator.join(from, last).unwrap();
    client.write_all(b"a long way").unwrap();
    assert_eq!(receive(&communicator, &mut server, 10), b"a long way");
    server.write_all(b"and back").unwrap();
    assert_eq!(receive(&communicator, &mut client, 8), b"and back");
    // One that is gone is an end to those on either side.
    communicator.remove(held[10]);
    assert_eq!(receive_all(&communicator, &mut server), b"");
    assert_eq!(receive_all(&communicator, &mut client), b"");
    drop((client, server));
    until_empty(&communicator);
    assert_eq!(log.count("first closed: Eof") + log.count("last closed: Eof"), 2, "{:?}", log.all());
}

#[test]
fn what_can_not_be_piped_is_refused() {
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let mut peers = Vec::new();
    let mut stream = || {
        let (id, peer) = unix(&communicator, Raw, log.probe(""));
        peers.push(peer);
        id
    };
    let (a, b, c, gone, shut) = (stream(), stream(), stream(), stream(), stream());
    communicator.remove(gone);
    communicator.shutdown_write(shut);
    communicator.pipe_to(a, b).unwrap();
    for (from, to, expected) in [
        (a, b, PipeError::Busy),
        (a, c, PipeError::Busy),
        (c, b, PipeError::Busy),
        (c, gone, PipeError::Gone),
        (gone, c, PipeError::Gone),
        (c, shut, PipeError::Gone),
    ] {
        assert_eq!(communicator.pipe_to(from, to), Err(expected), "{from} to {to}");
    }
    // Another transport would go on in the middle of what was piped to the one before; packets have an address each.
    let to = ToUnix::new("/nonexistent/socket");
    let lasting = communicator.permanent(to, Reconnect::default(), || Raw, ignore());
    let socket = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let packets = communicator.datagrams(socket, on_item::<UdpPackets, _>(|_, _| Ok(()))).unwrap();
    assert_eq!(communicator.pipe_to(lasting, c), Err(PipeError::NoStream));
    assert_eq!(communicator.pipe_to(c, lasting), Err(PipeError::NoStream));
    assert_eq!(communicator.pipe_to(packets, c), Err(PipeError::NoStream));
    assert_eq!(communicator.pipe_to(c, packets), Err(PipeError::NoStream));
    let boxed: Box<dyn Transport> = Box::new(SeqPacket::pair().unwrap().0);
    let boxed = communicator.stream(boxed, Records::new(), on_item::<Records, _>(|_, _| Ok(()))).unwrap();
    assert_eq!(communicator.pipe_to(boxed, c), Err(PipeError::NoStream));
    // Both directions or none.
    assert_eq!(communicator.join(b, a), Err(PipeError::Busy));
    assert_eq!(communicator.pipe_to(b, a), Ok(()));
    assert_eq!(communicator.join(c, shut), Err(PipeError::Gone));
    assert_eq!(communicator.pipe_to(c, c), Ok(()));
}

#[test]
fn an_echo_is_a_pipe_to_itself() {
    const BYTES: usize = 5_000_000;
    let (communicator, log) = (Communicator::new().unwrap(), Log::default());
    let (id, mut client) = unix(&communicator, Raw, log.probe("").quiet());
    communicator.join(id, id).unwrap();
    let sent = flood(&communicator, &mut client);
    assert!(communicator.queued_bytes(id) < (1 << 20) + 4096, "{}", communicator.queued_bytes(id));
    let mut writer = client.try_clone().unwrap();
    let rest = std::thread::spawn(move || {
        writer.write_all(&vec![b'x'; BYTES]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let back = std::thread::spawn(move || {
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        back.len()
    });
    run(&communicator);
    rest.join().unwrap();
    assert_eq!(back.join().unwrap(), sent + BYTES);
    assert!(log.has("drained"), "as for any other that was over its mark");
    assert_eq!(log.count("closed: Eof"), 1);
}
