//! The example `presence` and its server, as processes, with browsers that are sockets.

#[path = "support/example.rs"]
mod example;
#[path = "support/program.rs"]
mod program;

use example::example;
use nix::sys::signal::Signal;
use program::{Running, command, run};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tempfile::TempDir;

/// What should come comes long before.
const DEADLINE: Duration = Duration::from_secs(30);
const PAGE: &str = "<p>{name} is {status}</p>";

/// A folder with the daemon's files.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let stage = Self(TempDir::new().unwrap());
        stage.write("page.html", PAGE);
        stage
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// The settings, for these accounts on a server, and more lines.
    fn settings(&self, server: &str, users: &[&str], more: &str) {
        let accounts: String = users.iter().map(|user| format!("account {user} {server}\n")).collect();
        let page = self.path("page.html");
        let text = format!("http 127.0.0.1:0 # any\ntemplate {page}\n\npauses 0.02\n{accounts}{more}\n");
        self.write("settings", &text);
    }

    /// The daemon, and where its pages are.
    fn daemon(&self) -> (Running, String) {
        let mut daemon = Running::start(&mut command(example("presence"), &[self.path("settings")]));
        let pages = expect(&mut daemon, "presence: pages on ");
        (daemon, pages)
    }
}

/// The server, and where it is.
fn server(address: &str, more: &[&str]) -> (Running, String) {
    let mut server = Running::start(command(example("presence_server"), &[address]).args(more));
    let address = expect(&mut server, "server: listening on ");
    (server, address)
}

/// Reads on to a line that begins so, and gives its rest.
#[track_caller]
fn expect(program: &mut Running, expected: &str) -> String {
    loop {
        if let Some(rest) = program.line().strip_prefix(expected) {
            return rest.to_owned();
        }
    }
}

/// One connection of a browser.
struct Browser(BufReader<TcpStream>);

impl Browser {
    fn new(pages: &str) -> Self {
        let stream = TcpStream::connect(pages).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n"));
    }

    /// The status and the page.
    fn answer(&mut self) -> (u16, String) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the answer is cut off");
            let line = line.trim_end();
            match (status, line.split_once(' ')) {
                (None, Some(("HTTP/1.1", rest))) => status = rest.get(..3).map(|code| code.parse().unwrap()),
                (Some(_), Some(("Content-Length:", text))) => length = text.parse().unwrap(),
                (Some(_), Some(_)) => {}
                (Some(status), None) if line.is_empty() => {
                    let mut page = vec![0; length];
                    self.0.read_exact(&mut page).unwrap();
                    return (status, String::from_utf8(page).unwrap());
                }
                other => panic!("{other:?}: {line}"),
            }
        }
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(path);
        self.answer()
    }

    /// Nothing more comes.
    fn ends(&mut self) {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

fn page(name: &str, status: &str) -> (u16, String) {
    (200, format!("<p>{name} is {status}</p>"))
}

#[test]
fn browsers_get_what_the_server_says_also_when_it_was_killed_in_the_middle() {
    let stage = Stage::new();
    let (mut first, address) = server("127.0.0.1:0", &[]);
    stage.settings(&address, &["bob", "eve"], "timeout 30");
    let (mut daemon, pages) = stage.daemon();
    for _ in 0..2 {
        expect(&mut daemon, "presence: ");
    }
    let mut browser = Browser::new(&pages);
    assert_eq!(browser.get("/status/alice"), page("alice", "online"));
    assert_eq!(browser.get("/status/zoe"), page("zoe", "away"));
    let overview = "<ul>\n<li>bob: online</li>\n<li>eve: online</li>\n</ul>\n0 wait for an answer\n";
    assert_eq!(browser.get("/"), (200, overview.into()));

    // Two that wait are not in the way of a third one, and are answered by the server that comes after this one.
    let mut waiting: Vec<Browser> = (0..2).map(|_| Browser::new(&pages)).collect();
    for (n, browser) in waiting.iter_mut().enumerate() {
        browser.ask(&format!("/status/silent{n}"));
    }
    // Both links are used, by turns.
    let mut asked = [0, 1].map(|_| {
        let line = expect_containing(&mut first, " asks for silent");
        line.split(' ').nth(1).unwrap().to_owned()
    });
    asked.sort();
    assert_eq!(asked, ["bob", "eve"]);
    assert_eq!(browser.get("/status/alice"), page("alice", "online"));
    first.signal(Signal::SIGKILL);
    drop(first);
    for _ in 0..2 {
        expect_containing(&mut daemon, " is offline: ");
    }
    // One comes while nobody is there, and one goes.
    let mut late = Browser::new(&pages);
    late.ask("/status/late");
    let mut gone = Browser::new(&pages);
    gone.ask("/status/gone");
    drop(gone);
    assert!(browser.get("/").1.contains("<li>bob: offline</li>\n<li>eve: offline</li>\n"));
    let (second, _) = server(&address, &["talkative"]);
    for (n, browser) in waiting.iter_mut().enumerate() {
        assert_eq!(browser.answer(), page(&format!("silent{n}"), "away"));
    }
    assert_eq!(late.answer(), page("late", "online"));
    assert_eq!(browser.get("/status/zoe"), page("zoe", "away"));

    drop((browser, waiting, late)); // it would wait for them a little
    daemon.signal(Signal::SIGTERM);
    daemon.done().success();
    second.signal(Signal::SIGTERM);
    let said = second.done();
    // They have said that they go.
    for user in ["bob", "eve"] {
        assert!(said.success().contains(&format!("server: {user} signs off\n")), "{said:?}");
    }
}

/// Reads on to a line with this in it.
#[track_caller]
fn expect_containing(program: &mut Running, expected: &str) -> String {
    loop {
        let line = program.line();
        if line.contains(expected) {
            return line;
        }
    }
}

#[test]
fn it_says_that_it_is_still_there_only_while_it_is_online_and_too_late_is_said_too() {
    let stage = Stage::new();
    let (mut server, address) = server("127.0.0.1:0", &[]);
    stage.settings(&address, &["bob"], "keep-alive 0.02\ntimeout 0.05");
    let (mut daemon, pages) = stage.daemon();
    assert_eq!(expect(&mut server, "server: "), "bob signs on");
    for _ in 0..3 {
        assert_eq!(expect(&mut server, "server: "), "bob is still there");
    }
    let mut browser = Browser::new(&pages);
    assert_eq!(browser.get("/status/silent"), (504, String::new()));
    // The next one on the same connection.
    assert_eq!(browser.get("/status/alice"), page("alice", "online"));
    // Nobody is there to be told; it goes on when somebody is.
    server.signal(Signal::SIGKILL);
    drop(server);
    expect(&mut daemon, "presence: bob is offline: ");
    assert_eq!(browser.get("/status/alice"), (504, String::new()));
    let (mut server, _) = self::server(&address, &[]);
    assert_eq!(expect(&mut server, "server: "), "bob signs on");
    assert_eq!(expect(&mut server, "server: "), "bob is still there");
}

#[test]
fn new_settings_make_new_clients_and_bad_ones_change_nothing() {
    let stage = Stage::new();
    let (mut first, old) = server("127.0.0.1:0", &[]);
    let (mut second, new) = server("127.0.0.1:0", &["talkative"]);
    stage.settings(&old, &["bob"], "timeout 30");
    let (mut daemon, pages) = stage.daemon();
    expect(&mut daemon, "presence: bob is online");
    let mut browser = Browser::new(&pages);
    let mut waiting = Browser::new(&pages);
    waiting.ask("/status/silent");
    expect(&mut first, "server: bob asks for silent");

    let page_path = stage.path("page.html");
    for (bad, problem) in [
        ("http 127.0.0.1:0\nacount x 127.0.0.1:1\n", ":2: acount is not known"),
        ("http nowhere\n", ":1: nowhere: "),
        (&format!("http 127.0.0.1:0\ntemplate {page_path}\n"), ": an account is missing"),
        (&format!("http 127.0.0.1:0\ntemplate {page_path}x\naccount a {new}\n"), "page.htmlx: "),
        (
            &format!("http 192.0.2.1:1\ntemplate {page_path}\naccount a {new}\n"),
            "can't listen on 192.0.2.1:1",
        ),
        ("timeout -1\n", ":1: -1: not a time in seconds"),
    ] {
        stage.write("settings", bad);
        daemon.signal(Signal::SIGUSR1);
        let said = expect(&mut daemon, "presence: the settings stay as they are: ");
        assert!(said.contains(problem), "{problem}: {said}");
        assert_eq!(browser.get("/status/alice"), page("alice", "online"));
    }

    // Good ones: other users, another server. Who waits is answered by them, at the same place.
    stage.settings(&new, &["carol", "dave"], "timeout 30");
    daemon.signal(Signal::SIGUSR1);
    expect(&mut daemon, "presence: the settings are new ones");
    expect(&mut first, "server: bob signs off");
    assert_eq!(waiting.answer(), page("silent", "away"));
    expect_containing(&mut second, " asks for silent");
    assert_eq!(browser.get("/status/zoe"), page("zoe", "away"));
    let mut again = Browser::new(&pages);
    assert!(again.get("/").1.contains("<li>carol: "));

    // The template alone.
    stage.write("page.html", "{status}: {name}");
    daemon.signal(Signal::SIGUSR2);
    expect(&mut daemon, "presence: the template is a new one");
    assert_eq!(again.get("/status/zoe"), (200, "away: zoe".into()));
    for (bad, problem) in [("{status", "a { without its }"), ("{nobody}", "{nobody} is not known")] {
        stage.write("page.html", bad);
        daemon.signal(Signal::SIGUSR2);
        let said = expect(&mut daemon, "presence: the template stays as it is: ");
        assert!(said.ends_with(problem), "{said}");
        assert_eq!(again.get("/status/zoe"), (200, "away: zoe".into()));
    }
    drop((browser, waiting, again));
    daemon.signal(Signal::SIGINT);
    daemon.done().success();
}

#[test]
fn a_browser_can_not_do_harm() {
    let stage = Stage::new();
    let (_server, address) = server("127.0.0.1:0", &[]);
    stage.settings(&address, &["bob"], "");
    let (mut daemon, pages) = stage.daemon();
    expect(&mut daemon, "presence: bob is online");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(10_000));
    let lines = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for (request, status, ends) in [
        ("GET /status/alice HTTP/1.1\r\nConnection: close\r\n\r\n", 200, true),
        ("GET /status/alice HTTP/1.0\r\n\r\n", 200, true),
        ("GET /status/a%20b HTTP/1.1\r\n\r\n", 404, false),
        ("GET /status/ HTTP/1.1\r\n\r\n", 404, false),
        ("GET /elsewhere HTTP/1.1\r\n\r\n", 404, false),
        ("DELETE /status/alice HTTP/1.1\r\n\r\n", 405, false),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 413, true),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413, true),
        ("what is this\r\n\r\n", 400, true),
        ("\0\x01\x02\r\n\r\n", 400, true),
        (&lines, 400, true),
        (&long, 431, true),
    ] {
        let mut browser = Browser::new(&pages);
        browser.send(request);
        let found = browser.answer();
        assert_eq!(found.0, status, "{request:.60}: {found:?}");
        if ends {
            browser.ends();
        } else {
            assert_eq!(browser.get("/status/alice"), page("alice", "online"), "{request:.60}");
        }
    }
    // Two at once are answered one by one, in their order; one that comes in pieces, too.
    let mut browser = Browser::new(&pages);
    browser.send("GET /status/alice HTTP/1.1\r\n\r\nGET /status/zoe HTTP/1.1\r\n\r\nGET /status/b");
    assert_eq!(browser.answer(), page("alice", "online"));
    assert_eq!(browser.answer(), page("zoe", "away"));
    browser.send("ob HTTP/1.1\r\n\r");
    browser.send("\n");
    assert_eq!(browser.answer(), page("bob", "online"));
}

#[test]
fn it_does_not_start_with_bad_settings() {
    let none = run(&mut command(example("presence"), &[""; 0]), b"");
    none.failure(1, "presence: usage: presence FILE\n");
    let none = run(&mut command(example("presence_server"), &[""; 0]), b"");
    none.failure(1, "presence_server: usage: presence_server ADDRESS [talkative]\n");
    let stage = Stage::new();
    let path = stage.path("settings");
    run(&mut command(example("presence"), &[&path]), b"")
        .failure(1, &format!("presence: {path}: No such file"));
    stage.write("settings", "keep-alive soon");
    let said = format!("presence: {path}:1: soon: not a time in seconds\n");
    run(&mut command(example("presence"), &[&path]), b"").failure(1, &said);
}
