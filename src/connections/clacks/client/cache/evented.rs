//! The cache on a communicator.

use super::super::error::ClientError;
use super::super::evented::Client;
use super::super::value::Value;
use super::kept;
use super::local::{Changes, Local, LocalCopy, Ticket};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The cache of a server, through a [`Client`] on a communicator. A cheap handle.
///
/// In keys a space and `=` become `___`, values are encoded where a line needs it, both as the reference client does. What is
/// asked for calls back, never before the call has returned.
///
/// With a [local copy](Self::with_local_copy), what was read once is answered without asking the server, for as long as no
/// other client signals a change.
///
/// ```
/// # use eventdispatcher::connections::clacks::{Permissions, Server, ServerLimits, Settings, Store, Users};
/// # use eventdispatcher::UnixBind;
/// use eventdispatcher::Communicator;
/// use eventdispatcher::connections::clacks::client::{Cache, Client, Event, LocalCopy, Login, Structure};
///
/// # let folder = tempfile::tempdir()?;
/// # let socket = folder.path().join("clacks.sock");
/// # let mut users = Users::default();
/// # users.add("admin", "secret", Permissions::ALL);
/// let communicator = Communicator::new()?;
/// # let server = Server::start(&communicator, Settings::default(), ServerLimits::default(), users, Store::new(None));
/// # server.listen_unix(&communicator, UnixBind::new(&socket))?;
/// let login = Login::new("admin", "secret");
/// let client = Client::connect_unix(&communicator, &socket, &login, |_: &Event, _: &Client| Ok(()))?;
/// let cache = Cache::with_local_copy(&client, LocalCopy::default());
/// cache.set(b"rooms", Structure::list(["kitchen".into(), "hall".into()]))?;
/// cache.set(b"note", "two\nlines")?;
/// cache.get_many(&["rooms", "note", "nothing"], |values, client| {
///     let values = values.unwrap();
///     assert_eq!(values[1].as_ref().and_then(|value| value.as_str()), Some("two\nlines"));
///     assert_eq!(values[2], None);
///     client.communicator().stop();
/// })?;
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cache {
    client: Client,
    announces: bool,
    local: Option<Rc<RefCell<Local>>>,
}

impl Cache {
    /// The cache of the server that this client is connected to.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone(), announces: false, local: None }
    }

    /// With a copy at hand of what is read. The client listens to those keys; their signals are seen by its handler only if the
    /// program [listens](Client::listen) to them, too. Changes are [announced](Self::announcing).
    ///
    /// What this client changes itself it asks for again. After a loss of the connection nothing is known. All caches of a client
    /// share one copy: the limits of the first hold.
    pub fn with_local_copy(client: &Client, limits: LocalCopy) -> Self {
        Self { client: client.clone(), announces: true, local: Some(client.local_copy(limits)) }
    }

    /// Signals each change to who listens to the key, as the local copies of other clients do: a new value with
    /// `SETANDSTORE`, and with `NOTIFY` that it was deleted or counted. Without it a change is a `STORE` alone, of which
    /// those learn when their values are too old.
    #[must_use]
    pub fn announcing(mut self) -> Self {
        self.announces = true;
        self
    }

    /// What it goes through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for the value of a key. One that can't be read, [`ClientError::Structure`], is an error.
    ///
    /// # Errors
    /// When the key can't be sent, the queue is full or the connection gone; `reply` is not called then.
    pub fn get(
        &self,
        key: &[u8],
        reply: impl FnOnce(Result<Option<Value>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.get_many(&[key], |values, client| {
            reply(values.map(|values| values.into_iter().flatten().next()), client)
        })
    }

    /// Asks for the values of many keys, which takes one round trip for those that are not at hand. They come in the order of the
    /// keys. If one can't be read, all fail.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        reply: impl FnOnce(Result<Vec<Option<Value>>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        let now = self.now();
        let mut values: Vec<Result<Option<Value>, ClientError>> = Vec::with_capacity(keys.len());
        let mut missing: Vec<(usize, Vec<u8>, Option<Ticket>)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let key = kept(key.as_ref());
            let held = self.local.as_ref().and_then(|local| {
                local.borrow_mut().get(&key, now).map(|wire| wire.map(Value::of_wire).transpose())
            });
            if held.is_none() {
                missing.push((at, key.into_owned(), None));
            }
            values.push(held.unwrap_or(Ok(None)));
        }
        if missing.is_empty() {
            let client = self.client.clone();
            let values = values.into_iter().collect();
            self.client.communicator().after(Duration::ZERO, move |_| reply(values, &client));
            return Ok(());
        }
        for (_, key, ticket) in &mut missing {
            *ticket = self.ask(key)?;
        }
        let asked: Vec<_> = missing.iter().map(|(_, key, _)| key.clone()).collect();
        let cache = self.clone();
        self.client.retrieve_many(&asked, move |answer, client| {
            let now = cache.now();
            let values = answer.and_then(|wires| {
                for ((at, key, ticket), wire) in missing.iter().zip(wires) {
                    if let (Some(local), Some(ticket)) = (&cache.local, ticket) {
                        local.borrow_mut().answered(key, *ticket, wire.as_deref(), now);
                    }
                    if let Some(value) = values.get_mut(*at) {
                        *value = wire.as_deref().map(Value::of_wire).transpose();
                    }
                }
                values.into_iter().collect()
            });
            reply(values, client);
        })
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// As [`get`](Self::get), or when the value is too deep a structure. What the server refuses comes as
    /// [`Event::Error`](super::super::Event::Error). So for all changes.
    pub fn set(&self, key: &[u8], value: impl Into<Value>) -> Result<(), ClientError> {
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
    /// As [`set`](Self::set).
    pub fn delete(&self, key: &[u8]) -> Result<(), ClientError> {
        self.change(key, |client, key| client.remove(key))
    }

    /// Adds `step`, 1 if `None`, to a number that is kept; what is none counts as 0.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn incr(&self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.change(key, |client, key| client.increment(key, step))
    }

    /// Subtracts `step`, 1 if `None`.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn decr(&self, key: &[u8], step: Option<&str>) -> Result<(), ClientError> {
        self.change(key, |client, key| client.decrement(key, step))
    }

    /// Asks for all keys, as they are kept, in byte order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn key_list(
        &self,
        reply: impl FnOnce(Result<Vec<Vec<u8>>, ClientError>, &Client) + 'static,
    ) -> Result<(), ClientError> {
        self.client.key_list(reply)
    }

    fn now(&self) -> Duration {
        self.client.communicator().time()
    }

    /// Listens to a key that is to be at hand.
    fn ask(&self, key: &[u8]) -> Result<Option<Ticket>, ClientError> {
        let Some(local) = &self.local else { return Ok(None) };
        let (ticket, Changes { listen, unlisten }) = local.borrow_mut().ask(key);
        for gone in unlisten {
            self.client.listen_for_copy(&gone, false)?;
        }
        if listen && let Err(error) = self.client.listen_for_copy(key, true) {
            local.borrow_mut().forget(key);
            return Err(error);
        }
        Ok(Some(ticket))
    }

    fn changes(&self, key: &[u8]) {
        if let Some(local) = &self.local {
            local.borrow_mut().changes(key);
        }
    }

    fn change(
        &self,
        key: &[u8],
        send: impl FnOnce(&Client, &[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let key = kept(key);
        self.changes(&key);
        send(&self.client, &key)?;
        if self.announces { self.client.notify(&key) } else { Ok(()) }
    }
}
