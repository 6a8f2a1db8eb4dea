//! The built-in commands.

use super::call::Call;
use super::dispatcher::{Action, Dispatcher, shown};
use super::hooks::Hooks;
use crate::communicator::HandlerResult;
use crate::dispatcher::{
    DuplicateEntry, Entry, Message, MessageRef, Part, Pattern, Priority, SERIAL, Timespec, unknown_answer,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

const MY_ADDRESS: &str = "my_address";

impl<S: Hooks> Dispatcher<S> {
    /// With the [built-in commands](super#built-in-commands), and an answer to unknown ones.
    #[must_use]
    pub fn with_built_in() -> Self {
        let mut dispatcher = Self::new();
        let added = dispatcher.add_built_in();
        debug_assert!(added.is_ok(), "{added:?}");
        dispatcher
    }

    /// Adds the [built-in commands](super#built-in-commands), at [`Priority::SYSTEM`], and an answer to unknown ones unless
    /// there is a catch-all already.
    ///
    /// # Errors
    /// When one of them is handled at this priority already.
    pub fn add_built_in(&mut self) -> Result<(), DuplicateEntry> {
        self.built_in("ABSOLUTELY", nothing)?;
        self.built_in("ALIVE", alive)?;
        self.built_in("COMMANDS", nothing)?;
        self.built_in("HELP", help)?;
        self.built_in("INVALID", log_complaint)?;
        self.built_in("LEAK", leak)?;
        self.built_in("LOG_ROTATE", |state: &mut S, message, call| state.log_rotate(message, call))?;
        self.built_in("QUITTING", |state: &mut S, _, call| state.stop(true, call))?;
        self.built_in("READY", ready)?;
        self.built_in("RESTART", |state: &mut S, message, call| state.restart(message, call))?;
        self.built_in("SERVICE_UNAVAILABLE", nothing)?;
        self.built_in("STOP", |state: &mut S, _, call| state.stop(false, call))?;
        self.built_in("UNKNOWN", log_complaint)?;
        // That there is one already is no error.
        if let Ok(id) = self.set_catch_all(unknown) {
            self.built_in_catch_all = Some(id);
        }
        Ok(())
    }

    fn built_in(
        &mut self,
        command: &str,
        action: impl Fn(&mut S, MessageRef<'_>, &mut Call<'_, S>) -> HandlerResult + 'static,
    ) -> Result<(), DuplicateEntry> {
        let entry = Entry::new(Pattern::exactly(command), Action::new(action)).priority(Priority::SYSTEM);
        self.add(entry).map(drop)
    }
}

/// Needs no answer. Were it unknown, two services would answer each other.
fn nothing<S: Hooks>(_: &mut S, _: MessageRef<'_>, _: &mut Call<'_, S>) -> HandlerResult {
    Ok(())
}

fn alive<S: Hooks>(_: &mut S, message: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    let now = format!("{:.9}", Timespec::from(SystemTime::now()));
    let mut answer = Message::build("ABSOLUTELY").with("reply_timestamp", now).answer_to(message);
    for name in [SERIAL, "timestamp"] {
        if let Some(value) = message.get(name) {
            answer = answer.with(name, &*value);
        }
    }
    call.try_reply(message, &answer.finish()?);
    Ok(())
}

fn help<S: Hooks>(state: &mut S, message: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    let table = call.dispatcher().table();
    let named = table.commands().into_iter().filter(|command| Part::Command.check(command).is_ok());
    let mut commands: BTreeSet<String> = named.map(str::to_owned).collect();
    let others = table.entries().into_iter().filter(|entry| entry.pattern.exact().is_none());
    let patterns: BTreeSet<String> = others.filter_map(|entry| entry.pattern.written()).collect();
    state.help(&mut commands);
    let mut answer = Message::build("COMMANDS").with("list", join(commands)).answer_to(message);
    if !patterns.is_empty() {
        answer = answer.with("patterns", join(patterns));
    }
    call.try_reply(message, &answer.finish()?);
    Ok(())
}

fn join(names: BTreeSet<String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(",")
}

fn log_complaint<S: Hooks>(_: &mut S, message: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    call.complain(|| {
        let of = |name| shown(&message.get(name).unwrap_or_default());
        format!("{} command={} message={}", message.command(), of("command"), of("message"))
    });
    Ok(())
}

fn leak<S: Hooks>(_: &mut S, _: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    let (entries, requests) = (call.dispatcher().table().len(), call.dispatcher().requests());
    let communicator = call.communicator();
    call.say(log::Level::Info, || {
        let connections = communicator.connections();
        let queued: usize = connections.iter().map(|connection| connection.queued + connection.unread).sum();
        let count = connections.len();
        format!("LEAK: {count} connections hold {queued} bytes; {requests} requests wait; {entries} entries")
    });
    Ok(())
}

fn ready<S: Hooks>(state: &mut S, message: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    let with_port = |_| message.value::<SocketAddr>(MY_ADDRESS).map(|address| address.ip());
    let address = message.value::<IpAddr>(MY_ADDRESS).or_else(with_port).ok();
    call.dispatcher().set_ready(address);
    state.ready(message, call)
}

fn unknown<S: Hooks>(_: &mut S, message: MessageRef<'_>, call: &mut Call<'_, S>) -> HandlerResult {
    if call.dispatcher().is_late_answer(message) {
        call.complain(|| format!("{} answers a request too late", shown(message.command().as_bytes())));
        return Ok(());
    }
    call.complain(|| format!("{} is unknown here", shown(message.command().as_bytes())));
    if let Some(answer) = unknown_answer(message) {
        call.try_reply(message, &answer);
    }
    Ok(())
}
