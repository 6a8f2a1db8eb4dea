//! The service manager: what it is told.

use eventdispatcher::connections::clacks::Server;
use eventdispatcher::{Communicator, Notify, TimerId};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// How often it is told how many clients there are.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells the service manager how the server is, if there is one that wants to know. A cheap handle: clones are the same.
#[derive(Clone)]
pub(crate) struct Manager(Rc<Telling>);

struct Telling {
    notify: Notify,
    /// Timers, which end with the server.
    status: Cell<Option<TimerId>>,
    watchdog: Cell<Option<TimerId>>,
}

impl Manager {
    /// Begins to tell that it lives, and how it is.
    ///
    /// # Errors
    /// When the manager's variables make no sense.
    pub(crate) fn new(communicator: &Communicator, server: &Server) -> Result<Self, String> {
        let start = || -> io::Result<Self> {
            let manager = Self(Rc::new(Telling {
                notify: Notify::from_env()?,
                status: Cell::new(None),
                watchdog: Cell::new(communicator.watchdog(Notify::from_env()?)?),
            }));
            if manager.0.notify.is_wanted() {
                let (telling, server) = (manager.clone(), server.clone());
                let timer = communicator.every(STATUS_INTERVAL, move |_| telling.count(&server));
                manager.0.status.set(Some(timer));
            }
            Ok(manager)
        };
        start().map_err(|error| error.to_string())
    }

    /// The server serves, or has read its configuration again.
    pub(crate) fn ready(&self, server: &Server) {
        self.count(server);
        heard(self.0.notify.ready());
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub(crate) fn reloading(&self) {
        heard(self.0.notify.reloading());
    }

    /// The server ends. The manager goes on to hear that it lives until it is [gone](Self::gone).
    pub(crate) fn stopping(&self) {
        heard(self.0.notify.stopping());
    }

    /// Ends the timers, which would keep the loop running.
    pub(crate) fn gone(&self, communicator: &Communicator) {
        for timer in [self.0.status.take(), self.0.watchdog.take()].into_iter().flatten() {
            communicator.cancel(timer);
        }
    }

    fn count(&self, server: &Server) {
        heard(self.0.notify.status(&format!("serving {} clients", server.clients())));
    }
}

fn heard(result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("{error}");
    }
}
