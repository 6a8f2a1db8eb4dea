//! `KEYLIST` and `CLIENTLIST`, in as many pieces as the client's queue needs.

use std::sync::Arc;

use super::output::{Output, Traffic};
use super::sessions::{ClientIndex, List, Role, Session, Sessions};
use super::{Flow, State};
use crate::connections::clacks::number::{Number, Text};

/// How many entries of the cache are looked at before other connections have their turn.
const LIST_BUDGET: usize = 1024;

impl<K: Copy + Eq> State<K> {
    /// Goes on with what there was no room for: a list, or the cache for a linked server. Call it when the client's queue
    /// has become shorter, and when [`Output::resume_soon`] asks for it.
    pub fn resume(&mut self, client: ClientIndex, out: &mut impl Output<K>) -> Flow {
        let Some(slot) = self.sessions.find(client) else { return Flow::Closed };
        self.go_on(slot, out);
        self.exchange(slot, out);
        self.flow(slot)
    }

    pub(super) fn start_list(&mut self, slot: usize, list: List, out: &mut impl Output<K>) {
        let start: &[u8] = match list {
            List::Keys(_) => b"KEYLISTSTART",
            List::Clients(_) => b"CLIENTLISTSTART",
        };
        self.reply(slot, &[start], out);
        let session = self.sessions.get_mut(slot);
        if !session.is_closing {
            session.list = Some(list);
            self.go_on(slot, out);
        }
    }

    fn go_on(&mut self, slot: usize, out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        let to = session.key;
        let Some(mut list) = session.list.take() else { return };
        let piece = match &mut list {
            List::Keys(after) => self.keys(to, after, out),
            List::Clients(after) => clients(&self.sessions, to, after, out),
        };
        match piece {
            Piece::Waits => self.sessions.get_mut(slot).list = Some(list),
            Piece::Done => {
                let end: &[u8] = match list {
                    List::Keys(_) => b"KEYLISTEND",
                    List::Clients(_) => b"CLIENTLISTEND",
                };
                self.reply(slot, &[end], out);
            }
            Piece::Refused => self.overflow_unless(false, slot, out),
        }
    }

    /// Calls with the CID and the fields of each client, and the name of its user.
    pub(super) fn each_client(
        &self,
        out: &impl Output<K>,
        mut call: impl FnMut(&[u8], &[(&'static str, &[u8])]),
    ) {
        for (slot, session) in self.sessions.in_cid_order(None) {
            fields(&self.sessions, slot, session, out.traffic(session.key), |fields| {
                let mut all = fields.get(1..).unwrap_or_default().to_vec();
                all.push(("USER", session.user.as_deref().unwrap_or_default().as_bytes()));
                call(&session.cid, &all);
            });
        }
    }

    /// Sends keys as long as there is room: each may be as long as a line.
    fn keys(&self, to: K, after: &mut Option<Box<[u8]>>, out: &mut impl Output<K>) -> Piece {
        let mut last = None;
        let mut entries = self.store.entries_from(after.as_deref());
        let mut looked_at = 0;
        let piece = loop {
            if !out.has_room(to) {
                break Piece::Waits;
            }
            if looked_at == LIST_BUDGET {
                out.resume_soon(to);
                break Piece::Waits;
            }
            let Some((key, entry)) = entries.next() else { break Piece::Done };
            looked_at += 1;
            if !entry.deleted && !out.send(to, &[b"KEY ", key]) {
                break Piece::Refused;
            }
            last = Some(key);
        };
        if let Some(last) = last.map(Box::from) {
            drop(entries);
            *after = Some(last);
        }
        piece
    }
}

/// How far a list came.
enum Piece {
    /// There is no more room.
    Waits,
    Done,
    /// The queue took no more.
    Refused,
}

fn clients<K: Copy + Eq>(
    sessions: &Sessions<K>,
    to: K,
    after: &mut Option<Arc<[u8]>>,
    out: &mut impl Output<K>,
) -> Piece {
    let mut last = None;
    let mut rest = sessions.in_cid_order(after.as_deref());
    let piece = loop {
        if !out.has_room(to) {
            break Piece::Waits;
        }
        let Some((slot, session)) = rest.next() else { break Piece::Done };
        let sent = fields(sessions, slot, session, out.traffic(session.key), |fields| {
            let parts = fields.iter().flat_map(|(name, value)| [name.as_bytes(), b"=", value, b";"]);
            let parts: Vec<&[u8]> = std::iter::once(&b"CLIENT "[..]).chain(parts).collect();
            out.send(to, &parts)
        });
        if !sent {
            break Piece::Refused;
        }
        last = Some(&session.cid);
    };
    if let Some(last) = last.cloned() {
        drop(rest);
        *after = Some(last);
    }
    piece
}

/// What a list tells of a client: names and values, in order.
fn fields<K: Copy + Eq, R>(
    sessions: &Sessions<K>,
    slot: usize,
    session: &Session<K>,
    traffic: Traffic,
    call: impl FnOnce(&[(&'static str, &[u8])]) -> R,
) -> R {
    let stalled = traffic.stalled_since.map(|since| session.connected.unix_at(since));
    let flag = |role| if sessions.has(slot, role) { 1 } else { 0 };
    let last_ping = if session.ping.is_expected { session.ping.last.unix } else { 0.0 };
    let last_heard = session.link.as_ref().map_or(0.0, |link| link.heard.unix);
    call(&[
        ("CID", &session.cid),
        ("HOST", session.peer.host().as_bytes()),
        ("PORT", &count(session.peer.port(session.connected))),
        ("CLIENTINFO", &session.info),
        ("OUTBUFFER_LENGTH", &count(traffic.unsent as u64)),
        ("INBUFFER_LENGTH", &count(traffic.unread as u64)),
        ("INTERCLACKS", &count(flag(Role::Link))),
        ("MONITOR", &count(flag(Role::Monitor))),
        ("LASTPING", &time(last_ping)),
        ("LASTINTERCLACKSPING", &time(last_heard)),
        ("WRITEFAILTIME", &time(stalled.unwrap_or_default())),
    ])
}

fn count(n: u64) -> Text {
    Number::from(n).text()
}

fn time(unix: f64) -> Text {
    Number::Float(unix).text()
}
