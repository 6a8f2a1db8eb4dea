//! Time limits of clients.

use std::time::Duration;

use super::output::{Closing, Event, Output};
use super::sessions::{ClientIndex, REPORTS_MAX, Role};
use super::settings::Settings;
use super::users::Permissions;
use super::{Now, State};

impl<K: Copy + Eq> State<K> {
    /// Does what is due for a client: looks at its login if that has to wait, closes it if it has not logged in, gave no sign of life or takes no
    /// output for too long, or sends it a `NOP`. Says when to look again, on the monotonic clock: nothing can
    /// become due before. `None` if the client is closed.
    ///
    /// Call it right after [`connected`](Self::connected), whenever that time has come, and when [`line`](Self::line) has said
    /// [`Flow::Paused`](super::Flow::Paused).
    pub fn check(&mut self, client: ClientIndex, now: Now, out: &mut impl Output<K>) -> Option<Duration> {
        let slot = self.sessions.find(client)?;
        let session = self.sessions.get_mut(slot);
        if session.is_closing {
            return None;
        }
        session.reports_left = REPORTS_MAX;
        if self.lock_deadline(slot).is_some_and(|deadline| deadline <= now.monotonic) {
            out.log(&Event::LockExpired { cid: &self.sessions.get(slot).cid });
            self.unlock(slot, out);
        }
        if std::mem::take(&mut self.is_just_released) {
            self.released = now.monotonic;
        }
        let login_due = self.look_at_login(slot, now, out);
        if self.sessions.get(slot).is_closing {
            return None;
        }
        let session = self.sessions.get(slot);
        let traffic = out.traffic(session.key);
        let settings = &self.settings;
        let is_past = |deadline: Duration| deadline <= now.monotonic;

        let stalled_max = match session.link {
            Some(_) => settings.interclacks_stalled_write_timeout,
            None => settings.stalled_write_timeout,
        };
        let stalled = traffic.stalled_since.map(|since| since.saturating_add(stalled_max));
        if stalled.is_some_and(is_past) {
            self.counters.stalled += 1;
            out.log(&Event::Stalled { cid: &session.cid });
            self.close(slot, Closing::Now, out);
            return None;
        }

        let login = session.connected.monotonic.max(self.released).saturating_add(settings.auth_timeout);
        // What a client sent while it had to wait is not looked at yet.
        let is_held = self.is_held(slot);
        let released = self.released;
        let login = (!self.sessions.has(slot, Role::Member) && !is_held).then_some(login);
        if login.is_some_and(is_past) {
            self.counters.login_timeouts += 1;
            out.log(&Event::LoginTimeout { cid: &session.cid });
            self.close(slot, Closing::Flushed, out);
            return None;
        }

        let since = |last: Now| last.monotonic.max(released);
        let ping = match &session.link {
            _ if is_held => None,
            Some(link) => Some(since(link.heard).saturating_add(settings.interclacks_ping_timeout)),
            None if session.ping.is_expected => {
                Some(since(session.ping.last).saturating_add(settings.ping_timeout))
            }
            None => None,
        };
        if ping.is_some_and(is_past) {
            self.counters.ping_timeouts += 1;
            out.log(&Event::PingTimeout { cid: &session.cid });
            self.dismiss(slot, b"TIMEOUT", out);
            return None;
        }

        let next_ping = self.ping_link(slot, now, out);
        if self.sessions.get(slot).is_closing {
            return None;
        }

        let nop_interval = self.settings.nop_interval;
        let mut nop = traffic.last_queued.saturating_add(nop_interval);
        if is_past(nop) {
            self.reply(slot, &[b"NOP"], out);
            nop = now.monotonic.saturating_add(nop_interval);
            if self.sessions.get(slot).is_closing {
                return None;
            }
        }
        // A limit that begins to count in the meantime is looked at before it ends.
        let permissions = self.sessions.get(slot).permissions;
        let is_stranger = !self.sessions.has(slot, Role::Member);
        let mut shortest = limit_min(&self.settings);
        if is_stranger || permissions.allow(Permissions::INTERCLACKS) {
            shortest = shortest.min(self.settings.link_ping_interval());
        }
        let begin = now.monotonic.saturating_add(shortest);
        let lock = self.lock_deadline(slot);
        let dues = [stalled, login, login_due, ping, next_ping, lock, Some(nop)];
        Some(dues.into_iter().flatten().fold(begin, Duration::min))
    }
}

/// The shortest limit that can begin to count while a client is connected.
fn limit_min(settings: &Settings) -> Duration {
    let limits = [
        settings.ping_timeout,
        settings.interclacks_ping_timeout,
        settings.stalled_write_timeout,
        settings.interclacks_stalled_write_timeout,
    ];
    limits.into_iter().fold(Duration::MAX, Duration::min)
}
