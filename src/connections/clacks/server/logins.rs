//! Comparing passwords with hashes: on a thread, so that nobody else waits for it.

use super::{Server, VERDICT};
use crate::communicator::Communicator;
use crate::connections::clacks::state::{Attempt, ClientIndex};
use crate::connections::{FromThread, ToThread};
use std::io;
use std::thread;
use std::time::Duration;

/// So many logins may wait for the thread; who comes then is closed, without a word that would end a client of the
/// reference's for good.
const WAITING_MAX: usize = 4096;

/// A login to look at.
pub(super) type Job = (ClientIndex, Attempt);

impl Server {
    /// Hands logins to the thread, which is started with the first of them.
    pub(super) fn compare(&self, communicator: &Communicator, jobs: Vec<Job>) {
        for job in jobs {
            let client = job.0;
            let sent = match self.login_thread(communicator) {
                Ok(to_thread) => to_thread.send(job).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = sent {
                log::error!("a login can't be looked at: {why}");
                let id = self.0.borrow().state.key_of(client);
                if let Some(id) = id {
                    communicator.close(id);
                }
            }
        }
    }

    fn login_thread(&self, communicator: &Communicator) -> io::Result<ToThread<Job>> {
        if let Some(thread) = &self.0.borrow().login_thread {
            return Ok(thread.clone());
        }
        let server = self.clone();
        let (to_thread, end) = communicator.channel(WAITING_MAX, move |verdict, communicator| {
            if let FromThread::Message((client, is_right)) = verdict {
                server.compared(communicator, client, is_right);
            }
        })?;
        communicator.set_name(to_thread.key(), "logins");
        let spawned = thread::Builder::new().name("clacks logins".into()).spawn(move || {
            while let Some((client, attempt)) = end.receive() {
                if end.send((client, Attempt::compare(&attempt))).is_err() {
                    break;
                }
            }
        });
        if let Err(error) = spawned {
            communicator.remove(to_thread.key());
            return Err(error);
        }
        self.0.borrow_mut().login_thread = Some(to_thread.clone());
        Ok(to_thread)
    }

    fn compared(&self, communicator: &Communicator, client: ClientIndex, is_right: bool) {
        let id = self.with(communicator, |state, now, out| {
            state.compared(client, is_right, now, out);
            state.key_of(client)
        });
        // The session goes on by itself.
        if let Some(id) = id {
            communicator.timer(id, Duration::ZERO, VERDICT);
        }
    }
}
