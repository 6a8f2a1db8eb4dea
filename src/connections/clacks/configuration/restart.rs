//! What a server that runs can't change.

use super::{Configuration, Tls};

impl Configuration {
    /// The names of the settings in which `new` differs and that only a restart changes: where the server listens, and what it
    /// works with. All others can be taken by a server that runs; so can the certificate.
    ///
    /// ```
    /// use eventdispatcher::connections::clacks::configuration::Configuration;
    /// use eventdispatcher::connections::clacks::credentials::Password;
    ///
    /// let old = Configuration::new("admin", Password::new("secret"));
    /// let mut new = old.clone();
    /// new.max_clients = 5;
    /// new.sockets.push("clacks.sock".into());
    /// assert_eq!(old.needs_restart(&new), ["socket"]);
    /// ```
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        // Each is named, so that a new one is thought of.
        let Self {
            sockets,
            socket_mode,
            socket_commands,
            tls,
            persistence_file,
            persistence_interval,
            journal,
            journal_sync,
            interclacks_reconnect_timeout,
            master,
            debug_file,
            control,
            is_control_stream,
            app_name: _,
            username: _,
            password: _,
            password_hash: _,
            users: _,
            ping_timeout: _,
            interclacks_ping_timeout: _,
            auth_timeout: _,
            failed_login_pause: _,
            stalled_write_timeout: _,
            interclacks_stalled_write_timeout: _,
            deleted_cache_time: _,
            stale_cache_time: _,
            cache_clean_interval: _,
            max_line: _,
            max_out_buffer: _,
            max_clients: _,
        } = self;
        let addresses = |tls: &Option<Tls>| tls.as_ref().map(|tls| tls.addresses.clone());
        let port = |tls: &Option<Tls>| tls.as_ref().map(|tls| tls.port);
        let differs = [
            ("ip", addresses(tls) != addresses(&new.tls)),
            ("port", port(tls) != port(&new.tls)),
            ("socket", *sockets != new.sockets),
            ("socketchmod", *socket_mode != new.socket_mode),
            ("socketcommands", *socket_commands != new.socket_commands),
            ("persistancefile", *persistence_file != new.persistence_file),
            ("persistanceinterval", *persistence_interval != new.persistence_interval),
            ("journal", *journal != new.journal),
            ("journalsync", *journal_sync != new.journal_sync),
            (
                "interclacksreconnecttimeout",
                *interclacks_reconnect_timeout != new.interclacks_reconnect_timeout,
            ),
            ("master", *master != new.master),
            ("debugfile", *debug_file != new.debug_file),
            ("control", *control != new.control),
            ("controltype", *is_control_stream != new.is_control_stream),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
