//! Logging in: at once where the token tells, after a worker's verdict where only a hash is known, and after a pause where
//! too many have failed.

use std::sync::Arc;
use std::time::Duration;

use super::output::{Closing, Event, Output};
use super::sessions::{ClientIndex, Role};
use super::users::{Attempt, Checked, Permissions};
use super::{Now, State};

/// A login without an answer. Until it has one, nothing else of the client is executed.
#[derive(Debug)]
pub(super) enum Login {
    /// Too many have failed from where the client is: it is looked at then.
    Waits { token: Box<[u8]>, until: Duration },
    /// A password is compared with the hash of this user's, if there is such a user.
    Compared { user: Option<Arc<str>> },
}

impl<K: Copy + Eq> State<K> {
    /// A client wants to be that token's user; one that was logged in already changes its user.
    pub(super) fn log_in(&mut self, slot: usize, token: &[u8], now: Now, out: &mut impl Output<K>) {
        if self.sessions.get(slot).is_master {
            return self.log_in_master(slot, token, now, out);
        }
        let session = self.sessions.get_mut(slot);
        let pause_max = self.settings.failed_login_pause_max;
        match self.failures.wait(session.peer, now.monotonic, pause_max) {
            Some(until) => session.login = Some(Login::Waits { token: token.into(), until }),
            None => self.look_at_token(slot, token, now, out),
        }
    }

    fn look_at_token(&mut self, slot: usize, token: &[u8], now: Now, out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        match self.users.check(token) {
            Checked::Right(user, permissions) => {
                let user = user.clone();
                self.welcome(slot, user, permissions, out);
            }
            Checked::Wrong(user) => {
                let user = user.cloned();
                self.refuse_login(slot, user, now, out);
            }
            Checked::Compare(attempt) => {
                let user = attempt.user.clone();
                session.login = Some(Login::Compared { user });
                let client = self.sessions.index(slot);
                if let Some(is_right) = out.compare(client, attempt) {
                    self.compared(client, is_right, now, out);
                }
            }
        }
    }

    /// A password was [compared](Output::compare). Once this was called the client's next lines may be given to
    /// [`line`](Self::line), if [`flow_of`](Self::flow_of) says so.
    pub fn compared(&mut self, client: ClientIndex, is_right: bool, now: Now, out: &mut impl Output<K>) {
        let Some(slot) = self.sessions.find(client) else { return };
        let session = self.sessions.get_mut(slot);
        let user = match session.login.take() {
            Some(Login::Compared { user }) if !session.is_closing => user,
            waits => {
                session.login = waits;
                return;
            }
        };
        // The users may have changed meanwhile.
        let permissions = user.as_ref().and_then(|user| self.users.permissions_of(user));
        match (user, permissions) {
            (Some(user), Some(permissions)) if is_right => self.welcome(slot, user, permissions, out),
            (user, _) => self.refuse_login(slot, user, now, out),
        }
    }

    /// Looks at a login whose pause is over. When to look again, if there is one that waits.
    pub(super) fn look_at_login(
        &mut self,
        slot: usize,
        now: Now,
        out: &mut impl Output<K>,
    ) -> Option<Duration> {
        let session = self.sessions.get_mut(slot);
        if let Some(Login::Waits { until, .. }) = &session.login
            && *until <= now.monotonic
            && let Some(Login::Waits { token, .. }) = session.login.take()
        {
            self.failures.has_waited(session.peer);
            self.look_at_token(slot, &token, now, out);
        }
        match &self.sessions.get(slot).login {
            Some(Login::Waits { until, .. }) => Some(*until),
            _ => None,
        }
    }

    fn welcome(&mut self, slot: usize, user: Arc<str>, permissions: Permissions, out: &mut impl Output<K>) {
        let session = self.sessions.get_mut(slot);
        self.counters.logins += 1;
        out.log(&Event::LoggedIn { cid: &session.cid, user: &user });
        session.user = Some(user);
        self.sessions.enter(slot, Role::Member);
        self.grant(slot, permissions);
        self.deliver_or_park(slot);
        self.reply(slot, &[b"OVERHEAD O Welcome!"], out);
    }

    fn refuse_login(&mut self, slot: usize, user: Option<Arc<str>>, now: Now, out: &mut impl Output<K>) {
        let session = self.sessions.get(slot);
        let pause_max = self.settings.failed_login_pause_max;
        let failures = self.failures.add(session.peer, now.monotonic, pause_max);
        self.counters.logins_failed += 1;
        out.log(&Event::LoginFailed { cid: &session.cid, user: user.as_deref(), failures });
        self.reply(slot, &[b"OVERHEAD F Login failed!"], out);
        self.close(slot, Closing::Flushed, out);
    }
}

impl Attempt {
    /// Compares, which takes its time. It takes the same when there is no such user.
    pub fn compare(&self) -> bool {
        self.hash.is_of(&self.password) && self.user.is_some()
    }
}
