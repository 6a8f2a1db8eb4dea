//! How other threads reach a communicator.

use super::handle::Communicator;
use super::key::Id;
use crate::codec::{Codec, EncodeError};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

/// As many posts wait at most.
const MOST_POSTS: usize = 4096;
/// As many are taken in one turn.
const POSTS_PER_TURN: usize = 256;

pub(crate) type Post = Box<dyn FnOnce(&Communicator) + Send>;

/// A handle to a communicator for other threads: what is posted runs on the communicator's own thread, in the order
/// of posting, at the start of a turn.
///
/// It does not keep the loop running. At most 4096 posts wait.
///
/// ```
/// let communicator = eventdispatcher::Communicator::new()?;
/// let alarm = communicator.after(std::time::Duration::from_secs(60), |_| ());
/// let remote = communicator.remote()?;
/// std::thread::spawn(move || remote.post(move |communicator| { communicator.cancel(alarm); }));
/// communicator.run()?; // ends as soon as the alarm is cancelled
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Remote {
    posts: SyncSender<Post>,
    wake: Arc<Wake>,
}

struct Wake {
    waker: mio::Waker,
    /// The poll has been woken and has not looked yet.
    pending: AtomicBool,
}

impl Remote {
    /// Runs `call` on the communicator's thread, soon.
    ///
    /// # Errors
    /// When the communicator is gone or too many posts wait; `call` is dropped then.
    pub fn post(&self, call: impl FnOnce(&Communicator) + Send + 'static) -> Result<(), PostError> {
        self.posts.try_send(Box::new(call)).map_err(|error| match error {
            TrySendError::Full(_) => PostError::Full,
            TrySendError::Disconnected(_) => PostError::Gone,
        })?;
        if !self.wake.pending.swap(true, Ordering::AcqRel) {
            self.wake.waker.wake().map_err(PostError::Io)?;
        }
        Ok(())
    }

    /// Sends `item`, encoded here, to a connection of the communicator. Whether the connection is
    /// still there when the item arrives can't be known here.
    ///
    /// # Errors
    /// As [`post`](Self::post); and when the item can't be encoded.
    pub fn send<C: Codec>(&self, id: Id<C>, item: C::Out<'_>) -> Result<(), PostError> {
        let mut bytes = Vec::new();
        C::encode(item, &mut bytes).map_err(PostError::Encode)?;
        self.post(move |communicator| {
            if let Err(error) = communicator.send_bytes(id.key(), &bytes, None) {
                log::debug!("connection {id}: an item from another thread was not sent: {error}");
            }
        })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// Why a post was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostError {
    /// The communicator is no more.
    Gone,
    /// Too many posts wait.
    Full,
    /// The item can't be encoded.
    Encode(EncodeError),
    /// The poll could not be woken.
    Io(io::Error),
}

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the communicator is gone"),
            Self::Full => write!(f, "{MOST_POSTS} posts wait already"),
            Self::Encode(error) => write!(f, "the item can't be encoded: {error}"),
            Self::Io(error) => write!(f, "the communicator could not be woken: {error}"),
        }
    }
}

impl std::error::Error for PostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Gone | Self::Full => None,
            Self::Encode(error) => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

/// The communicator's end.
pub(crate) struct Inbox {
    posts: Receiver<Post>,
    remote: Remote,
}

impl Inbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        let (sender, posts) = sync_channel(MOST_POSTS);
        let wake = Arc::new(Wake { waker, pending: AtomicBool::new(false) });
        Self { posts, remote: Remote { posts: sender, wake } }
    }

    pub(crate) fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// What was posted and never will run.
    pub(crate) fn take_all(&self) -> Vec<Post> {
        self.posts.try_iter().take(MOST_POSTS).collect()
    }

    /// What was posted, a turn's share. Whether there is more.
    pub(crate) fn take(&self, into: &mut Vec<Post>) -> bool {
        // First, so that a post from now on wakes the poll again.
        self.remote.wake.pending.swap(false, Ordering::AcqRel);
        while into.len() < POSTS_PER_TURN {
            match self.posts.try_recv() {
                Ok(post) => into.push(post),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return false,
            }
        }
        true
    }
}
