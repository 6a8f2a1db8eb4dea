//! UDP: there and back, in batches, cut off, refused.

use crate::bed::{Log, settle, until};
use crate::stage::{acts, add, echo, local, notes, plain_udp, shown, udp};
use eventdispatcher::codec::EncodeError;
use eventdispatcher::connections::datagram::{Control, path_mtu, unfragmented_max};
use eventdispatcher::{
    Blocking, Budget, Communicator, Packet, SendError, State, UdpBind, UdpPackets, on_item,
};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn the_sender_is_answered_from_the_socket_that_it_has_written_to() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let socket = UdpBind::new(bind.parse().unwrap()).bind().unwrap();
        let (id, address) = add(&communicator, socket, echo(&log));
        assert_eq!(communicator.name(id).unwrap().as_ref(), address.to_string());
        let client = UdpSocket::bind(bind).unwrap();
        client.set_read_timeout(Some(crate::bed::DEADLINE)).unwrap();
        client.connect(address).unwrap(); // takes answers of this address only
        for packet in [&b"one"[..], b"", &[b'x'; 1500]] {
            client.send(packet).unwrap();
            let got = format!("got {}", shown(packet));
            until(&communicator, || log.has(&got));
            let mut answer = [0; 2000];
            let length = client.recv(&mut answer).unwrap();
            assert_eq!(&answer[..length], packet);
        }
    }
}

#[test]
fn the_largest_packets_of_all_go_both_ways() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (_, address) = add(&communicator, udp(), echo(&log));
    let (client, _) = add(&communicator, udp(), notes(&log));
    communicator.send(client, (&vec![7; 65_507], &address)).unwrap();
    until(&communicator, || log.count("got 65507 bytes") == 2);
    let refused = communicator.send(client, (&vec![7; 65_508], &address));
    assert_eq!(refused, Err(SendError::Encode(EncodeError::TooLong { limit: 65_507 })));
    assert!(communicator.is_alive(client));
}

#[test]
fn a_packet_that_is_too_long_is_said_to_be_and_the_next_one_is_whole() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (id, address) = add(&communicator, udp().packet_max(10), notes(&log));
    let client = plain_udp();
    for length in [10, 11, 3000, 0, 9] {
        client.send_to(&vec![b'x'; length], address).unwrap();
    }
    until(&communicator, || log.len() == 6);
    let expected = [
        "connected",
        "got xxxxxxxxxx",
        "got xxxxxxxxxx of 11",
        "got xxxxxxxxxx of 3000",
        "got ",
        "got xxxxxxxxx",
    ];
    assert_eq!(log.all(), expected);
    assert!(communicator.is_alive(id));
}

#[test]
fn many_packets_are_read_in_batches_within_the_budget() {
    let communicator = Communicator::new().unwrap();
    let (log, other) = (Log::default(), Log::default());
    let (id, address) = add(&communicator, udp(), notes(&log));
    let (_, other_address) = add(&communicator, udp(), notes(&other));
    communicator.set_budget(id, Budget { callbacks: 7, time: Duration::MAX, ..Budget::default() });
    let client = plain_udp();
    settle(&communicator);
    log.take();
    other.take();
    for n in 0..100 {
        client.send_to(format!("{n}").as_bytes(), address).unwrap();
    }
    client.send_to(b"other", other_address).unwrap();
    let mut turns = 0;
    until(&communicator, || {
        turns += 1;
        assert!(log.len() <= turns * 7, "{turns} turns: {}", log.len());
        log.len() == 100
    });
    let in_order: Vec<String> = (0..100).map(|n| format!("got {n}")).collect();
    assert_eq!(log.all(), in_order);
    assert_eq!(other.all(), ["got other"]);
}

#[test]
fn that_nobody_is_there_is_said_and_the_socket_goes_on() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let bind: SocketAddr = bind.parse().unwrap();
        let nobody = UdpSocket::bind(bind).unwrap().local_addr().unwrap();
        let (server, address) = add(&communicator, UdpBind::new(bind).bind().unwrap(), echo(&log));
        let (id, _) = add(&communicator, UdpBind::new(bind).bind().unwrap(), notes(&log));
        for n in 0..5 {
            communicator.send(id, (b"x", &nobody)).unwrap();
            communicator.send(id, (format!("{n}").as_bytes(), &address)).unwrap();
            let answered = format!("got {n}");
            until(&communicator, || log.count(&answered) == 2);
        }
        let refused = format!("undelivered to {nobody}: ConnectionRefused");
        until(&communicator, || log.count(&refused) == 5);
        assert!(communicator.is_alive(id) && communicator.is_alive(server));
        assert_eq!(communicator.connection(id).unwrap().state, State::Open);
    }
}

#[test]
fn what_the_system_refuses_to_send_is_said_and_the_socket_goes_on() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (id, address) = add(&communicator, udp(), echo(&log));
    let broadcast: SocketAddr = "255.255.255.255:9".parse().unwrap(); // was not allowed
    communicator.send(id, (b"x", &broadcast)).unwrap();
    communicator.send(id, (b"last", &address)).unwrap();
    until(&communicator, || log.count("got last") > 2);
    assert!(
        log.all().iter().any(|line| line.starts_with("undelivered to 255.255.255.255:9")),
        "{:?}",
        log.all()
    );
    assert!(communicator.is_alive(id));
}

#[test]
fn a_callback_may_switch_off_re_prioritise_close_and_remove_its_own_socket() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (id, address) = add(
        &communicator,
        udp(),
        acts(&log, |bytes, _, cx| {
            match bytes {
                b"off" => cx.enable(cx.id(), false),
                b"first" => cx.set_priority(cx.id(), 3),
                b"close" => cx.communicator().close(cx.id()),
                b"remove" => cx.remove(cx.id()),
                _ => true,
            };
            Ok(())
        }),
    );
    let client = plain_udp();
    for packet in ["first", "off", "kept"] {
        client.send_to(packet.as_bytes(), address).unwrap();
    }
    until(&communicator, || log.has("got off"));
    settle(&communicator);
    assert_eq!(log.take(), ["connected", "got first", "got off"]);
    assert_eq!(communicator.priority(id), Some(3));
    communicator.enable(id, true);
    until(&communicator, || log.has("got kept"));
    for packet in ["remove", "never"] {
        client.send_to(packet.as_bytes(), address).unwrap();
    }
    until(&communicator, || !communicator.is_alive(id));
    settle(&communicator);
    assert_eq!(log.take(), ["got kept", "got remove"]);

    let (id, address) = add(
        &communicator,
        udp(),
        acts(&log, |_, _, cx| {
            cx.close();
            Ok(())
        }),
    );
    for packet in ["one", "never"] {
        client.send_to(packet.as_bytes(), address).unwrap();
    }
    until(&communicator, || communicator.is_empty());
    assert_eq!(log.take(), ["connected", "got one", "closed: closed by this program"]);
    assert!(!communicator.is_alive(id));
}

#[test]
fn what_is_queued_leaves_though_the_socket_is_closed() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let client = plain_udp();
    let to = client.local_addr().unwrap();
    let (id, _) = add(&communicator, udp(), notes(&log));
    for n in 0..10 {
        communicator.send(id, (&[n], &to)).unwrap();
    }
    communicator.close(id);
    crate::bed::until_empty(&communicator);
    for n in 0..10 {
        let mut packet = [0; 10];
        assert_eq!((client.recv(&mut packet).unwrap(), packet[0]), (1, n));
    }
}

#[test]
fn one_packet_goes_to_many_sockets_that_send_it() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let (_, address) = add(&communicator, udp(), notes(&log));
    let senders = [udp(), udp(), udp()].map(|socket| add(&communicator, socket, notes(&log)).0);
    for size in [10, 20_000] {
        let refused = communicator.broadcast(senders, (&vec![b'x'; size], &address)).unwrap();
        assert!(refused.is_empty());
    }
    until(&communicator, || log.count("got xxxxxxxxxx") == 3 && log.count("got 20000 bytes") == 3);
}

#[test]
fn a_socket_can_be_used_without_a_loop() {
    let soon = crate::bed::DEADLINE;
    let (server, client) = (udp(), udp());
    let address = server.local_address().unwrap();
    let mut server = Blocking::new(server, UdpPackets::new()).unwrap();
    let mut client = Blocking::new(client, UdpPackets::new()).unwrap();
    for size in [0, 10, 65_507] {
        client.send((&vec![b'x'; size], &address), soon).unwrap();
        let from = server.receive(soon, |packet| {
            let (bytes, from) = packet.received().unwrap();
            assert_eq!(bytes.len(), size);
            from
        });
        server.send((b"answer", &from.unwrap()), soon).unwrap();
        client
            .receive(soon, |packet| assert_eq!(packet.received(), Some((&b"answer"[..], address))))
            .unwrap();
    }
    let nobody = UdpSocket::bind(local()).unwrap().local_addr().unwrap();
    client.send((b"x", &nobody), soon).unwrap();
    client
        .receive(soon, |packet| match packet {
            Packet::Undelivered { to, error } => {
                assert_eq!((to, error.kind()), (nobody, std::io::ErrorKind::ConnectionRefused));
            }
            other => panic!("{other:?}"),
        })
        .unwrap();
}

#[test]
fn the_way_has_an_mtu() {
    for to in ["127.0.0.1:9", "[::1]:9"] {
        let to: SocketAddr = to.parse().unwrap();
        let mtu = path_mtu(to).unwrap();
        assert!(mtu >= 1280, "{mtu}");
        assert_eq!(unfragmented_max(to).unwrap(), mtu - if to.is_ipv4() { 28 } else { 48 });
    }
}

#[test]
fn an_address_that_is_taken_is_refused_unless_both_sides_share_it() {
    let socket = udp();
    let address = socket.local_address().unwrap();
    let error = UdpBind::new(address).bind().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("can't receive at {address}: ")), "{error}");
    let shared = UdpBind::new(local()).reuse_address(true).bind().unwrap();
    assert!(UdpBind::new(shared.local_address().unwrap()).reuse_address(true).bind().is_ok());
}

#[test]
fn a_socket_that_is_gone_has_nothing_to_set() {
    let communicator = Communicator::new().unwrap();
    let socket = udp();
    let (control, address) = (socket.control(), socket.local_address().unwrap());
    let id = communicator.datagrams(socket, on_item::<UdpPackets, _>(|_, _| Ok(()))).unwrap();
    communicator.turn(Some(Duration::ZERO)).unwrap();
    let found = communicator.about::<Control<SocketAddr>>(id).unwrap();
    assert_eq!(found.local_address().unwrap(), address);
    assert!(control.set_ttl(9).is_ok() && control.set_broadcast(true).is_ok());
    communicator.remove(id);
    assert_eq!(control.set_ttl(9).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    assert!(UdpBind::new(address).bind().is_ok()); // the control has not kept it
}
