//! A listener in a process that has no descriptor left. It is the only test of its process, as the limit is one of the
//! process.

mod bed;

use bed::{DEADLINE, until};
use eventdispatcher::codec::Lines;
use eventdispatcher::{Communicator, on_item};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

#[test]
fn clients_for_whom_there_is_no_descriptor_are_turned_away_and_later_ones_are_served() {
    let communicator = Communicator::new().unwrap();
    let listening = communicator
        .listen_tcp("127.0.0.1:0".parse().unwrap(), |client| {
            client.serve(Lines::new(), on_item::<Lines, _>(|line, cx| Ok(cx.reply(line)?)))?;
            Ok(())
        })
        .unwrap();
    let connect = || {
        let client = TcpStream::connect(listening.address()).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let mut clients: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free as u64 + 2, hard).unwrap();

    until(&communicator, || {
        // The first two are in: they are asked nothing and say nothing. All others see an end.
        clients[2..].iter_mut().all(|client| match client.read(&mut [0; 8]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        })
    });
    assert_eq!(communicator.len(), 1 + 2);
    assert!(File::open("/dev/null").is_err(), "the spare descriptor is there again");
    for client in &mut clients[..2] {
        assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"hello\n").unwrap();
        client.set_nonblocking(false).unwrap();
    }

    // As soon as there are descriptors again, clients are served again.
    clients.truncate(2);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let mut late = connect();
    late.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    until(&communicator, || late.read_exact(&mut answer).is_ok());
    assert_eq!(&answer, b"hello\n");
    for client in &mut clients {
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello\n");
    }
}
