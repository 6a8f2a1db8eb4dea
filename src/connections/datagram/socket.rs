//! Packet sockets as a transport.

use super::address::{self, Address};
use super::frame::{Head, Kind};
use super::late_errors;
use super::waiting::{Sent, Waiting};
use crate::connections::transport::{HeldBack, Transport, waiting};
use crate::connections::unix_bind::SocketFile;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The longest packet that is taken in unless it is said: every UDP packet fits.
const PACKET_MAX: usize = 64 << 10;
/// More than this can't be set.
pub(super) const LARGEST_MAX: usize = 4 << 20;
/// So many reports wait to be read; what comes above is only logged.
const NOTICES_MAX: usize = 256;
/// So long a receiver may take nothing before what is for it is dropped, unless it is said.
const PATIENCE: Duration = Duration::from_secs(10);
/// A call that fails so often in a row for what is not its own fault has to wait.
const TRIES: usize = 16;

/// A frame that a reader had no room for: so much of the buffer, of which so much is read.
#[derive(Debug, Default)]
struct Spill {
    /// As long as the largest frame. To fill it anew for each packet would cost more than all else.
    buffer: Vec<u8>,
    end: usize,
    done: usize,
}

impl Spill {
    fn is_left(&self) -> bool {
        self.done < self.end
    }
}

/// A socket that sends and receives packets: a [`Transport`] for the codec [`Packets`](super::Packets).
///
/// | made by | is |
/// |---|---|
/// | [`UdpBind`](super::UdpBind) | [`Udp`](super::Udp) |
/// | [`UnixBind::bind_datagrams`](crate::UnixBind::bind_datagrams) | [`UnixDatagrams`](super::UnixDatagrams) |
/// | [`SeqPacket::connect`](super::SeqPacket::connect), and the listener of [`UnixBind::bind_seqpacket`](crate::UnixBind::bind_seqpacket) | [`SeqPacket`](super::SeqPacket) |
#[derive(Debug)]
pub struct Datagrams<A> {
    socket: Arc<Socket>,
    packet_max: usize,
    /// What became of packets, to be read before any packet.
    notices: VecDeque<(A, Errno)>,
    /// The system has reports about packets that were sent.
    late_errors: bool,
    /// A frame that a reader had no room for, and how much of it is read.
    spill: Spill,
    /// A frame of which the end is still to come.
    cut: Vec<u8>,
    waiting: Waiting<A>,
    /// The last read has found the end of what is there.
    emptied: bool,
}

/// The descriptor, and the file that goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    #[allow(dead_code, reason = "held to be dropped")]
    file: Option<SocketFile>,
    fd: OwnedFd,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl<A: Address> Datagrams<A> {
    /// A socket that does not block.
    pub(in crate::connections) fn new(fd: OwnedFd, file: Option<SocketFile>) -> Self {
        Self {
            socket: Arc::new(Socket { file, fd }),
            packet_max: PACKET_MAX,
            notices: VecDeque::new(),
            late_errors: false,
            spill: Spill::default(),
            cut: Vec::new(),
            waiting: Waiting::new(PATIENCE),
            emptied: false,
        }
    }

    /// Sets the longest packet that is taken in, in bytes, 1 to 4 MiB; 64 KiB unless set. Of a longer one only so much of
    /// its beginning is read, and that is [said](super::Packet::Truncated).
    #[must_use]
    pub fn packet_max(mut self, bytes: usize) -> Self {
        self.packet_max = bytes.clamp(1, LARGEST_MAX);
        self
    }

    /// Sets how long one receiver may take nothing, while there is something for it, before that is dropped and
    /// [reported](super::Packet::Undelivered): only Unix datagrams have that; 10 s unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.waiting.patience = patience;
        self
    }

    /// What can be set while the socket is in the loop.
    #[must_use]
    pub fn control(&self) -> Control<A> {
        Control { socket: Arc::downgrade(&self.socket), address: std::marker::PhantomData }
    }

    /// Receives one packet as a frame, into a place that has room for it. How long the frame is.
    fn receive(&mut self, place: &mut [u8]) -> io::Result<usize> {
        for _ in 0..TRIES {
            let room = &mut place[Head::<A>::SIZE..][..self.packet_max];
            let (length, from) = match address::receive(self.socket.as_fd(), room) {
                Ok((0, _)) if A::CONNECTED && self.has_ended()? => return Ok(0),
                Ok(received) => received,
                Err(Errno::AGAIN) => return Err(ErrorKind::WouldBlock.into()),
                Err(Errno::INTR) => continue,
                Err(_) if A::LATE_ERRORS && self.take_late_errors() => continue,
                // It is about a packet that was sent, and cleared by that.
                Err(error) if A::LATE_ERRORS => {
                    log::debug!("a socket reports: {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(address) = A::sender(from) else { continue };
            let kept = length.min(self.packet_max);
            let kind = match u32::try_from(length) {
                Ok(length) if kept < length as usize => Kind::Truncated(length),
                _ => Kind::Whole,
            };
            let head = Head { kind, length: kept, address };
            head.write(place);
            return Ok(head.frame_size());
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Whether nothing more can come: an empty packet looks the same. After the last that is not empty nobody can tell empty ones from the
    /// end.
    fn has_ended(&self) -> io::Result<bool> {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut ask = [PollFd::new(&*self.socket, PollFlags::RDHUP | PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut ask, Some(&now)))?;
        if !ask[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP) {
            return Ok(false);
        }
        // Behind an empty packet there may be others, the next of which may be empty, too.
        Ok(waiting(&*self.socket).is_none_or(|bytes| bytes == 0))
    }

    /// Reads what the system reports about packets that were sent. Whether there was something.
    fn take_late_errors(&mut self) -> bool {
        let Self { socket, notices, .. } = self;
        let count = late_errors::take(socket.as_fd(), |to, error| match A::sender(Some(to.into())) {
            Some(to) => note(notices, to, error),
            None => log::debug!("a packet was not delivered: {error}"),
        });
        self.late_errors = count >= late_errors::MOST;
        count > 0
    }

    fn read_notices(&mut self, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(place) = into.get_mut(filled..filled + Head::<A>::SIZE)
            && let Some((address, error)) = self.notices.pop_front()
        {
            Head { kind: Kind::Undelivered(error.raw_os_error()), length: 0, address }.write(place);
            filled += place.len();
        }
        filled
    }

    /// Hands over what a reader had no room for.
    fn read_spill(&mut self, into: &mut [u8]) -> usize {
        let Spill { buffer, end, done } = &mut self.spill;
        let count = into.len().min(*end - *done);
        into[..count].copy_from_slice(&buffer[*done..*done + count]);
        *done += count;
        // What a small packet leaves is there for the next one, most of it untouched; what a large one has filled is not kept.
        if *done == *end && *end > PACKET_MAX {
            self.spill = Spill::default();
        }
        count
    }

    /// Sends the packet of one whole frame.
    fn send(&mut self, frame: &[u8]) -> io::Result<Sent> {
        let head = Head::<A>::read(frame).ok_or(ErrorKind::InvalidData)?;
        let bytes = frame.get(Head::<A>::SIZE..head.frame_size()).ok_or(ErrorKind::InvalidData)?;
        let sent = if A::HOLDS_BACK && self.waiting.has(&head.address) {
            Sent::Blocked
        } else {
            send(&self.socket, &head.address, bytes, &mut self.late_errors)
        };
        match sent {
            Sent::Blocked if A::HOLDS_BACK => {
                self.waiting.push(head.address, bytes, frame.len(), Instant::now());
                Ok(Sent::Gone)
            }
            Sent::Failed(error) if A::CONNECTED => Err(error),
            Sent::Failed(error) => {
                note(&mut self.notices, head.address, errno(&error));
                Ok(Sent::Gone)
            }
            sent => Ok(sent),
        }
    }

    /// How many bytes the frame has that begins here; `None` if that is not to be seen yet.
    fn frame_size(bytes: &[u8]) -> io::Result<Option<usize>> {
        if bytes.len() < Head::<A>::SIZE {
            return Ok(None);
        }
        let head = Head::<A>::read(bytes).ok_or(ErrorKind::InvalidData)?;
        Ok(Some(head.frame_size()))
    }

    /// Whether a frame that was cut is whole and waits.
    fn cut_is_whole(&self) -> bool {
        matches!(Self::frame_size(&self.cut), Ok(Some(size)) if self.cut.len() >= size)
    }

    /// Sends the frame that was cut, if it is whole. `false`: it can't be sent now.
    fn send_cut(&mut self) -> io::Result<bool> {
        if !self.cut_is_whole() {
            return Ok(true);
        }
        let frame = std::mem::take(&mut self.cut);
        if let Sent::Blocked = self.send(&frame)? {
            self.cut = frame;
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes what is missing of a frame that was cut. How many bytes.
    fn complete_cut(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let wanted = Self::frame_size(&self.cut)?.unwrap_or(Head::<A>::SIZE);
            let missing = wanted.saturating_sub(self.cut.len()).min(bytes.len() - taken);
            if missing == 0 {
                return Ok(taken);
            }
            self.cut.extend_from_slice(&bytes[taken..taken + missing]);
            taken += missing;
        }
    }
}

/// Sends one packet.
fn send<A: Address>(socket: &Socket, to: &A, bytes: &[u8], late_errors: &mut bool) -> Sent {
    let mut last = Errno::INTR;
    for tries in 0..TRIES {
        match to.send(socket.as_fd(), bytes) {
            Ok(()) => return Sent::Gone,
            Err(Errno::AGAIN) => return Sent::Blocked,
            Err(Errno::INTR) => {}
            // It may be about an earlier packet, and nothing was sent. If it is about this one it comes again.
            Err(error) if A::LATE_ERRORS && tries < 3 => (last, *late_errors) = (error, true),
            Err(error) => return Sent::Failed(error.into()),
        }
    }
    Sent::Failed(last.into())
}

fn note<A: Address>(notices: &mut VecDeque<(A, Errno)>, to: A, error: Errno) {
    if notices.len() < NOTICES_MAX {
        notices.push_back((to, error));
    } else {
        log::debug!("a packet for {to} was not delivered: {error}");
    }
}

fn errno(error: &io::Error) -> Errno {
    match error.kind() {
        ErrorKind::TimedOut => Errno::TIMEDOUT,
        _ => Errno::from_io_error(error).unwrap_or(Errno::IO),
    }
}

impl<A: Address> AsFd for Datagrams<A> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<A: Address> Read for Datagrams<A> {
    /// Reads as many packets as there is room for.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.emptied = false;
        if self.spill.is_left() {
            return Ok(self.read_spill(into));
        }
        while self.late_errors && self.notices.len() < NOTICES_MAX {
            self.take_late_errors();
        }
        let mut filled = self.read_notices(into);
        let largest = Head::<A>::SIZE + self.packet_max;
        loop {
            let place = &mut into[filled..];
            let received = if place.len() >= largest {
                self.receive(place)
            } else if filled > 0 {
                return Ok(filled);
            } else {
                let mut buffer = std::mem::take(&mut self.spill.buffer);
                if buffer.len() < largest {
                    buffer = vec![0; largest];
                }
                let received = self.receive(&mut buffer);
                self.spill = Spill { buffer, end: *received.as_ref().unwrap_or(&0), done: 0 };
                match received {
                    Ok(1..) => return Ok(self.read_spill(into)),
                    other => other,
                }
            };
            match received {
                Ok(0) => return Ok(filled),
                Ok(size) => filled += size,
                Err(error) if filled == 0 && self.notices.is_empty() => return Err(error),
                Err(error) => {
                    self.emptied = error.kind() == ErrorKind::WouldBlock && self.notices.is_empty();
                    filled += self.read_notices(&mut into[filled..]);
                    return if filled > 0 { Ok(filled) } else { Err(error) };
                }
            }
        }
    }
}

impl<A: Address> Write for Datagrams<A> {
    /// Sends as many packets as the system takes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut used = 0;
        if !self.cut.is_empty() {
            used = self.complete_cut(bytes)?;
            if !self.send_cut()? {
                return if used > 0 { Ok(used) } else { Err(ErrorKind::WouldBlock.into()) };
            }
        }
        while used < bytes.len() {
            let rest = &bytes[used..];
            match Self::frame_size(rest)?.and_then(|size| rest.get(..size)) {
                Some(frame) => match self.send(frame)? {
                    Sent::Blocked if used > 0 => return Ok(used),
                    Sent::Blocked => return Err(ErrorKind::WouldBlock.into()),
                    _ => used += frame.len(),
                },
                // The rest of it comes with the next write.
                None => {
                    self.cut.extend_from_slice(rest);
                    used = bytes.len();
                }
            }
        }
        Ok(used)
    }

    /// Tries to send what is held back.
    fn flush(&mut self) -> io::Result<()> {
        if !self.send_cut()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        if !self.waiting.is_empty() {
            let Self { socket, waiting, notices, late_errors, .. } = self;
            waiting.send(
                Instant::now(),
                |to, bytes| send(socket, to, bytes, late_errors),
                |to, error| note(notices, to, errno(&error)),
            );
        }
        Ok(())
    }
}

impl<A: Address> Source for Datagrams<A> {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.as_fd().as_raw_fd()).register(registry, token, interest)
    }
    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.as_fd().as_raw_fd()).reregister(registry, token, interest)
    }
    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_fd().as_raw_fd()).deregister(registry)
    }
}

impl<A: Address> Transport for Datagrams<A> {
    fn carries_packets(&self) -> bool {
        true
    }
    fn source(&mut self) -> Option<&mut dyn Source> {
        Some(self)
    }
    fn kind(&self) -> &'static str {
        A::KIND
    }
    fn shutdown_write(&mut self) -> io::Result<()> {
        if A::CONNECTED { Ok(shutdown(&*self.socket, Shutdown::Write)?) } else { Ok(()) }
    }
    fn wants_write(&self) -> bool {
        !self.waiting.is_empty() || self.cut_is_whole()
    }
    fn short_read_means_empty(&self) -> bool {
        self.emptied
    }
    fn held_back(&self) -> Option<HeldBack> {
        (!self.waiting.is_empty())
            .then(|| HeldBack { bytes: self.waiting.bytes(), retry: self.waiting.retry() })
    }
    fn has_input(&self) -> bool {
        self.late_errors || !self.notices.is_empty() || self.spill.is_left()
    }
    fn about(&self) -> Option<Rc<dyn Any>> {
        if A::CONNECTED {
            return crate::connections::PeerCredentials::of(self.as_fd())
                .ok()
                .map(|found| Rc::new(found) as _);
        }
        Some(Rc::new(self.control()))
    }
}

/// What can be asked of a socket, and set, while it is in the loop; it does not keep the socket open.
///
/// [`Datagrams::control`] makes it, and [`Communicator::about`](crate::Communicator::about) finds it by the id of a
/// connection.
#[derive(Debug)]
pub struct Control<A> {
    socket: Weak<Socket>,
    address: std::marker::PhantomData<A>,
}

impl<A> Clone for Control<A> {
    fn clone(&self) -> Self {
        Self { socket: Weak::clone(&self.socket), address: self.address }
    }
}

impl<A: Address> Control<A> {
    /// Where the socket is bound.
    ///
    /// # Errors
    /// When it is closed.
    pub fn local_address(&self) -> io::Result<A> {
        let address = rustix::net::getsockname(&*self.open()?)?;
        A::sender(Some(address)).ok_or_else(|| ErrorKind::AddrNotAvailable.into())
    }

    /// The socket, as long as it is open.
    pub(super) fn open(&self) -> io::Result<Arc<Socket>> {
        let closed = || io::Error::new(ErrorKind::NotConnected, "the socket is closed");
        self.socket.upgrade().ok_or_else(closed)
    }
}

impl<A: Address> Datagrams<A> {
    /// Where it is bound.
    ///
    /// # Errors
    /// As the system says.
    pub fn local_address(&self) -> io::Result<A> {
        self.control().local_address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnixBind;

    #[test]
    fn the_place_for_large_packets_is_made_once_for_small_ones_and_not_kept_after_a_large_one() {
        let mut socket = UnixBind::automatic().bind_datagrams().unwrap().packet_max(LARGEST_MAX);
        let mut sender = UnixBind::automatic().bind_datagrams().unwrap();
        let to = socket.local_address().unwrap();
        let mut into = vec![0; 256 << 10];
        let mut pass = |bytes: &[u8]| {
            let mut frame = vec![0; Head::<crate::UnixAddress>::SIZE];
            frame.extend_from_slice(bytes);
            let head = Head { kind: Kind::Whole, length: bytes.len(), address: to.clone() };
            head.write(&mut frame);
            assert_eq!(sender.write(&frame).unwrap(), frame.len());
            let got = socket.read(&mut into).unwrap();
            assert_eq!(into[Head::<crate::UnixAddress>::SIZE..got], *bytes);
            socket.spill.buffer.as_ptr_range()
        };
        let first = pass(b"small");
        assert_ne!(first.start, first.end, "it is kept");
        for _ in 0..10 {
            assert_eq!(pass(b"another one"), first);
        }
        pass(&[7; 100_000]);
        assert_eq!(socket.spill.buffer.capacity(), 0);
    }
}
