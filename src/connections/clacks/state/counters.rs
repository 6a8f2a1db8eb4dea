//! What has happened since the server was started, in numbers.

use std::fmt::Display;

use super::output::Output;
use super::sessions::Role;
use super::{Now, State};
use crate::connections::clacks::protocol::Command;

macro_rules! counters {
    ($($(#[doc = $text:literal])* $name:ident,)*) => {
        /// What has happened since the server was started.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $text])* pub $name: u64,)*
        }

        impl Counters {
            /// Each with its name, in order.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Clients that have connected.
    connections,
    /// Logins that succeeded.
    logins,
    /// Logins that failed.
    logins_failed,
    /// Clients closed because they did not log in.
    login_timeouts,
    /// Clients closed because they gave no sign of life.
    ping_timeouts,
    /// Clients closed because they took no output.
    stalled,
    /// Clients closed because their output queue was full.
    queues_full,
    /// Lines from clients that had logged in.
    lines,
    /// `NOTIFY`, `SET` and `SETANDSTORE`.
    signals,
    /// Signals handed to listeners, each counted; a sender that listens itself counts, too.
    deliveries,
    /// Values stored: `STORE` and `SETANDSTORE`.
    stores,
    /// `RETRIEVE` that found a value.
    hits,
    /// `RETRIEVE` that found none.
    misses,
    /// `INCREMENT` and `DECREMENT`.
    steps,
    /// `REMOVE`.
    removes,
    /// `KEYSYNC`.
    syncs,
    /// `CLEARCACHE`.
    clears,
    /// Links with other servers that were made.
    links_made,
    /// Links that have ended.
    links_ended,
    /// Links refused because they would make a loop.
    loops,
    /// Commands refused for want of a permission.
    refused,
    /// Lines that were no command.
    unknown,
    /// Entries forgotten because nobody asked for them.
    forgotten_stale,
    /// Removed entries forgotten for good.
    forgotten_deleted,
}

impl Counters {
    /// A command that is carried out. `RETRIEVE` counts by what it finds.
    pub(super) fn carried_out(&mut self, command: &Command<'_>) {
        let counter = match command {
            Command::Set(_) | Command::Notify(_) => &mut self.signals,
            Command::SetAndStore(_) => {
                self.signals += 1;
                &mut self.stores
            }
            Command::Store(_) => &mut self.stores,
            Command::Increment(_) | Command::Decrement(_) => &mut self.steps,
            Command::Remove(_) => &mut self.removes,
            Command::KeySync(_) => &mut self.syncs,
            Command::ClearCache => &mut self.clears,
            Command::Unknown(_) => &mut self.unknown,
            _ => return,
        };
        *counter += 1;
    }
}

impl<K: Copy + Eq> State<K> {
    /// What has happened since the server was started.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How the server is: names and numbers, in order.
    pub fn status(&self, now: Now, out: &impl Output<K>, mut each: impl FnMut(&str, &dyn Display)) {
        let group = |role| self.sessions.group(role).keys().len();
        each("server", &self.settings.server_name);
        each("uptime", &format_args!("{:.0}", now.monotonic.saturating_sub(self.started).as_secs_f64()));
        each("clients", &self.sessions.len());
        each("members", &group(Role::Member));
        each("monitors", &group(Role::Monitor));
        each("links", &group(Role::Link));
        each("entries", &self.store.live());
        each("tombstones", &self.store.tombstones());
        each("cache_bytes", &self.store.bytes());
        for (name, count) in self.counters.all() {
            each(name, &count);
        }
        out.status(&mut each);
    }

    /// Answers `STATUS`.
    pub(super) fn tell_status(&mut self, slot: usize, now: Now, out: &mut impl Output<K>) {
        let mut lines = Vec::new();
        self.status(now, out, |name, value| lines.push(format!("{name}={value}")));
        self.reply(slot, &[b"STATUSSTART"], out);
        for line in lines {
            self.reply(slot, &[b"STATUS ", line.as_bytes()], out);
        }
        self.reply(slot, &[b"STATUSEND"], out);
    }

    /// All that is to be known of the server and its clients, for people who look for a fault: numbers, then a block for each
    /// client with its fields.
    pub fn dump(&self, now: Now, out: &impl Output<K>) -> String {
        let mut text = format!("time={:.3}\n", now.unix);
        self.status(now, out, |name, value| text.push_str(&format!("{name}={value}\n")));
        self.each_client(out, |cid, fields| {
            text.push_str(&format!("\n[{}]\n", cid.escape_ascii()));
            for (name, value) in fields {
                text.push_str(&format!("{name}={}\n", value.escape_ascii()));
            }
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_counter() {
        let text = include_str!("../../../../docs/clacks/operating.md");
        let is_named = |name: &str| text.contains(&format!("`{name}`"));
        let missing: Vec<_> = Counters::default().all().filter(|(name, _)| !is_named(name)).collect();
        assert_eq!(missing, []);
    }
}
