//! Connections to the server: for one call, or on a loop for as long as something comes.

use crate::arguments::Connection;
use crate::failure::Failure;
use crate::shared::exit::complain;
use eventdispatcher::connections::clacks::client::{
    BlockingClient, Client, ClientError, ClientHandler, ClientOptions, Event,
};
use eventdispatcher::{Communicator, HandlerResult};
use std::cell::RefCell;
use std::rc::Rc;

impl Connection {
    /// How to reach the server for what the command `what` does.
    pub(crate) fn options(&self, what: &str) -> Result<ClientOptions, Failure> {
        let mut options = ClientOptions::from_environment()?
            .named(format!("clacks {} {what}", env!("CARGO_PKG_VERSION")))
            .timeout(self.timeout);
        if let Some(socket) = &self.socket {
            options = options.socket(socket);
        }
        if let Some(host) = &self.host {
            options = options.host(host);
        }
        if let Some(file) = &self.ca {
            options = options.ca_file(file);
        }
        if self.no_verify {
            complain("clacks", "warning: the server's certificate is NOT verified (--no-verify)");
            options = options.dangerously_without_verification();
        }
        if let Some(user) = &self.user {
            options = options.user(user);
        }
        if let Some(file) = &self.password_file {
            options = options.password_file(file);
        }
        Ok(options)
    }

    /// A connection for one call.
    pub(crate) fn call(&self, what: &str) -> Result<BlockingClient, Failure> {
        Ok(self.options(what)?.connect_blocking()?)
    }
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    GoOn,
    Done,
}

/// A connection on a loop of its own, which ends with it. Clones are the same session.
#[derive(Clone, Default)]
pub(crate) struct Session(Rc<RefCell<Option<Result<(), Failure>>>>);

impl Session {
    /// Connects, sends what `begin` has to say, and hands over what comes until that is enough, the server refuses what
    /// `begin` said, or the connection is lost.
    pub(crate) fn run(
        self,
        options: &ClientOptions,
        begin: impl FnOnce(&Client) -> Result<(), Failure>,
        on_event: impl FnMut(&Event, &Client) -> Result<Flow, Failure> + 'static,
    ) -> Result<(), Failure> {
        let communicator = Communicator::new().map_err(Failure::System)?;
        let client = options.connect(&communicator, Events { session: self.clone(), on_event })?;
        begin(&client)?;
        let session = self.clone();
        client.flush(move |answer, client| {
            if let Err(refused) = answer {
                session.end(Err(refused.into()), client);
            }
        })?;
        communicator.run().map_err(Failure::System)?;
        self.0.take().unwrap_or(Ok(()))
    }

    /// Ends the session; what was said first counts.
    pub(crate) fn end(&self, result: Result<(), Failure>, client: &Client) {
        self.0.borrow_mut().get_or_insert(result);
        client.communicator().stop();
    }
}

struct Events<F> {
    session: Session,
    on_event: F,
}

impl<F: FnMut(&Event, &Client) -> Result<Flow, Failure> + 'static> ClientHandler for Events<F> {
    fn event(&mut self, event: &Event, client: &Client) -> HandlerResult {
        if self.session.0.borrow().is_some() {
            return Ok(());
        }
        if let Event::Error { message } = event {
            complain("clacks", format_args!("the server reports an error: {message}"));
        }
        match (self.on_event)(event, client) {
            Ok(Flow::GoOn) => {}
            Ok(Flow::Done) => self.session.end(Ok(()), client),
            Err(failure) => self.session.end(Err(failure), client),
        }
        Ok(())
    }

    fn disconnected(&mut self, why: ClientError, client: &Client) {
        self.session.end(Err(why.into()), client);
    }
}
