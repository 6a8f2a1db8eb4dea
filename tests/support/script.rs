//! Scripts of what clients send and get.
//!
//! A step a line; what begins with `#` is the title of what follows, up to the next one:
//!
//! | step | meaning |
//! | --- | --- |
//! | `+ a` | a connects; the greeting is in the script |
//! | `+ a rw` | a connects and logs in as that user; its name is `wire_a` |
//! | `- a` | a closes |
//! | `a) ` | a ends its sending side |
//! | `a> line` | a sends a line |
//! | `a>> part` | a sends the beginning of a line |
//! | `a< line` | a gets a line, or `<EOF>` |
//!
//! What is sent and got may have the placeholders of [`text`]; `{a}` is a's CID. `\r` is a carriage return. All
//! that a client gets must be in the script, before the next step at which somebody does something.

use std::collections::BTreeMap;

use super::text::{self, Expected};
use super::{Clacksd, Client, show};

/// How lines become packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packets {
    /// A packet for each line, and what comes of it as the script has it.
    Lines,
    /// All that one client sends before another one does something, in one packet; then all that comes of it.
    Together,
    /// The same, a byte a packet.
    Bytes,
}

/// Plays each part of the script, with its title, on a server of its own or not: as a packet for each line, in as few
/// packets as can be, and in as many.
#[track_caller]
pub(crate) fn play(server: &mut Clacksd, script: &str) {
    let parts = script.split("\n# ").map(|part| part.split_once('\n').unwrap_or((part, "")));
    let mut played = 0;
    for (title, steps) in parts.filter(|(_, steps)| !steps.trim().is_empty()) {
        for packets in [Packets::Lines, Packets::Together, Packets::Bytes] {
            let played = Stage::new(server).and_then(|mut stage| stage.play(steps, packets));
            if let Err(error) = played.and_then(|()| server.alive()) {
                let log = server.log();
                let log: Vec<_> = log.lines().rev().take(10).collect();
                panic!("{title}, {packets:?}: {error}\n{steps}\nthe server said last:\n{}", log.join("\n"));
            }
        }
        played += 1;
    }
    assert!(played > 0, "nothing was played");
}

/// What one client does, and what comes of it.
struct Scene<'s> {
    act: &'s str,
    sender: &'s str,
    /// Its packets.
    sent: Vec<Vec<u8>>,
    got: Vec<(&'s str, &'s str)>,
}

/// A server and its clients.
struct Stage<'c> {
    server: &'c mut Clacksd,
    /// Sees to an empty cache, knows the CIDs, and how far the server is.
    director: Client,
    clients: BTreeMap<String, Client>,
}

impl<'c> Stage<'c> {
    fn new(server: &'c mut Clacksd) -> Result<Self, String> {
        let mut director = server.join("director", "admin")?;
        director.send(b"CLEARCACHE\r\n")?;
        director.barrier()?;
        Ok(Self { server, director, clients: BTreeMap::new() })
    }

    fn play(&mut self, steps: &str, packets: Packets) -> Result<(), String> {
        for scene in scenes(steps, packets) {
            self.show(&scene, packets).map_err(|error| format!("{:?}: {error}", scene.act))?;
        }
        for (name, client) in &mut self.clients {
            client.nothing_more().map_err(|error| format!("at the end, {name}: {error}"))?;
        }
        Ok(())
    }

    fn show(&mut self, scene: &Scene<'_>, packets: Packets) -> Result<(), String> {
        let Scene { act, sender, sent, got } = scene;
        if sent.is_empty() {
            self.act(act)?;
        }
        for packet in sent {
            let packet = self.with_cids(packet)?;
            let client = self.clients.get_mut(*sender).ok_or("no such client")?;
            let sent = if packets == Packets::Bytes {
                client.send_bytewise(&packet, || self.director.drain().map(drop))
            } else {
                client.send(&packet)
            };
            // Who is sent away may notice that it can't send the rest.
            if !got.contains(&(sender, "<EOF>")) {
                sent?;
            }
            self.director.drain()?;
        }
        for &(name, wanted) in got {
            self.get(name, wanted).map_err(|error| format!("{name}: {error}"))?;
        }
        for (name, client) in &mut self.clients {
            client.barrier().map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn act(&mut self, act: &str) -> Result<(), String> {
        match act.split(' ').collect::<Vec<_>>()[..] {
            ["+", name] => {
                let client = self.server.connect()?;
                self.clients.insert(name.to_owned(), client);
            }
            ["+", name, user] => {
                let client = self.server.join(name, user)?;
                self.clients.insert(name.to_owned(), client);
            }
            ["-", name] => drop(self.clients.remove(name).ok_or("no such client")?),
            [name] if name.ends_with(')') => {
                self.clients.get(name.trim_end_matches(')')).ok_or("no such client")?.half_close()?;
            }
            _ => return Err("no such step".to_owned()),
        }
        Ok(())
    }

    fn get(&mut self, name: &str, wanted: &str) -> Result<(), String> {
        let client = self.clients.get_mut(name).ok_or("no such client")?;
        let line = client.line()?;
        let Some(line) = line else {
            self.clients.remove(name);
            return if wanted == "<EOF>" {
                Ok(())
            } else {
                Err(format!("{wanted:?} is missing: the end came"))
            };
        };
        match &text::to_receive(&format!("{wanted}\r\n"))[..] {
            [Expected::Line(pattern)] if wanted != "<EOF>" && pattern.matches(&line) => Ok(()),
            _ => Err(format!("{} came instead of {wanted:?}{}", show(&line), client.what_follows())),
        }
    }

    /// The text with each `{a}` replaced by what CLIENTLIST says of a.
    fn with_cids(&mut self, sent: &[u8]) -> Result<Vec<u8>, String> {
        if !sent.contains(&b'{') {
            return Ok(sent.to_vec());
        }
        let mut text = String::from_utf8(sent.to_vec()).map_err(|error| error.to_string())?;
        self.director.send(b"CLIENTLIST\r\n")?;
        // Somebody of the same name who has gone may still be there: the last one counts.
        let mut cids = BTreeMap::new();
        for line in self.director.drain()? {
            let line = String::from_utf8_lossy(&line).into_owned();
            let field = |name: &str| line.split(['=', ';', ' ']).skip_while(|word| *word != name).nth(1);
            if let (Some(cid), Some(name)) = (field("CID"), field("CLIENTINFO")) {
                cids.insert(format!("{{{}}}", name.trim_start_matches("wire_")), cid.to_owned());
            }
        }
        for (name, cid) in cids {
            text = text.replace(&name, &cid);
        }
        Ok(text.into_bytes())
    }
}

fn scenes(steps: &str, packets: Packets) -> Vec<Scene<'_>> {
    let mut scenes: Vec<Scene<'_>> = Vec::new();
    for step in steps.lines().map(str::trim_start).filter(|step| !step.is_empty()) {
        if let Some((name, line)) = got(step) {
            let scene = scenes.last_mut().expect("a script begins with somebody who connects");
            scene.got.push((name, line));
        } else if let Some((sender, text, end)) = sent(step) {
            let bytes = [text::to_send(&text.replace("\\r", "\r")), end.to_vec()].concat();
            match scenes.last_mut() {
                Some(scene) if scene.sender == sender && packets != Packets::Lines => {
                    scene.sent.iter_mut().for_each(|packet| packet.extend(&bytes));
                }
                Some(scene) if scene.sender == sender && scene.got.is_empty() => scene.sent.push(bytes),
                _ => scenes.push(Scene { act: step, sender, sent: vec![bytes], got: Vec::new() }),
            }
        } else {
            scenes.push(Scene { act: step, sender: "", sent: Vec::new(), got: Vec::new() });
        }
    }
    scenes
}

/// Who gets what. An empty line may be written without its space.
fn got(step: &str) -> Option<(&str, &str)> {
    let empty = || step.strip_suffix('<').filter(|name| !name.contains(' ')).map(|name| (name, ""));
    after(step, "< ").or_else(empty)
}

/// Who sends, what, and how that ends.
fn sent(step: &str) -> Option<(&str, &str, &'static [u8])> {
    if let Some((name, text)) = after(step, ">> ") {
        return Some((name, text, b""));
    }
    after(step, "> ").map(|(name, text)| (name, text, &b"\r\n"[..]))
}

/// A name without a space before `mark`, and what follows.
fn after<'s>(step: &'s str, mark: &str) -> Option<(&'s str, &'s str)> {
    step.split_once(mark).filter(|(name, _)| !name.is_empty() && !name.contains([' ', '<', '>']))
}
