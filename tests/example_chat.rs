//! The example `chat`, as a user runs it.

#[path = "support/example.rs"]
mod example;
#[path = "support/program.rs"]
mod program;

use example::example;
use nix::sys::signal::Signal;
use program::{Running, command};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn what_one_says_all_others_read() {
    let mut chat = Running::start(&mut command(example("chat"), &["127.0.0.1:0"]));
    let address = chat.line();
    let mut guests: Vec<_> = (0..3)
        .map(|_| {
            let guest = TcpStream::connect(&address).unwrap();
            guest.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let name = guest.local_addr().unwrap();
            (name, BufReader::new(guest))
        })
        .collect();
    let say =
        |guest: &mut BufReader<TcpStream>, text: &str| guest.get_mut().write_all(text.as_bytes()).unwrap();
    let hear = |guest: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        guest.read_line(&mut line).unwrap();
        line
    };
    // All are accepted, in the order in which they came, before the last one is read.
    let last = guests[2].0;
    say(&mut guests[2].1, "hello\n");
    for n in [0, 1] {
        assert_eq!(hear(&mut guests[n].1), format!("{last}: hello\n"));
    }
    // Who is gone is missed by nobody, and who speaks does not hear himself.
    let (first, gone) = guests.remove(0);
    drop(gone);
    let second = guests[0].0;
    say(&mut guests[0].1, "who is there?\nnobody?\n");
    assert_eq!(hear(&mut guests[1].1), format!("{second}: who is there?\n"));
    assert_eq!(hear(&mut guests[1].1), format!("{second}: nobody?\n"));
    say(&mut guests[1].1, "me\n");
    assert_eq!(hear(&mut guests[0].1), format!("{last}: me\n"));
    assert_ne!(first, second);
    chat.signal(Signal::SIGTERM);
    for (_, guest) in &mut guests {
        let mut rest = String::new();
        guest.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
    drop(guests);
    assert_eq!(chat.done().success(), "");
}

#[test]
fn it_is_under_thirty_lines() {
    let text = include_str!("../examples/chat.rs");
    assert!(text.lines().count() < 30, "{} lines", text.lines().count());
}
