//! Serving, until a signal or a client says that it is enough.

use crate::arguments::Arguments;
use crate::control::{self, Operator};
use crate::listen::listen;
use crate::manager::Manager;
use crate::plan::Plan;
use crate::reload::Reload;
use crate::run_as::RunAs;
use crate::say;
use crate::secrecy::keep_memory_private;
use crate::shared::logging::LogFile;
use crate::uplink::link_to_master;
use eventdispatcher::connections::clacks::configuration::Configuration;
use eventdispatcher::connections::clacks::persistence::Persistence;
use eventdispatcher::connections::clacks::{Server, Store};
use eventdispatcher::{Communicator, Signal, communicator};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::flag;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Descriptors that the server needs beside one for each client.
const OWN_DESCRIPTORS: u64 = 32;
/// And for each address with TLS: clients in their handshakes.
const HANDSHAKE_DESCRIPTORS: u64 = 256;

/// # Errors
/// What kept it from serving.
pub(crate) fn serve(plan: &Plan, arguments: &Arguments, log: Option<LogFile>) -> Result<(), String> {
    let configuration = &plan.configuration;
    let run_as = arguments.run_as.as_deref().map(RunAs::of).transpose()?;
    let descriptors = raise_descriptor_limit(configuration);
    let communicator = communicator();
    let (persistence, store) = match configuration.persistence().map(Persistence::load_locked) {
        Some(Ok((persistence, store))) => (Some(persistence), store),
        Some(Err(error)) => return Err(error.to_string()),
        None => (None, Store::new(None)),
    };
    let server = Server::start(
        &communicator,
        configuration.settings(),
        configuration.limits(),
        configuration.users_and_permissions(),
        store,
    );
    let prepared = listen(&communicator, &server, configuration).and_then(|listening| {
        if let Some(run_as) = &run_as {
            for socket in &listening.sockets {
                run_as.give(socket)?;
            }
            if let Some(lock) = persistence.as_ref().and_then(Persistence::lock_file) {
                run_as.give(lock)?;
            }
            run_as.become_it()?;
            keep_memory_private();
        }
        let reload = Reload::new(&server, listening.tls, arguments, configuration);
        let manager = Manager::new(&communicator, &server)?;
        stop_on_signals(&communicator, &server, &manager)?;
        reload_on_signal(&communicator, &server, &reload, &manager, arguments)?;
        keep(&communicator, &server, persistence)?;
        link_to_master(&communicator, &server, configuration)?;
        let operator = Operator { server: server.clone(), reload, log };
        control::listen(&communicator, plan.control().as_ref(), operator)?;
        Ok((listening.places, manager))
    });
    let (places, manager) = match prepared {
        Ok(prepared) => prepared,
        Err(text) => {
            // No socket is left behind that nobody listens on.
            server.stop(&communicator);
            return Err(text);
        }
    };
    announce(&places, plan.hint.as_deref());
    if let Some(descriptors) = descriptors {
        log::info!(
            "{descriptors} descriptors are allowed, for {} clients at most",
            configuration.max_clients
        );
    }
    if let Some(path) = &configuration.debug_file {
        server.write_debug_file(&communicator, path);
    }
    manager.ready(&server);
    run_socket_commands(configuration.socket_commands.clone());
    communicator.run().map_err(|error| format!("the event loop failed: {error}"))?;
    if server.is_losing_changes() {
        return Err("the cache could not be saved: see the log".to_owned());
    }
    if server.is_file_behind() {
        return Err("the last save failed: the persistence file misses changes, which its journal has: start clacksd again, \
             or use `clacks-file convert`, before anything else reads the file"
            .to_owned());
    }
    log::info!("ended in order");
    Ok(())
}

/// Keeps the cache from now on, when it is sure that no other server uses these files.
fn keep(
    communicator: &Communicator,
    server: &Server,
    persistence: Option<Persistence>,
) -> Result<(), String> {
    let Some(persistence) = persistence else { return Ok(()) };
    for note in persistence.notes() {
        log::log!(if note.is_trouble { log::Level::Warn } else { log::Level::Info }, "{note}");
    }
    server.keep(communicator, persistence).map_err(|error| format!("the cache can't be kept: {error}"))
}

/// A signal ends the server in order. One that comes while it ends, for whatever reason, has its usual effect: whoever
/// sends it does not want to wait until slow clients have taken what is queued for them.
fn stop_on_signals(communicator: &Communicator, server: &Server, manager: &Manager) -> Result<(), String> {
    let failed = |error: io::Error| format!("can't wait for signals: {error}");
    let ending = Arc::new(AtomicBool::new(false));
    let enders = [Signal::TERM, Signal::INT];
    for signal in enders {
        flag::register_conditional_default(signal.0, ending.clone()).map_err(failed)?;
    }
    let (stopping, impatient) = (server.clone(), ending.clone());
    let signals = communicator
        .signals(enders, move |signal, communicator| {
            log::info!("{signal}: ends in order; one more signal ends at once");
            impatient.store(true, Ordering::SeqCst);
            stopping.stop(communicator);
        })
        .map_err(failed)?;
    communicator.set_priority(signals, 0);
    let manager = manager.clone();
    server.at_end(move |communicator| {
        manager.stopping();
        manager.gone(communicator);
        communicator.close_all();
        ending.store(true, Ordering::SeqCst);
    });
    Ok(())
}

/// SIGHUP has the configuration read again, or the password if there is none. A file that can't be used changes nothing.
/// Without a configuration the server is a user's own and ends with their terminal: that the signal comes from the kernel, and
/// from no process, says that the terminal has gone.
fn reload_on_signal(
    communicator: &Communicator,
    server: &Server,
    reload: &Reload,
    manager: &Manager,
    arguments: &Arguments,
) -> Result<(), String> {
    let is_private = arguments.configuration.is_none();
    let (server, reload, manager) = (server.clone(), reload.clone(), manager.clone());
    let signals = communicator.signals_from([Signal::HUP], move |received, communicator| {
        if is_private && received.sender.is_none() {
            log::info!("the terminal has gone: ends in order");
            server.stop(communicator);
            return;
        }
        manager.reloading();
        if let Err(problems) = reload.reload(communicator) {
            for line in problems.lines() {
                log::error!("{}", line.strip_prefix("clacksd: ").unwrap_or(line));
            }
            log::error!("SIGHUP: everything stays as it is");
        }
        manager.ready(&server);
    });
    let signals = signals.map_err(|error| format!("can't wait for signals: {error}"))?;
    communicator.set_priority(signals, 0);
    Ok(())
}

/// Where it listens, and what to try: on standard output, since it is what was asked for.
fn announce(places: &[String], hint: Option<&str>) {
    let mut text = String::new();
    for place in places {
        text.push_str(&format!("clacksd: listening on {place}\n"));
    }
    if let Some(hint) = hint {
        text.push_str(&format!("clacksd: try: {hint}\n"));
    }
    say(io::stdout(), text.as_bytes());
}

/// As many descriptors as this process may have, for as many clients as there may be. How many that are.
fn raise_descriptor_limit(configuration: &Configuration) -> Option<u64> {
    let max_clients = configuration.max_clients;
    let addresses = configuration.tls.as_ref().map_or(0, |tls| tls.addresses.len()) as u64;
    let own = OWN_DESCRIPTORS.saturating_add(addresses.saturating_mul(HANDSHAKE_DESCRIPTORS));
    let wanted = (max_clients as u64).saturating_add(own);
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
                    "{limit} descriptors are allowed, too few for {max_clients} clients: those beyond wait for some seconds, and are turned away"
                );
            }
            Some(limit)
        }
        Err(error) => {
            log::warn!("the limit of descriptors can't be read: {error}");
            None
        }
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
