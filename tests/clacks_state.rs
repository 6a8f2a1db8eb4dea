//! What the server does for each line, told as scripts.
#![cfg(feature = "clacks")]

use std::collections::HashMap;
use std::time::Duration;

use eventdispatcher::connections::clacks::{
    Closing, Event, Now, Output, Peer, Permissions, Settings, State, Store, Traffic, Users, token,
};

#[derive(Debug, Default)]
struct Recorder {
    sent: HashMap<char, Vec<String>>,
}

impl Output<char> for Recorder {
    fn send(&mut self, to: char, line: &[&[u8]]) -> bool {
        self.sent.entry(to).or_default().push(String::from_utf8_lossy(&line.concat()).into_owned());
        true
    }

    fn close(&mut self, who: char, _: Closing) {
        self.sent.entry(who).or_default().push("<EOF>".to_owned());
    }

    fn has_room(&self, _: char) -> bool {
        true
    }

    fn traffic(&self, _: char) -> Traffic {
        Traffic::default()
    }

    fn shutdown(&mut self, _: Duration) {}

    fn log(&mut self, _: &Event<'_>) {}
}

#[test]
fn a_session_from_greeting_to_quit() {
    let mut users = Users::default();
    users.add("admin", "adminpass", Permissions::ALL);
    let settings = Settings { server_name: "test 1".to_owned(), ..Settings::default() };
    let mut state = State::new(settings, users, Store::new(None));
    let mut out = Recorder::default();
    let now = Now { unix: 1000.0, monotonic: Duration::ZERO };
    let a = state.connected('a', Peer::Unix, now, &mut out);
    let log_in = format!("OVERHEAD A {}", token("admin", "adminpass"));
    for line in [
        "CLACKS me",
        &log_in,
        "STORE x=1",
        "INCREMENT x",
        "RETRIEVE x",
        "KEYLIST",
        "CLIENTLIST",
        "QUIT",
        "PING",
    ] {
        state.line(a, line.as_bytes(), now, &mut out);
    }
    let sent = out.sent.remove(&'a').unwrap_or_default();
    assert_eq!(
        sent,
        [
            "CLACKS test 1",
            "OVERHEAD M Authentication required",
            "OVERHEAD O Welcome!",
            "RETRIEVED x=2",
            "KEYLISTSTART",
            "KEY x",
            "KEYLISTEND",
            "CLIENTLISTSTART",
            "CLIENT CID=unixdomainsocket:1000:1;HOST=unixdomainsocket;PORT=1000;CLIENTINFO=me;OUTBUFFER_LENGTH=0;INBUFFER_LENGTH=0;INTERCLACKS=0;MONITOR=0;LASTPING=1000;LASTINTERCLACKSPING=0;WRITEFAILTIME=0;",
            "CLIENTLISTEND",
            "<EOF>",
        ]
    );
}
