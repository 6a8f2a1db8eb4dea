use super::message::Message;
use super::value::ParameterError;
use super::view::MessageRef;

const MSGID: &str = "broadcast_msgid";
const HOPS: &str = "broadcast_hops";
const ORIGINATOR: &str = "broadcast_originator";
const TIMEOUT: &str = "broadcast_timeout";
const INFORMED: &str = "broadcast_informed_neighbors";

/// What tells the copies of a broadcast apart, so that it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    id: String,
    hops: u32,
    originator: String,
    timeout: i64,
    informed: Vec<String>,
}

impl Broadcast {
    /// A copy that has been passed on so often is not passed on any more.
    pub const HOPS_MAX: u32 = 5;

    /// A broadcast that starts at the server `originator`, where it is number `sequence`, and dies at
    /// `timeout` (seconds since 1970).
    #[must_use]
    pub fn new(originator: &str, sequence: u64, timeout: i64) -> Self {
        Self {
            id: format!("{originator}-{sequence}"),
            hops: 0,
            originator: originator.to_owned(),
            timeout,
            informed: Vec::new(),
        }
    }

    /// What all copies have in common, and no other broadcast.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How often this copy was passed on.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// The server where it started.
    #[must_use]
    pub fn originator(&self) -> &str {
        &self.originator
    }

    /// When it dies, in seconds since 1970.
    #[must_use]
    pub fn timeout(&self) -> i64 {
        self.timeout
    }

    /// Whether it is dead at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_expired(&self, now: i64) -> bool {
        self.timeout < now
    }

    /// Whether a neighbour is known to have it.
    #[must_use]
    pub fn has_informed(&self, neighbour: &str) -> bool {
        self.informed.iter().any(|informed| informed == neighbour)
    }

    /// The copy to pass on to `neighbours`, which does not go to those that it names: nothing after
    /// [`HOPS_MAX`](Self::HOPS_MAX) hops.
    #[must_use]
    pub fn forward<'a>(&self, neighbours: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        if self.hops >= Self::HOPS_MAX {
            return None;
        }
        let mut copy = Self { hops: self.hops + 1, ..self.clone() };
        for neighbour in neighbours {
            if !copy.has_informed(neighbour) {
                copy.informed.push(neighbour.to_owned());
            }
        }
        Some(copy)
    }
}

impl Message {
    /// Adds what tells the copies of a broadcast apart.
    pub fn add_broadcast(&mut self, broadcast: &Broadcast) -> &mut Self {
        self.set_known(MSGID, &broadcast.id)
            .set_known(HOPS, broadcast.hops)
            .set_known(ORIGINATOR, &broadcast.originator)
            .set_known(TIMEOUT, broadcast.timeout)
            .set_known(INFORMED, broadcast.informed.join(","))
    }
}

impl MessageRef<'_> {
    /// What tells the copies of a broadcast apart; nothing if the message is none.
    ///
    /// # Errors
    /// When only a part of it is there, or numbers are none.
    pub fn broadcast(self) -> Result<Option<Broadcast>, ParameterError> {
        let Some(id) = self.optional(MSGID)? else { return Ok(None) };
        let informed: String = self.optional(INFORMED)?.unwrap_or_default();
        Ok(Some(Broadcast {
            id,
            hops: self.value(HOPS)?,
            originator: self.value(ORIGINATOR)?,
            timeout: self.value(TIMEOUT)?,
            informed: informed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_is_read_as_written() {
        let broadcast = Broadcast::new("web", 12, 1_700_000_000).forward(["db", "mail", "db"]).unwrap();
        let mut message = Message::new("STOP").unwrap();
        message.add_broadcast(&broadcast);
        assert_eq!(
            String::from_utf8(message.view().to_text().unwrap()).unwrap(),
            "STOP broadcast_hops=1;broadcast_informed_neighbors=db,mail;broadcast_msgid=web-12;\
             broadcast_originator=web;broadcast_timeout=1700000000"
        );
        assert_eq!(message.view().broadcast(), Ok(Some(broadcast)));
    }

    #[test]
    fn it_ends_by_hops_and_by_time() {
        let mut broadcast = Broadcast::new("web", 1, 100);
        assert!(!broadcast.is_expired(100));
        assert!(broadcast.is_expired(101));
        for hop in 1..=Broadcast::HOPS_MAX {
            broadcast = broadcast.forward(["db"]).unwrap();
            assert_eq!(broadcast.hops(), hop);
        }
        assert_eq!(broadcast.forward([]), None);
        assert!(broadcast.has_informed("db"));
        assert!(!broadcast.has_informed("web"));
    }

    #[test]
    fn half_a_broadcast_is_an_error() {
        let parse = |text: &'static str| MessageRef::parse(text.as_bytes()).unwrap().broadcast();
        assert_eq!(parse("X a=1"), Ok(None));
        assert!(matches!(parse("X broadcast_msgid=web-1"), Err(ParameterError::Missing { .. })));
        let text = "X broadcast_msgid=a-1;broadcast_hops=-1;broadcast_originator=a;broadcast_timeout=0";
        assert!(matches!(parse(text), Err(ParameterError::Value { .. })));
    }
}
