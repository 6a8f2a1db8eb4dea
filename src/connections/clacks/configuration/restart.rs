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
        let addresses = |c: &Self| c.tls.as_ref().map(|tls| tls.addresses.clone());
        let port = |tls: &Option<Tls>| tls.as_ref().map(|tls| tls.port);
        let differs = [
            ("ip", addresses(self) != addresses(new)),
            ("port", port(&self.tls) != port(&new.tls)),
            ("socket", self.sockets != new.sockets),
            ("socketchmod", self.socket_mode != new.socket_mode),
            ("socketcommands", self.socket_commands != new.socket_commands),
            ("persistancefile", self.persistence_file != new.persistence_file),
            ("persistanceinterval", self.persistence_interval != new.persistence_interval),
            ("journal", self.journal != new.journal),
            ("journalsync", self.journal_sync != new.journal_sync),
            ("interclacksreconnecttimeout", {
                self.interclacks_reconnect_timeout != new.interclacks_reconnect_timeout
            }),
            ("master", self.master != new.master),
            ("debugfile", self.debug_file != new.debug_file),
            ("control", self.control != new.control),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
