//! A service that keeps numbers for others, over every transport that messages have.
//!
//! ```sh
//! cargo run --example message_store -- unix:/tmp/store.sock tcp:127.0.0.1:4040 udp:127.0.0.1:4040
//! ed-signal --host /tmp/store.sock --reply ADD name=apples count=3
//! ed-signal --host tcp:127.0.0.1:4040 --reply HELP
//! ed-signal --host udp:127.0.0.1:4040 STOP
//! ```

use eventdispatcher::connections::messages::{Call, DatagramMessages, Dispatcher, Hooks, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::tls::TlsServer;
use eventdispatcher::{Communicator, HandlerResult, Records, Signal, UdpBind, UnixBind, communicator};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;

const USAGE: &str = "usage: message_store [--tls CHAIN.pem KEY.pem] \
    (tcp|tls|udp):IP:PORT | (unix|dgram|seqpacket):SOCKET …";

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

/// Listens at `kind:place`; where that is, in the same form.
fn listen(
    communicator: &Communicator,
    service: &Rc<RefCell<Service<Store>>>,
    at: &str,
    tls: Option<&TlsServer>,
) -> Result<String, Box<dyn Error>> {
    let (kind, place) = at.split_once(':').ok_or(USAGE)?;
    let clients = Rc::clone(service);
    let place = match kind {
        "unix" => {
            communicator.listen_unix(place, move |client| {
                client.serve(Messages::new(), Rc::clone(&clients))?;
                Ok(())
            })?;
            place.to_owned()
        }
        "tcp" => {
            let listening = communicator.listen_tcp(place.parse()?, move |client| {
                client.serve(Messages::new(), Rc::clone(&clients))?;
                Ok(())
            })?;
            listening.address().to_string()
        }
        "tls" => {
            let server = tls.ok_or("tls: needs --tls")?;
            let listening = communicator.listen_tls(place.parse()?, server, move |client| {
                client.serve(Messages::new(), Rc::clone(&clients))?;
                Ok(())
            })?;
            listening.address().to_string()
        }
        "seqpacket" => {
            communicator.listen(UnixBind::new(place).bind_seqpacket()?, move |client| {
                client.serve(Records::new(), Rc::clone(&clients))?;
                Ok(())
            })?;
            place.to_owned()
        }
        "udp" => {
            let socket = UdpBind::new(place.parse()?).bind()?;
            let address = socket.local_address()?;
            communicator.datagrams(socket, DatagramMessages::new().serve(clients))?;
            address.to_string()
        }
        "dgram" => {
            let socket = UnixBind::new(place).bind_datagrams()?;
            communicator.datagrams(socket, DatagramMessages::new().serve(clients))?;
            place.to_owned()
        }
        _ => return Err(USAGE.into()),
    };
    Ok(format!("{kind}:{place}"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let mut tls = None;
    if let [option, chain, key, ..] = &arguments[..]
        && option == "--tls"
    {
        tls = Some(TlsServer::from_files(chain, key)?);
        arguments.drain(..3);
    }
    if arguments.is_empty() {
        return Err(USAGE.into());
    }

    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("ADD", Store::add)?;
    let service = Service::new(Store::default(), dispatcher).shared();

    let communicator = communicator();
    for at in &arguments {
        println!("listening on {}", listen(&communicator, &service, at, tls.as_ref())?);
    }
    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    communicator.run()?;
    println!("kept {} names", service.borrow().state.counts.len());
    Ok(())
}
