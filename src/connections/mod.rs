//! Kinds of connections: one file each. How one is added is a method of [`Communicator`](crate::Communicator).

pub mod alarm;
mod blocking;
#[cfg(feature = "clacks")]
pub mod clacks;
mod command;
mod connect;
pub mod datagram;
mod descriptors;
mod fd;
mod fifo;
mod listen_watch;
mod listener;
pub mod messages;
mod netlink;
mod own_file;
mod permanent;
mod pipe;
pub mod process;
pub mod process_events;
mod readiness;
mod resolve;
pub mod signals;
mod stream;
pub mod systemd;
mod tcp;
mod thread;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;
mod unix;
mod unix_address;
mod unix_bind;
mod upgrade;
pub mod watch;
#[cfg(test)]
mod wire;

pub use alarm::Alarm;
pub use blocking::{Blocking, BlockingError};
pub use command::Command;
pub use connect::{Attempt, Connect, ToFifo, ToUnix};
pub use datagram::{
    Packet, Packets, Records, SeqPacket, Udp, UdpBind, UdpPackets, UnixAddress, UnixDatagrams, UnixPackets,
};
pub use descriptors::{Descriptors, WithDescriptors};
pub use fd::Fd;
pub use fifo::{Fifo, FifoReader, FifoWriter};
pub use listen_watch::{ListenChange, ListenWatch};
pub use listener::{Accept, Incoming};
pub use pipe::{Duplex, pipe, pipe_pair};
pub use process::{Escalation, Process};
pub use process_events::ProcessEvent;
pub use readiness::{Readiness, WaitFor};
pub use signals::Signal;
pub use systemd::Notify;
pub use tcp::{Dial, KeepAlive, Listening, TcpBind, TcpBound, TcpConnect, TcpOptions, tcp_stream};
pub use thread::{ChannelEnded, FromThread, Panicked, ThreadEnd, ToThread, ToThreadError, set_most_threads};
pub use transport::{HeldBack, Transport};
pub use unix::{PeerCredentials, UnixBound, unix_pair, unix_stream};
pub use unix_bind::UnixBind;
pub use watch::{Watch, WatchEvent};
