//! Serving, until a signal or a client says that it is enough.

use crate::plan::Plan;
use crate::say;
use eventdispatcher::connections::clacks::configuration::Configuration;
use eventdispatcher::connections::clacks::{Server, Store};
use eventdispatcher::{Communicator, Signal, UnixBind, communicator};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::flag;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Descriptors that the server needs beside one for each client.
const OWN_DESCRIPTORS: u64 = 32;
/// What ends the server.
const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

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
    if let Err(text) =
        listen(&communicator, &server, configuration).and_then(|()| stop_on_signals(&communicator, &server))
    {
        // No socket is left behind that nobody listens on.
        server.stop(&communicator);
        return Err(text);
    }
    announce(plan);
    run_socket_commands(configuration.socket_commands.clone());
    communicator.run().map_err(|error| format!("the event loop failed: {error}"))?;
    log::info!("ended in order");
    Ok(())
}

fn listen(communicator: &Communicator, server: &Server, configuration: &Configuration) -> Result<(), String> {
    for socket in &configuration.sockets {
        let mut bind = UnixBind::new(socket);
        if let Some(mode) = configuration.socket_mode {
            bind = bind.mode(mode);
        }
        server.listen_unix(communicator, bind).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A signal ends the server in order. One that comes while it ends, for whatever reason, has its usual effect: whoever
/// sends it does not want to wait until slow clients have taken what is queued for them.
fn stop_on_signals(communicator: &Communicator, server: &Server) -> Result<(), String> {
    let failed = |error: io::Error| format!("can't wait for signals: {error}");
    let ending = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        flag::register_conditional_default(signal.0, ending.clone()).map_err(failed)?;
    }
    let stopping = server.clone();
    let signals = communicator
        .signals(SIGNALS, move |signal, communicator| {
            log::info!("{signal}: ends in order; one more signal ends at once");
            stopping.stop(communicator);
        })
        .map_err(failed)?;
    communicator.set_priority(signals, 0);
    server.at_end(move |communicator| {
        communicator.close_all();
        ending.store(true, Ordering::SeqCst);
    });
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
    say(io::stdout(), text.as_bytes());
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
