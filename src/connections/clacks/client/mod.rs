//! The client's side: [`Client`] on a communicator, [`BlockingClient`] for scripts and tools, with the same commands and the
//! same errors.
//!
//! Every request is followed by a `FLUSH` of its own on the wire: what comes before the server's `FLUSHED` belongs to
//! the request, so that a reply is never taken for another's, and a refusal never for a silence.

mod blocking;
mod cache;
mod command;
mod error;
mod event;
mod evented;
mod lasting;
mod login;
pub(super) mod manners;
mod options;
mod request;
mod route;
mod session;
mod structure;
#[cfg(test)]
mod tests;
mod unchanged;
mod value;

pub use blocking::BlockingClient;
pub use cache::{BlockingCache, Cache, LocalCopy};
pub use error::ClientError;
pub use event::{ClientInfo, Event};
pub use evented::{Client, ClientHandler};
pub use login::Login;
pub use options::ClientOptions;
pub use request::Reply;
pub use route::Route;
pub use structure::{Structure, YamlError};
pub use value::{Value, decode_value, encode_value};
