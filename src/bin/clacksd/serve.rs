//! Serving, until a signal or a client says that it is enough.

use crate::plan::Plan;
use eventdispatcher::connections::clacks::{Server, Store};
use eventdispatcher::{Communicator, Signal, UnixBind, communicator};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::cell::Cell;
use std::io::{self, Write as _};
use std::process::Command;
use std::thread;

/// Descriptors that the server needs beside one for each client.
const OWN_DESCRIPTORS: u64 = 32;

/// # Errors
/// What kept it from serving.
pub(crate) fn serve(plan: &Plan) -> Result<(), String> {
    let configuration = &plan.configuration;
    raise_descriptor_limit(configuration.max_clients);
    let communicator = communicator();
    let server = Server::start(
        &communicator,
        configuration.settings(),
        configuration.limits(),
        configuration.users_and_permissions(),
        Store::new(None),
    );
    for socket in &configuration.sockets {
        let mut bind = UnixBind::new(socket);
        if let Some(mode) = configuration.socket_mode {
            bind = bind.mode(mode);
        }
        server.listen_unix(&communicator, bind).map_err(|error| error.to_string())?;
    }
    server.at_end(|communicator| communicator.close_all());
    stop_on_signals(&communicator, &server)?;
    announce(plan);
    run_socket_commands(configuration.socket_commands.clone());
    communicator.run().map_err(|error| format!("the event loop failed: {error}"))?;
    log::info!("ended in order");
    Ok(())
}

fn stop_on_signals(communicator: &Communicator, server: &Server) -> Result<(), String> {
    let (server, again) = (server.clone(), Cell::new(false));
    let signals = communicator
        .signals([Signal::TERM, Signal::INT, Signal::HUP], move |signal, communicator| {
            if again.replace(true) {
                log::warn!("{signal} again: ends at once");
                communicator.stop();
            } else {
                log::info!("{signal}: ends in order");
                server.stop(communicator);
            }
        })
        .map_err(|error| format!("can't wait for signals: {error}"))?;
    communicator.set_priority(signals, 0);
    Ok(())
}

/// Where it listens, and what to try: on standard output, since it is what was asked for.
fn announce(plan: &Plan) {
    let mut text = String::new();
    for socket in &plan.configuration.sockets {
        text.push_str(&format!("clacksd: listening on {}\n", socket.display()));
    }
    if let Some(hint) = &plan.hint {
        text.push_str(&format!("clacksd: try: {hint}\n"));
    }
    // Nobody may be there to read it.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

/// As many descriptors as this process may have, for as many clients as there may be.
fn raise_descriptor_limit(max_clients: usize) {
    let wanted = (max_clients as u64).saturating_add(OWN_DESCRIPTORS);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let limit = soft.max(hard);
            if soft < limit
                && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, limit, limit)
            {
                log::warn!("the limit of {soft} descriptors can't be raised to {limit}: {error}");
            }
            if limit < wanted {
                log::warn!(
                    "{limit} descriptors are allowed, too few for {max_clients} clients: those beyond wait"
                );
            }
        }
        Err(error) => log::warn!("the limit of descriptors can't be read: {error}"),
    }
}

/// One after the other, beside the server: they may take their time.
fn run_socket_commands(commands: Vec<String>) {
    if commands.is_empty() {
        return;
    }
    thread::spawn(move || {
        for command in commands {
            match Command::new("sh").arg("-c").arg(&command).status() {
                Ok(status) if status.success() => log::info!("socket command {command:?}: done"),
                Ok(status) => log::warn!("socket command {command:?}: {status}"),
                Err(error) => log::warn!("socket command {command:?}: {error}"),
            }
        }
    });
}
