//! Descriptors that travel over a Unix stream.

use super::transport::Transport;
use super::unix::connected;
use super::unix_address::UnixAddress;
use mio::event::Source;
use mio::net::UnixStream;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// So many go in one call; the system takes no more.
const AT_ONCE: usize = 253;
/// So many may wait to be taken, or to be sent, unless it is said.
const WAITING_MAX: usize = 64;

/// A Unix stream over which descriptors travel, too: a [`Transport`] for any codec.
///
/// A descriptor has no place among the bytes. What is certain: descriptors arrive in the order in which they were sent, and
/// each no later than whatever is sent after it. So [send](Descriptors::send) the descriptor, then the item
/// that says what it is; and whoever gets the item [receives](Descriptors::receive) the descriptor.
///
/// ```
/// use eventdispatcher::codec::Lines;
/// use eventdispatcher::{Communicator, Descriptors, WithDescriptors, on_item};
/// use std::io::Read;
///
/// let communicator = Communicator::new()?;
/// let (here, there) = eventdispatcher::unix_pair()?;
/// let (here, there) = (WithDescriptors::new(here), WithDescriptors::new(there));
/// let descriptors = here.descriptors();
/// let sender = communicator.stream(here, Lines::new(), on_item::<Lines, _>(|_, _| Ok(())))?;
/// communicator.stream(there, Lines::new(), on_item::<Lines, _>(|line, cx| {
///     assert_eq!(line, "here is a file");
///     let passed = cx.about::<Descriptors>(cx.id()).and_then(|descriptors| descriptors.receive());
///     let mut text = String::new();
///     std::fs::File::from(passed.ok_or("no descriptor")?).read_to_string(&mut text)?;
///     assert!(text.contains("[package]"));
///     cx.close_all();
///     Ok(())
/// }))?;
/// descriptors.send(std::fs::File::open("Cargo.toml")?)?;
/// communicator.send(sender, "here is a file")?;
/// communicator.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WithDescriptors {
    stream: UnixStream,
    queues: Descriptors,
}

/// The descriptors of a connection [that carries some](WithDescriptors); all clones are one. In a callback:
/// `cx.about::<Descriptors>(cx.id())`.
#[derive(Debug, Clone)]
pub struct Descriptors(Rc<RefCell<Queues>>);

#[derive(Debug)]
struct Queues {
    received: VecDeque<OwnedFd>,
    to_send: VecDeque<OwnedFd>,
    most: usize,
}

impl WithDescriptors {
    /// Around a stream.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        let (received, to_send) = (VecDeque::new(), VecDeque::new());
        let queues = Queues { received, to_send, most: WAITING_MAX };
        Self { stream, queues: Descriptors(Rc::new(RefCell::new(queues))) }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or it may not be used; the error names the address.
    pub fn connect(address: &UnixAddress) -> io::Result<Self> {
        connected(address).map(Self::new)
    }

    /// Sets how many descriptors may wait, either way; 64 unless set. No more than 253 wait to be sent, as the system lets no more
    /// travel together. A peer that sends more than are received ends the
    /// connection.
    #[must_use]
    pub fn most(self, most: usize) -> Self {
        self.queues.0.borrow_mut().most = most;
        self
    }

    /// The descriptors.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        self.queues.clone()
    }
}

impl Descriptors {
    /// Sends a descriptor, together with what is sent next; without that it stays.
    ///
    /// # Errors
    /// When as many wait as [may](WithDescriptors::most): it is closed.
    pub fn send(&self, descriptor: impl Into<OwnedFd>) -> io::Result<()> {
        let mut queues = self.0.borrow_mut();
        // All of them must go with the first byte that is sent, so as not to come after the item that says what they are.
        let most = queues.most.min(AT_ONCE);
        if queues.to_send.len() >= most {
            let text = format!("{most} descriptors wait to be sent");
            return Err(io::Error::new(ErrorKind::QuotaExceeded, text));
        }
        queues.to_send.push_back(descriptor.into());
        Ok(())
    }

    /// Takes the first descriptor that has come and was not taken. It is close-on-exec.
    #[must_use]
    pub fn receive(&self) -> Option<OwnedFd> {
        self.0.borrow_mut().received.pop_front()
    }
}

impl Read for WithDescriptors {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(into)], &mut control, flags)?;
        let mut queues = self.queues.0.borrow_mut();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                queues.received.extend(descriptors);
            }
        }
        if queues.received.len() > queues.most || got.flags.contains(ReturnFlags::CTRUNC) {
            queues.received.clear();
            let text = format!("more than {} descriptors came that nobody has taken", queues.most);
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        Ok(got.bytes)
    }
}

impl Write for WithDescriptors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut queues = self.queues.0.borrow_mut();
        if queues.to_send.is_empty() || pieces.iter().all(|piece| piece.is_empty()) {
            return self.stream.write_vectored(pieces);
        }
        let count = queues.to_send.len().min(AT_ONCE);
        let wrote = {
            let some: Vec<BorrowedFd<'_>> = queues.to_send.iter().take(count).map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(&some)) {
                return Err(io::Error::other("no room for the descriptors"));
            }
            sendmsg(&self.stream, pieces, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?
        };
        queues.to_send.drain(..count);
        Ok(wrote)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for WithDescriptors {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Transport for WithDescriptors {
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(&mut self.stream)
    }
    fn kind(&self) -> &'static str {
        "unix with descriptors"
    }
    fn waiting(&self) -> Option<usize> {
        self.stream.waiting()
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        Some(Rc::new(self.queues.clone()))
    }
}

impl Drop for WithDescriptors {
    /// A handle that is kept must keep no descriptors open that nobody can send any more.
    fn drop(&mut self) {
        let queues = std::mem::take(&mut self.queues.0.borrow_mut().to_send);
        drop(queues);
    }
}
