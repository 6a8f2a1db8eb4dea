//! Sockets that carry packets: UDP, Unix datagrams, and connections of packets (seqpacket).
//!
//! They are made of the same parts as all else: the [socket](Datagrams) is a [`Transport`](crate::Transport), the codec
//! [`Packets`] makes an item of each packet, with its sender, and a [`Handler`] gets the items. So
//! limits, budgets, priorities, timeouts and [`Blocking`](crate::Blocking) are as for streams.
//!
//! A packet is sent by `send(id, (bytes, &to))`, and answered by `reply((bytes, &from))`. What the other side could not get
//! is told by [`Packet::Undelivered`]; nothing that others do, or fail to do, ends the socket.

mod address;
mod frame;
mod late_errors;
mod packets;
mod socket;
mod udp;
mod unix;
mod waiting;

pub use super::unix_address::UnixAddress;
pub use address::{Address, Connected};
pub use packets::{Packet, Packets, Records, UdpPackets, UnixPackets};
pub use socket::{Control, Datagrams};
pub use udp::{Udp, UdpBind, interface_index, path_mtu, unfragmented_max};
pub use unix::{SeqPacket, UnixDatagrams};

use crate::communicator::{Communicator, Handler, Id};
use socket::LARGEST_MAX;
use std::io;
use std::rc::Rc;

impl Communicator {
    /// Adds a datagram socket. It is named after its address.
    ///
    /// # Errors
    /// When the poll refuses it.
    pub fn datagrams<A: Address, H: Handler<Packets<A>>>(
        &self,
        socket: Datagrams<A>,
        handler: H,
    ) -> io::Result<Id<Packets<A>>> {
        let name = socket.local_address().map(|address| address.to_string());
        let (kind, control) = (A::KIND, socket.control());
        let id = self.add_stream(socket, Packets::new(), handler, true)?;
        // Before its first turn, too.
        self.core(|core| core.describe(id.key(), kind, Some(Rc::new(control))));
        if let Ok(name) = name {
            self.set_name(id, &name);
        }
        Ok(id)
    }
}
