//! What a configuration means for each part of the server.

use super::Configuration;
use crate::connections::clacks::credentials::{Password, PasswordHash};
use crate::connections::clacks::persistence::PersistenceOptions;
use crate::connections::clacks::server::ServerLimits;
use crate::connections::clacks::state::{Permissions, Settings, Users};

impl Configuration {
    /// The protocol's settings.
    pub fn settings(&self) -> Settings {
        Settings {
            server_name: format!("{} {}", self.app_name, env!("CARGO_PKG_VERSION")),
            ping_timeout: self.ping_timeout,
            interclacks_ping_timeout: self.interclacks_ping_timeout,
            auth_timeout: self.auth_timeout,
            failed_login_pause_max: self.failed_login_pause,
            stalled_write_timeout: self.stalled_write_timeout,
            interclacks_stalled_write_timeout: self.interclacks_stalled_write_timeout,
            deleted_cache_time: self.deleted_cache_time,
            stale_cache_time: self.stale_cache_time,
            cache_clean_interval: self.cache_clean_interval,
            ..Settings::default()
        }
    }

    /// How much one client may take up, and how many clients there may be.
    pub fn limits(&self) -> ServerLimits {
        ServerLimits {
            max_line: self.max_line,
            max_out_buffer: self.max_out_buffer,
            max_clients: self.max_clients,
        }
    }

    /// Where and how the cache is kept, if it is.
    pub fn persistence(&self) -> Option<PersistenceOptions> {
        let mut options = PersistenceOptions::new(self.persistence_file.as_ref()?);
        options.interval = self.persistence_interval;
        options.journal = self.journal;
        options.sync = self.journal_sync;
        Some(options)
    }

    /// Who may log in: the main user with all permissions, the others with theirs and never `interclacks`.
    pub fn users_and_permissions(&self) -> Users {
        let mut users = Users::default();
        add(&mut users, &self.username, &self.password, self.password_hash.as_ref(), Permissions::ALL);
        for user in &self.users {
            let permissions = [
                (user.read, Permissions::READ),
                (user.write, Permissions::WRITE),
                (user.manage, Permissions::MANAGE),
            ];
            let permissions = permissions
                .into_iter()
                .filter(|(has, _)| *has)
                .fold(Permissions::NONE, |all, (_, one)| all.with(one));
            add(&mut users, &user.name, &user.password, user.password_hash.as_ref(), permissions);
        }
        users
    }
}

fn add(
    users: &mut Users,
    name: &str,
    password: &Password,
    hash: Option<&PasswordHash>,
    permissions: Permissions,
) {
    match hash {
        Some(hash) => users.add_hashed(name, hash.clone(), permissions),
        None => users.add(name, password.expose(), permissions),
    }
}
