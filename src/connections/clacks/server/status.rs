//! How the server is, for who runs it.

use super::{Connections, Server};
use crate::communicator::Communicator;

impl Server {
    /// How the server is: names and what they are worth now, in order. What `STATUS` answers in the protocol.
    ///
    /// ```
    /// use eventdispatcher::Communicator;
    /// use eventdispatcher::connections::clacks::{Server, ServerLimits, Settings, Store, Users};
    ///
    /// let communicator = Communicator::new()?;
    /// let (settings, limits) = (Settings::default(), ServerLimits::default());
    /// let server = Server::start(&communicator, settings, limits, Users::default(), Store::new(None));
    /// let status = server.status(&communicator);
    /// assert!(status.contains(&("clients".to_owned(), "0".to_owned())));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn status(&self, communicator: &Communicator) -> Vec<(String, String)> {
        let service = &mut *self.0.borrow_mut();
        let now = service.now(communicator);
        let mut status = Vec::new();
        let out = Connections { communicator, side: &mut service.side };
        service.state.status(now, &out, |name, value| status.push((name.to_owned(), value.to_string())));
        status
    }
}
