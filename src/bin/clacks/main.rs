//! `clacks`: signals and the shared cache of a clacks server, from the shell.

mod arguments;
mod bench;
mod cache;
mod clients;
mod failure;
mod glob;
mod json;
mod listen;
mod monitor;
mod output;
mod ping;
mod raw;
mod server;
mod session;
#[path = "../shared/mod.rs"]
mod shared;
mod signals;
mod transfer;
mod values;
mod watch;

use arguments::{Arguments, Command};
use clap::CommandFactory;
use failure::Failure;
use output::Output;
use shared::{arguments::parse, exit::Exit, logging, pages};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match parse::<Arguments>("clacks") {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    logging::start("CLACKS_LOG", log::LevelFilter::Error);
    let goes_to_host = arguments.goes_to_host();
    match run(arguments) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => failure.report(goes_to_host).into(),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { connection, command } = arguments;
    match command {
        Command::Set(pair) => signals::set(&pair, &connection),
        Command::Notify(name) => signals::notify(&name, &connection),
        Command::Listen(listen) => listen::listen(listen, &connection),
        Command::Store(pair) => cache::store(&pair, &connection),
        Command::Get(get) => cache::get(&get, &connection),
        Command::Del(key) => cache::del(&key, &connection),
        Command::Incr(step) => cache::incr(&step, &connection),
        Command::Decr(step) => cache::decr(&step, &connection),
        Command::Keys(keys) => cache::keys(&keys, &connection),
        Command::Clear => cache::clear(&connection),
        Command::Export(keys) => transfer::export(&keys, &connection),
        Command::Import(import) => transfer::import(&import, &connection),
        Command::Copy(copy) => transfer::copy(&copy, &connection),
        Command::Watch(watch) => watch::watch(&watch, &connection),
        Command::Monitor(stream) => monitor::monitor(&stream, &connection),
        Command::Clients(json) => clients::list(&json, &connection),
        Command::Status(json) => server::status(&json, &connection),
        Command::Disconnect(cid) => clients::disconnect(&cid, &connection),
        Command::Flush => server::flush(&connection),
        Command::Ping(ping) => ping::ping(&ping, &connection),
        Command::Raw => raw::raw(&connection),
        Command::Bench(arguments) => bench::bench(&arguments, &connection),
        Command::Shutdown(shutdown) => server::shut_down(&shutdown, &connection),
        Command::Completions { shell } => Output::all(&pages::completions(Arguments::command(), shell)),
        Command::Man { subcommand } => {
            let page = pages::manual(Arguments::command(), subcommand.as_deref());
            Output::all(&page.map_err(|error| Failure::Usage(error.to_string()))?)
        }
    }
}
