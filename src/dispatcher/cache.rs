use std::time::Duration;

use super::value::{FromValue, ToValue, ValueError};

/// What a communicator daemon does with a message while its receiver is not there: the parameter
/// [`CACHE`](super::CACHE). Without it: keep the message for a minute and say nothing.
///
/// ```
/// use eventdispatcher::dispatcher::{CACHE, Cache, Message};
///
/// let message = Message::build("X").with(CACHE, Cache::no().reply()).finish()?;
/// assert_eq!(message.view().to_text()?, br#"X cache="no;reply""#);
/// assert_eq!(message.view().cache()?, Cache::no().reply());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cache {
    ttl: Option<Duration>,
    reply: bool,
}

impl Cache {
    /// For how long a message is kept if it does not say.
    pub const TTL_DEFAULT: Duration = Duration::from_secs(60);
    /// A message can't be kept for less.
    pub const TTL_MIN: Duration = Duration::from_secs(10);
    /// A message can't be kept for more: a day.
    pub const TTL_MAX: Duration = Duration::from_secs(86_400);

    /// Drop it.
    #[must_use]
    pub fn no() -> Self {
        Self { ttl: None, reply: false }
    }

    /// Keep it for so long: whole seconds, between [`TTL_MIN`](Self::TTL_MIN) and
    /// [`TTL_MAX`](Self::TTL_MAX); the nearest of these if it is outside.
    #[must_use]
    pub fn keep(ttl: Duration) -> Self {
        let ttl = Duration::from_secs(ttl.as_secs()).clamp(Self::TTL_MIN, Self::TTL_MAX);
        Self { ttl: Some(ttl), reply: false }
    }

    /// And tell the sender if it is not kept.
    #[must_use]
    pub fn reply(self) -> Self {
        Self { reply: true, ..self }
    }

    /// For how long to keep the message; nothing if it is to be dropped.
    #[must_use]
    pub fn ttl(self) -> Option<Duration> {
        self.ttl
    }

    /// Whether the sender is told if the message is not kept.
    #[must_use]
    pub fn wants_reply(self) -> bool {
        self.reply
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl: Some(Self::TTL_DEFAULT), reply: false }
    }
}

impl ToValue for Cache {
    fn to_value(&self, out: &mut Vec<u8>) {
        match self.ttl {
            None => out.extend_from_slice(b"no"),
            Some(ttl) => {
                out.extend_from_slice(b"ttl=");
                ttl.as_secs().to_value(out);
            }
        }
        if self.reply {
            out.extend_from_slice(b";reply");
        }
    }
}

/// Reads the items in any order; the last of `no` and `ttl` counts. White space around an item and empty
/// items mean nothing.
impl FromValue for Cache {
    fn from_value(bytes: &[u8]) -> Result<Self, ValueError> {
        let mut cache = Self::default();
        let mut at = 0;
        for item in bytes.split(|&byte| byte == b';') {
            match item.trim_ascii() {
                b"" => {}
                b"no" => cache.ttl = None,
                b"reply" => cache.reply = true,
                item => {
                    let ttl = item
                        .strip_prefix(b"ttl=")
                        .and_then(|ttl| Duration::from_value(ttl).ok())
                        .filter(|ttl| (Self::TTL_MIN..=Self::TTL_MAX).contains(ttl))
                        .ok_or(ValueError::new("a list of no, reply and ttl=10 to ttl=86400", at))?;
                    cache.ttl = Some(ttl);
                }
            }
            at += item.len() + 1;
        }
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_items_are_read_in_any_order() {
        let check = |text: &str, expected| {
            assert_eq!(Cache::from_value(text.as_bytes()), Ok(expected), "{text:?}");
        };
        check("", Cache::default());
        check("no", Cache::no());
        check("reply", Cache::keep(MINUTE).reply());
        check("no;reply", Cache::no().reply());
        check("reply;no", Cache::no().reply());
        check("ttl=10", Cache::keep(Duration::from_secs(10)));
        check("ttl=86400;reply", Cache::keep(Cache::TTL_MAX).reply());
        check("ttl=1d", Cache::keep(Cache::TTL_MAX));
        check("ttl=1.5m", Cache::keep(Duration::from_secs(90)));
        check(" no ; reply ;", Cache::no().reply());
    }

    #[test]
    fn what_it_does_not_know_is_refused_with_the_place() {
        let check = |text: &str, at| {
            assert_eq!(Cache::from_value(text.as_bytes()).map_err(|error| error.at), Err(at), "{text:?}");
        };
        check("yes", 0);
        check("no;maybe", 3);
        check("ttl=9", 0);
        check("no;ttl=86401", 3);
        check("ttl=", 0);
        check("ttl=-60", 0);
        check("TTL=60", 0);
    }

    #[test]
    fn it_is_read_as_written() {
        for cache in [
            Cache::default(),
            Cache::no(),
            Cache::no().reply(),
            Cache::keep(Duration::ZERO),
            Cache::keep(Duration::from_millis(12_345)).reply(),
            Cache::keep(Duration::MAX),
        ] {
            let mut out = Vec::new();
            cache.to_value(&mut out);
            assert_eq!(Cache::from_value(&out), Ok(cache));
        }
    }
}
