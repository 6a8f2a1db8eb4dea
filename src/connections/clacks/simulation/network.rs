//! The network of the simulation: pairs of wires, and between them whatever the seed wants.

use super::Random;
use crate::communicator::{Communicator, Key};
use crate::connections::wire::{Far, Wire, wire};
use std::cell::Cell;
use std::io::ErrorKind;

/// As many bytes have arrived and are not read at most: the rest waits on the way.
const MOST_UNREAD: usize = 100_000;

/// What is between a client and the server.
pub(super) struct Link {
    pub(super) client: End,
    pub(super) server: End,
}

/// One end of it.
pub(super) struct End {
    far: Far,
    key: Key,
    /// The poll has something to say.
    news: Cell<bool>,
    /// It was last asked for writing.
    watched: Cell<bool>,
}

impl Link {
    /// `[client, server]`, each with a little room and not yet established now and then.
    pub(super) fn wires(random: &Random, is_kind: bool) -> [(Wire, Far); 2] {
        let ends = [wire(), wire()];
        for (_, far) in &ends {
            let mut state = far.state();
            state.room = if is_kind { 1 << 16 } else { 1 + random.below(5000) };
            state.connecting = !is_kind && random.percent(30);
        }
        ends
    }

    pub(super) fn new(client: (Far, Key), server: (Far, Key)) -> Self {
        let [client, server] = [client, server].map(|(far, key)| {
            let watched = far.state().connecting;
            End { far, key, news: Cell::new(true), watched: Cell::new(watched) }
        });
        Self { client, server }
    }

    /// The server's end.
    pub(super) fn server_key(&self) -> Key {
        self.server.key
    }

    /// Nobody has either end any more.
    pub(super) fn is_over(&self) -> bool {
        self.client.is_closed() && self.server.is_closed()
    }

    /// Both directions go on by so many bytes. How many there were.
    pub(super) fn carry(&self, most: usize) -> usize {
        self.client.give_to(&self.server, most) + self.server.give_to(&self.client, most)
    }

    /// Something happens to one of them.
    pub(super) fn happen(links: &[Self], random: &Random) {
        if links.is_empty() {
            return;
        }
        let link = &links[random.below(links.len())];
        if random.percent(80) {
            let amount = random.below(300);
            link.carry(amount * amount / 2);
        } else {
            link.suffer(random);
        }
    }

    /// Something else happens to it.
    fn suffer(&self, random: &Random) {
        let (one, other) =
            if random.percent(50) { (&self.client, &self.server) } else { (&self.server, &self.client) };
        match random.below(200) {
            0..100 => {
                // A call in vain, as in a storm of them, or interrupted.
                let error = if random.percent(70) { ErrorKind::WouldBlock } else { ErrorKind::Interrupted };
                one.far.state().hiccups =
                    [random.percent(60), random.percent(60)].map(|on| on.then_some(error));
            }
            100..150 => one.far.state().connecting = false,
            150..154 => {
                // What has arrived is perhaps lost, too.
                for end in [one, other] {
                    if random.percent(50) {
                        end.far.state().input.clear();
                    }
                }
                self.cut();
            }
            154 => one.far.state().write_error = Some(ErrorKind::BrokenPipe),
            155 => one.far.state().read_error = Some(ErrorKind::TimedOut),
            156 => one.far.state().ended = true,
            157 => one.far.state().shut_error = Some(ErrorKind::NotConnected),
            _ => {}
        }
        one.news.set(true);
        other.news.set(true);
    }

    /// It is cut: what was on its way is lost.
    pub(super) fn cut(&self) {
        for end in [&self.client, &self.server] {
            let mut state = end.far.state();
            state.output.clear();
            (state.read_error, state.write_error) =
                (Some(ErrorKind::ConnectionReset), Some(ErrorKind::BrokenPipe));
            end.news.set(true);
        }
    }

    /// Nothing bad happens to it any more.
    pub(super) fn heal(&self) {
        for end in [&self.client, &self.server] {
            let mut state = end.far.state();
            (state.connecting, state.hiccups) = (false, [None; 2]);
            end.news.set(true);
        }
    }

    /// What the poll says, once for each change.
    pub(super) fn poll(&self, communicator: &Communicator) {
        self.client.poll(communicator);
        self.server.poll(communicator);
    }
}

impl End {
    pub(super) fn is_closed(&self) -> bool {
        self.far.state().closed
    }

    fn give_to(&self, other: &Self, most: usize) -> usize {
        let (mut from, mut to) = (self.far.state(), other.far.state());
        if to.closed {
            from.output.clear();
            (from.ended, from.write_error) = (true, Some(ErrorKind::BrokenPipe));
            self.news.set(true);
            return 0;
        }
        let most = most.min(MOST_UNREAD.saturating_sub(to.input.len())).min(from.output.len());
        if most > 0 {
            to.input.extend(from.output.drain(..most));
            from.room = from.room.saturating_add(most);
            self.news.set(true);
            other.news.set(true);
        }
        if from.output.is_empty() && (from.shut || from.closed) && !to.ended {
            to.ended = true;
            other.news.set(true);
        }
        most
    }

    fn poll(&self, communicator: &Communicator) {
        if self.is_closed() {
            return;
        }
        let watched = communicator.core(|core| core.slot(self.key).map(|slot| slot.wants_write));
        let watched = watched.unwrap_or(false);
        let changed = self.watched.replace(watched) != watched;
        if !self.news.replace(false) && !changed {
            return;
        }
        let state = self.far.state();
        let ends = state.ended || state.read_error.is_some();
        let input = !state.input.is_empty() || ends;
        let room = state.room > 0 || state.write_error.is_some();
        let output = watched && room && !state.connecting;
        // After a call in vain it is ready anew.
        self.news.set(state.hiccups.iter().any(Option::is_some));
        drop(state);
        if input || output {
            communicator.core(|core| core.event(self.key, input, output, ends));
        }
    }
}
