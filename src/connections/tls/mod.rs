//! TLS around any transport.
//!
//! [`Tls`] is a transport around another one, so that every codec, handler, limit and timeout is what it is without.
//! [`TlsClient`] and [`TlsServer`] say what a program trusts, shows and speaks; they are made once and used for all connections.
//!
//! | | client | server |
//! |---|---|---|
//! | TCP | [`connect_tls`](Communicator::connect_tls) | [`listen_tls`](Communicator::listen_tls) |
//! | TCP or any other stream, reconnecting | [`permanent`](Communicator::permanent) of a [`ToTls`] | – |
//! | the same, in mid-stream | [`permanent`](Communicator::permanent) of a [`ToStartTls`] | – |
//! | any other stream | [`stream`](Communicator::stream) of a [`Tls::client`] | [`Incoming::tls`] |
//! | in mid-stream (STARTTLS) | [`start_tls_client`](Communicator::start_tls_client) | [`start_tls_server`](Communicator::start_tls_server) |
//! | beside plain clients on one listener | – | [`Incoming::detect_tls`] |
//! | blocking | [`Blocking::new`](crate::Blocking::new) of a [`Tls::client`] | … of a [`Tls::server`] |
//! | blocking, in mid-stream | [`Blocking::upgrade`](crate::Blocking::upgrade) to a [`Tls::client`] | … to a [`Tls::server`] |
//!
//! # Example
//! ```
//! use eventdispatcher::codec::Lines;
//! use eventdispatcher::tls::{TlsClient, TlsServer};
//! use eventdispatcher::{Communicator, Cx, Handler, HandlerResult, on_item};
//!
//! struct Ask;
//! impl Handler<Lines> for Ask {
//!     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         let tls = cx.tls_info(cx.id()).ok_or("this is a TLS connection")?;
//!         assert!(tls.verified);
//!         Ok(cx.reply("how are you?")?)
//!     }
//!     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         assert_eq!(line, "how are you?");
//!         cx.close_all();
//!         Ok(())
//!     }
//! }
//!
//! // A program names files; here is a certificate made on the spot.
//! let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! let server = TlsServer::builder()
//!     .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
//!     .build()?;
//! let client = TlsClient::builder().roots_pem(made.cert.pem()).build()?;
//!
//! let communicator = Communicator::new()?;
//! let listening = communicator.listen_tls("127.0.0.1:0".parse()?, &server, |client| {
//!     client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
//!     Ok(())
//! })?;
//! communicator.connect_tls(listening.address(), "localhost", &client, Lines::new(), Ask)?;
//! communicator.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Connecting
//! The handshake is part of connecting: [`Handler::connected`] comes behind it, [`Timeouts::connect`](crate::Timeouts::connect) covers
//! it, and what is sent before it is complete waits in the queue. A client that never finishes it, or sends something
//! else, costs a listener that one connection until its deadline; it counts for
//! [`set_most_clients`](Communicator::set_most_clients). Set both on the listener.
//!
//! What went wrong is told to [`Handler::closed`]: [`TlsError::of`] finds it in the error. In TLS 1.3 a client is done before the
//! server has seen its certificate: it learns that the server refuses it by an error behind `connected`.
//!
//! # Ending
//! The end of a direction is marked inside TLS (`close_notify`): closing a connection sends the mark, and
//! [`Handler::eof`] comes only when the other side has sent it. A stream that ends without it was cut off, maybe by
//! somebody on the way: [`TlsError::CutOff`].
//!
//! # In mid-stream
//! A protocol may begin plain and go on with TLS (STARTTLS). The handler that agrees to it calls `start_tls_server`, the one
//! that asked for it `start_tls_client` when the answer is there; [`Handler::upgraded`] tells when the handshake is complete.
//! What [`Communicator::upgrade`] says of input that stands before the layer is what defends against
//! commands that somebody on the way puts in front of the handshake.
//!
//! ```
//! use eventdispatcher::codec::Lines;
//! use eventdispatcher::tls::{TlsClient, TlsServer};
//! use eventdispatcher::{Communicator, Cx, Handler, HandlerResult};
//!
//! struct Server(TlsServer);
//! impl Handler<Lines> for Server {
//!     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         let safe = cx.tls_info(cx.id()).is_some();
//!         match line {
//!             "STARTTLS" if !safe => {
//!                 cx.reply("GO ON")?; // leaves without TLS
//!                 cx.start_tls_server(cx.id(), &self.0)?;
//!             }
//!             "SECRET" if safe => cx.reply("42")?,
//!             _ => cx.reply("NO")?,
//!         }
//!         Ok(())
//!     }
//! }
//!
//! struct Client(TlsClient);
//! impl Handler<Lines> for Client {
//!     fn connected(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         Ok(cx.reply("STARTTLS")?)
//!     }
//!     fn upgraded(&mut self, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         Ok(cx.reply("SECRET")?)
//!     }
//!     fn message(&mut self, line: &str, cx: &Cx<'_, Lines>) -> HandlerResult {
//!         match line {
//!             "GO ON" => cx.start_tls_client(cx.id(), "localhost", &self.0)?,
//!             "42" => cx.close_all(),
//!             other => return Err(format!("unexpected: {other}").into()),
//!         }
//!         Ok(())
//!     }
//! }
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! # let server = TlsServer::builder()
//! #     .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
//! #     .build()?;
//! # let client = TlsClient::builder().roots_pem(made.cert.pem()).build()?;
//!
//! let communicator = Communicator::new()?;
//! let (ours, theirs) = eventdispatcher::unix_pair()?;
//! communicator.stream(ours, Lines::new(), Server(server))?;
//! communicator.stream(theirs, Lines::new(), Client(client))?;
//! communicator.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Certificates
//! PEM files, as everybody has them. [`TlsServer::reload`] takes new ones without a restart: handshakes from then on use them,
//! connections that are there go on, and files that can't be used change nothing. One file with both certificate
//! and key changes both at once.

mod client;
mod config_error;
mod current;
mod detect;
mod error;
mod info;
mod options;
mod pem;
mod server;
mod talk;
mod to;
mod transport;
mod verify;

pub use client::{TlsClient, TlsClientBuilder};
pub use config_error::{ConfigProblem, TlsConfigError};
pub use detect::DetectTls;
pub use error::{CertificateFault, TlsError};
pub use info::{TlsInfo, TlsVersion};
pub use server::{TlsServer, TlsServerBuilder};
pub use talk::{BeforeTls, StartTls, ToStartTls};
pub use to::ToTls;
pub use transport::Tls;

use super::{Incoming, Listening, TcpConnect, Transport};
use crate::codec::Codec;
use crate::communicator::{Communicator, Handler, HandlerResult, Id, Key};
use mio::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// # TLS
impl Communicator {
    /// Connects with TLS, to an address, a name and a port, or as a [`TcpConnect`] says. The server must have a certificate for `name`: a host name, which is told
    /// to it (SNI), or an IP address. [`Handler::connected`] comes when the handshake is complete.
    ///
    /// # Errors
    /// As [`connect_tcp`](Self::connect_tcp), and when `name` is no name.
    pub fn connect_tls<C: Codec, H: Handler<C>>(
        &self,
        to: impl Into<TcpConnect>,
        name: &str,
        client: &TlsClient,
        codec: C,
        handler: H,
    ) -> io::Result<Id<C>> {
        let expected = transport::server_name(name)?;
        let to = to.into();
        let id = self.stream(Tls::client_of(to.dial(), expected, client)?, codec, handler)?;
        self.set_name(id, &format!("{name} ({to})"));
        Ok(id)
    }

    /// Listens on `address` for clients that speak TLS, as [`listen_tcp`](Self::listen_tcp) does. `accept` is called when a
    /// client has connected, before the handshake.
    ///
    /// # Errors
    /// As [`listen_tcp`](Self::listen_tcp).
    pub fn listen_tls(
        &self,
        address: SocketAddr,
        server: &TlsServer,
        mut accept: impl FnMut(Incoming<'_, Tls<TcpStream>>) -> HandlerResult + 'static,
    ) -> io::Result<Listening> {
        let server = server.clone();
        self.listen_tcp(address, move |client| accept(client.tls(&server)?))
    }

    /// Starts TLS in mid-stream, on the side of the client, as [`upgrade`](Self::upgrade) does. The server must
    /// have a certificate for `name`.
    ///
    /// # Errors
    /// When `name` is no name, and as [`upgrade`](Self::upgrade). Nothing has happened to the connection then: who does not
    /// go on plain must close it.
    pub fn start_tls_client<C>(&self, id: Id<C>, name: &str, client: &TlsClient) -> io::Result<()> {
        let (name, client) = (transport::server_name(name)?, client.clone());
        Ok(self.upgrade(id, move |below| Tls::client_of(below, name, &client))?)
    }

    /// Starts TLS in mid-stream, on the side of the server, as [`upgrade`](Self::upgrade) does.
    ///
    /// # Errors
    /// As [`upgrade`](Self::upgrade). Nothing has happened to the connection then: who does not go on plain must close it.
    pub fn start_tls_server<C>(&self, id: Id<C>, server: &TlsServer) -> io::Result<()> {
        let server = server.clone();
        Ok(self.upgrade(id, move |below| Tls::server(below, &server))?)
    }

    /// What the handshake of a connection has agreed on; `None` if it does not speak TLS, or not yet. A handler
    /// finds it from [`connected`](Handler::connected), or [`upgraded`](Handler::upgraded), to
    /// [`closed`](Handler::closed).
    pub fn tls_info(&self, key: impl Into<Key>) -> Option<Rc<TlsInfo>> {
        self.about(key)
    }
}

/// # TLS
impl<'a, T: Transport> Incoming<'a, T> {
    /// This client speaks TLS.
    ///
    /// ```
    /// use eventdispatcher::codec::Lines;
    /// use eventdispatcher::tls::TlsServer;
    /// use eventdispatcher::{Communicator, on_item};
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let server = TlsServer::builder()
    /// #     .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
    /// #     .build()?;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("service.sock");
    ///
    /// let communicator = Communicator::new()?;
    /// let listener = communicator.listen_unix(&path, move |client| {
    ///     client.tls(&server)?.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
    ///     Ok(())
    /// })?;
    /// # communicator.remove(listener);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn tls(self, server: &TlsServer) -> io::Result<Incoming<'a, Tls<T>>> {
        self.try_map(|stream| Tls::server(stream, server))
    }

    /// This client speaks TLS or not: its first bytes tell, as [`DetectTls`] says.
    ///
    /// ```
    /// use eventdispatcher::codec::Lines;
    /// use eventdispatcher::tls::TlsServer;
    /// use eventdispatcher::{Communicator, Cx, on_item};
    /// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    /// # let server = TlsServer::builder()
    /// #     .certificate_pem(made.cert.pem(), made.signing_key.serialize_pem())
    /// #     .build()?;
    ///
    /// let communicator = Communicator::new()?;
    /// let listening = communicator.listen_tcp("127.0.0.1:0".parse()?, move |client| {
    ///     let answer = |_: &str, cx: &Cx<'_, Lines>| {
    ///         let tls = cx.tls_info(cx.id());
    ///         Ok(cx.reply(if tls.is_some() { "nobody else hears us" } else { "take care" })?)
    ///     };
    ///     client.detect_tls(&server).serve(Lines::new(), on_item::<Lines, _>(answer))?;
    ///     Ok(())
    /// })?;
    /// # communicator.remove(listening);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn detect_tls(self, server: &TlsServer) -> Incoming<'a, DetectTls<T>> {
        self.map(|stream| DetectTls::new(stream, server))
    }
}
