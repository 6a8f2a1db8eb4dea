//! What a service says to the built-in commands, and to its connections.

use super::call::Call;
use super::datagrams::Recipient;
use crate::communicator::{Closed, HandlerResult, Timeout};
use crate::dispatcher::MessageRef;
use log::Level;
use std::collections::BTreeSet;
use std::io;

/// What the state of a service has to say to the built-in commands, and to what happens to its connections. All of it has a
/// default, so a service without a word is `impl Hooks for Store {}`.
///
/// A built-in command can also be handled as a whole: an entry for it, at the default priority, comes first.
#[allow(unused_variables)]
pub trait Hooks: Sized + 'static {
    /// A connection is established: the place to [register](Call::register) with a communicator daemon.
    ///
    /// # Errors
    /// End the connection.
    fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        Ok(())
    }

    /// An attempt of a [permanent](crate::Communicator::permanent) connection has failed; the next one is made in its time.
    ///
    /// # Errors
    /// End the connection for good.
    fn failed(&mut self, why: &Closed, call: &mut Call<'_, Self>) -> HandlerResult {
        Ok(())
    }

    /// A [permanent](crate::Communicator::permanent) connection is no more; it is made anew in its time. The requests that it
    /// had taken so far have got their [end](super::NoAnswer::Closed): nobody knows whether the other side has seen them. Those made from
    /// now on wait for the next one.
    ///
    /// # Errors
    /// End the connection for good.
    fn lost(&mut self, why: &Closed, call: &mut Call<'_, Self>) -> HandlerResult {
        Ok(())
    }

    /// A connection has ended. Its requests have got their [end](super::NoAnswer::Closed).
    fn closed(&mut self, why: &Closed, call: &mut Call<'_, Self>) {}

    /// The other side has ended its direction. By default this side ends too, once what is queued is written.
    ///
    /// # Errors
    /// End the connection.
    fn eof(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        call.communicator().end(call.key(), Closed::Eof);
        Ok(())
    }

    /// A time is over, and it is not that of a request. By default every one but [`Timeout::Timer`] ends the connection. The
    /// tags of timers have to be below 2⁶³.
    ///
    /// # Errors
    /// End the connection.
    fn timeout(&mut self, what: Timeout, call: &mut Call<'_, Self>) -> HandlerResult {
        if !matches!(what, Timeout::Timer(_)) {
            call.communicator().end(call.key(), Closed::TimedOut(what));
        }
        Ok(())
    }

    /// The output queue is low again: see [`Handler::drained`](crate::Handler::drained).
    ///
    /// # Errors
    /// End the connection.
    fn drained(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        Ok(())
    }

    /// A message that was sent in a datagram did not arrive, as far as that is known: nobody is at this address, or who is
    /// there has not read for too long. It was logged; a request in it goes on waiting until its time is over.
    fn undelivered(&mut self, to: Recipient<'_>, error: &io::Error, call: &mut Call<'_, Self>) {}

    /// HELP: adds commands that no entry names, such as those of a pattern, to those that are listed.
    fn help(&self, commands: &mut BTreeSet<String>) {}

    /// LOG_ROTATE: the place to open log files anew. By default there are none.
    ///
    /// # Errors
    /// End the connection.
    fn log_rotate(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        call.say(Level::Info, || "LOG_ROTATE: this service has no log files of its own".to_owned());
        Ok(())
    }

    /// READY: the communicator daemon has accepted the registration.
    ///
    /// # Errors
    /// End the connection.
    fn ready(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        Ok(())
    }

    /// RESTART: the place to read the configuration again. By default it has no effect, and that is logged.
    ///
    /// # Errors
    /// End the connection.
    fn restart(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        call.say(Level::Warn, || "RESTART has no effect on this service".to_owned());
        Ok(())
    }

    /// STOP, or, when the communicator daemon itself ends (`quitting`), QUITTING. By default the loop
    /// [ends in order](Call::end).
    ///
    /// # Errors
    /// End the connection.
    fn stop(&mut self, quitting: bool, call: &mut Call<'_, Self>) -> HandlerResult {
        log::info!("{}: ends in order", if quitting { "QUITTING" } else { "STOP" });
        if quitting {
            // There is nobody left to leave.
            call.close_all();
        } else {
            call.end();
        }
        Ok(())
    }
}
