//! Services that talk in messages: which message is for which action, and how it is answered.
//!
//! A service has a state, and a [`Dispatcher`] that knows which method of the state is for which message. Together they are
//! a [`Service`], the handler of any number of connections that speak [`Messages`](crate::dispatcher::Messages).
//!
//! ```
//! use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Service};
//! use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
//! use eventdispatcher::{Communicator, HandlerResult};
//! use std::rc::Rc;
//!
//! struct Counter {
//!     count: u64,
//! }
//!
//! impl Counter {
//!     fn add(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
//!         self.count += message.value::<u64>("amount")?;
//!         call.answer(message, Message::build("SUM").with("count", self.count))
//!     }
//! }
//!
//! impl Hooks for Counter {}
//!
//! let mut dispatcher = Dispatcher::with_built_in();
//! dispatcher.on("ADD", Counter::add)?;
//! let service = Service::new(Counter { count: 0 }, dispatcher).shared();
//!
//! let communicator = Communicator::new()?;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("counter.sock");
//! let clients = Rc::clone(&service);
//! communicator.listen_unix(&path, move |client| {
//!     client.serve(Messages::new(), Rc::clone(&clients))?;
//!     Ok(())
//! })?;
//! # let client = std::thread::spawn(move || {
//! #     use std::io::{Read, Write};
//! #     let mut stream = std::os::unix::net::UnixStream::connect(path)?;
//! #     stream.write_all(b"ADD amount=7\nSTOP\n")?;
//! #     let mut answer = String::new();
//! #     stream.read_to_string(&mut answer)?;
//! #     Ok::<String, std::io::Error>(answer)
//! # });
//! communicator.run()?; // until STOP
//! # assert_eq!(client.join().unwrap()?, "SUM count=7\n");
//! assert_eq!(service.borrow().state.count, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Built-in commands
//! [`Dispatcher::with_built_in`] answers what every service of the C++ library answers. An entry of the service's own for the
//! same command comes first; [`Hooks`] are for what most services have to say to one of them.
//!
//! | received | what is done |
//! |---|---|
//! | `ALIVE` | answers `ABSOLUTELY`, with the `serial` and `timestamp` that came, and the `reply_timestamp` |
//! | `HELP` | answers `COMMANDS` with the `list` of the commands that have entries, and the `patterns` of others; [`Hooks::help`] adds to the list |
//! | `INVALID`, `UNKNOWN` | is logged |
//! | `LEAK` | logs how much the loop and the dispatcher hold |
//! | `LOG_ROTATE` | [`Hooks::log_rotate`] |
//! | `READY` | remembers `my_address`, then [`Hooks::ready`] |
//! | `RESTART` | [`Hooks::restart`] |
//! | `STOP`, `QUITTING` | [`Hooks::stop`], which ends the loop in order |
//! | `ABSOLUTELY`, `COMMANDS`, `SERVICE_UNAVAILABLE` | nothing, unless a request waits for it |
//! | anything else | answers `UNKNOWN` with the `command`, unless it answers a request that no longer waits |
//!
//! INVALID and UNKNOWN are never answered, and the answers of this table need none: so two services never answer each other
//! for ever.
//!
//! # Datagrams
//! A service [receives datagrams, too](DatagramMessages), and answers each sender from the socket to which it has written.
//!
//! # Threads
//! A service [talks with threads](crate::Communicator::message_channel) of the program through a channel of messages, with a bound.
//!
//! # Requests
//! [`Dispatcher::request`] sends a message with a serial, and calls back with the answer or with why there is none.
//! [`Blocking`](crate::Blocking) has [`send_and_wait`](crate::Blocking::send_and_wait) for programs without a loop.
//!
//! # Who may say STOP
//! Whoever can connect. A service that listens where others can reach it has to handle STOP itself, or not to add the
//! built-in commands.

mod built_in;
mod call;
mod coverage;
mod datagrams;
mod dispatcher;
mod hooks;
mod noise;
mod peer;
mod requests;
mod service;
mod thread;
mod waiting;

pub use call::Call;
pub use coverage::{Counts, Coverage};
pub use datagrams::{DatagramLink, DatagramMessages, DatagramService, MessageAddress, Recipient};
pub use dispatcher::{Action, Dispatched, Dispatcher, EntryError};
pub use hooks::Hooks;
pub use peer::{Link, Peer};
pub use requests::{Answer, NoAnswer, Request, RequestError};
pub use service::Service;
pub use thread::ThreadLink;
