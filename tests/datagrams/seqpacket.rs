//! Connections of packets: whole, in order, to the end.

use crate::bed::{Log, settle, until, until_empty};
use crate::stage::shown;
use eventdispatcher::codec::EncodeError;
use eventdispatcher::{
    Blocking, BlockingError, Communicator, Handler, Pauses, PeerCredentials, Reconnect, Records, SendError,
    SeqPacket, UnixAddress, UnixBind, on_item,
};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

fn packet(n: usize) -> Vec<u8> {
    vec![n as u8; [1, 10, 1000, 65_536][n % 4]]
}

/// Every packet comes back; who it is from is known.
fn serve(communicator: &Communicator, bind: UnixBind) -> UnixAddress {
    let bound = bind.bind_seqpacket().unwrap();
    let address = bound.address().unwrap();
    communicator
        .listen(bound, |client| {
            assert_eq!(client.credentials()?.pid, std::process::id());
            client.serve(Records::new(), on_item::<Records, _>(|bytes, cx| Ok(cx.reply(bytes)?)))?;
            Ok(())
        })
        .unwrap();
    address
}

#[test]
fn packets_come_whole_and_in_order_through_files_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("server of {}", folder.path().display());
    for bind in [UnixBind::new(folder.path().join("server")).mode(0o600), UnixBind::abstract_name(name)] {
        let communicator = Communicator::new().unwrap();
        let address = serve(&communicator, bind);
        let log = Log::default();
        let notes = log.clone();
        let client = communicator
            .stream(
                SeqPacket::connect(&address).unwrap(),
                Records::new(),
                on_item::<Records, _>(move |bytes, _| {
                    notes.say(format!("{} of {}", bytes.len(), bytes[0]));
                    Ok(())
                }),
            )
            .unwrap();
        for n in 0..100 {
            communicator.send(client, &packet(n)).unwrap();
        }
        until(&communicator, || log.len() == 100);
        let expected: Vec<String> = (0..100).map(|n| format!("{} of {n}", packet(n).len())).collect();
        assert_eq!(log.all(), expected);
        let peer = communicator.about::<PeerCredentials>(client).unwrap();
        assert_eq!((peer.pid, peer.uid), (std::process::id(), nix::unistd::getuid().as_raw()));
        // Nothing is left when both have gone.
        communicator.close_all();
        until_empty(&communicator);
        assert!(address.path().is_none_or(|path| !path.exists()));
    }
}

#[test]
fn the_end_comes_behind_the_last_packet() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let probe = log.probe::<Records>("ours");
    communicator.stream(ours, Records::new(), probe).unwrap();
    let mut theirs = Blocking::new(theirs, Records::new()).unwrap();
    for n in 0..3 {
        theirs.queue(&[b'0' + n]).unwrap();
    }
    theirs.flush(crate::bed::DEADLINE).unwrap();
    drop(theirs);
    until_empty(&communicator);
    let expected = ["ours connected", "ours [48]", "ours [49]", "ours [50]", "ours eof", "ours closed: Eof"];
    assert_eq!(log.all(), expected);
}

#[test]
fn an_empty_packet_is_not_the_end() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let notes = log.clone();
    let id = communicator
        .stream(
            ours,
            Records::new(),
            on_item::<Records, _>(move |bytes, _| {
                notes.say(format!("{}", bytes.len()));
                Ok(())
            }),
        )
        .unwrap();
    let send = |bytes: &[u8]| {
        let mut control = rustix::net::SendAncillaryBuffer::default();
        let flags = rustix::net::SendFlags::empty();
        rustix::net::sendmsg(&theirs, &[IoSlice::new(bytes)], &mut control, flags).unwrap();
    };
    send(b"");
    send(b"x");
    send(b"");
    until(&communicator, || log.len() == 3);
    assert!(communicator.is_alive(id));
    send(b"");
    send(b"xy");
    drop(theirs);
    until_empty(&communicator);
    assert_eq!(log.all(), ["0", "1", "0", "0", "2"]);
}

#[test]
fn a_packet_that_can_not_be_told_from_the_end_or_is_too_long_is_refused() {
    let communicator = Communicator::new().unwrap();
    let (ours, _theirs) = SeqPacket::pair().unwrap();
    let id = communicator.stream(ours, Records::new(), on_item::<Records, _>(|_, _| Ok(()))).unwrap();
    let empty = EncodeError::invalid("an empty packet looks like the end of the connection");
    assert_eq!(communicator.send(id, b""), Err(SendError::Encode(empty)));
    let limit = 4 << 20;
    assert_eq!(
        communicator.send(id, &vec![0; limit + 1]),
        Err(SendError::Encode(EncodeError::TooLong { limit }))
    );
    assert!(communicator.is_alive(id));
}

#[test]
fn a_peer_that_sends_more_than_is_taken_ends_its_connection() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    communicator.stream(ours.packet_max(10), Records::new(), log.probe::<Records>("ours")).unwrap();
    let mut theirs = Blocking::new(theirs, Records::new()).unwrap();
    theirs.send(&[0; 11], crate::bed::DEADLINE).unwrap();
    until_empty(&communicator);
    assert_eq!(log.all(), ["ours connected", "ours closed: Decode(TooLong { limit: 10 })"]);
}

#[test]
fn a_slow_reader_holds_the_writer_up_and_loses_nothing() {
    let communicator = Communicator::new().unwrap();
    let (ours, theirs) = SeqPacket::pair().unwrap();
    let id = communicator.stream(ours, Records::new(), on_item::<Records, _>(|_, _| Ok(()))).unwrap();
    for n in 0..200 {
        communicator.send(id, &packet(n)).unwrap();
    }
    settle(&communicator);
    assert!(communicator.queued_bytes(id) > 0);
    communicator.close(id);
    let remote = communicator.remote().unwrap();
    let reader = std::thread::spawn(move || {
        let mut theirs = Blocking::new(theirs, Records::new()).unwrap();
        for n in 0..200 {
            theirs.receive(crate::bed::DEADLINE, |bytes| assert_eq!(bytes, packet(n))).unwrap();
        }
        let end = theirs.receive(crate::bed::DEADLINE, <[u8]>::len);
        assert!(matches!(end, Err(BlockingError::Closed)), "{end:?}");
        remote.post(|_| ()).unwrap();
    });
    until_empty(&communicator);
    reader.join().unwrap();
}

#[test]
fn nobody_to_connect_to_is_an_error_that_names_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let address = UnixAddress::file(folder.path().join("nobody")).unwrap();
    let error = SeqPacket::connect(&address).unwrap_err();
    assert!(error.to_string().starts_with(&format!("can't connect to {address}: ")), "{error}");
    // A listener for streams is none for packets.
    let _stream = UnixBind::new(address.path().unwrap()).bind().unwrap();
    assert!(SeqPacket::connect(&address).is_err());
}

/// A permanent connection needs nothing but a closure that connects.
#[test]
fn a_permanent_connection_of_packets_comes_back_with_what_was_queued() {
    let folder = tempfile::tempdir().unwrap();
    let address = UnixAddress::abstract_name(format!("permanent of {}", folder.path().display())).unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let notes = log.clone();
    let to = address.clone();
    let reconnect = Reconnect::new(Pauses::growing(Duration::from_millis(1), Duration::from_millis(5)));
    let id = communicator.permanent(
        move || SeqPacket::connect(&to),
        reconnect,
        Records::new,
        on_item::<Records, _>(move |bytes, _| {
            notes.say(shown(bytes));
            Ok(())
        }),
    );
    for round in 0..3 {
        communicator.send(id, format!("first {round}").as_bytes()).unwrap();
        communicator.send(id, format!("second {round}").as_bytes()).unwrap();
        let name = address.as_abstract().unwrap();
        let listener = {
            let before = communicator.connections();
            serve(&communicator, UnixBind::abstract_name(name));
            let now = communicator.connections();
            now.into_iter()
                .map(|info| info.key)
                .find(|key| before.iter().all(|info| info.key != *key))
                .unwrap()
        };
        until(&communicator, || log.len() == 2);
        assert_eq!(log.take(), [format!("first {round}"), format!("second {round}")]);
        for info in communicator.connections() {
            if info.key == listener || info.key != id.key() {
                communicator.remove(info.key);
            }
        }
    }
}

/// A handler can be shared as with any other connection.
#[test]
fn many_connections_share_one_handler() {
    struct Count(usize);
    impl Handler<Records> for Count {
        fn message(
            &mut self,
            _: &[u8],
            _: &eventdispatcher::Cx<'_, Records>,
        ) -> eventdispatcher::HandlerResult {
            self.0 += 1;
            Ok(())
        }
    }
    let communicator = Communicator::new().unwrap();
    let count = Rc::new(std::cell::RefCell::new(Count(0)));
    for _ in 0..5 {
        let (ours, theirs) = SeqPacket::pair().unwrap();
        communicator.stream(ours, Records::new(), Rc::clone(&count)).unwrap();
        let mut theirs = Blocking::new(theirs, Records::new()).unwrap();
        theirs.send(b"x", crate::bed::DEADLINE).unwrap();
    }
    until_empty(&communicator);
    assert_eq!(count.borrow().0, 5);
}

#[test]
fn empty_packets_are_no_end_while_others_are_behind_them() {
    for packets in [[&b"one"[..], b"", b"", b"last"], [b"", b"", b"", b"last"]] {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let bound = UnixBind::automatic().bind_seqpacket().unwrap();
        let address = bound.address().unwrap();
        let notes = log.clone();
        communicator
            .listen(bound, move |client| {
                client.serve(Records::new(), notes.probe(""))?;
                Ok(())
            })
            .unwrap();
        let name = SocketAddrUnix::new_abstract_name(address.as_abstract().unwrap()).unwrap();
        let client = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&client, &name).unwrap();
        for packet in packets {
            send(&client, packet, SendFlags::empty()).unwrap();
        }
        drop(client);
        until(&communicator, || log.has("closed: Eof"));
        let got: Vec<String> = packets.iter().map(|packet| format!("{packet:?}")).collect();
        assert_eq!(log.all()[1..5], got);
    }
}
