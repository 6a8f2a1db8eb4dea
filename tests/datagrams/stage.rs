//! What these tests share: a handler that writes down what comes, and can be told what to do.

use crate::bed::Log;
use eventdispatcher::connections::datagram::Address;
use eventdispatcher::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Packet, Packets, Timeout, Udp, UdpBind, UnixBind,
    UnixDatagrams,
};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// What is done with a packet, after it is written down.
pub(crate) type Act<A> = Box<dyn FnMut(&[u8], &A, &Cx<'_, Packets<A>>) -> HandlerResult>;

pub(crate) struct Notes<A: Address> {
    pub(crate) log: Log,
    pub(crate) act: Act<A>,
}

impl<A: Address> Handler<Packets<A>> for Notes<A> {
    fn connected(&mut self, _: &Cx<'_, Packets<A>>) -> HandlerResult {
        self.log.say("connected");
        Ok(())
    }

    fn message(&mut self, packet: Packet<'_, A>, cx: &Cx<'_, Packets<A>>) -> HandlerResult {
        match packet {
            Packet::Received { bytes, from } => {
                self.log.say(format!("got {}", shown(bytes)));
                (self.act)(bytes, &from, cx)?;
            }
            Packet::Truncated { bytes, length, .. } => {
                self.log.say(format!("got {} of {length}", shown(bytes)));
            }
            Packet::Undelivered { to, error } => {
                self.log.say(format!("undelivered to {to}: {:?}", error.kind()));
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    fn drained(&mut self, _: &Cx<'_, Packets<A>>) -> HandlerResult {
        self.log.say("drained");
        Ok(())
    }

    fn timeout(&mut self, what: Timeout, _: &Cx<'_, Packets<A>>) -> HandlerResult {
        self.log.say(format!("timeout: {what}"));
        Ok(())
    }

    fn closed(&mut self, why: &Closed, _: &Cx<'_, Packets<A>>) {
        self.log.say(format!("closed: {why}"));
    }
}

/// Short packets as text, long ones by their length.
pub(crate) fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 20 { format!("{} bytes", bytes.len()) } else { bytes.escape_ascii().to_string() }
}

/// Writes down what comes.
pub(crate) fn notes<A: Address>(log: &Log) -> Notes<A> {
    acts(log, |_, _, _| Ok(()))
}

pub(crate) fn acts<A: Address>(
    log: &Log,
    act: impl FnMut(&[u8], &A, &Cx<'_, Packets<A>>) -> HandlerResult + 'static,
) -> Notes<A> {
    Notes { log: log.clone(), act: Box::new(act) }
}

/// Sends every packet back.
pub(crate) fn echo<A: Address>(log: &Log) -> Notes<A> {
    acts(log, |bytes, from, cx| Ok(cx.reply((bytes, from))?))
}

pub(crate) fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn udp() -> Udp {
    UdpBind::new(local()).bind().unwrap()
}

/// One in the loop, and where it is.
pub(crate) fn add<A: Address>(
    communicator: &Communicator,
    socket: eventdispatcher::connections::datagram::Datagrams<A>,
    handler: impl Handler<Packets<A>>,
) -> (Id<Packets<A>>, A) {
    let address = socket.local_address().unwrap();
    (communicator.datagrams(socket, handler).unwrap(), address)
}

/// A socket of the standard library.
pub(crate) fn plain_udp() -> UdpSocket {
    let socket = UdpSocket::bind(local()).unwrap();
    socket.set_read_timeout(Some(crate::bed::DEADLINE)).unwrap();
    socket
}

pub(crate) fn plain_unix(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(crate::bed::DEADLINE)).unwrap();
    socket
}

pub(crate) fn unix(path: &Path) -> UnixDatagrams {
    UnixBind::new(path).bind_datagrams().unwrap()
}
