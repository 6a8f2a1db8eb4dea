//! Messages: what services say to each other, in text or JSON.
//!
//! A message has a command, parameters, and possibly a sender and a receiver, each a service on a server.
//! On the wire it is the same as in the C++ eventdispatcher library: `<web:cart db:store/SAVE id=7`.
//!
//! | here | what for |
//! |---|---|
//! | [`Message`] | built to be sent |
//! | [`MessageRef`] | looked at: bytes that came in, or a `Message`; copies nothing |
//! | [`ToValue`], [`FromValue`] | values of parameters: numbers, addresses, times, text |
//! | [`Cache`], [`Broadcast`] | parameters with a meaning to the communicator daemon |
//! | [`definitions`] | what the parameters of each command have to be |
//! | [`Pattern`], [`Table`] | which action is for which message |
//! | [`Messages`] | the codec: messages as lines of a stream |
//! | [`read_message`], [`write_datagram`] | a message as a datagram |
//!
//! None of this knows a connection. What joins it to them is in
//! [`connections::messages`](crate::connections::messages).
//!
//! # Names are text, values are bytes
//! What a peer calls its servers, services and commands must be printable UTF-8, so that it can be
//! compared, logged and passed on as `&str`. A value is whatever bytes the peer has put there: the C++
//! library sends any, and a message should not be refused, or changed while it is passed on, because one
//! value that nobody here looks at is Latin-1 or a hash. [`MessageRef::text`] is for values that are to
//! be read as text, and checks them.

mod answers;
mod broadcast;
mod builder;
mod cache;
pub mod definitions;
mod entry;
mod error;
mod expression;
mod hash;
mod json;
mod message;
mod messages;
mod name;
mod pattern;
mod scan;
mod special;
mod table;
mod template;
mod text;
mod timespec;
mod value;
mod view;

pub(crate) use answers::too_long_answer;
pub use answers::{invalid_answer, unknown_answer};
pub use broadcast::Broadcast;
pub use builder::Builder;
pub use cache::Cache;
pub use entry::{Entry, Flow, Priority, Tag};
pub use error::{ParseError, ParseReason, WriteError};
pub(crate) use hash::ByCommand;
pub use message::Message;
pub use messages::{DATAGRAM_MAX_UDP, DATAGRAM_MAX_UNIX, Messages, read_message, write_datagram};
pub use name::{NameError, NameFault, Part};
pub use pattern::{Pattern, PatternError, PatternFault};
pub use special::{CACHE, MESSAGE_VERSION, REPLY_TO, SECRET_CODE, SERIAL, TRANSMISSION_REPORT, VERSION};
pub use table::{Cursor, DuplicateEntry, EntryId, Hit, Info, Table};
pub use template::Captures;
pub use timespec::Timespec;
pub use value::{FromValue, ParameterError, ToValue, ValueError, integer};
pub use view::{MessageRef, Parameters};
