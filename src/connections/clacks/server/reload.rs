//! New settings for a server that runs.

use super::{LIST_WAITS, Server, ServerLimits};
use crate::communicator::Communicator;
use crate::connections::clacks::state::{Settings, Users};

impl Server {
    /// Takes new settings, limits and users. Clients whose user is gone or has another password are sent away with
    /// `QUIT`, and the others have their new permissions at once; time limits hold for everybody, those of lines, queues and the
    /// number of clients for clients that come from now on. Says how many were sent away.
    ///
    /// Where it listens, and what is in its cache, stays.
    pub fn reconfigure(
        &self,
        communicator: &Communicator,
        settings: Settings,
        limits: ServerLimits,
        users: Users,
    ) -> usize {
        let interval = settings.cache_clean_interval;
        let (listeners, cleaning) = {
            let service = &mut *self.0.borrow_mut();
            if service.stopping {
                return 0;
            }
            service.side.list_waits = LIST_WAITS.min(limits.max_out_buffer);
            service.limits = limits;
            (service.listeners.clone(), service.cleaning.take())
        };
        let sent_away = self.with(communicator, |state, _, out| state.reconfigure(settings, users, out));
        for listener in listeners {
            self.set_limits(communicator, listener);
        }
        if let Some(timer) = cleaning {
            communicator.cancel(timer);
        }
        self.clean_every(communicator, interval);
        sent_away
    }
}
