//! What a client on a communicator has asked for and has no answer to.

use super::cache::Local;
use super::error::ClientError;
use super::event::{ClientInfo, status_field};
use super::evented::Client;
use super::lasting::Lasting;
use super::manners::Manners;
use super::unchanged::Unchanged;
use crate::communicator::TimerId;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::replace;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// As many requests wait for their answers at most.
pub(super) const MOST_REQUESTS: usize = 1 << 16;

/// What is called with the answer to a request, once.
pub type Reply<T> = Box<dyn FnOnce(Result<T, ClientError>, &Client)>;

/// What all handles of a client share.
pub(super) struct Requests {
    pub(super) manners: Manners,
    pub(super) waiting: VecDeque<Request>,
    pub(super) serial: u64,
    /// Commands were sent since the last request, which may still be refused.
    pub(super) unflushed: bool,
    /// It reconnects by itself.
    pub(super) lasting: Option<Lasting>,
    /// What is at hand of the cache.
    pub(super) local: Option<Rc<RefCell<Local>>>,
    pub(super) unchanged: Unchanged,
    pub(super) pings: Pings,
}

/// Signs of life.
#[derive(Default)]
pub(super) struct Pings {
    /// The server is not to expect any.
    pub(super) are_off: bool,
    /// When there was one, by the loop's clock; to connect is one.
    pub(super) last: Option<Duration>,
    /// For the next one.
    pub(super) timer: Option<TimerId>,
}

impl Requests {
    pub(super) fn new(manners: Manners, lasting: Option<Lasting>) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            manners,
            waiting: VecDeque::new(),
            serial: 0,
            unflushed: false,
            lasting,
            local: None,
            unchanged: Unchanged::default(),
            pings: Pings::default(),
        }))
    }

    /// Whether an error belongs to the request that is answered now.
    pub(super) fn refused(&mut self, message: &str) -> bool {
        let Some(request) = self.waiting.front_mut() else { return false };
        match request.want {
            Want::Nothing => false,
            Want::NoMatter => true,
            _ => {
                request.refusal = Some(ClientError::refusal(message));
                true
            }
        }
    }
}

pub(super) struct Request {
    pub(super) serial: u64,
    pub(super) want: Want,
    pub(super) refusal: Option<ClientError>,
    pub(super) timer: Option<TimerId>,
    /// The items that it is made of, if they are numbered.
    pub(super) items: Range<u64>,
}

pub(super) enum Want {
    /// What comes before its answer belongs to no request.
    Nothing,
    /// What comes before its answer is nobody's business.
    NoMatter,
    Done(Reply<()>),
    Value {
        key: Vec<u8>,
        value: Option<Vec<u8>>,
        reply: Reply<Option<Vec<u8>>>,
    },
    Values {
        keys: Vec<Vec<u8>>,
        /// Of the first ones: there is an answer to each, in order.
        values: Vec<Option<Vec<u8>>>,
        reply: Reply<Vec<Option<Vec<u8>>>>,
    },
    Keys(Vec<Vec<u8>>, Reply<Vec<Vec<u8>>>),
    Clients(Vec<ClientInfo>, Reply<Vec<ClientInfo>>),
    Status(Vec<(String, String)>, Reply<Vec<(String, String)>>),
}

impl Want {
    /// Does somebody wait for it?
    pub(super) fn is_awaited(&self) -> bool {
        !matches!(self, Self::Nothing | Self::NoMatter)
    }
}

impl Request {
    /// What is left of one that nobody waits for any more: its answer may still come, and is nobody else's.
    pub(super) fn leave(&mut self) -> Self {
        let (want, refusal) = (replace(&mut self.want, Want::Nothing), self.refusal.take());
        Self { serial: self.serial, want, refusal, timer: self.timer.take(), items: self.items.clone() }
    }

    pub(super) fn look(&mut self, line: &[u8]) {
        match &mut self.want {
            Want::Nothing | Want::NoMatter | Want::Done(_) => {}
            Want::Value { key, value, .. } => {
                if let Some(found) = retrieved(line, key) {
                    *value = Some(found.to_vec());
                }
            }
            Want::Values { keys, values, .. } => {
                let Some(key) = keys.get(values.len()) else { return };
                if let Some(found) = retrieved(line, key) {
                    values.push(Some(found.to_vec()));
                } else if line.strip_prefix(b"NOTRETRIEVED ") == Some(key) {
                    values.push(None);
                }
            }
            Want::Keys(keys, _) => keys.extend(line.strip_prefix(b"KEY ").map(<[u8]>::to_vec)),
            Want::Clients(clients, _) => {
                clients.extend(line.strip_prefix(b"CLIENT ").map(ClientInfo::of));
            }
            Want::Status(fields, _) => fields.extend(status_field(line)),
        }
    }

    /// Calls back, with `failure` or with what came.
    pub(super) fn finish(self, failure: Option<ClientError>, client: &Client) {
        if let Some(timer) = self.timer {
            client.communicator().cancel(timer);
        }
        let failed = failure.or(self.refusal);
        fn answer<T>(failed: Option<ClientError>, value: T) -> Result<T, ClientError> {
            failed.map_or(Ok(value), Err)
        }
        match self.want {
            Want::Nothing | Want::NoMatter => {}
            Want::Done(reply) => reply(answer(failed, ()), client),
            Want::Value { value, reply, .. } => reply(answer(failed, value), client),
            Want::Values { keys, mut values, reply } => {
                values.resize(keys.len(), None);
                reply(answer(failed, values), client);
            }
            Want::Keys(keys, reply) => reply(answer(failed, keys), client),
            Want::Clients(clients, reply) => reply(answer(failed, clients), client),
            Want::Status(fields, reply) => reply(answer(failed, fields), client),
        }
    }
}

/// The value that this key was found with.
fn retrieved<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(b"RETRIEVED ")?.strip_prefix(key)?.strip_prefix(b"=")
}
