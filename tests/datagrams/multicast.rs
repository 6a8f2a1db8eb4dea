//! Multicast and broadcast, on this computer.

use crate::bed::{Log, until};
use crate::stage::{add, notes};
use eventdispatcher::connections::datagram::{Control, interface_index};
use eventdispatcher::{Communicator, UdpBind};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A member of a group of each family, and somebody who sends to it through an interface. Each test has groups of its own: where a
/// group is joined by anybody on this computer, others may get its packets, too.
fn each_group(groups: [&str; 2], interfaces: [Option<u32>; 2], mut check: impl FnMut(Scene<'_>)) {
    for ((any, group), interface) in ["0.0.0.0:0", "[::]:0"].into_iter().zip(groups).zip(interfaces) {
        let Some(interface) = interface else { continue };
        let communicator = Communicator::new().unwrap();
        let log = Log::default();
        let member = UdpBind::new(any.parse().unwrap()).reuse_address(true).bind().unwrap();
        let control = member.control();
        let (_, at) = add(&communicator, member, notes(&log));
        let sender = UdpBind::new(any.parse().unwrap()).bind().unwrap();
        let sends = sender.control();
        let (id, _) = add(&communicator, sender, notes(&Log::default()));
        sends.set_multicast_interface(interface).unwrap();
        sends.set_multicast_ttl(0).unwrap(); // nobody else is to be bothered
        let group: IpAddr = group.parse().unwrap();
        let to = SocketAddr::new(group, at.port());
        let local = if group.is_ipv4() { [127, 0, 0, 1].into() } else { IpAddr::from(Ipv6Addr::LOCALHOST) };
        let direct = SocketAddr::new(local, at.port());
        let round = |name: &str, arrives: bool| {
            let got = format!("got {name}");
            communicator.send(id, (name.as_bytes(), &to)).unwrap();
            // What is sent directly behind it shows that what is missing was not on its way. It may come first, as it has another way.
            communicator.send(id, (b"direct", &direct)).unwrap();
            until(&communicator, || log.has("got direct") && (log.has(&got) || !arrives));
            assert_eq!(log.take().contains(&got), arrives, "{name}, {group}");
        };
        check(Scene { group, interface, member: control, sender: sends, round: &round });
    }
}

struct Scene<'a> {
    group: IpAddr,
    interface: u32,
    member: Control<SocketAddr>,
    sender: Control<SocketAddr>,
    /// Sends to the group, for the member to get or not.
    round: &'a dyn Fn(&str, bool),
}

#[test]
fn who_has_joined_a_group_gets_its_packets_until_it_leaves() {
    // The loopback interface has no way for groups of IPv6.
    let interfaces = [interface_index("lo").ok(), real_interface()];
    each_group(
        ["239.255.77.77", "ff01::4d4d"],
        interfaces,
        |Scene { group, interface, member, round, .. }| {
            round("before", false);
            member.join(group, interface).unwrap();
            round("member", true);
            member.leave(group, interface).unwrap();
            round("after", false);
            let error = member.leave(group, interface).unwrap_err();
            assert!(error.to_string().starts_with(&format!("can't leave {group}: ")), "{error}");
        },
    );
}

/// The loopback interface brings everything back, so this takes another one, if there is one.
#[test]
fn what_is_sent_to_a_group_comes_to_this_computer_only_if_that_is_wanted() {
    each_group(
        ["239.255.77.78", "ff01::4d4e"],
        [real_interface(); 2],
        |Scene { group, interface, member, sender, round }| {
            member.join(group, interface).unwrap();
            round("by default", true);
            sender.set_multicast_loop(false).unwrap();
            round("no loop", false);
            sender.set_multicast_loop(true).unwrap();
            round("loop", true);
        },
    );
}

/// One that is up and can do multicast, and has an address.
fn real_interface() -> Option<u32> {
    let usable = |interface: &InterfaceAddress| {
        let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING | InterfaceFlags::IFF_MULTICAST;
        let v4 = interface.address.as_ref().is_some_and(|address| address.as_sockaddr_in().is_some());
        v4 && interface.flags.contains(wanted) && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let found = getifaddrs().unwrap().find(usable)?;
    Some(interface_index(&found.interface_name).unwrap())
}

#[test]
fn what_is_no_group_or_no_interface_is_refused() {
    let socket = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let control = socket.control();
    let error = control.join("127.0.0.1".parse().unwrap(), 0).unwrap_err();
    assert_eq!(error.to_string(), "127.0.0.1 is no multicast address");
    assert!(control.join("239.1.2.3".parse().unwrap(), u32::MAX).is_err());
    assert!(control.join("ff01::1".parse().unwrap(), 0).is_err(), "the socket speaks IPv4");
    assert!(control.set_multicast_interface(u32::MAX).is_err());
    assert!(control.set_ttl(0).is_err());
    let error = interface_index("no such thing").unwrap_err();
    assert!(error.to_string().starts_with("no network interface \"no such thing\": "), "{error}");
}

#[test]
fn broadcasts_are_sent_only_if_that_was_allowed() {
    let communicator = Communicator::new().unwrap();
    let log = Log::default();
    let receiver = UdpBind::new("0.0.0.0:0".parse().unwrap()).bind().unwrap();
    let (_, at) = add(&communicator, receiver, notes(&log));
    let to: SocketAddr = ([127, 255, 255, 255], at.port()).into();
    for allowed in [false, true] {
        let local = UdpBind::new("127.0.0.1:0".parse().unwrap()).broadcast(allowed).bind().unwrap();
        let sent = Log::default();
        let (id, _) = add(&communicator, local, notes(&sent));
        communicator.send(id, (b"to all", &to)).unwrap();
        let refused = format!("undelivered to {to}: PermissionDenied");
        until(&communicator, || if allowed { log.has("got to all") } else { sent.has(&refused) });
        assert_eq!(log.has("got to all"), allowed);
    }
}
