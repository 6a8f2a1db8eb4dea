//! Messages in datagrams: each is one packet.

use super::hooks::Hooks;
use super::peer::Peer;
use super::service::Service;
use crate::codec::EncodeError;
use crate::communicator::{Closed, Communicator, Cx, Handler, HandlerResult, Id, Key, SendError, Timeout};
use crate::connections::datagram::{Address, Control, Packet, Packets, UnixAddress};
use crate::dispatcher::{
    DATAGRAM_MAX_UDP, DATAGRAM_MAX_UNIX, MessageRef, REPLY_TO, SECRET_CODE, WriteError, read_message,
    write_datagram,
};
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

/// How messages travel in datagrams: a secret, the longest one, where answers go.
///
/// [`serve`](Self::serve) makes a handler of a [`Service`]. What comes is answered from the same socket, so that the other
/// side may have connected its own. Whatever a packet brings (no message, a wrong secret, an action that fails on it, an
/// answer that can't be sent) is logged, and ends nothing: the socket is everybody's.
///
/// ```
/// use eventdispatcher::connections::messages::{DatagramMessages, Dispatcher, Hooks, Service};
/// use eventdispatcher::{Communicator, UdpBind};
/// use std::net::UdpSocket;
///
/// struct Quiet;
/// impl Hooks for Quiet {}
///
/// let communicator = Communicator::new()?;
/// let service = Service::new(Quiet, Dispatcher::with_built_in()).shared();
/// let socket = UdpBind::new("127.0.0.1:0".parse()?).bind()?;
/// let address = socket.local_address()?;
/// communicator.datagrams(socket, DatagramMessages::new().secret("s3").serve(service))?;
/// # let client = UdpSocket::bind("127.0.0.1:0")?;
/// # client.connect(address)?;
/// # client.send(b"FOO")?;
/// # client.send(b"FOO secret_code=s3")?;
/// # client.send(b"STOP secret_code=s3")?;
/// communicator.run()?; // until STOP
/// # let mut answer = [0; 100];
/// # let length = client.recv(&mut answer)?;
/// # assert_eq!(&answer[..length], b"UNKNOWN command=FOO;secret_code=s3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DatagramMessages<A>(Rc<Rules<A>>);

#[derive(Clone)]
struct Rules<A> {
    secret: Option<Vec<u8>>,
    message_max: usize,
    /// What is said to be the address for answers; `None`: that of the socket.
    reply_to: Option<A>,
    says_reply_to: bool,
}

/// Addresses that messages are sent to.
pub trait MessageAddress: Address + Answered {}

impl MessageAddress for SocketAddr {}
impl MessageAddress for UnixAddress {}

/// Whom a datagram was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// By UDP.
    Udp(SocketAddr),
    /// By a Unix socket.
    Unix(&'a UnixAddress),
}

impl fmt::Display for Recipient<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

/// What differs between kinds of addresses. It can't be named outside.
pub trait Answered: Sized {
    /// The longest message that the C++ library reads.
    const MESSAGE_MAX: usize;
    /// As the value of `reply_to`; `None` if that would be of no use to the receiver.
    fn to_reply_to(&self) -> Option<Vec<u8>>;
    /// Where a message is answered that came from `self` and names this address.
    fn answered_at(&self, reply_to: &[u8]) -> Option<Self>;
    /// As the hooks are told.
    fn recipient(&self) -> Recipient<'_>;
    /// Whether anything can be sent to it.
    fn has_name(&self) -> bool;
}

impl Answered for SocketAddr {
    const MESSAGE_MAX: usize = DATAGRAM_MAX_UDP;

    fn to_reply_to(&self) -> Option<Vec<u8>> {
        (!self.ip().is_unspecified()).then(|| self.to_string().into_bytes())
    }

    /// Another port of the sender's computer: who could name any address would have our answers sent to others.
    fn answered_at(&self, reply_to: &[u8]) -> Option<Self> {
        let named: Self = std::str::from_utf8(reply_to).ok()?.parse().ok()?;
        let same = named.ip().to_canonical() == self.ip().to_canonical();
        (same && named.port() > 0).then(|| Self::new(self.ip(), named.port()))
    }

    fn recipient(&self) -> Recipient<'_> {
        Recipient::Udp(*self)
    }

    fn has_name(&self) -> bool {
        self.port() > 0
    }
}

impl Answered for UnixAddress {
    const MESSAGE_MAX: usize = DATAGRAM_MAX_UNIX;

    /// An absolute path, or an abstract name that does not look like one.
    fn to_reply_to(&self) -> Option<Vec<u8>> {
        match (self.path(), self.as_abstract()) {
            (Some(path), _) => path.is_absolute().then(|| path.as_os_str().as_encoded_bytes().to_vec()),
            (_, Some(name)) => (!name.is_empty() && !name.starts_with(b"/")).then(|| name.to_vec()),
            _ => None,
        }
    }

    /// Who has a name is answered there.
    fn answered_at(&self, reply_to: &[u8]) -> Option<Self> {
        use std::os::unix::ffi::OsStrExt;
        if !self.is_unnamed() || reply_to.is_empty() {
            return None;
        }
        if reply_to.starts_with(b"/") {
            return Self::file(Path::new(std::ffi::OsStr::from_bytes(reply_to))).ok();
        }
        Self::abstract_name(reply_to).ok()
    }

    fn recipient(&self) -> Recipient<'_> {
        Recipient::Unix(self)
    }

    fn has_name(&self) -> bool {
        !self.is_unnamed()
    }
}

impl<A: MessageAddress> DatagramMessages<A> {
    /// Without a secret; messages of as many bytes as the C++ library reads: 1,024 by UDP, 65,536 by a Unix socket.
    #[must_use]
    pub fn new() -> Self {
        let message_max = A::MESSAGE_MAX;
        Self(Rc::new(Rules { secret: None, message_max, reply_to: None, says_reply_to: true }))
    }

    /// Only messages that carry this `secret_code` are taken, and every one that is sent carries it. It travels as plain
    /// text. An empty one is none.
    #[must_use]
    pub fn secret(self, secret: impl Into<Vec<u8>>) -> Self {
        self.with(|rules| rules.secret = Some(secret.into()).filter(|secret| !secret.is_empty()))
    }

    /// Sets how many bytes a message that is sent may have, its `secret_code` included. Services of the C++ library lose
    /// what is longer than it is unless set. What comes in is as long as the socket
    /// [takes](crate::connections::datagram::Datagrams::packet_max).
    #[must_use]
    pub fn message_max(self, bytes: usize) -> Self {
        self.with(|rules| rules.message_max = bytes)
    }

    /// Sets what is said in `reply_to`: `None` for nothing. Unless set it is the address of the socket, if others
    /// can reach it by that.
    #[must_use]
    pub fn reply_to(self, address: Option<A>) -> Self {
        self.with(|rules| {
            rules.says_reply_to = address.is_some();
            rules.reply_to = address;
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Rules<A>)) -> Self {
        change(Rc::make_mut(&mut self.0));
        self
    }

    /// A handler for a datagram socket, with the state and the dispatcher of a service.
    #[must_use]
    pub fn serve<S: Hooks>(&self, service: Rc<RefCell<Service<S>>>) -> DatagramService<S, A> {
        DatagramService { service, rules: Rc::clone(&self.0) }
    }

    /// Somebody to send messages to through the datagram socket `id`. They say where they are to be answered
    /// (`reply_to`), unless they say it already or would be too long by that.
    ///
    /// A request through it gets its answer only if the socket [serves](Self::serve) the service that has made it.
    #[must_use]
    pub fn link<'a>(&self, communicator: &'a Communicator, id: Id<Packets<A>>, to: A) -> DatagramLink<'a, A> {
        DatagramLink { communicator, id, to: Some(to), rules: Rc::clone(&self.0), asks: true }
    }
}

impl<A: MessageAddress> Default for DatagramMessages<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: fmt::Debug> fmt::Debug for DatagramMessages<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rules { secret, message_max, reply_to, .. } = &*self.0;
        f.debug_struct("DatagramMessages")
            .field("has_secret", &secret.is_some())
            .field("message_max", message_max)
            .field("reply_to", reply_to)
            .finish()
    }
}

/// Somebody who is sent messages through a datagram socket: see [`DatagramMessages::link`].
pub struct DatagramLink<'a, A> {
    communicator: &'a Communicator,
    id: Id<Packets<A>>,
    /// Nobody, while no message is being handled.
    to: Option<A>,
    rules: Rc<Rules<A>>,
    /// Says where it is to be answered.
    asks: bool,
}

impl<A: MessageAddress> Peer for DatagramLink<'_, A> {
    fn communicator(&self) -> &Communicator {
        self.communicator
    }

    fn key(&self) -> Key {
        self.id.key()
    }

    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        let refused = |text| SendError::Encode(EncodeError::invalid(text));
        let Some(to) = &self.to else { return Err(refused("there is nobody to send to")) };
        if !self.asks && !to.has_name() {
            // Who sends without a name wants no answer.
            log::debug!("connection {}: {} goes to nobody", self.key(), message.command());
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.write(message, &mut bytes)?;
        self.communicator.send(self.id, (&bytes, to))
    }

    fn recipient(&self) -> Option<Recipient<'_>> {
        self.to.as_ref().map(Answered::recipient)
    }
}

impl<A: MessageAddress> DatagramLink<'_, A> {
    fn write(&self, message: MessageRef<'_>, bytes: &mut Vec<u8>) -> Result<(), SendError> {
        let (rules, limit) = (&self.rules, self.rules.message_max);
        let plain = |message: MessageRef<'_>, bytes: &mut Vec<u8>| write_datagram(message, limit, bytes);
        let reply_to = self.reply_to(message);
        if rules.secret.is_none() && reply_to.is_none() {
            return plain(message, bytes).map_err(encode_error);
        }
        let mut message = message.to_message();
        if let Some(secret) = &rules.secret {
            message.set_known(SECRET_CODE, secret);
        }
        if let Some(reply_to) = reply_to {
            let mut asking = message.clone();
            asking.set_known(REPLY_TO, &reply_to);
            if plain(asking.view(), bytes).is_ok() {
                return Ok(());
            }
        }
        plain(message.view(), bytes).map_err(encode_error)
    }

    fn reply_to(&self, message: MessageRef<'_>) -> Option<Vec<u8>> {
        if !self.asks || !self.rules.says_reply_to || message.get(REPLY_TO).is_some() {
            return None;
        }
        if let Some(address) = &self.rules.reply_to {
            return address.to_reply_to();
        }
        let control = self.communicator.about::<Control<A>>(self.id)?;
        control.local_address().ok()?.to_reply_to()
    }
}

fn encode_error(error: WriteError) -> SendError {
    SendError::Encode(error.into())
}

impl<A: fmt::Debug> fmt::Debug for DatagramLink<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatagramLink({}, to {:?})", self.id, self.to)
    }
}

/// A service as the handler of a datagram socket: see [`DatagramMessages::serve`].
pub struct DatagramService<S, A> {
    service: Rc<RefCell<Service<S>>>,
    rules: Rc<Rules<A>>,
}

impl<S: Hooks, A: MessageAddress> DatagramService<S, A> {
    /// Who is answered: nobody, while no message is being handled.
    fn peer<'a>(&self, to: Option<A>, cx: &Cx<'a, Packets<A>>) -> DatagramLink<'a, A> {
        let rules = Rc::clone(&self.rules);
        DatagramLink { communicator: cx.communicator(), id: cx.id(), to, rules, asks: false }
    }

    fn packet(&self, bytes: &[u8], from: A, cx: &Cx<'_, Packets<A>>) {
        let service = &mut *self.service.borrow_mut();
        let mut json = None;
        let message = match read_message(bytes, &mut json) {
            Ok(message) => message,
            Err(error) => return service.dispatcher.bad_line(&error, &self.peer(Some(from), cx)),
        };
        let answers_at = message.get(REPLY_TO).and_then(|reply_to| from.answered_at(&reply_to));
        let peer = self.peer(Some(answers_at.unwrap_or_else(|| from.clone())), cx);
        let complain = |service: &mut Service<S>, what: &str| {
            service.dispatcher.complain(&peer, || format!("{} from {from} {what}", message.command()));
        };
        match &self.rules.secret {
            Some(secret) if !message.has_secret(secret) => {
                return complain(service, "was dropped: it has not the right secret_code");
            }
            None if message.get(SECRET_CODE).is_some_and(|secret| !secret.is_empty()) => {
                complain(service, "has a secret_code, though none is asked for here");
            }
            _ => {}
        }
        if let Err(error) = service.dispatch(message, &peer) {
            complain(service, &format!("failed: {error}"));
        }
    }
}

impl<S: Hooks, A: MessageAddress> Handler<Packets<A>> for DatagramService<S, A> {
    fn connected(&mut self, cx: &Cx<'_, Packets<A>>) -> HandlerResult {
        let peer = self.peer(None, cx);
        self.service.borrow_mut().call(&peer, |state, call| state.connected(call))
    }

    fn message(&mut self, packet: Packet<'_, A>, cx: &Cx<'_, Packets<A>>) -> HandlerResult {
        match packet {
            Packet::Received { bytes, from } => self.packet(bytes, from, cx),
            // Its beginning may look like a whole message.
            Packet::Truncated { bytes, from, length } => {
                let taken = bytes.len();
                let what = || format!("a datagram of {length} bytes from {from}: {taken} is the limit");
                self.service.borrow_mut().dispatcher.bad_packet(&self.peer(None, cx), what);
            }
            Packet::Undelivered { to, error } => {
                let what = || format!("a message to {to} did not arrive: {error}");
                let (service, peer) = (&mut *self.service.borrow_mut(), self.peer(None, cx));
                service.dispatcher.complain(&peer, what);
                service.call(&peer, |state, call| state.undelivered(to.recipient(), &error, call));
            }
        }
        Ok(())
    }

    fn drained(&mut self, cx: &Cx<'_, Packets<A>>) -> HandlerResult {
        let peer = self.peer(None, cx);
        self.service.borrow_mut().call(&peer, |state, call| state.drained(call))
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Packets<A>>) -> HandlerResult {
        let peer = self.peer(None, cx);
        self.service.borrow_mut().timed_out(what, &peer)
    }

    fn closed(&mut self, why: &Closed, cx: &Cx<'_, Packets<A>>) {
        let peer = self.peer(None, cx);
        self.service.borrow_mut().ended(why, &peer);
    }
}

impl<S: fmt::Debug, A: fmt::Debug> fmt::Debug for DatagramService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramService").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_another_port_of_the_sender_but_to_no_other_computer() {
        let check = |from: &str, reply_to: &str, expected: Option<&str>| {
            let from: SocketAddr = from.parse().unwrap();
            let at = from.answered_at(reply_to.as_bytes());
            assert_eq!(at, expected.map(|at| at.parse().unwrap()), "{from} {reply_to}");
        };
        check("192.0.2.1:7", "192.0.2.1:8", Some("192.0.2.1:8"));
        check("[::ffff:192.0.2.1]:7", "192.0.2.1:8", Some("[::ffff:192.0.2.1]:8"));
        check("[::1]:7", "[::1]:8", Some("[::1]:8"));
        check("192.0.2.1:7", "192.0.2.2:8", None);
        check("192.0.2.1:7", "192.0.2.1:0", None);
        check("192.0.2.1:7", "192.0.2.1", None);
        check("192.0.2.1:7", "", None);
    }

    #[test]
    fn only_who_has_no_name_of_its_own_is_answered_where_it_says() {
        let file = |path: &str| UnixAddress::file(path).unwrap();
        let name = |name: &str| UnixAddress::abstract_name(name).unwrap();
        let check = |from: &UnixAddress, reply_to: &str, expected: Option<UnixAddress>| {
            assert_eq!(from.answered_at(reply_to.as_bytes()), expected, "{from} {reply_to}");
        };
        let unnamed = UnixAddress::unnamed();
        check(&unnamed, "/run/a.sock", Some(file("/run/a.sock")));
        check(&unnamed, "hidden", Some(name("hidden")));
        check(&unnamed, "", None);
        check(&unnamed, &"/x".repeat(100), None);
        check(&file("/run/b.sock"), "/run/a.sock", None);
        check(&name("hidden"), "/run/a.sock", None);
    }

    #[test]
    fn an_address_is_said_only_if_others_can_use_it() {
        let said = |address: &str| address.parse::<SocketAddr>().unwrap().to_reply_to();
        assert_eq!(said("192.0.2.1:8"), Some(b"192.0.2.1:8".to_vec()));
        assert_eq!(said("0.0.0.0:8"), None);
        assert_eq!(said("[::]:8"), None);
        let said = |address: UnixAddress| address.to_reply_to();
        assert_eq!(said(UnixAddress::file("/run/a").unwrap()), Some(b"/run/a".to_vec()));
        assert_eq!(said(UnixAddress::file("a").unwrap()), None);
        assert_eq!(said(UnixAddress::abstract_name("a").unwrap()), Some(b"a".to_vec()));
        assert_eq!(said(UnixAddress::abstract_name("/a").unwrap()), None);
        assert_eq!(said(UnixAddress::unnamed()), None);
    }
}
