//! New settings and users while the server runs.

use super::output::Output;
use super::settings::Settings;
use super::users::Users;
use super::{Role, State};

impl<K: Copy + Eq> State<K> {
    /// Takes new settings and users. Who may not log in any more with what was logged in with is sent away with `QUIT`; the others
    /// have their new permissions at once. Says how many were sent away.
    ///
    /// The time limits hold from the next [`check`](Self::check) of each client.
    pub fn reconfigure(&mut self, settings: Settings, users: Users, out: &mut impl Output<K>) -> usize {
        self.settings = Settings { node: self.settings.node, ..settings };
        let old = std::mem::replace(&mut self.users, users);
        let mut sent_away = 0;
        for slot in self.sessions.open() {
            let session = self.sessions.get(slot);
            // With another token the master must prove itself again, and this server to it.
            if session.is_master && old.link_token() != self.users.link_token() {
                self.dismiss(slot, b"QUIT", out);
                continue;
            }
            let Some(user) = session.user.clone().filter(|_| self.sessions.has(slot, Role::Member)) else {
                continue;
            };
            match old.in_others(&user, &self.users) {
                Some(permissions) => self.regrant(slot, permissions),
                None => {
                    self.dismiss(slot, b"QUIT", out);
                    sent_away += 1;
                }
            }
        }
        sent_away
    }
}
