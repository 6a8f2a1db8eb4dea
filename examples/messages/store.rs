//! A service that keeps numbers for others: through a socket file, over TCP and, if it is given a certificate, over TLS.
//!
//! ```sh
//! cargo run --example message_store -- /tmp/store.sock 127.0.0.1:4040
//! ed-signal --host /tmp/store.sock --reply ADD name=apples count=3
//! ed-signal --host tcp:127.0.0.1:4040 --reply HELP
//! ed-signal --host /tmp/store.sock STOP
//! ```

use eventdispatcher::connections::messages::{Call, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::tls::TlsServer;
use eventdispatcher::{HandlerResult, Signal, communicator};
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

/// So many names are kept at most: a client should not fill the memory.
const NAMES_MAX: usize = 10_000;

#[derive(Default)]
struct Store {
    counts: BTreeMap<String, u64>,
}

impl Hooks for Store {}

impl Store {
    /// `ADD name=…;count=…`: answers `COUNT` with the new total.
    fn add(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let (Ok(name), Ok(count)) = (message.text("name"), message.value::<u64>("count")) else {
            return call.answer(message, Message::build("FAILED").with("why", "ADD has a name and a count"));
        };
        if self.counts.len() >= NAMES_MAX && !self.counts.contains_key(&*name) {
            return call.answer(message, Message::build("FAILED").with("why", "the store is full"));
        }
        let total = self.counts.entry(name.to_string()).or_default();
        *total = total.saturating_add(count);
        call.answer(message, Message::build("COUNT").with("name", &*name).with("count", *total))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (path, address, tls) = match &arguments[..] {
        [path, address] => (path, address, None),
        [path, address, tls, chain, key] => (path, address, Some((tls, TlsServer::from_files(chain, key)?))),
        _ => return Err("usage: message_store SOCKET IP:PORT [IP:PORT CHAIN.pem KEY.pem]".into()),
    };

    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("ADD", Store::add)?;
    let service = Service::new(Store::default(), dispatcher).shared();

    let communicator = communicator();
    let clients = Rc::clone(&service);
    communicator.listen_unix(path, move |client| {
        client.serve(Messages::new(), Rc::clone(&clients))?;
        Ok(())
    })?;
    println!("listening on {path}");
    let clients = Rc::clone(&service);
    let listening = communicator.listen_tcp(address.parse()?, move |client| {
        client.serve(Messages::new(), Rc::clone(&clients))?;
        Ok(())
    })?;
    println!("listening on {}", listening.address());
    if let Some((address, server)) = tls {
        let clients = Rc::clone(&service);
        let listening = communicator.listen_tls(address.parse()?, &server, move |client| {
            client.serve(Messages::new(), Rc::clone(&clients))?;
            Ok(())
        })?;
        println!("listening on {} with TLS", listening.address());
    }

    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    communicator.run()?;
    println!("kept {} names", service.borrow().state.counts.len());
    Ok(())
}
