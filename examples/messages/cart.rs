//! A service that asks another one, the store, and stays when that restarts: the connection comes back by itself, and whatever
//! was not answered is asked again.
//!
//! ```sh
//! cargo run --example message_cart -- /tmp/cart.sock unix:/tmp/store.sock
//! ed-signal --host /tmp/cart.sock --reply PUT item=apples
//! ```

use eventdispatcher::connections::messages::{
    Answer, Call, DatagramMessages, Dispatcher, Hooks, Link, Peer, Recipient, Request, Service,
};
use eventdispatcher::dispatcher::{Builder, Message, MessageRef, Messages};
use eventdispatcher::tls::{TlsClient, ToTls};
use eventdispatcher::{
    Closed, Communicator, HandlerResult, Id, Key, Pauses, Reconnect, Records, SeqPacket, TcpConnect, ToUnix,
    UdpBind, UdpPackets, UnixAddress, UnixBind, UnixPackets, communicator,
};
use std::cell::RefCell;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

const USAGE: &str =
    "usage: message_cart SOCKET (tcp|tls|udp):IP:PORT|(unix|dgram|seqpacket):SOCKET [ROOTS.pem]";

/// Between two attempts to reach the store.
const PAUSE: Duration = Duration::from_millis(100);
/// A datagram that has no answer for so long is lost. A connection says itself when it is.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3600);
/// So many orders wait for the store.
const ORDERS_MAX: usize = 1000;

type Shared = Rc<RefCell<Service<Cart>>>;

/// How the store is reached.
#[derive(Clone)]
enum Store {
    Stream(Id<Messages>),
    Packets(Id<Records>),
    Udp(Id<UdpPackets>, SocketAddr),
    Unix(Id<UnixPackets>, UnixAddress),
}

impl Store {
    /// By `kind:place`. What is a connection reconnects by itself.
    fn reach(
        communicator: &Communicator,
        service: &Shared,
        own: &str,
        store: &str,
        roots: Option<&String>,
    ) -> Result<Self, Box<dyn Error>> {
        let (kind, place) = store.split_once(':').ok_or(USAGE)?;
        let service = Rc::clone(service);
        let again = Reconnect::new(Pauses::every(PAUSE));
        Ok(match kind {
            "unix" => Self::Stream(communicator.permanent(ToUnix::new(place), again, Messages::new, service)),
            "tcp" => {
                let to = TcpConnect::from(place.parse::<SocketAddr>()?);
                Self::Stream(communicator.permanent(to, again, Messages::new, service))
            }
            "tls" => {
                let client = TlsClient::builder().roots_file(roots.ok_or(USAGE)?).build()?;
                let address: SocketAddr = place.parse()?;
                let to = ToTls::new(TcpConnect::from(address), &address.ip().to_string(), &client)?;
                Self::Stream(communicator.permanent(to, again, Messages::new, service))
            }
            "seqpacket" => {
                let address = UnixAddress::file(place)?;
                let to = move || SeqPacket::connect(&address);
                Self::Packets(communicator.permanent(to, again, Records::new, service))
            }
            "udp" => {
                let address: SocketAddr = place.parse()?;
                let socket = UdpBind::any_for(address).bind()?;
                let id = communicator.datagrams(socket, DatagramMessages::new().serve(service))?;
                Self::Udp(id, address)
            }
            "dgram" => {
                // The store answers a socket that has a name.
                let socket = UnixBind::new(format!("{own}.answers")).bind_datagrams()?;
                let id = communicator.datagrams(socket, DatagramMessages::new().serve(service))?;
                Self::Unix(id, UnixAddress::file(place)?)
            }
            _ => return Err(USAGE.into()),
        })
    }

    fn key(&self) -> Key {
        match self {
            Self::Stream(id) => id.key(),
            Self::Packets(id) => id.key(),
            Self::Udp(id, _) => id.key(),
            Self::Unix(id, _) => id.key(),
        }
    }

    fn timeout(&self) -> Duration {
        match self {
            Self::Stream(_) | Self::Packets(_) => TIMEOUT,
            Self::Udp(..) | Self::Unix(..) => DATAGRAM_TIMEOUT,
        }
    }

    fn peer<'a>(&self, communicator: &'a Communicator) -> Box<dyn Peer + 'a> {
        match self {
            Self::Stream(id) => Box::new(Link::new(communicator, *id)),
            Self::Packets(id) => Box::new(Link::new(communicator, *id)),
            Self::Udp(id, to) => Box::new(DatagramMessages::new().link(communicator, *id, *to)),
            Self::Unix(id, to) => Box::new(DatagramMessages::new().link(communicator, *id, to.clone())),
        }
    }
}

/// What somebody wants to be put into the cart.
#[derive(Clone)]
struct Order {
    item: String,
    /// Who asked, and what the answer has to repeat.
    client: Option<Id<Messages>>,
    request: Message,
}

impl Order {
    fn answer(&self, news: Builder, call: &mut Call<'_, Cart>) -> HandlerResult {
        if let Some(client) = self.client {
            let news = news.answer_to(self.request.view()).finish()?;
            // Who has gone meanwhile needs no answer.
            let _ = call.send(client, news.view());
        }
        Ok(())
    }
}

#[derive(Default)]
struct Cart {
    store: Option<Store>,
    /// Orders that the store has not answered yet.
    waiting: usize,
}

impl Cart {
    /// `PUT item=…`: answers `IN_CART` when the store has counted it.
    fn put(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let Ok(item) = message.text("item") else {
            return call.answer(message, Message::build("FAILED").with("why", "PUT has an item"));
        };
        let client = call.peer().stream();
        self.ask(Order { item: item.into_owned(), client, request: message.to_message() }, call)
    }

    /// Asks the store. What is asked while it is away leaves when it is there again.
    fn ask(&mut self, order: Order, call: &mut Call<'_, Self>) -> HandlerResult {
        let refused = |why: &str| Message::build("FAILED").with("why", why);
        let Some(store) = self.store.clone().filter(|_| self.waiting < ORDERS_MAX) else {
            return order.answer(refused("too much waits for the store"), call);
        };
        let add = Message::build("ADD").with("name", &order.item).with("count", 1).finish()?;
        let asked = order.clone();
        let request = Request::new(add, move |cart: &mut Cart, answer, call| {
            cart.waiting -= 1;
            cart.answered(&asked, answer, call)
        });
        let peer = store.peer(call.communicator());
        match call.request_to(&*peer, request.timeout(store.timeout())) {
            Ok(()) => self.waiting += 1,
            Err(why) => order.answer(refused(&why.to_string()), call)?,
        }
        Ok(())
    }

    /// The store has answered, or is gone: then nobody knows whether it has counted, and it is asked again.
    fn answered(&mut self, order: &Order, answer: Answer<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        match answer {
            Ok(answer) if answer.command() == "COUNT" => {
                let count = answer.value::<u64>("count")?;
                let news = Message::build("IN_CART").with("item", &order.item).with("count", count);
                order.answer(news, call)
            }
            Ok(_) => order.answer(Message::build("FAILED").with("why", "the store does not want it"), call),
            Err(why) => {
                eprintln!("{}: {why}: asks again", order.item);
                self.ask(order.clone(), call)
            }
        }
    }

    fn is_store(&self, key: Key) -> bool {
        self.store.as_ref().is_some_and(|store| store.key() == key)
    }
}

impl Hooks for Cart {
    fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        if self.is_store(call.key()) {
            println!("connected");
        }
        Ok(())
    }

    fn lost(&mut self, why: &Closed, _: &mut Call<'_, Self>) -> HandlerResult {
        eprintln!("the store is away: {why}");
        Ok(())
    }

    fn undelivered(&mut self, to: Recipient<'_>, error: &io::Error, _: &mut Call<'_, Self>) {
        eprintln!("the store is away: {to}: {error}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (path, store, roots) = match &arguments[..] {
        [path, store] => (path, store, None),
        [path, store, roots] => (path, store, Some(roots)),
        _ => return Err(USAGE.into()),
    };

    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("PUT", Cart::put)?;
    let service = Service::new(Cart::default(), dispatcher).shared();

    let communicator = communicator();
    let clients = Rc::clone(&service);
    communicator.listen_unix(path, move |client| {
        client.serve(Messages::new(), Rc::clone(&clients))?;
        Ok(())
    })?;
    println!("listening on {path}");
    let store = Store::reach(&communicator, &service, path, store, roots)?;
    service.borrow_mut().state.store = Some(store);
    communicator.run()?;
    Ok(())
}
