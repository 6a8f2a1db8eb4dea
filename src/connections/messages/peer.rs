//! Who a message came from.

use super::datagrams::Recipient;
use crate::communicator::{Communicator, Cx, Id, Key, SendError};
use crate::connections::Records;
use crate::dispatcher::{MessageRef, Messages};

/// Who a message came from, and how it is answered.
///
/// An action gets its messages through any kind of connection, and answers them without knowing which. The context of a
/// stream of [`Messages`], or of a connection of packets, is a peer; so is a [`Link`], which names one while no
/// callback of it runs, a [`DatagramLink`](super::DatagramLink), and a [`ThreadLink`](super::ThreadLink).
pub trait Peer {
    /// The loop.
    fn communicator(&self) -> &Communicator;

    /// The connection through which its messages come.
    fn key(&self) -> Key;

    /// Sends a message to it.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError>;

    /// The connection, if it is a stream to this peer alone.
    fn stream(&self) -> Option<Id<Messages>> {
        None
    }

    /// Who it is, if its messages are datagrams: others send through the same connection.
    fn recipient(&self) -> Option<Recipient<'_>> {
        None
    }
}

impl Peer for Cx<'_, Messages> {
    fn communicator(&self) -> &Communicator {
        self
    }
    fn key(&self) -> Key {
        self.id().key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.reply(message)
    }
    fn stream(&self) -> Option<Id<Messages>> {
        Some(self.id())
    }
}

impl Peer for Cx<'_, Records> {
    fn communicator(&self) -> &Communicator {
        self
    }
    fn key(&self) -> Key {
        self.id().key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        let bytes = message.to_text().map_err(|error| SendError::Encode(error.into()))?;
        self.reply(&bytes)
    }
}

/// A connection to one other side, a stream or one of packets, by its name.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a, C = Messages> {
    communicator: &'a Communicator,
    id: Id<C>,
}

impl<'a, C> Link<'a, C> {
    /// The connection `id` of a communicator. It need not be there any more: sending says so.
    pub fn new(communicator: &'a Communicator, id: Id<C>) -> Self {
        Self { communicator, id }
    }
}

impl Peer for Link<'_, Messages> {
    fn communicator(&self) -> &Communicator {
        self.communicator
    }
    fn key(&self) -> Key {
        self.id.key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        self.communicator.send(self.id, message)
    }
    fn stream(&self) -> Option<Id<Messages>> {
        Some(self.id)
    }
}

impl Peer for Link<'_, Records> {
    fn communicator(&self) -> &Communicator {
        self.communicator
    }
    fn key(&self) -> Key {
        self.id.key()
    }
    fn send(&self, message: MessageRef<'_>) -> Result<(), SendError> {
        let bytes = message.to_text().map_err(|error| SendError::Encode(error.into()))?;
        self.communicator.send(self.id, &bytes)
    }
}
