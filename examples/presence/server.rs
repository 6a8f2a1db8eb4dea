//! The other side of the example `presence`: tells it who is there.
//!
//! `presence_server ADDRESS [talkative]`: who begins with a to m is online, the others are away. Asked for names that begin with `silent`
//! it says nothing, unless it is talkative.

mod flap;

use eventdispatcher::codec::Frame;
use eventdispatcher::{Closed, Cx, Handler, HandlerResult, Signal, communicator};
use flap::{DATA, Flap, Flaps, KEEP_ALIVE, SIGN_OFF, SIGN_ON, Sequences, data, write_data};
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

/// Payloads of more bytes are not accepted.
const PAYLOAD_MAX: usize = 1024;

/// One that is signed on, or about to be.
struct Client {
    user: Option<String>,
    sequences: Sequences,
    talkative: bool,
}

impl Handler<Flaps> for Client {
    fn message(&mut self, frame: Frame<'_, Flap>, cx: &Cx<'_, Flaps>) -> HandlerResult {
        self.sequences.receive(frame.header)?;
        match (frame.header.channel, &self.user) {
            (SIGN_ON, None) => {
                let user = str::from_utf8(frame.payload)?;
                say(&format!("{user} signs on"));
                self.user = Some(user.to_owned());
                self.sequences.send(cx, cx.id(), SIGN_ON, b"")?;
            }
            (DATA, Some(user)) => {
                let (number, name) = data(frame.payload)?;
                say(&format!("{user} asks for {name}"));
                if name.starts_with("silent") && !self.talkative {
                    return Ok(());
                }
                let online = name.chars().next().is_some_and(|first| ('a'..='m').contains(&first));
                let status = if online { "online" } else { "away" };
                self.sequences.send(cx, cx.id(), DATA, &write_data(number, status))?;
            }
            (KEEP_ALIVE, Some(user)) => say(&format!("{user} is still there")),
            (SIGN_OFF, Some(user)) => {
                say(&format!("{user} signs off"));
                cx.close();
            }
            (channel, _) => return Err(format!("a frame on channel {channel}").into()),
        }
        Ok(())
    }

    fn closed(&mut self, why: &Closed, _: &Cx<'_, Flaps>) {
        if !why.is_orderly() {
            say(&format!("a client is gone: {why}"));
        }
    }
}

fn say(what: &str) {
    let _ = writeln!(stdout(), "server: {what}"); // who does not listen shall not end it
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: presence_server ADDRESS [talkative]")?;
    let talkative = arguments.next().is_some_and(|word| word == "talkative");
    let communicator = communicator();
    let listening = communicator.listen_tcp(address.parse()?, move |client| {
        let state = Client { user: None, sequences: Sequences::default(), talkative };
        client.serve(Flaps::new().max(PAYLOAD_MAX), state)?;
        Ok(())
    })?;
    communicator.signals([Signal::INT, Signal::TERM], |_, communicator| communicator.close_all())?;
    say(&format!("listening on {}", listening.address()));
    Ok(communicator.run()?)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("presence_server: {error}");
            ExitCode::FAILURE
        }
    }
}
