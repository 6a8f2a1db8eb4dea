//! A service that asks another one, the store, and stays when that restarts: it connects again, and asks again for whatever
//! was not answered.
//!
//! ```sh
//! cargo run --example message_cart -- /tmp/cart.sock /tmp/store.sock
//! ed-signal --host /tmp/cart.sock --reply PUT item=apples
//! ```

use eventdispatcher::connections::messages::{Answer, Call, Dispatcher, Hooks, Request, Service};
use eventdispatcher::dispatcher::{Message, MessageRef, Messages};
use eventdispatcher::tls::TlsClient;
use eventdispatcher::{Closed, Communicator, HandlerResult, Id, communicator};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Between two attempts to reach the store.
const PAUSE: Duration = Duration::from_millis(100);
/// So many orders wait for the store.
const ORDERS_MAX: usize = 1000;

type Shared = RefCell<Service<Cart>>;

/// Where the store is.
#[derive(Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
    Tls(SocketAddr, TlsClient),
}

impl Address {
    fn connect(self, communicator: &Communicator, service: Rc<Shared>) -> io::Result<Id<Messages>> {
        match self {
            Self::Unix(path) => communicator.connect_unix(path, Messages::new(), service),
            Self::Tcp(address) => communicator.connect_tcp(address, Messages::new(), service),
            Self::Tls(address, client) => {
                let name = address.ip().to_string();
                communicator.connect_tls(address, &name, &client, Messages::new(), service)
            }
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

struct Cart {
    address: Address,
    /// The connection to the store, while there is one.
    store: Option<Id<Messages>>,
    /// Not asked for yet, for want of a store.
    orders: VecDeque<Order>,
    own: Weak<Shared>,
}

impl Cart {
    /// `PUT item=…`: answers `IN_CART` when the store has counted it.
    fn put(&mut self, message: MessageRef<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let Ok(item) = message.text("item") else {
            return call.answer(message, Message::build("FAILED").with("why", "PUT has an item"));
        };
        if self.orders.len() >= ORDERS_MAX {
            return call.answer(message, Message::build("FAILED").with("why", "the store is away"));
        }
        let client = call.peer().stream();
        self.orders.push_back(Order { item: item.into_owned(), client, request: message.to_message() });
        self.ask(call)
    }

    /// Asks the store for what waits, if it is there.
    fn ask(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        let Some(store) = self.store else { return Ok(()) };
        while let Some(order) = self.orders.pop_front() {
            let add = Message::build("ADD").with("name", &order.item).with("count", 1).finish()?;
            let asked = order.clone();
            let request =
                Request::new(add, move |cart: &mut Cart, answer, call| cart.answered(asked, answer, call));
            if let Err(error) = call.request_through(store, request) {
                eprintln!("{}: {error}: asks again", order.item);
                self.orders.push_front(order);
                break;
            }
        }
        Ok(())
    }

    /// The store has answered, or is gone: then nobody knows whether it has counted, and it is asked again.
    fn answered(&mut self, order: Order, answer: Answer<'_>, call: &mut Call<'_, Self>) -> HandlerResult {
        let news = match answer {
            Ok(answer) if answer.command() == "COUNT" => Message::build("IN_CART")
                .with("item", &order.item)
                .with("count", answer.value::<u64>("count")?),
            Ok(_) => Message::build("FAILED").with("why", "the store does not want it"),
            Err(why) => {
                eprintln!("{}: {why}: asks again", order.item);
                self.orders.push_back(order);
                return Ok(());
            }
        };
        if let Some(client) = order.client {
            let news = news.answer_to(order.request.view()).finish()?;
            // Who has gone meanwhile needs no answer.
            let _ = call.send(client, news.view());
        }
        Ok(())
    }

    fn connect_later(&self, communicator: &Communicator) {
        let own = self.own.clone();
        communicator.after(PAUSE, move |communicator| {
            if let Some(own) = own.upgrade() {
                connect(communicator, &own);
            }
        });
    }
}

impl Hooks for Cart {
    fn connected(&mut self, call: &mut Call<'_, Self>) -> HandlerResult {
        if self.store.is_some_and(|store| store.key() == call.key()) {
            println!("connected");
            self.ask(call)?;
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, call: &mut Call<'_, Self>) {
        if self.store.is_some_and(|store| store.key() == call.key()) {
            eprintln!("the store is away: {why}");
            self.store = None;
            self.connect_later(call.communicator());
        }
    }
}

/// Connects to the store; if that fails, again later.
fn connect(communicator: &Communicator, service: &Rc<Shared>) {
    let address = service.borrow().state.address.clone();
    let connected = address.connect(communicator, Rc::clone(service));
    let cart = &mut service.borrow_mut().state;
    match connected {
        Ok(id) => cart.store = Some(id),
        Err(_) => cart.connect_later(communicator),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (path, address) = match &arguments[..] {
        [path, store] if store.contains('/') => (path, Address::Unix(store.into())),
        [path, store] => (path, Address::Tcp(store.parse()?)),
        [path, store, roots] => {
            (path, Address::Tls(store.parse()?, TlsClient::builder().roots_file(roots).build()?))
        }
        _ => return Err("usage: message_cart SOCKET STORE-SOCKET|IP:PORT [TLS-ROOTS.pem]".into()),
    };

    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("PUT", Cart::put)?;
    let cart = Cart { address, store: None, orders: VecDeque::new(), own: Weak::new() };
    let service = Service::new(cart, dispatcher).shared();
    service.borrow_mut().state.own = Rc::downgrade(&service);

    let communicator = communicator();
    let clients = Rc::clone(&service);
    communicator.listen_unix(path, move |client| {
        client.serve(Messages::new(), Rc::clone(&clients))?;
        Ok(())
    })?;
    println!("listening on {path}");
    connect(&communicator, &service);
    communicator.run()?;
    Ok(())
}
