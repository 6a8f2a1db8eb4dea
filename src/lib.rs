//! A framework for services that are 100 % event-driven: one thread, one poll, one [`Communicator`].
//!
//! A service makes connections, gives each a priority and a [`Handler`], adds them to the communicator and calls
//! [`run`](Communicator::run); the loop ends when nothing is left. Layers are composed: a *transport* carries bytes, a
//! *codec* makes items of them, a *handler* does something with the items.
//!
//! # Example
//! A server that answers each line in capitals, a client that asks it, and the end when both are done:
//!
//! ```
//! use eventdispatcher::codec::Lines;
//! use eventdispatcher::{Communicator, Cx, Handler, HandlerResult};
//!
//! struct Capitals;
//! impl Handler<Lines> for Capitals {
//!     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         cx.reply(&line.to_uppercase())?;
//!         Ok(())
//!     }
//! }
//!
//! struct Asks;
//! impl Handler<Lines> for Asks {
//!     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         cx.reply("hello")?;
//!         Ok(())
//!     }
//!     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         assert_eq!(line, "HELLO");
//!         cx.close_all();
//!         Ok(())
//!     }
//! }
//!
//! let communicator = Communicator::new()?; // a program has its thread's own: `communicator()`
//! let server = communicator.listen_tcp("127.0.0.1:0".parse()?, |client| {
//!     client.serve(Lines::new(), Capitals)?;
//!     Ok(())
//! })?;
//! communicator.connect_tcp(server.address(), Lines::new(), Asks)?;
//! communicator.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The folder `docs/guide` of the package goes from here to a message server with TLS, in nine short chapters;
//! `docs/from-cpp.md` is for who knows the C++ library.
//!
//! # The rooms
//! | module | what is in it |
//! |---|---|
//! | [`communicator`](mod@communicator) | the loop and its contract: what is called when, in which order, within which limits |
//! | [`codec`] | items out of bytes and back; knows nothing of the loop |
//! | [`dispatcher`] | messages (`server:service/COMMAND name=value`), what their parameters have to be, which action is for which |
//! | [`connections`] | one file per kind of connection: how each is added is a method of [`Communicator`] |
//! | [`alarm`], [`process`], [`process_events`], [`signals`], [`systemd`], [`watch`] | what these kinds of [`connections`] tell, beside their names here |
//! | [`connections::messages`] | services that talk in messages: which is for which action, built-in commands, requests |
#![cfg_attr(
    feature = "clacks",
    doc = "| [`connections::clacks`] | the clacks server and its clients, made only of what is public here |"
)]
#![cfg_attr(feature = "tls", doc = "| [`tls`] | TLS around any transport, in [`connections`], too |")]
//!
//! # Features
//! `clacks` (the clacks set), `tls` (TLS around any transport) and `cli` (what only the programs need) are on by default; without
//! them the library stands alone.

pub mod codec;
pub mod communicator;
pub mod connections;
pub mod dispatcher;

pub use communicator::{
    Away, Budget, Closed, Communicator, ConnectionInfo, Cx, Handler, HandlerError, HandlerResult, HookId, Id,
    Keep, Key, Limits, OnItem, Pauses, PausesError, PipeError, PostError, Rate, Rates, Reconnect, Remote,
    SendError, State, Timeout, Timeouts, TimerId, UpgradeError, communicator, on_item,
};
pub use connections::{
    Accept, Alarm, Attempt, Blocking, BlockingError, ChannelEnded, Command, Connect, Descriptors, Dial,
    Duplex, Escalation, Fd, Fifo, FifoReader, FifoWriter, FromThread, HeldBack, Incoming, KeepAlive,
    ListenChange, ListenWatch, Listening, Notify, Packet, Packets, Panicked, PeerCredentials, Process,
    ProcessEvent, Readiness, Records, SeqPacket, Signal, TcpBind, TcpBound, TcpConnect, TcpOptions,
    ThreadEnd, ToFifo, ToThread, ToThreadError, ToUnix, Transport, Udp, UdpBind, UdpPackets, UnixAddress,
    UnixBind, UnixBound, UnixDatagrams, UnixPackets, WaitFor, Watch, WatchEvent, WithDescriptors, pipe,
    pipe_pair, set_most_threads, tcp_stream, unix_pair, unix_stream,
};
pub use connections::{alarm, process, process_events, signals, systemd, watch};

#[cfg(feature = "tls")]
pub use connections::tls;

#[cfg(test)]
mod seeds;

/// The examples of the README run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;

/// So do those of the page about messages.
#[cfg(doctest)]
#[doc = include_str!("../docs/messages.md")]
struct MessagesPage;

/// And those of the page about clients of the clacks server.
#[cfg(all(doctest, feature = "clacks"))]
#[doc = include_str!("../docs/clacks/client.md")]
struct ClacksClientPage;

/// And that of the page for users of the C++ library.
#[cfg(doctest)]
#[doc = include_str!("../docs/from-cpp.md")]
struct FromCppPage;

/// And those of the guide.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/guide/1-first-connection.md")]
    struct FirstConnection;
    #[doc = include_str!("../docs/guide/2-codecs.md")]
    struct Codecs;
    #[doc = include_str!("../docs/guide/3-time.md")]
    struct Time;
    #[doc = include_str!("../docs/guide/4-limits.md")]
    struct Limits;
    #[doc = include_str!("../docs/guide/5-kinds.md")]
    struct Kinds;
    #[doc = include_str!("../docs/guide/6-permanent.md")]
    struct Permanent;
    #[doc = include_str!("../docs/guide/7-messages.md")]
    struct Messages;
    #[cfg(feature = "tls")]
    #[doc = include_str!("../docs/guide/8-tls-message-server.md")]
    struct TlsMessageServer;
    #[doc = include_str!("../docs/guide/9-testing.md")]
    struct Testing;
}
