//! What a connection costs: memory of an idle one of each kind, and time of an event beside many others.
//!
//! `cargo bench --bench connections`; `--test` takes few. Each kind is measured in a process of its own, so that none finds memory that
//! another one has left. The kernel's share (socket buffers, poll) is not in it.

use eventdispatcher::alarm::When;
use eventdispatcher::codec::Lines;
use eventdispatcher::{
    Communicator, Fd, Handler, Reconnect, ToUnix, Transport, UdpBind, UdpPackets, UnixBind, UnixPackets,
    on_item, pipe, tcp_stream, unix_pair, unix_stream,
};
use nix::time::{ClockId, clock_gettime};
use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Adds one connection, and gives back what must stay as long as it does.
type Add = fn(&Communicator, usize) -> Result<Box<dyn Any>>;

const KINDS: &[(&str, Add)] = &[
    ("timer of a connection", |communicator, _| {
        // The first one makes the connection.
        thread_local! { static ID: Cell<Option<eventdispatcher::Key>> = const { Cell::new(None) }; }
        let key = match ID.get() {
            Some(key) => key,
            None => communicator.alarm(When::Never, |_, _| ())?.key(),
        };
        ID.set(Some(key));
        Ok(Box::new(communicator.timer(key, HOUR, 0)))
    }),
    ("timer with a closure", |communicator, at| {
        Ok(Box::new(communicator.after(HOUR, move |_| assert!(at > 0))))
    }),
    ("alarm", |communicator, _| Ok(Box::new(communicator.alarm(When::After(HOUR), |_, _| ())?.key()))),
    ("Unix stream", |communicator, _| {
        let (ours, theirs) = UnixStream::pair()?;
        stream(communicator, unix_stream(ours)?, theirs)
    }),
    ("TCP stream", |communicator, _| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let ours = TcpStream::connect(listener.local_addr()?)?;
        let theirs = listener.accept()?.0;
        stream(communicator, tcp_stream(ours)?, theirs)
    }),
    ("pipe", |communicator, _| {
        let (reader, writer) = std::io::pipe()?;
        stream(communicator, Fd::new(reader)?, writer)
    }),
    ("writing end of a pipe", |communicator, _| {
        let (reader, writer) = pipe()?;
        stream(communicator, writer, reader)
    }),
    ("UDP socket", |communicator, _| {
        let socket = UdpBind::new("127.0.0.1:0".parse()?).bind()?;
        Ok(Box::new(communicator.datagrams(socket, on_item::<UdpPackets, _>(|_, _| Ok(())))?))
    }),
    ("Unix datagram socket", |communicator, _| {
        let socket = UnixBind::automatic().bind_datagrams()?;
        Ok(Box::new(communicator.datagrams(socket, on_item::<UnixPackets, _>(|_, _| Ok(())))?))
    }),
    ("permanent connection that waits", |communicator, _| {
        let again = Reconnect::new("3600".parse()?);
        let id = communicator.permanent(ToUnix::new("/nowhere/at/all"), again, Lines::new, handler());
        Ok(Box::new(id))
    }),
    ("channel to a thread", |communicator, _| Ok(Box::new(communicator.channel::<u64, u64>(16, |_, _| ())?))),
    #[cfg(feature = "tls")]
    ("TLS pair over Unix streams: two connections", |communicator, _| tls(communicator)),
];

const HOUR: Duration = Duration::from_secs(3600);
/// So many of a kind; each may have two descriptors.
const MANY: usize = 4000;
/// More no kind should take, in bytes.
const MOST: usize = 32 << 10;
/// So many are ready in each turn, if there are as many.
const READY: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("connections: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, count] = &arguments[..]
        && let Some((_, add)) = KINDS.iter().find(|(name, _)| name == kind)
    {
        println!("{}", memory(*add, count.parse()?)?);
        return Ok(());
    }
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let (many, turns) = if is_test { (20, 3) } else { (MANY, 2000) };
    println!("| idle connection | bytes |\n| --- | ---: |");
    for (name, _) in KINDS {
        let output = Command::new(std::env::current_exe()?).arg(name).arg(many.to_string()).output()?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let bytes: usize = String::from_utf8(output.stdout)?.trim().parse()?;
        println!("| {name} | {bytes} |");
        if bytes > MOST {
            return Err(
                format!("{name}: more than {MOST} bytes, so it keeps a buffer while it is idle").into()
            );
        }
    }
    println!("\n| connections | ready in a turn | ns for each |\n| ---: | ---: | ---: |");
    for count in [1, 100, 10_000, if is_test { 20_000 } else { 100_000 }] {
        let mut each: Vec<f64> = (0..5).map(|_| event(count, turns)).collect::<Result<_>>()?;
        each.sort_by(f64::total_cmp);
        println!("| {count} | {} | {:.0} |", READY.min(count), each[2]);
    }
    Ok(())
}

fn handler() -> impl Handler<Lines> {
    on_item::<Lines, _>(|_, _| Ok(()))
}

fn stream(communicator: &Communicator, ours: impl Transport, theirs: impl Any) -> Result<Box<dyn Any>> {
    let id = communicator.stream(ours, Lines::new(), handler())?;
    Ok(Box::new((id, theirs)))
}

#[cfg(feature = "tls")]
fn tls(communicator: &Communicator) -> Result<Box<dyn Any>> {
    use eventdispatcher::tls::{Tls, TlsClient, TlsServer};
    thread_local! {
        static CONFIGURED: (TlsServer, TlsClient) = {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let key = made.signing_key.serialize_pem();
            let server = TlsServer::builder().certificate_pem(made.cert.pem(), key).build();
            let client = TlsClient::builder().roots_pem(made.cert.pem()).build();
            (server.expect("a server"), client.expect("a client"))
        };
    }
    let (ours, theirs) = unix_pair()?;
    let (near, far) = CONFIGURED.with(|(server, client)| -> Result<_> {
        Ok((Tls::server(ours, server)?, Tls::client(theirs, "localhost", client)?))
    })?;
    let near = communicator.stream(near, Lines::new(), handler())?;
    let far = communicator.stream(far, Lines::new(), handler())?;
    let is_open =
        |id| communicator.connection(id).is_some_and(|info| info.state == eventdispatcher::State::Open);
    while !(is_open(near) && is_open(far)) {
        communicator.turn(Some(Duration::from_secs(10)))?;
    }
    Ok(Box::new((near, far)))
}

/// The memory that each of so many takes, in bytes.
fn memory(add: Add, count: usize) -> Result<usize> {
    raise_limit()?;
    let communicator = Communicator::new()?;
    let mut kept = Vec::with_capacity(2 * count);
    // What is there once comes with the first ones.
    for at in 0..count / 10 + 1 {
        kept.push(add(&communicator, at)?);
    }
    settle(&communicator)?;
    let before = resident()?;
    for at in 0..count {
        kept.push(add(&communicator, count + at)?);
    }
    settle(&communicator)?;
    Ok(resident()?.saturating_sub(before) / count)
}

fn settle(communicator: &Communicator) -> Result<()> {
    for _ in 0..10 {
        communicator.turn(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// In bytes.
fn resident() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss in smaps_rollup")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}

fn raise_limit() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// The time of the thread for each byte that comes, on one of so many connections: those without a descriptor are idle.
fn event(count: usize, turns: usize) -> Result<f64> {
    let communicator = Communicator::new()?;
    let (ready, come) = (READY.min(count), Rc::new(Cell::new(0)));
    let mut writers = Vec::new();
    for at in 0..count {
        if writers.len() < ready && at % (count / ready) == 0 {
            let (writer, reader) = UnixStream::pair()?;
            let come = come.clone();
            let count = on_item::<eventdispatcher::codec::Raw, _>(move |_, _| {
                come.set(come.get() + 1);
                Ok(())
            });
            communicator.stream(unix_stream(reader)?, eventdispatcher::codec::Raw, count)?;
            writers.push(writer);
        } else {
            communicator.alarm(When::After(HOUR), |_, _| ())?;
        }
    }
    settle(&communicator)?;
    let mut spent = Duration::ZERO;
    for _ in 0..turns {
        for writer in &mut writers {
            writer.write_all(b"x")?;
        }
        let begin = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        communicator.turn(Some(Duration::ZERO))?;
        spent += Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?) - Duration::from(begin);
    }
    let (come, sent) = (come.get(), turns * ready);
    if come != sent {
        return Err(format!("{come} of {sent} have come").into());
    }
    Ok(spent.as_nanos() as f64 / sent as f64)
}
