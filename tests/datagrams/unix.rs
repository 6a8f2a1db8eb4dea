//! Unix datagrams: files and abstract names, large ones, receivers that are not there.

use crate::bed::{Log, settle, until, until_empty};
use crate::stage::{add, echo, notes, plain_unix, unix};
use eventdispatcher::{
    Communicator, Cx, Handler, HandlerResult, Packet, UnixAddress, UnixBind, UnixDatagrams, UnixPackets,
};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, bind, connect, send, socket};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};

#[test]
fn the_sender_is_answered_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let binds = [
        UnixBind::new(folder.path().join("client")),
        UnixBind::abstract_name(format!("client of {}", folder.path().display())),
        UnixBind::automatic(),
    ];
    let servers = [
        UnixBind::new(folder.path().join("server")),
        UnixBind::abstract_name(format!("server of {}", folder.path().display())),
    ];
    for server in servers {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let (_, address) = add(&communicator, server.bind_datagrams().unwrap(), echo(&log));
        for bind in binds.clone() {
            let (client, _) = add(&communicator, bind.bind_datagrams().unwrap(), notes(&log));
            for packet in [&b""[..], b"hello", &[7; 65_536]] {
                communicator.send(client, (packet, &address)).unwrap();
                let got = format!("got {}", crate::stage::shown(packet));
                until(&communicator, || log.count(&got) == 2);
                log.take();
            }
            communicator.remove(client);
        }
    }
}

#[test]
fn names_are_as_long_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{}\0and more", folder.path().display());
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let socket = UnixBind::abstract_name(&*name).bind_datagrams().unwrap();
    assert_eq!(socket.local_address().unwrap().as_abstract(), Some(name.as_bytes()));
    add(&communicator, socket, notes(&log));
    // A socket of the standard library finds it, and no other name does.
    use std::os::linux::net::SocketAddrExt;
    let address = |name: &str| std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    client.send_to_addr(b"x", &address(&name)).unwrap();
    until(&communicator, || log.has("got x"));
    for other in [format!("{name}\0"), name[..name.len() - 1].to_owned()] {
        assert!(client.send_to_addr(b"y", &address(&other)).is_err());
    }
}

#[test]
fn who_has_no_name_gets_no_answer_and_that_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let path = folder.path().join("server");
    let (id, _) = add(&communicator, unix(&path), echo(&log));
    let client = UnixDatagram::unbound().unwrap();
    for n in 0..3 {
        client.send_to(&[b'0' + n], &path).unwrap();
    }
    until(&communicator, || log.len() == 7);
    assert_eq!(log.count("undelivered to (unnamed): Uncategorized"), 3, "{:?}", log.all());
    assert!(communicator.is_alive(id));

    let (client, _) = add(&communicator, UnixDatagrams::unnamed().unwrap(), notes(&log));
    communicator.send(client, (b"from nobody", &UnixAddress::file(&path).unwrap())).unwrap();
    until(&communicator, || log.has("got from nobody"));
}

/// The system lets a socket have a path that fills its place wholly, without the byte that marks its end.
#[test]
fn a_sender_whose_path_is_too_long_to_be_addressed_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let path = folder.path().join("server");
    let (id, _) = add(&communicator, unix(&path), echo(&log));
    let stream = folder.path().join("stream");
    let accepted = log.clone();
    let listener = communicator
        .listen_unix(&stream, move |client| {
            accepted.say(format!("accepted {:?}", client.peer()));
            Ok(())
        })
        .unwrap();
    let long = |name: &str| {
        let start = format!("{}/{name}", folder.path().display());
        SocketAddrUnix::new(start.clone() + &"x".repeat(108 - start.len())).unwrap()
    };
    for (kind, to, name) in [(SocketType::DGRAM, &path, "a"), (SocketType::STREAM, &stream, "b")] {
        let client = socket(AddressFamily::UNIX, kind, None).unwrap();
        bind(&client, &long(name)).unwrap();
        connect(&client, &SocketAddrUnix::new(to).unwrap()).unwrap();
        let _ = send(&client, b"x", SendFlags::NOSIGNAL);
    }
    until(&communicator, || log.len() == 4);
    let all = log.all();
    assert!(log.has("got x") && log.has("accepted \"\""), "{all:?}");
    assert_eq!(
        all.iter().filter(|line| line.starts_with("undelivered to (unnamed): ")).count(),
        1,
        "{all:?}"
    );
    assert!(communicator.is_alive(id) && communicator.is_alive(listener));
    let error = UnixBind::new("x".repeat(108)).bind_datagrams().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("can't listen on {}: File name too long (os error 36)", "x".repeat(108))
    );
}

#[test]
fn receivers_that_are_not_there_are_said_and_the_others_get_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (id, address) = add(&communicator, unix(&folder.path().join("here")), notes(&log));
    let missing = UnixAddress::file(folder.path().join("missing")).unwrap();
    drop(plain_unix(&folder.path().join("stale")));
    let stale = UnixAddress::file(folder.path().join("stale")).unwrap();
    let _stream = UnixListener::bind(folder.path().join("stream")).unwrap();
    let stream = UnixAddress::file(folder.path().join("stream")).unwrap();
    for to in [&missing, &stale, &stream, &address] {
        communicator.send(id, (b"x", to)).unwrap();
    }
    until(&communicator, || log.len() == 5);
    let all = log.all();
    assert!(all.contains(&format!("undelivered to {missing}: NotFound")), "{all:?}");
    assert!(all.contains(&format!("undelivered to {stale}: ConnectionRefused")), "{all:?}");
    assert!(all.iter().any(|line| line.starts_with(&format!("undelivered to {stream}: "))), "{all:?}");
    assert!(all.contains(&"got x".to_owned()), "{all:?}");
    // One that comes back gets the next packet.
    let back = plain_unix(&folder.path().join("missing"));
    communicator.send(id, (b"again", &missing)).unwrap();
    settle(&communicator);
    let mut packet = [0; 10];
    assert_eq!(back.recv(&mut packet).unwrap(), 5);
}

#[test]
fn a_packet_that_is_longer_than_the_system_sends_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let socket = unix(&folder.path().join("socket")).packet_max(4 << 20);
    let control = socket.control();
    control.set_send_buffer(40_000).unwrap();
    let most = control.packet_max().unwrap();
    let (id, address) = add(&communicator, socket, notes(&log));
    communicator.send(id, (&vec![1; most + 1], &address)).unwrap();
    communicator.send(id, (&vec![1; most], &address)).unwrap();
    until(&communicator, || log.len() == 3);
    let all = log.all();
    assert!(all.iter().any(|line| line.starts_with(&format!("undelivered to {address}: "))), "{all:?}");
    assert_eq!(log.count(&format!("got {most} bytes")), 1, "{all:?}");
}

#[test]
fn a_packet_that_is_longer_than_is_taken_is_said_to_be_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let path = folder.path().join("socket");
    add(&communicator, unix(&path).packet_max(3), notes(&log));
    let client = UnixDatagram::unbound().unwrap();
    for packet in ["abcd", "abc"] {
        client.send_to(packet.as_bytes(), &path).unwrap();
    }
    until(&communicator, || log.len() == 3);
    assert_eq!(log.all(), ["connected", "got abc of 4", "got abc"]);
}

#[test]
fn a_file_has_the_mode_and_group_that_were_wanted_and_goes_with_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let own = std::fs::metadata(folder.path()).unwrap().gid();
    for (mode, group) in [(0o600, None), (0o666, None), (0o660, Some(own)), (0o640, Some(own))] {
        let mut bind = UnixBind::new(&path).mode(mode);
        if let Some(group) = group {
            bind = bind.group(group);
        }
        let socket = bind.bind_datagrams().unwrap();
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.permissions().mode() & 0o777, found.gid()), (mode, own));
        drop(socket);
        assert!(!path.exists());
    }
    // The owner's rights are the group's if nothing else is said.
    let _socket = UnixBind::new(&path).group(own).bind_datagrams().unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!((mode & 0o070) << 3, mode & 0o700, "{mode:o}");
    let error = UnixBind::new(&path).group_named("no such group").unwrap_err();
    assert_eq!(error.to_string(), "there is no group \"no such group\"");
}

#[test]
fn a_stale_file_is_replaced_a_live_socket_and_other_things_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let at = |what: &str| format!("can't listen on {}: {what}", path.display());
    let check = |kind, text: &str| {
        for error in [
            UnixBind::new(&path).bind().map(drop).unwrap_err(),
            UnixBind::new(&path).bind_datagrams().map(drop).unwrap_err(),
            UnixBind::new(&path).bind_seqpacket().map(drop).unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.to_string()), (kind, at(text)));
        }
    };
    let live = plain_unix(&path);
    check(ErrorKind::AddrInUse, "another process answers there");
    drop(live);
    let socket = unix(&path); // the file was still there
    check(ErrorKind::AddrInUse, "another process answers there");
    // It receives while somebody looks whether it is live.
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    add(&communicator, socket, notes(&log));
    UnixDatagram::unbound().unwrap().send_to(b"x", &path).unwrap();
    until(&communicator, || log.has("got x"));
    communicator.close_all();
    until_empty(&communicator);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    check(ErrorKind::AlreadyExists, "there is something else than a socket");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_file_that_another_has_put_there_instead_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let ours = unix(&path);
    std::fs::remove_file(&path).unwrap();
    let theirs = plain_unix(&path);
    drop(ours);
    assert!(path.exists());
    drop(theirs);
}

#[test]
fn a_handler_of_packets_is_not_asked_to_look_ahead() {
    struct Looks(Log);
    impl Handler<UnixPackets> for Looks {
        fn look_ahead(&mut self, input: &[u8], _: &Cx<'_, UnixPackets>) -> usize {
            self.0.say("ahead");
            input.len()
        }
        fn message(&mut self, _: Packet<'_, UnixAddress>, _: &Cx<'_, UnixPackets>) -> HandlerResult {
            self.0.say("got one");
            Ok(())
        }
    }
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (_, address) =
        add(&communicator, UnixBind::automatic().bind_datagrams().unwrap(), Looks(log.clone()));
    let (client, _) = add(&communicator, UnixBind::automatic().bind_datagrams().unwrap(), notes(&log));
    for _ in 0..2 {
        communicator.send(client, (b"x", &address)).unwrap();
    }
    until(&communicator, || log.count("got one") == 2);
    assert!(!log.has("ahead"));
}
