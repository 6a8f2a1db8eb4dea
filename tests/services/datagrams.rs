//! Services that talk in datagrams, over real sockets.

use eventdispatcher::connections::datagram::Address;
use eventdispatcher::connections::messages::{
    Answer, Call, DatagramMessages, Dispatcher, Hooks, MessageAddress, NoAnswer, Recipient, Request, Service,
};
use eventdispatcher::dispatcher::{DATAGRAM_MAX_UDP, Message, MessageRef};
use eventdispatcher::{
    Blocking, BlockingError, Communicator, HandlerResult, Id, Packets, Records, SendError, SeqPacket,
    UdpBind, UnixAddress, UnixBind, UnixDatagrams,
};
use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Notes {
    lines: Vec<String>,
}

impl Hooks for Notes {
    fn undelivered(&mut self, to: Recipient<'_>, error: &std::io::Error, call: &mut Call<'_, Self>) {
        assert!(call.communicator().is_alive(call.key()));
        self.lines.push(format!("not delivered to {to}: {:?}", error.kind()));
    }
}

impl Notes {
    fn note(&mut self, message: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.lines.push(String::from_utf8(message.to_text()?)?);
        Ok(())
    }

    fn fail(&mut self, _: MessageRef<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        Err("it can't be done".into())
    }

    fn answer(&mut self, answer: Answer<'_>, _: &mut Call<'_, Self>) -> HandlerResult {
        self.lines.push(match answer {
            Ok(message) => format!("answered {}", message.command()),
            Err(why) => format!("none: {why}"),
        });
        Ok(())
    }
}

type Shared = Rc<RefCell<Service<Notes>>>;

fn service() -> Shared {
    let mut dispatcher = Dispatcher::with_built_in();
    dispatcher.on("NOTE", Notes::note).unwrap();
    dispatcher.on("FAIL", Notes::fail).unwrap();
    Service::new(Notes::default(), dispatcher).shared()
}

fn until(communicator: &Communicator, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "it did not come: {:#?}", communicator.connections());
        communicator.turn(Some(Duration::from_millis(5))).unwrap();
    }
}

fn lines(service: &Shared) -> Vec<String> {
    service.borrow().state.lines.clone()
}

/// A service at a UDP socket, and a socket of the standard library that is connected to it.
struct Udp {
    communicator: Communicator,
    service: Shared,
    id: Id<Packets<SocketAddr>>,
    address: SocketAddr,
    client: UdpSocket,
}

impl Udp {
    fn new(messages: &DatagramMessages<SocketAddr>) -> Self {
        Self::at("127.0.0.1:0", messages)
    }

    fn at(bind: &str, messages: &DatagramMessages<SocketAddr>) -> Self {
        let (communicator, service) = (Communicator::new().unwrap(), service());
        let socket = UdpBind::new(bind.parse().unwrap()).bind().unwrap();
        let address = socket.local_address().unwrap();
        let id = communicator.datagrams(socket, messages.serve(Rc::clone(&service))).unwrap();
        let client = UdpSocket::bind(bind).unwrap();
        client.connect(address).unwrap(); // answers have to come from there
        Self { communicator, service, id, address, client }
    }

    fn send(&self, text: impl AsRef<[u8]>) {
        self.client.send(text.as_ref()).unwrap();
    }

    fn answer(&self) -> String {
        received(&self.communicator, |packet| {
            self.client.set_nonblocking(true).unwrap();
            self.client.recv(packet)
        })
    }

    fn ask(&self, text: &str) -> String {
        self.send(text);
        self.answer()
    }
}

/// Turns until a packet has come.
fn received(
    communicator: &Communicator,
    mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
) -> String {
    let mut packet = vec![0; 70_000];
    let mut length = None;
    until(communicator, || {
        length = receive(&mut packet).ok();
        length.is_some()
    });
    packet.truncate(length.unwrap());
    String::from_utf8(packet).unwrap()
}

#[test]
fn the_built_in_commands_are_answered_to_their_sender_from_the_same_socket() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let udp = Udp::at(bind, &DatagramMessages::new());
        assert_eq!(udp.ask("FOO a=1"), "UNKNOWN command=FOO");
        assert_eq!(udp.ask("<web:cart FOO"), "web:cart/UNKNOWN command=FOO");
        let alive = udp.ask("ALIVE serial=7;timestamp=1700000000.5");
        assert!(alive.starts_with("ABSOLUTELY reply_timestamp="), "{alive}");
        assert!(alive.ends_with(";serial=7;timestamp=1700000000.5"), "{alive}");
        assert!(udp.ask("HELP").starts_with("COMMANDS list=ABSOLUTELY,ALIVE,"));
        assert_eq!(udp.ask("ALIVE serial="), "INVALID command=ALIVE;message=serial is empty");
        assert!(udp.ask("{\"command\":\"FOO\"}\n").starts_with("UNKNOWN command=FOO"));
        udp.send("STOP");
        until(&udp.communicator, || udp.communicator.is_empty());
    }
}

#[test]
fn whatever_a_packet_brings_the_socket_goes_on() {
    let udp = Udp::new(&DatagramMessages::new());
    for packet in [&b""[..], b"not a message", b"NOTE a=\xff;=", b"FAIL", b"{", b"bad:/X", &[0; 3000]] {
        udp.send(packet);
    }
    assert_eq!(udp.ask("FOO"), "UNKNOWN command=FOO");
    assert!(udp.communicator.is_alive(udp.id));
    assert!(udp.service.borrow().dispatcher.coverage().bad_lines() >= 5);
    // An answer that nobody takes is no reason to end, either.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
    gone.send_to(b"FOO", udp.address).unwrap();
    drop(gone);
    for _ in 0..3 {
        assert_eq!(udp.ask("FOO"), "UNKNOWN command=FOO");
    }
}

#[test]
fn a_message_that_was_cut_off_is_none_though_its_beginning_looks_like_one() {
    let (communicator, service) = (Communicator::new().unwrap(), service());
    let socket = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap().packet_max(20);
    let address = socket.local_address().unwrap();
    communicator.datagrams(socket, DatagramMessages::new().serve(Rc::clone(&service))).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"NOTE amount=100000000", address).unwrap();
    client.send_to(b"NOTE amount=10000000", address).unwrap();
    until(&communicator, || !lines(&service).is_empty());
    assert_eq!(lines(&service), ["NOTE amount=10000000"]);
    assert_eq!(service.borrow().dispatcher.coverage().bad_lines(), 1);
}

#[test]
fn only_who_knows_the_secret_is_heard_and_answers_carry_it() {
    // (own secret, message, taken)
    let cases = [
        ("", "NOTE", true),
        ("", "NOTE secret_code=s3", true),
        ("s3", "NOTE secret_code=s3", true),
        ("s3", "NOTE", false),
        ("s3", "NOTE secret_code=", false),
        ("s3", "NOTE secret_code=s", false),
        ("s3", "NOTE secret_code=s33", false),
        ("s3", "{\"command\":\"NOTE\",\"parameters\":{\"secret_code\":\"s3\"}}", true),
    ];
    for (secret, message, taken) in cases {
        let udp = Udp::new(&DatagramMessages::new().secret(secret));
        udp.send(message);
        // One more shows that the first one is through.
        let code = if secret.is_empty() { String::new() } else { format!("secret_code={secret}") };
        let answer = udp.ask(format!("FOO {code}").trim_end());
        let end = if secret.is_empty() { String::new() } else { format!(";{code}") };
        assert_eq!(answer, format!("UNKNOWN command=FOO{end}"));
        assert_eq!(lines(&udp.service).len(), usize::from(taken), "{secret:?} {message}");
    }
}

#[test]
fn a_message_says_where_it_is_answered_and_that_works() {
    let messages = DatagramMessages::new();
    let (one, other) = (Udp::new(&messages), service());
    let socket = UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    let address = socket.local_address().unwrap();
    let id = one.communicator.datagrams(socket, messages.serve(Rc::clone(&other))).unwrap();
    let link = messages.link(&one.communicator, id, one.address);
    let note = Message::new("NOTE").unwrap();
    other.borrow_mut().dispatcher.send(&link, note.view()).unwrap();
    until(&one.communicator, || !lines(&one.service).is_empty());
    assert_eq!(lines(&one.service), [format!("NOTE reply_to={address}")]);

    // Who sends from another port than it listens at, as services of the C++ library do, is answered where it listens.
    let listens = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = listens.local_addr().unwrap();
    one.send(format!("FOO reply_to={at}"));
    let answer = received(&one.communicator, |packet| {
        listens.set_nonblocking(true).unwrap();
        listens.recv(packet)
    });
    assert_eq!(answer, "UNKNOWN command=FOO");
    // But not another computer.
    assert_eq!(one.ask("BAR reply_to=192.0.2.1:9"), "UNKNOWN command=BAR");
}

#[test]
fn what_is_said_in_reply_to_can_be_chosen_and_never_makes_a_message_too_long() {
    let udp = Udp::new(&DatagramMessages::new());
    let to = udp.client.local_addr().unwrap();
    let check = |messages: &DatagramMessages<SocketAddr>, text: &str, expected: &str| {
        let message = Message::try_from(text.as_bytes()).unwrap();
        let link = messages.link(&udp.communicator, udp.id, to);
        udp.service.borrow_mut().dispatcher.send(&link, message.view()).unwrap();
        assert_eq!(udp.answer(), expected);
    };
    let (own, messages) = (udp.address, DatagramMessages::new());
    check(&messages, "X a=1", &format!("X a=1;reply_to={own}"));
    check(&messages, "X reply_to=mine", "X reply_to=mine");
    check(&messages.clone().reply_to(None), "X", "X");
    let other = "127.0.0.1:9".parse().unwrap();
    check(&messages.clone().reply_to(Some(other)), "X", "X reply_to=127.0.0.1:9");
    check(&messages.clone().secret("s"), "X", &format!("X reply_to={own};secret_code=s"));
    let long = format!("X a={}", "x".repeat(DATAGRAM_MAX_UDP - 4));
    check(&messages, &long, &long);
    let longer = Message::try_from(format!("{long}x").as_bytes()).unwrap();
    let refused = |messages: &DatagramMessages<SocketAddr>, message: &Message| {
        let link = messages.link(&udp.communicator, udp.id, to);
        let sent = udp.service.borrow_mut().dispatcher.send(&link, message.view());
        assert!(matches!(sent, Err(SendError::Encode(_))), "{sent:?}");
    };
    refused(&messages, &longer);
    refused(&messages.clone().secret("s"), &Message::try_from(long.as_bytes()).unwrap());
    let wide = messages.message_max(60_000);
    check(&wide, &format!("{long}x"), &format!("{long}x;reply_to={own}"));
}

/// Asks a service that answers, one that does not know the command, and nobody.
fn check_requests<A: MessageAddress + Address>(
    make: impl Fn() -> eventdispatcher::connections::datagram::Datagrams<A>,
    messages: &DatagramMessages<A>,
) {
    let communicator = Communicator::new().unwrap();
    let (asks, answers) = (service(), service());
    let socket = make();
    let address = socket.local_address().unwrap();
    communicator.datagrams(socket, messages.serve(Rc::clone(&answers))).unwrap();
    let socket = make();
    let id = communicator.datagrams(socket, messages.serve(Rc::clone(&asks))).unwrap();
    let mute = make();
    let nobody = mute.local_address().unwrap();
    let request = |command: &str, to: &A| {
        let request = Request::new(Message::new(command).unwrap(), Notes::answer);
        let link = messages.link(&communicator, id, to.clone());
        asks.borrow_mut().dispatcher.request(&link, request.timeout(Duration::from_millis(500))).unwrap();
    };
    request("ALIVE", &address);
    request("MADE_UP", &address);
    until(&communicator, || lines(&asks).len() == 2);
    request("ALIVE", &nobody);
    until(&communicator, || lines(&asks).len() == 3);
    let expected = [
        "answered ABSOLUTELY".to_owned(),
        format!("none: {}", NoAnswer::Unknown),
        format!("none: {}", NoAnswer::TimedOut),
    ];
    assert_eq!(lines(&asks), expected);
    communicator.close(id);
    until(&communicator, || !communicator.is_alive(id));
    drop(mute);
}

#[test]
fn requests_are_answered_or_time_out() {
    let udp = || UdpBind::new("127.0.0.1:0".parse().unwrap()).bind().unwrap();
    check_requests(udp, &DatagramMessages::new().secret("s3"));
    check_requests(|| UnixBind::automatic().bind_datagrams().unwrap(), &DatagramMessages::new());
    let folder = tempfile::tempdir().unwrap();
    let number = RefCell::new(0);
    let files = || {
        *number.borrow_mut() += 1;
        UnixBind::new(folder.path().join(number.borrow().to_string())).bind_datagrams().unwrap()
    };
    check_requests(files, &DatagramMessages::new().secret("s3"));
}

#[test]
fn an_answer_that_is_too_long_is_said_to_be() {
    let udp = Udp::new(&DatagramMessages::new());
    for number in 0..200 {
        udp.service.borrow_mut().dispatcher.on(&format!("COMMAND_{number}"), Notes::note).unwrap();
    }
    let expected = "me/INVALID command=HELP;message=the answer has more than 1024 bytes;serial=7";
    assert_eq!(udp.ask("<:me HELP serial=7"), expected);
    let long = "1".repeat(1000);
    let expected = "INVALID command=ALIVE;message=the answer has more than 1024 bytes";
    assert_eq!(udp.ask(&format!("ALIVE serial={long}")), expected);
    // Of a request that can be answered the answer can be written.
    assert_eq!(udp.ask("FOO serial=7\0;a="), "UNKNOWN command=FOO");
}

#[test]
fn who_was_not_asked_can_t_answer_without_the_serial() {
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let messages = DatagramMessages::new();
    let world = Udp::new(&messages);
    let (asked, other, of_another_host) = (udp(), udp(), UdpSocket::bind("127.0.0.2:0").unwrap());
    let ask = |socket: &UdpSocket, command: &str| {
        let request = Request::new(Message::new(command).unwrap(), Notes::answer).answered_by("GOT");
        let link = messages.link(&world.communicator, world.id, socket.local_addr().unwrap());
        world.service.borrow_mut().dispatcher.request(&link, request.timeout(DEADLINE * 10)).unwrap();
    };
    let tell = |socket: &UdpSocket, texts: &[&str]| {
        for text in texts.iter().chain(&["NOTE end="]) {
            socket.send_to(text.as_bytes(), world.address).unwrap();
        }
        until(&world.communicator, || lines(&world.service).last().is_some_and(|line| line == "NOTE end="));
        let mut lines = std::mem::take(&mut world.service.borrow_mut().state.lines);
        lines.truncate(lines.len() - 1);
        lines
    };
    ask(&asked, "GET");
    ask(&other, "GET");
    assert_eq!(tell(&of_another_host, &["UNKNOWN command=GET", "GOT"]), [""; 0]);
    // Of the two, the one who was asked; not the older request.
    assert_eq!(tell(&other, &["UNKNOWN command=GET"]), [format!("none: {}", NoAnswer::Unknown)]);
    assert_eq!(world.service.borrow().dispatcher.requests(), 1);
    // From another port of the same computer, as services of the C++ library answer.
    assert_eq!(tell(&other, &["GOT"]), ["answered GOT"]);
    assert_eq!(world.service.borrow().dispatcher.requests(), 0);
}

#[test]
fn a_unix_socket_takes_64_kib_and_answers_whoever_can_be_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (communicator, service) = (Communicator::new().unwrap(), service());
    let path = folder.path().join("service");
    let socket = UnixBind::new(&path).mode(0o600).bind_datagrams().unwrap();
    let messages = DatagramMessages::new();
    let id = communicator.datagrams(socket, messages.serve(Rc::clone(&service))).unwrap();
    let named = UnixDatagram::bind(folder.path().join("client")).unwrap();
    named.set_nonblocking(true).unwrap();
    let answer = || received(&communicator, |packet| named.recv(packet));
    named.send_to(b"FOO", &path).unwrap();
    assert_eq!(answer(), "UNKNOWN command=FOO");
    let long = format!("NOTE a={}", "x".repeat(65_536 - 7));
    named.send_to(long.as_bytes(), &path).unwrap();
    until(&communicator, || lines(&service) == [long.clone()]);

    let unnamed = UnixDatagram::unbound().unwrap();
    // Nobody gets the answer, and that is no failure.
    unnamed.send_to(b"FOO", &path).unwrap();
    unnamed.send_to(b"NOTE a=1", &path).unwrap();
    until(&communicator, || lines(&service).len() > 1);
    communicator.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(lines(&service), [&*long, "NOTE a=1"]);
    let own = folder.path().join("client").display().to_string();
    unnamed.send_to(format!("BAR reply_to={own}").as_bytes(), &path).unwrap();
    assert_eq!(answer(), "UNKNOWN command=BAR");
    assert!(communicator.is_alive(id));

    // Sending as long a message works, too, and says where to answer when there is room.
    let to = UnixAddress::file(folder.path().join("client")).unwrap();
    let link = messages.link(&communicator, id, to);
    for (text, expected) in [(long.clone(), long), ("X".to_owned(), format!("X reply_to={}", path.display()))]
    {
        let message = Message::try_from(text.as_bytes()).unwrap();
        service.borrow_mut().dispatcher.send(&link, message.view()).unwrap();
        assert_eq!(answer(), expected);
    }
}

#[test]
fn a_broadcast_in_datagrams_reaches_whoever_is_there_and_tells_who_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (communicator, service) = (Communicator::new().unwrap(), service());
    let messages = DatagramMessages::new();
    let socket = UnixBind::new(folder.path().join("service")).bind_datagrams().unwrap();
    let id = communicator.datagrams(socket, messages.serve(Rc::clone(&service))).unwrap();
    let names = ["one", "nobody", "two"];
    let bind = |name| {
        let socket = UnixDatagram::bind(folder.path().join(name)).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let (one, two) = (bind("one"), bind("two"));
    let address = |name: &str| UnixAddress::file(folder.path().join(name)).unwrap();
    let message = Message::new("NEWS").unwrap();
    let refused = service
        .borrow_mut()
        .dispatcher
        .broadcast_to(names.map(|name| messages.link(&communicator, id, address(name))), message.view());
    assert!(refused.is_empty(), "{refused:?}");
    for socket in [&one, &two] {
        assert!(received(&communicator, |packet| socket.recv(packet)).starts_with("NEWS reply_to="));
    }
    until(&communicator, || lines(&service).len() == 1);
    assert_eq!(lines(&service), [format!("not delivered to {}: NotFound", address("nobody"))]);

    // Who does not take it is given back.
    communicator.remove(id);
    let links = [messages.link(&communicator, id, address("one"))];
    let refused = service.borrow_mut().dispatcher.broadcast_to(links, message.view());
    assert!(matches!(refused[..], [(_, SendError::Gone)]), "{refused:?}");
    assert_eq!(service.borrow().dispatcher.coverage().get("NEWS").sent, 3);
}

#[test]
fn one_service_has_connections_of_many_kinds() {
    let udp = Udp::new(&DatagramMessages::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dgram");
    let socket: UnixDatagrams = UnixBind::new(&path).bind_datagrams().unwrap();
    let handler = DatagramMessages::new().serve(Rc::clone(&udp.service));
    udp.communicator.datagrams(socket, handler).unwrap();
    let (ours, _theirs) = eventdispatcher::unix_pair().unwrap();
    let messages = eventdispatcher::dispatcher::Messages::new();
    udp.communicator.stream(ours, messages, Rc::clone(&udp.service)).unwrap();
    udp.send("NOTE from=udp");
    until(&udp.communicator, || lines(&udp.service).len() == 1);
    UnixDatagram::unbound().unwrap().send_to(b"NOTE from=unix", &path).unwrap();
    until(&udp.communicator, || lines(&udp.service).len() == 2);
    udp.send("STOP");
    until(&udp.communicator, || udp.communicator.is_empty());
    assert_eq!(lines(&udp.service), ["NOTE from=udp", "NOTE from=unix"]);
}

#[test]
fn a_packet_of_a_connection_is_a_message() {
    let (communicator, service) = (Communicator::new().unwrap(), service());
    let name = format!("service of {}", std::process::id());
    let bound = UnixBind::abstract_name(name).bind_seqpacket().unwrap();
    let address = bound.address().unwrap();
    let clients = Rc::clone(&service);
    communicator
        .listen(bound, move |client| {
            client.serve(Records::new(), Rc::clone(&clients))?;
            Ok(())
        })
        .unwrap();
    let thread = std::thread::spawn(move || {
        let mut client = Blocking::new(SeqPacket::connect(&address).unwrap(), Records::new()).unwrap();
        let mut ask = |text: &[u8]| {
            client.send(text, DEADLINE).unwrap();
            client.receive(DEADLINE, |bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap()
        };
        let first = ask(b"<web:cart FOO");
        let second = ask(b"ALIVE serial=9");
        client.send(b"STOP", DEADLINE).unwrap();
        let end = client.receive(DEADLINE, <[u8]>::len);
        assert!(matches!(end, Err(BlockingError::Closed)), "{end:?}");
        (first, second)
    });
    communicator.run().unwrap();
    let (first, second) = thread.join().unwrap();
    assert_eq!(first, "web:cart/UNKNOWN command=FOO");
    assert!(second.starts_with("ABSOLUTELY ") && second.ends_with(";serial=9"), "{second}");
}
