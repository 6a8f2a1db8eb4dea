//! The cache for scripts and tools: one call at a time.

use super::super::blocking::BlockingClient;
use super::super::error::ClientError;
use super::super::value::Value;
use super::kept;
use super::local::{Changes, LocalCopy, Ticket};

/// The cache of a server, through a [`BlockingClient`]: what [`Cache`](super::Cache) is on a communicator.
///
/// ```no_run
/// use eventdispatcher::connections::clacks::client::{BlockingCache, ClientOptions};
///
/// let mut cache = BlockingCache::new(ClientOptions::from_environment()?.connect_blocking()?);
/// cache.set(b"note", "two\nlines")?;
/// cache.incr(b"visits", None)?;
/// let note = cache.get(b"note")?;
/// assert_eq!(note.as_ref().and_then(|value| value.as_str()), Some("two\nlines"));
/// # Ok::<(), eventdispatcher::connections::clacks::client::ClientError>(())
/// ```
#[derive(Debug)]
pub struct BlockingCache {
    client: BlockingClient,
    announces: bool,
}

impl BlockingCache {
    /// The cache of the server that this client is connected to.
    pub fn new(client: BlockingClient) -> Self {
        Self { client, announces: false }
    }

    /// With a copy at hand of what is read, as [`Cache::with_local_copy`](super::Cache::with_local_copy). What has come from the server
    /// is looked at before a value at hand is given out, without waiting.
    pub fn with_local_copy(mut client: BlockingClient, limits: LocalCopy) -> Self {
        client.set_local_copy(limits);
        Self { client, announces: true }
    }

    /// Signals each change, as [`Cache::announcing`](super::Cache::announcing).
    #[must_use]
    pub fn announcing(mut self) -> Self {
        self.announces = true;
        self
    }

    /// What it goes through.
    pub fn client(&mut self) -> &mut BlockingClient {
        &mut self.client
    }

    /// The value of a key; `None` if there is none.
    ///
    /// # Errors
    /// When the server refuses it or does not answer, or another client has written what can't be read. So for all below.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Value>, ClientError> {
        Ok(self.get_many(&[key])?.into_iter().flatten().next())
    }

    /// The values of many keys, in their order, which takes one round trip for those that are not at hand: give it some
    /// thousand at a time.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<Vec<Option<Value>>, ClientError> {
        self.client.take_in()?;
        let now = self.client.now();
        let mut values = vec![None; keys.len()];
        let mut missing = Vec::new();
        for ((at, key), value) in keys.iter().enumerate().zip(&mut values) {
            let key = kept(key.as_ref());
            match self.client.local().and_then(|local| local.get(&key, now)) {
                Some(wire) => *value = wire.map(Value::of_wire).transpose()?,
                None => missing.push((at, key.into_owned())),
            }
        }
        let mut tickets = Vec::with_capacity(missing.len());
        for (_, key) in &missing {
            tickets.push(self.ask(key)?);
        }
        let asked: Vec<_> = missing.iter().map(|(_, key)| key).collect();
        if asked.is_empty() {
            return Ok(values);
        }
        let wires = self.client.retrieve_all(&asked)?;
        let now = self.client.now();
        for (((at, key), ticket), wire) in missing.iter().zip(tickets).zip(wires) {
            if let (Some(local), Some(ticket)) = (self.client.local(), ticket) {
                local.answered(key, ticket, wire.as_deref(), now);
            }
            if let Some(value) = values.get_mut(*at) {
                *value = wire.as_deref().map(Value::of_wire).transpose()?;
            }
        }
        Ok(values)
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// As [`get`](Self::get), or when the value is too deep a structure.
    pub fn set(&mut self, key: &[u8], value: impl Into<Value>) -> Result<(), ClientError> {
        let (key, value) = (kept(key), value.into());
        let wire = value.to_wire()?;
        self.changes(&key);
        match self.announces {
            true => self.client.set_and_store(&key, &wire),
            false => self.client.store(&key, &wire),
        }
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&mut self, key: &[u8]) -> Result<(), ClientError> {
        self.change(key, |client, key| client.remove(key))
    }

    /// Adds `step`, 1 if `None`, to a number that is kept; what is none counts as 0.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn incr(&mut self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.change(key, |client, key| client.increment(key, step))
    }

    /// Subtracts `step`, 1 if `None`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn decr(&mut self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.change(key, |client, key| client.decrement(key, step))
    }

    /// All keys, as they are kept, in byte order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn key_list(&mut self) -> Result<Vec<Vec<u8>>, ClientError> {
        self.client.key_list()
    }

    /// Listens to a key that is to be at hand.
    fn ask(&mut self, key: &[u8]) -> Result<Option<Ticket>, ClientError> {
        let Some(local) = self.client.local() else { return Ok(None) };
        let (ticket, Changes { listen, unlisten }) = local.ask(key);
        for gone in unlisten {
            self.client.listen_for_copy(&gone, false)?;
        }
        if listen && let Err(error) = self.client.listen_for_copy(key, true) {
            if let Some(local) = self.client.local() {
                local.forget(key);
            }
            return Err(error);
        }
        Ok(Some(ticket))
    }

    fn changes(&mut self, key: &[u8]) {
        if let Some(local) = self.client.local() {
            local.changes(key);
        }
    }

    fn change(
        &mut self,
        key: &[u8],
        send: impl FnOnce(&mut BlockingClient, &[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let key = kept(key);
        self.changes(&key);
        send(&mut self.client, &key)?;
        if self.announces { self.client.notify(&key) } else { Ok(()) }
    }
}
