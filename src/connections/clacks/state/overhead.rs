//! `OVERHEAD` lines: what is said about the connection and the server.

use std::time::Duration;

use super::links::clock_offset;
use super::output::{Event, Output};
use super::sessions::Role;
use super::users::Permissions;
use super::{Now, State};
use crate::connections::clacks::flags::Flags;
use crate::connections::clacks::number::Operand;
use crate::connections::clacks::protocol::Overhead;

/// What clients may have forwarded. The reference server forwards every flag, so that who may write can end
/// or freeze all other clients.
const FORWARDABLE: [Flags; 6] =
    [Flags::FORWARD, Flags::RETURN, Flags::NO_LOGGING, Flags::DISCARD, Flags::INFORMAL, Flags::CLOSE_ALL];

/// The longest time in which a server stops: about 136 years.
const SHUTDOWN_SECONDS_MAX: f64 = u32::MAX as f64;

impl<K: Copy + Eq> State<K> {
    /// The client has these permissions from now on, and no part that needs others.
    pub(super) fn grant(&mut self, slot: usize, permissions: Permissions) {
        self.sessions.get_mut(slot).permissions = permissions;
        if !permissions.allow(Permissions::MANAGE) {
            self.sessions.leave(slot, Role::Monitor);
        }
        if !permissions.allow(Permissions::INTERCLACKS) {
            self.end_link(slot);
        }
    }

    /// New settings give the client these permissions. Who may not read any more gets no signals until it may again; but somebody who
    /// logs in once more, as a user who may not, keeps what it listens to, as with the reference server.
    pub(super) fn regrant(&mut self, slot: usize, permissions: Permissions) {
        let could_read = self.sessions.get(slot).permissions.allow(Permissions::READ);
        self.grant(slot, permissions);
        if could_read && !permissions.allow(Permissions::READ) {
            self.sessions.get_mut(slot).is_silenced = true;
        }
        self.deliver_or_park(slot);
    }

    /// Sees to it that signals are delivered to who is neither silenced nor a link. What others listen to is put aside, and counts again
    /// when they are neither any more.
    pub(super) fn deliver_or_park(&mut self, slot: usize) {
        let session = self.sessions.get_mut(slot);
        session.is_silenced &= !session.permissions.allow(Permissions::READ);
        let (key, hears) = (session.key, session.hears());
        if hears {
            self.topics.unpark(key, slot);
        } else if self.topics.is_listener(slot) {
            self.topics.park(slot);
        }
    }

    pub(super) fn overhead(
        &mut self,
        slot: usize,
        overhead: Overhead<'_>,
        now: Now,
        out: &mut impl Output<K>,
    ) {
        let Overhead { flags, value } = overhead;
        if flags.contains(Flags::AUTH) {
            return self.log_in(slot, value, now, out);
        }
        let is_forwarded = flags.contains(Flags::FORWARD);
        let is_forwardable = FORWARDABLE.into_iter().fold(flags, |rest, flag| rest - flag).is_empty();
        let is_allowed = self.sessions.get(slot).permissions.allow(needed(flags));
        if !is_allowed || is_forwarded && !is_forwardable {
            return self.deny(slot, out);
        }

        if !flags.contains(Flags::DISCARD) {
            if flags.contains(Flags::CLOSE_ALL) && value != b"0" {
                return self.close_all(slot, is_forwarded, out);
            }
            self.obey(slot, flags, value, now, out);
        }
        if is_forwarded {
            let sender = self.sessions.get(slot).key;
            let except = (!flags.contains(Flags::RETURN)).then_some(sender);
            let flags = (flags - Flags::RETURN).to_string();
            self.send_group(Role::Member, except, &[b"OVERHEAD ", flags.as_bytes(), b" ", value], out);
        }
    }

    fn close_all(&mut self, slot: usize, is_forwarded: bool, out: &mut impl Output<K>) {
        out.log(&Event::DisconnectsAll { cid: &self.sessions.get(slot).cid });
        if is_forwarded {
            self.forward(slot, &[b"OVERHEAD GC 1"], out);
        }
        self.disconnect_all(out);
    }

    /// The flags that tell the server something.
    fn obey(&mut self, slot: usize, flags: Flags, value: &[u8], now: Now, out: &mut impl Output<K>) {
        if flags.contains(Flags::ERROR) {
            self.reported(slot, value, out);
        }
        let session = self.sessions.get_mut(slot);
        // Whoever has no clock to tell of would else be taken for one of 1970.
        let time =
            || Operand::number(value).map(Operand::to_f64).filter(|time| time.is_finite() && *time >= 0.0);
        if flags.contains(Flags::TIMESTAMP)
            && let Some(offset) = time().and_then(|time| clock_offset(session, now, time))
        {
            session.clock_offset = offset;
        }
        if flags.contains(Flags::SHUTDOWN) {
            let seconds = Operand::step(value).to_f64();
            if seconds > 0.0 {
                let after = Duration::from_secs_f64(seconds.min(SHUTDOWN_SECONDS_MAX));
                out.log(&Event::Shutdown { cid: &session.cid, after });
                out.shutdown(after);
            }
        }
        if flags.contains(Flags::INTERCLACKS) {
            match value {
                b"1" => self.start_slave(slot, now, out),
                b"0" if !self.sessions.get(slot).is_master => self.end_link(slot),
                _ => {}
            }
        }
        if flags.contains(Flags::LOCK) {
            self.lock_for_sync(slot, value, now, out);
        }
        if flags.contains(Flags::INFORMAL) {
            self.informed(slot, value, out);
        }
    }
}

/// What the flags need together.
fn needed(flags: Flags) -> Permissions {
    let needs = [
        (Flags::FORWARD, Permissions::WRITE),
        (Flags::CLOSE_ALL, Permissions::MANAGE),
        (Flags::SHUTDOWN, Permissions::MANAGE),
        (Flags::INTERCLACKS, Permissions::INTERCLACKS),
        (Flags::LOCK, Permissions::INTERCLACKS),
    ];
    let needs = needs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    needs.fold(Permissions::NONE, |all, (_, needed)| all.with(needed))
}
