//! `raw`: lines of the protocol, from a pipe and from a terminal.

use crate::program::{self, Running};
use crate::server::TestServer;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

#[test]
fn what_comes_after_the_login_is_printed_as_it_is() {
    let server = TestServer::start();
    for (stdin, stdout) in [
        ("", ""),
        ("STORE x=1\nRETRIEVE x\nRETRIEVE y\n", "RETRIEVED x=1\nNOTRETRIEVED y\n"),
        ("FLUSH a\r\nFLUSH b", "FLUSHED a\nFLUSHED b\n"),
        ("KEYLIST\n\n\n", "KEYLISTSTART\nKEY x\nKEYLISTEND\n"),
        ("FROB\n", "OVERHEAD E unknown_command FROB\n"),
        ("OVERHEAD GU hello\n", "OVERHEAD G hello\n"),
        ("FLUSH a\nQUIT\nFLUSH b\n", "FLUSHED a\n"),
    ] {
        assert_eq!(server.run_with(&["raw"], stdin.as_bytes()).success(), stdout, "{stdin:?}");
    }
    let mut as_reader = server.clacks_as("reader", &["raw"]);
    let done = program::run(&mut as_reader, b"STORE x=2\nRETRIEVE x\n");
    assert_eq!(done.success(), "OVERHEAD E permission_denied\nRETRIEVED x=1\n");
}

#[test]
fn bytes_that_are_no_text_pass() {
    let server = TestServer::start();
    let done = server.run_with(&["raw"], b"STORE x=\xff\x00\rz\nRETRIEVE x\n");
    assert_eq!((done.code(), &*done.stdout), (Some(0), &b"RETRIEVED x=\xff\x00z\n"[..]));
}

#[test]
fn answers_come_while_input_is_still_open() {
    let server = TestServer::start();
    let mut raw = Running::start(server.clacks(&["raw"]).stdin(Stdio::piped()));
    raw.stdin().write_all(b"LISTEN x\nFLUSH 1\n").unwrap();
    assert_eq!(raw.line(), "FLUSHED 1");
    server.client().set(b"x", b"hello").unwrap();
    assert_eq!(raw.line(), "SET x=hello");
    assert_eq!(raw.done().success(), "");
}

#[test]
fn more_than_all_buffers_hold_gets_through() {
    const LINES: usize = 200_000;
    let server = TestServer::start();
    let mut raw = Running::start(server.clacks(&["raw"]).stdin(Stdio::piped()));
    let mut stdin = raw.take_stdin();
    let writer = thread::spawn(move || {
        for line in 0..LINES {
            stdin.write_all(format!("STORE x={line:0100}\n").as_bytes())?;
            if line % 10 == 0 {
                stdin.write_all(format!("FLUSH {line}\n").as_bytes())?;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    for line in (0..LINES).step_by(10) {
        assert_eq!(raw.line(), format!("FLUSHED {line}"));
    }
    writer.join().unwrap().expect("all is read");
    assert_eq!(raw.done().success(), "");
}

#[test]
fn the_end_of_the_connection_is_told() {
    let mut server = TestServer::start();
    let mut monitor = server.monitor();
    let start = |server: &TestServer| Running::start(server.clacks(&["raw"]).stdin(Stdio::piped()));
    let mut raw = start(&server);
    raw.stdin().write_all(b"FLUSH up\n").unwrap();
    let cid = monitor.wait_for("FLUSH up");
    assert_eq!(raw.line(), "FLUSHED up");
    assert_eq!(server.run(&["disconnect", &cid]).success(), "");
    assert_eq!(raw.line(), "QUIT");
    raw.done().failure(3, "clacks: the server ended the connection\n");

    let wrong = program::run(server.clacks(&["raw"]).env("CLACKS_PASSWORD", "wrong"), b"FLUSH 1\n");
    wrong.failure(1, "clacks: login failed: the server does not know this user and password\n");

    let mut raw = start(&server);
    raw.stdin().write_all(b"FLUSH up\n").unwrap();
    assert_eq!(raw.line(), "FLUSHED up");
    server.kill();
    raw.done().failure(3, "clacks: disconnected: ended by the other side\n");
}

#[test]
fn a_line_that_is_too_long_is_told() {
    let server = TestServer::start();
    let done = server.run_with(&["raw"], &vec![b'x'; (16 << 20) + 100]);
    done.failure(2, "clacks: a line is longer than a line may be: 16777216 bytes\n");
}

/// A terminal, as the program sees it and as the person in front of it does.
struct Terminal {
    program: OwnedFd,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn new() -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("there are terminals");
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (shows, shown) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once nobody has the other end.
            while let Ok(count) = screen.read(&mut bytes)
                && count > 0
                && shows.send(bytes[..count].to_vec()).is_ok()
            {}
        });
        Self { program: slave, keyboard, screen: shown, shown: String::new() }
    }

    fn start(&self, command: &mut Command) -> Running {
        let end = || Stdio::from(self.program.try_clone().unwrap());
        Running::start(command.env("TERM", "xterm").stdin(end()).stdout(end()))
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, behind what was waited for before.
    fn shows(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(Duration::from_secs(20)) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{text:?} is not shown: {error}, but {:?}", self.shown),
            }
        }
    }

    /// Whether it shows what is typed and hands it on line by line, as terminals do when nobody has changed it.
    fn is_itself(&self) -> bool {
        let flags = tcgetattr(&self.program).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }
}

#[test]
fn in_a_terminal_there_is_a_prompt_with_what_the_server_sends_above_it() {
    let server = TestServer::start();
    let mut terminal = Terminal::new();
    let raw = terminal.start(&mut server.clacks(&["raw"]));
    terminal.shows("clacks> ");
    assert!(!terminal.is_itself(), "lines are edited");
    // Typed wrong, and corrected with Backspace and Ctrl-A.
    terminal.types("ISTEN y\u{7f}x\u{1}L\r");
    terminal.types("FLUSH 1\r");
    terminal.shows("FLUSHED 1");
    terminal.shows("clacks> ");
    terminal.types("FLU");
    terminal.shows("FLU");
    server.client().set(b"x", b"\x1b[2Jhello").unwrap();
    terminal.shows("SET x=\\x1b[2Jhello");
    terminal.shows("clacks> FLU");
    terminal.types("SH 2\r");
    terminal.shows("FLUSHED 2");
    terminal.shows("clacks> ");
    // The line before the last.
    terminal.types("\x1b[A\x1b[A\r");
    terminal.shows("FLUSHED 1");
    terminal.shows("clacks> ");
    terminal.types("\u{4}");
    let done = raw.done();
    assert_eq!((done.code(), &*done.stderr), (Some(0), ""), "{done:?}");
    assert!(terminal.is_itself());
}

#[test]
fn many_lines_may_be_pasted() {
    let server = TestServer::start();
    let mut terminal = Terminal::new();
    let raw = terminal.start(&mut server.clacks(&["raw"]));
    terminal.shows("clacks> ");
    terminal.types("FLUSH 1\rFLUSH 2\rFLUSH 3\rFLUSH 4\rhalf");
    terminal.shows("FLUSHED 4");
    terminal.shows("clacks> ");
    terminal.types("\u{3}");
    assert_eq!(raw.done().code(), Some(0));
}

#[test]
fn a_terminal_is_put_back_when_the_connection_is_lost() {
    let mut server = TestServer::start();
    let mut terminal = Terminal::new();
    let raw = terminal.start(&mut server.clacks(&["raw"]));
    terminal.shows("clacks> ");
    terminal.types("half a li");
    terminal.shows("half a li");
    server.kill();
    let done = raw.done();
    assert_eq!(done.code(), Some(3));
    assert!(done.stderr.starts_with("clacks: disconnected: "), "{done:?}");
    assert!(terminal.is_itself());
}

#[test]
fn ctrl_c_ends_the_prompt() {
    let server = TestServer::start();
    let mut terminal = Terminal::new();
    let raw = terminal.start(&mut server.clacks(&["raw"]));
    terminal.shows("clacks> ");
    terminal.types("half a li\u{3}");
    assert_eq!(raw.done().code(), Some(0));
    assert!(terminal.is_itself());
}

#[test]
fn a_table_is_for_people() {
    let server = TestServer::start();
    let mut terminal = Terminal::new();
    let clients = terminal.start(&mut server.clacks(&["clients"]));
    terminal.shows("CID ");
    terminal.shows("LAST PING");
    terminal.shows("clacks ");
    terminal.shows("0 s ago");
    assert_eq!(clients.done().code(), Some(0));
}
