//! One connection to the server, for one account.

use super::daemon::Shared;
use super::flap::{DATA, Flap, Flaps, KEEP_ALIVE, SIGN_ON, Sequences, data};
use super::say;
use super::settings::Account;
use eventdispatcher::codec::Frame;
use eventdispatcher::{
    Closed, Communicator, Cx, Handler, HandlerResult, Id, Keep, Reconnect, SendError, TcpConnect, Timeout,
};
use std::time::Duration;

/// Payloads of more bytes are not accepted.
const PAYLOAD_MAX: usize = 1024;
/// The timer of the keep-alive frames.
const ALIVE: u64 = 0;

/// What the daemon knows of it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) user: String,
    pub(crate) id: Id<Flaps>,
    /// The server knows the user.
    pub(crate) online: bool,
    sequences: Sequences,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn new(daemon: &Shared, account: &Account, communicator: &Communicator) -> Self {
        let (pauses, keep_alive) = {
            let settings = &daemon.borrow().settings;
            (settings.pauses.clone(), settings.keep_alive)
        };
        // Frames are numbered anew on each connection: none is kept for the next one, the daemon asks again.
        let reconnect = Reconnect::new(pauses).keep(Keep::No);
        let calls = Calls { daemon: daemon.clone(), user: account.user.clone(), keep_alive };
        let codec = || Flaps::new().max(PAYLOAD_MAX);
        let id = communicator.permanent(TcpConnect::from(account.server), reconnect, codec, calls);
        communicator.set_name(id, &account.user);
        communicator.timer(id, keep_alive, ALIVE);
        Self { user: account.user.clone(), id, online: false, sequences: Sequences::default() }
    }

    pub(crate) fn send(
        &mut self,
        communicator: &Communicator,
        channel: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        self.sequences.send(communicator, self.id, channel, payload)
    }
}

/// What happens to it.
struct Calls {
    daemon: Shared,
    user: String,
    keep_alive: Duration,
}

impl Calls {
    /// The link that is called, unless it was replaced.
    fn link<R>(&self, id: Id<Flaps>, call: impl FnOnce(&mut Link) -> R) -> Result<R, String> {
        let mut daemon = self.daemon.borrow_mut();
        let link = daemon.links.iter_mut().find(|link| link.id == id);
        link.map(call).ok_or_else(|| "it was replaced".into())
    }
}

impl Handler<Flaps> for Calls {
    fn connected(&mut self, cx: &Cx<'_, Flaps>) -> HandlerResult {
        self.link(cx.id(), |link| {
            link.sequences = Sequences::default();
            link.send(cx, SIGN_ON, self.user.as_bytes())
        })??;
        Ok(())
    }

    fn message(&mut self, frame: Frame<'_, Flap>, cx: &Cx<'_, Flaps>) -> HandlerResult {
        self.link(cx.id(), |link| link.sequences.receive(frame.header))??;
        match frame.header.channel {
            SIGN_ON => {
                self.link(cx.id(), |link| link.online = true)?;
                say(&format!("{} is online", self.user));
                self.daemon.borrow_mut().ask_again(cx);
            }
            DATA => {
                let (number, status) = data(frame.payload)?;
                self.daemon.borrow_mut().answered(number, status, cx);
            }
            KEEP_ALIVE => {}
            channel => return Err(format!("a frame on channel {channel}").into()),
        }
        Ok(())
    }

    fn timeout(&mut self, what: Timeout, cx: &Cx<'_, Flaps>) -> HandlerResult {
        if what != Timeout::Timer(ALIVE) {
            return Err(what.to_string().into());
        }
        cx.after(self.keep_alive, ALIVE);
        let sent =
            self.link(cx.id(), |link| if link.online { link.send(cx, KEEP_ALIVE, b"") } else { Ok(()) })?;
        Ok(sent?)
    }

    fn lost(&mut self, why: &Closed, cx: &Cx<'_, Flaps>) -> HandlerResult {
        say(&format!("{} is offline: {why}", self.user));
        self.link(cx.id(), |link| link.online = false)?;
        let mut daemon = self.daemon.borrow_mut();
        daemon.forget_link(cx.id());
        daemon.ask_again(cx);
        Ok(())
    }
}
