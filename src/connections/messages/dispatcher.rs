//! Messages to actions.

use super::call::Call;
use super::coverage::Coverage;
use super::noise::Noise;
use super::peer::{Link, Peer};
use super::requests::{NoAnswer, Outcome, Request, RequestError, Requests};
use crate::communicator::{Communicator, HandlerError, HandlerResult, Id, SendError};
use crate::dispatcher::definitions::{Definitions, Problem};
use crate::dispatcher::{
    DuplicateEntry, Entry, EntryId, Message, MessageRef, Messages, NameError, ParseError, Part, Pattern,
    PatternError, SERIAL, Table, Tag, invalid_answer,
};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

/// Which action of a service is for which message.
///
/// An action is a method of the service's own state `S`, or a closure that gets it:
/// `fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult`. It may change the dispatcher, through the
/// [`Call`]. An error from it ends the connection of the message, as one from a
/// [`Handler`](crate::Handler) does.
///
/// Before an action gets a message, the message is checked against the [definition](Definitions) of its command. One that is
/// not as defined gets to no action; it is answered with `INVALID`. Defaults of the definition are filled in.
///
/// [`with_built_in`](Self::with_built_in) has the [built-in commands](super#built-in-commands) as well.
///
/// ```
/// use eventdispatcher::connections::messages::{Call, Dispatcher};
/// use eventdispatcher::dispatcher::{Message, MessageRef};
/// use eventdispatcher::HandlerResult;
///
/// struct Store {
///     saved: u64,
/// }
///
/// impl Store {
///     fn save(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
///         self.saved += message.value::<u64>("count")?;
///         call.answer(message, Message::build("SAVED").with("total", self.saved))
///     }
/// }
///
/// let mut dispatcher = Dispatcher::new();
/// dispatcher.on("SAVE", Store::save)?;
/// dispatcher.on("FORGET<number>", |store: &mut Store, _, call| {
///     store.saved -= call.captures().number("number").unwrap_or(0).min(store.saved);
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Dispatcher<S> {
    table: Table<Action<S>>,
    definitions: Definitions,
    coverage: Coverage,
    requests: Requests<S>,
    name: String,
    ready: bool,
    my_address: Option<IpAddr>,
    /// Connections to communicator daemons that know this service.
    pub(super) registered: Vec<Id<Messages>>,
    /// May be replaced.
    pub(super) built_in_catch_all: Option<EntryId>,
    noise: Noise,
    trace: bool,
}

/// What to do with a message.
pub struct Action<S>(Rc<ActionFn<S>>);

type ActionFn<S> = dyn Fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult;

impl<S> Action<S> {
    /// An action of a function or closure.
    pub fn new(action: impl Fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult + 'static) -> Self {
        Self(Rc::new(action))
    }
}

impl<S> Clone for Action<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Action<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Action")
    }
}

/// What has become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dispatched {
    /// At least one action got it, or a request that waited for it.
    Handled,
    /// It is not as defined: no action got it.
    Refused,
    /// No entry matches it, and there is no catch-all.
    Unhandled,
}

/// # Making one
impl<S: 'static> Dispatcher<S> {
    /// Without any entry, and with the definitions of the library.
    #[must_use]
    pub fn new() -> Self {
        Self {
            table: Table::new(),
            definitions: Definitions::built_in(),
            coverage: Coverage::default(),
            requests: Requests::new(),
            name: String::new(),
            ready: false,
            my_address: None,
            registered: Vec::new(),
            built_in_catch_all: None,
            noise: Noise::default(),
            trace: false,
        }
    }

    /// Sets how messages are checked.
    #[must_use]
    pub fn with_definitions(mut self, definitions: Definitions) -> Self {
        self.definitions = definitions;
        self
    }

    /// Names the service, for [`Call::register`].
    ///
    /// # Errors
    /// When a service can't be called so.
    pub fn set_name(&mut self, name: &str) -> Result<(), NameError> {
        Part::SentFromService.check(name)?;
        name.clone_into(&mut self.name);
        Ok(())
    }

    /// Sets how many requests may wait for their answers; 10,000 unless set.
    pub fn set_requests_max(&mut self, max: usize) {
        self.requests.max = max;
    }

    /// Logs each message that is received or sent, at debug level. A `secret_code` is not shown.
    pub fn set_trace(&mut self, on: bool) {
        self.trace = on;
    }
}

/// # Entries
impl<S: 'static> Dispatcher<S> {
    /// Adds an action for the messages of a [pattern](Pattern), at the default priority. No other entry gets them after it.
    ///
    /// # Errors
    /// When the pattern means nothing; else as [`add`](Self::add).
    #[track_caller]
    pub fn on(
        &mut self,
        pattern: &str,
        action: impl Fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult + 'static,
    ) -> Result<EntryId, EntryError> {
        let pattern: Pattern = pattern.parse().map_err(EntryError::Pattern)?;
        self.add(Entry::new(pattern, Action::new(action))).map_err(EntryError::Duplicate)
    }

    /// Adds an entry with a priority, a tag, or after which others get the message too.
    ///
    /// # Errors
    /// When it would never get a message: see [`Table::add`]. The error names both places in the program.
    #[track_caller]
    pub fn add(&mut self, entry: Entry<Action<S>>) -> Result<EntryId, DuplicateEntry> {
        self.table.add(entry)
    }

    /// Sets what is done with a message that no entry has matched.
    ///
    /// # Errors
    /// When that is set already. That of the built-in commands is no obstacle: it is replaced.
    #[track_caller]
    pub fn set_catch_all(
        &mut self,
        action: impl Fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult + 'static,
    ) -> Result<EntryId, DuplicateEntry> {
        if let Some(built_in) = self.built_in_catch_all.take() {
            self.table.remove(built_in);
        }
        self.table.set_catch_all(Action::new(action))
    }

    /// Removes an entry; `false` if it is gone already.
    pub fn remove(&mut self, id: EntryId) -> bool {
        self.table.remove(id).is_some()
    }

    /// Removes all entries of a tag, and says how many there were.
    pub fn remove_tag(&mut self, tag: Tag) -> usize {
        self.table.remove_tag(tag).len()
    }

    /// A tag that no entry has.
    pub fn new_tag(&mut self) -> Tag {
        self.table.new_tag()
    }
}

/// # What it knows
impl<S: 'static> Dispatcher<S> {
    /// The entries, with what each has got and refused.
    #[must_use]
    pub fn table(&self) -> &Table<Action<S>> {
        &self.table
    }

    /// Which messages were received, sent and refused so far.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// How messages are checked.
    #[must_use]
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// How messages are checked, to [reload](Definitions::reload) or add some.
    pub fn definitions_mut(&mut self) -> &mut Definitions {
        &mut self.definitions
    }

    /// The name of the service; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a communicator daemon has said READY, and its connection still stands.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// The address of this computer, as a communicator daemon has told it.
    #[must_use]
    pub fn my_address(&self) -> Option<IpAddr> {
        self.my_address
    }

    /// How many requests wait for their answers.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Whether a message is an answer to a request that no longer waits.
    pub(super) fn is_late_answer(&self, message: MessageRef<'_>) -> bool {
        self.requests.is_answer(message)
    }

    pub(super) fn set_ready(&mut self, my_address: Option<IpAddr>) {
        self.ready = true;
        self.my_address = my_address.or(self.my_address);
    }
}

/// # What comes in
impl<S: 'static> Dispatcher<S> {
    /// Hands a message over: to the request that it answers, else to the actions of all entries that match it, in their
    /// order, until one stops it.
    ///
    /// # Errors
    /// What an action has failed with; no other one gets the message then.
    pub fn dispatch(
        &mut self,
        state: &mut S,
        message: MessageRef<'_>,
        peer: &dyn Peer,
    ) -> Result<Dispatched, HandlerError> {
        let Self { table, definitions, coverage, .. } = self;
        coverage.received(message.command(), || is_known(table, definitions, message));
        if self.trace {
            log::debug!("connection {}: received {message:?}", peer.key());
        }
        if let Some((number, outcome)) = self.requests.find(peer, message) {
            return self.answered(state, message, peer, number, outcome);
        }
        let mut cursor = self.table.cursor();
        let Some(first) = self.table.next(&mut cursor, message) else {
            self.complain(peer, || format!("{} is for nobody", shown(message.command().as_bytes())));
            return Ok(Dispatched::Unhandled);
        };
        let (id, mut action, mut captures) = (first.id, first.action.clone(), first.captures);
        let completed = match self.check(message) {
            Ok(completed) => completed,
            Err(problems) => {
                self.table.count_refused(id);
                self.refuse(message, &problems, peer);
                return Ok(Dispatched::Refused);
            }
        };
        let complete = completed.as_ref().map_or(message, Message::view);
        loop {
            (action.0)(state, complete, &mut Call::new(self, peer, captures))?;
            let Some(next) = self.table.next(&mut cursor, message) else { return Ok(Dispatched::Handled) };
            (action, captures) = (next.action.clone(), next.captures);
        }
    }

    /// Counts and logs a line or datagram that is no message.
    pub fn bad_line(&mut self, error: &ParseError, peer: &dyn Peer) {
        self.coverage.bad_line();
        self.complain(peer, || error.to_string());
    }

    /// As [`bad_line`](Self::bad_line), for what was not even read.
    pub(super) fn bad_packet(&mut self, peer: &dyn Peer, what: impl FnOnce() -> String) {
        self.coverage.bad_line();
        self.complain(peer, what);
    }

    /// Ends the requests of a connection that is no more.
    ///
    /// # Errors
    /// The first that a callback has failed with; all are called.
    pub fn closed(&mut self, state: &mut S, peer: &dyn Peer) -> HandlerResult {
        if let Some(index) = self.registered.iter().position(|id| id.key() == peer.key()) {
            self.registered.swap_remove(index);
            self.ready = false;
        }
        let mut result = Ok(());
        for ended in self.requests.take_all(peer.key()) {
            result = result.and(ended.call(self, state, Err(NoAnswer::Closed), peer));
        }
        result
    }

    /// Takes a [`Timeout::Timer`](crate::Timeout::Timer) of a connection: `None` if it is none of a request.
    pub fn timer(&mut self, state: &mut S, tag: u64, peer: &dyn Peer) -> Option<HandlerResult> {
        let number = Requests::<S>::of_tag(tag)?;
        // It may have been answered in the same turn.
        let ended = self.requests.take(peer.key(), number);
        Some(ended.map_or(Ok(()), |ended| ended.call(self, state, Err(NoAnswer::TimedOut), peer)))
    }

    fn answered(
        &mut self,
        state: &mut S,
        message: MessageRef<'_>,
        peer: &dyn Peer,
        number: u64,
        outcome: Outcome,
    ) -> Result<Dispatched, HandlerError> {
        let Some(ended) = self.requests.take(peer.key(), number) else { return Ok(Dispatched::Handled) };
        let completed = self.check(message);
        let mut dispatched = Dispatched::Handled;
        let answer = match (outcome, &completed) {
            (_, Err(problems)) => {
                dispatched = Dispatched::Refused;
                self.refuse(message, problems, peer);
                Err(NoAnswer::Invalid(join(problems)))
            }
            (Outcome::Refused(why), _) => Err(why),
            (Outcome::Answered, Ok(completed)) => Ok(completed.as_ref().map_or(message, Message::view)),
        };
        ended.call(self, state, answer, peer)?;
        Ok(dispatched)
    }

    /// The message with its defaults, if it needs some.
    fn check(&self, message: MessageRef<'_>) -> Result<Option<Message>, Vec<Problem>> {
        let Some(definition) = self.definitions.get(message.command()) else { return Ok(None) };
        definition.check(message)?;
        Ok(definition.complete(message))
    }

    /// Says that a message is not as defined, here and to its sender.
    fn refuse(&mut self, message: MessageRef<'_>, problems: &[Problem], peer: &dyn Peer) {
        self.coverage.refused(message.command());
        self.complain(peer, || {
            format!("{} refused: {}", shown(message.command().as_bytes()), join(problems))
        });
        if let Some(answer) = invalid_answer(message, problems) {
            self.try_send(peer, answer.view());
        }
    }

    /// Logs what is suspicious about a peer, unless there was too much of that.
    pub(super) fn complain(&mut self, peer: &dyn Peer, what: impl FnOnce() -> String) {
        self.say(log::Level::Warn, peer, what);
    }

    /// Logs what a peer has caused, unless there was too much of that.
    pub(super) fn say(&mut self, level: log::Level, peer: &dyn Peer, what: impl FnOnce() -> String) {
        if let Some(dropped) = self.noise.may(peer.communicator().time()) {
            if dropped > 0 {
                log::log!(level, "{dropped} messages like the next one were not logged");
            }
            log::log!(level, "connection {}: {}", peer.key(), what());
        }
    }
}

/// # What goes out
///
/// Sending past the dispatcher works, too; only what is sent through it is counted and traced.
impl<S: 'static> Dispatcher<S> {
    /// Sends a message to a peer.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    pub fn send(&mut self, to: &dyn Peer, message: MessageRef<'_>) -> Result<(), SendError> {
        to.send(message)?;
        self.sent(message, 1, format_args!("connection {}", to.key()));
        Ok(())
    }

    /// Sends a message through many connections; gives back those that did not take it, with the reason.
    ///
    /// # Errors
    /// When the message has no text form.
    pub fn broadcast(
        &mut self,
        communicator: &Communicator,
        ids: impl IntoIterator<Item = Id<Messages>>,
        message: MessageRef<'_>,
    ) -> Result<Vec<(Id<Messages>, SendError)>, SendError> {
        let mut times = 0_usize;
        let refused = communicator.broadcast(ids.into_iter().inspect(|_| times += 1), message)?;
        times -= refused.len();
        self.sent(message, times, format_args!("{times} connections"));
        Ok(refused)
    }

    /// Sends a message to many peers of any kind, such as [`DatagramLink`](super::DatagramLink)s; gives back those that did
    /// not take it, with the reason. For streams alone [`broadcast`](Self::broadcast) costs less.
    pub fn broadcast_to<P: Peer>(
        &mut self,
        peers: impl IntoIterator<Item = P>,
        message: MessageRef<'_>,
    ) -> Vec<(P, SendError)> {
        let (mut times, mut refused) = (0, Vec::new());
        for peer in peers {
            match peer.send(message) {
                Ok(()) => times += 1,
                Err(error) => refused.push((peer, error)),
            }
        }
        self.sent(message, times, format_args!("{times} peers"));
        refused
    }

    /// Sends a message that is to be answered. It gets a `serial`, and the message that comes back through the same
    /// connection with this serial is its answer. So is an INVALID or UNKNOWN about its command, or a SERVICE_UNAVAILABLE
    /// about it, without a serial: then the oldest request of this command is meant; of those that were asked in datagrams, the
    /// oldest that its sender was asked. (The sender may have another port or, at a Unix socket, no name: services of the C++
    /// library have a socket of its own for answers.)
    ///
    /// The connection has to be one of the [`Service`](super::Service) that owns this dispatcher: the answer, and the
    /// end of the time, come through it.
    ///
    /// # Errors
    /// When nothing was sent; the callback will not be called.
    pub fn request(&mut self, to: &dyn Peer, mut request: Request<S>) -> Result<(), RequestError> {
        let number = self.requests.reserve(to.communicator())?;
        request.message.set_known(SERIAL, self.requests.serial(number));
        self.send(to, request.message.view()).map_err(RequestError::Send)?;
        let (communicator, timeout) = (to.communicator(), request.timeout);
        let timer = communicator.timer(to.key(), timeout, Requests::<S>::tag(number));
        self.requests.insert(number, to, request, timer);
        Ok(())
    }

    /// Leaves all communicator daemons.
    pub(super) fn unregister(&mut self, communicator: &Communicator) {
        let registered = std::mem::take(&mut self.registered);
        if registered.is_empty() {
            return;
        }
        self.ready = false;
        let Ok(message) = Message::build("UNREGISTER").with("service", &*self.name).finish() else { return };
        for id in registered {
            self.try_send(&Link::new(communicator, id), message.view());
            communicator.close(id);
        }
    }

    /// For answers of the library itself: that one can't be sent is no reason to end the connection, which may be
    /// that of many peers.
    pub(super) fn try_send(&mut self, to: &dyn Peer, message: MessageRef<'_>) {
        if let Err(error) = self.send(to, message) {
            self.complain(to, || format!("{} not sent: {error}", message.command()));
        }
    }

    fn sent(&mut self, message: MessageRef<'_>, times: usize, to: fmt::Arguments<'_>) {
        let Self { table, definitions, coverage, .. } = self;
        let known = || !message.is_as_it_came() || is_known(table, definitions, message);
        coverage.sent(message.command(), times, known);
        if self.trace {
            log::debug!("{to}: sent {message:?}");
        }
    }
}

impl<S: 'static> Default for Dispatcher<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for Dispatcher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("name", &self.name)
            .field("entries", &self.table.len())
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

/// Whether a command is one of the program's, and not made up by a peer.
fn is_known<S>(table: &Table<Action<S>>, definitions: &Definitions, message: MessageRef<'_>) -> bool {
    table.handles(message.command()) || definitions.get(message.command()).is_some()
}

/// So many characters of a text that a peer has sent are logged.
const SHOWN_MAX: usize = 200;

/// A text that a peer has sent, for a log.
pub(super) fn shown(text: &[u8]) -> String {
    let text = text.get(..SHOWN_MAX).unwrap_or(text);
    String::from_utf8_lossy(text).escape_debug().collect()
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join(", ")
}

/// An entry that was not added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// Its pattern means nothing.
    Pattern(PatternError),
    /// It would never get a message.
    Duplicate(DuplicateEntry),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(error) => error.fmt(f),
            Self::Duplicate(error) => error.fmt(f),
        }
    }
}

impl Error for EntryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pattern(error) => Some(error),
            Self::Duplicate(error) => Some(error),
        }
    }
}
