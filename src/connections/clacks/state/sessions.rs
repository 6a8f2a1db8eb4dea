//! The clients, and the groups that some of them belong to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use slab::Slab;

use super::Now;
use super::group::Group;
use super::links::Link;
use super::login::Login;
use super::node::NodeId;
use super::users::Permissions;

/// Names one client of a [`State`](super::State). Of a client that is gone it finds nothing, also when its
/// place is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIndex {
    slot: usize,
    serial: u64,
}

/// Where a client connects from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A Unix socket.
    Unix,
    /// A Unix socket, and the number of the user whose process is at its other end.
    UnixUser(u32),
    /// TCP.
    Tcp(SocketAddr),
}

impl Peer {
    /// As lists show it.
    pub(super) fn host(&self) -> Cow<'static, str> {
        match self {
            Self::Unix | Self::UnixUser(_) => "unixdomainsocket".into(),
            Self::Tcp(address) => address.ip().to_string().into(),
        }
    }

    /// As lists show it: without one it is the time at which the client has connected.
    pub(super) fn port(&self, connected: Now) -> u64 {
        match self {
            Self::Unix | Self::UnixUser(_) => connected.unix.max(0.0) as u64,
            Self::Tcp(address) => address.port().into(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unixdomainsocket"),
            Self::UnixUser(uid) => write!(f, "unixdomainsocket of user {uid}"),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A client.
#[derive(Debug)]
pub(super) struct Session<K> {
    pub(super) key: K,
    pub(super) cid: Arc<[u8]>,
    /// The name it gave itself.
    pub(super) info: Box<[u8]>,
    pub(super) peer: Peer,
    /// A login that has no answer yet.
    pub(super) login: Option<Login>,
    /// Who has logged in.
    pub(super) user: Option<Arc<str>>,
    pub(super) permissions: Permissions,
    /// Nothing more is executed, and nothing sent.
    pub(super) is_closing: bool,
    pub(super) connected: Now,
    pub(super) ping: Ping,
    /// Seconds to add to the peer's times.
    pub(super) clock_offset: f64,
    /// A list of which a part has been sent.
    pub(super) list: Option<List>,
    /// What it is as a linked server; `None` for other clients.
    pub(super) link: Option<Box<Link>>,
    /// New settings have taken the permission to read from it: it gets no signals.
    pub(super) is_silenced: bool,
    /// It is the master of this server: this server has connected to it.
    pub(super) is_master: bool,
    /// Which server it is, if it is one of this kind.
    pub(super) node: Option<NodeId>,
    /// How many more of its troubles are logged until the next look at it.
    pub(super) reports_left: u32,
    serial: u64,
    places: [usize; GROUPS],
}

/// The last sign of life that the protocol asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ping {
    pub(super) last: Now,
    /// Does the client owe one?
    pub(super) is_expected: bool,
}

/// A list and the last item of it that was sent.
#[derive(Debug, Clone)]
pub(super) enum List {
    Keys(Option<Box<[u8]>>),
    Clients(Option<Arc<[u8]>>),
}

/// Groups that get lines of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Has logged in.
    Member,
    /// Is in monitor mode.
    Monitor,
    /// Is another server.
    Link,
}

/// So that no client fills the log.
pub(super) const REPORTS_MAX: u32 = 20;

const GROUPS: usize = 3;
const NOWHERE: usize = usize::MAX;

/// All clients.
#[derive(Debug)]
pub(super) struct Sessions<K> {
    slots: Slab<Session<K>>,
    /// Those that are not closing.
    by_cid: BTreeMap<Arc<[u8]>, usize>,
    groups: [Group<K>; GROUPS],
    serial: u64,
}

impl<K> Session<K> {
    /// Are the signals delivered that it listens to? A link gets all of them in another way.
    pub(super) fn hears(&self) -> bool {
        !self.is_silenced && self.link.is_none()
    }
}

impl<K> Default for Sessions<K> {
    fn default() -> Self {
        Self { slots: Slab::new(), by_cid: BTreeMap::new(), groups: Default::default(), serial: 0 }
    }
}

impl<K: Copy + Eq> Sessions<K> {
    /// A new client's slot.
    pub(super) fn add(&mut self, key: K, peer: Peer, now: Now) -> usize {
        self.serial += 1;
        let (host, port) = (peer.host(), peer.port(now));
        let cid: Arc<[u8]> = format!("{host}:{port}:{}", self.serial).into_bytes().into();
        let slot = self.slots.insert(Session {
            key,
            cid: cid.clone(),
            info: Box::from(*b"UNKNOWN"),
            peer,
            login: None,
            user: None,
            permissions: Permissions::NONE,
            is_closing: false,
            connected: now,
            ping: Ping { last: now, is_expected: true },
            is_silenced: false,
            clock_offset: 0.0,
            list: None,
            link: None,
            is_master: false,
            node: None,
            reports_left: REPORTS_MAX,
            serial: self.serial,
            places: [NOWHERE; GROUPS],
        });
        self.by_cid.insert(cid, slot);
        slot
    }

    pub(super) fn index(&self, slot: usize) -> ClientIndex {
        ClientIndex { slot, serial: self.slots[slot].serial }
    }

    /// The slot of a client that is still there.
    pub(super) fn find(&self, client: ClientIndex) -> Option<usize> {
        self.slots.get(client.slot).filter(|session| session.serial == client.serial).map(|_| client.slot)
    }

    pub(super) fn get(&self, slot: usize) -> &Session<K> {
        &self.slots[slot]
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> &mut Session<K> {
        &mut self.slots[slot]
    }

    /// The client of that CID, unless it is closing.
    pub(super) fn by_cid(&self, cid: &[u8]) -> Option<usize> {
        self.by_cid.get(cid).copied()
    }

    /// The clients that are not closing in order of their CIDs: all of them, or those behind `after`.
    pub(super) fn in_cid_order(&self, after: Option<&[u8]>) -> impl Iterator<Item = (usize, &Session<K>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_cid.range::<[u8], _>((start, Bound::Unbounded)).map(|(_, &slot)| (slot, &self.slots[slot]))
    }

    /// The slots of the clients that are not closing.
    pub(super) fn open(&self) -> Vec<usize> {
        self.by_cid.values().copied().collect()
    }

    pub(super) fn group(&self, role: Role) -> &Group<K> {
        &self.groups[role as usize]
    }

    pub(super) fn has(&self, slot: usize, role: Role) -> bool {
        self.slots[slot].places[role as usize] != NOWHERE
    }

    pub(super) fn enter(&mut self, slot: usize, role: Role) {
        let session = &mut self.slots[slot];
        let place = &mut session.places[role as usize];
        if *place == NOWHERE {
            *place = self.groups[role as usize].push(session.key, slot);
        }
    }

    pub(super) fn leave(&mut self, slot: usize, role: Role) {
        let place = std::mem::replace(&mut self.slots[slot].places[role as usize], NOWHERE);
        if place != NOWHERE
            && let Some(moved) = self.groups[role as usize].remove(place)
        {
            self.slots[moved].places[role as usize] = place;
        }
    }

    /// Takes the client out of everything that sends to it.
    pub(super) fn start_closing(&mut self, slot: usize) {
        for role in [Role::Member, Role::Monitor, Role::Link] {
            self.leave(slot, role);
        }
        let session = &mut self.slots[slot];
        session.is_closing = true;
        session.list = None;
        session.login = None;
        session.link = None;
        self.by_cid.remove(&session.cid);
    }

    /// Forgets a client that is closing.
    pub(super) fn remove(&mut self, slot: usize) -> Session<K> {
        self.slots.remove(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether sessions, groups and CIDs agree.
    ///
    /// # Panics
    /// When they do not.
    pub(super) fn check_invariants(&self) {
        for role in [Role::Member, Role::Monitor, Role::Link] {
            let group = self.group(role);
            let places = |slot: usize| Some((self.slots[slot].key, self.slots[slot].places[role as usize]));
            group.check_invariants(places);
            let members = self.slots.iter().filter(|(slot, _)| self.has(*slot, role)).count();
            assert_eq!(members, group.keys().len(), "{role:?}");
        }
        for (slot, session) in &self.slots {
            let found = self.by_cid(&session.cid);
            assert_eq!(found, (!session.is_closing).then_some(slot));
            assert_eq!(session.link.is_some(), self.has(slot, Role::Link));
            let roles = [Role::Monitor, Role::Link].into_iter().any(|role| self.has(slot, role));
            assert!(!roles || self.has(slot, Role::Member), "only who has logged in has a part");
            let is_idle = session.list.is_none() && session.link.is_none();
            assert!(!session.is_closing || is_idle && !self.has(slot, Role::Member));
        }
        assert!(self.by_cid.len() <= self.slots.len());
    }
}
