//! MQTT 3.1.1, quality of service 0, as OASIS has published it.

use crate::failure::Failure;
use crate::tally::Tally;

/// PINGREQ.
pub(super) const SYNC: &[u8] = &[0xc0, 0];
const KEEP_ALIVE_S: u16 = 600;

/// CONNECT with a clean session.
pub(super) fn hello(client: usize) -> Vec<u8> {
    let name = format!("load{client}x{}", std::process::id());
    let mut out = vec![0x10];
    remaining(&mut out, 10 + 2 + name.len());
    out.extend_from_slice(b"\0\x04MQTT\x04\x02");
    out.extend_from_slice(&KEEP_ALIVE_S.to_be_bytes());
    string(&mut out, name.as_bytes());
    out
}

/// Whether CONNACK is there and accepts.
pub(super) fn is_welcome(came: &[u8]) -> Result<bool, Failure> {
    match came {
        [0x20, 2, _, 0, ..] => Ok(true),
        [_, _, _, _, ..] => Err(Failure::Server(format!("no CONNACK that accepts: {came:?}"))),
        _ => Ok(false),
    }
}

pub(super) fn publish(out: &mut Vec<u8>, topic: &[u8], value: &[u8]) {
    out.push(0x30);
    remaining(out, 2 + topic.len() + value.len());
    string(out, topic);
    out.extend_from_slice(value);
}

pub(super) fn subscribe(out: &mut Vec<u8>, topic: &[u8], number: usize) {
    out.push(0x82);
    remaining(out, 2 + 2 + topic.len() + 1);
    out.extend_from_slice(&((number % 60_000 + 1) as u16).to_be_bytes());
    string(out, topic);
    out.push(0);
}

pub(super) fn count(came: &[u8], tally: &mut Tally) -> Result<Option<usize>, Failure> {
    let mut length = 0;
    let mut at = 1;
    loop {
        let Some(&byte) = came.get(at) else { return Ok(None) };
        length |= usize::from(byte & 127) << (7 * (at - 1));
        at += 1;
        if byte & 128 == 0 {
            break;
        }
        if at > 4 {
            return Err(Failure::Server("a length of more than 4 bytes".to_owned()));
        }
    }
    let Some(body) = came.get(at..at + length) else { return Ok(None) };
    match came[0] >> 4 {
        3 => {
            let value = match body {
                [high, low, rest @ ..] => {
                    rest.len().checked_sub(usize::from(u16::from_be_bytes([*high, *low])))
                }
                _ => None,
            };
            let Some(value) = value else { return Err(Failure::Server("a topic without an end".to_owned())) };
            tally.messages += 1;
            tally.bytes += value as u64;
        }
        4 => tally.acknowledged += 1,
        9 => tally.subscribed += 1,
        13 => tally.synchronized += 1,
        _ => {}
    }
    Ok(Some(at + length))
}

/// The length of what follows it.
fn remaining(out: &mut Vec<u8>, mut length: usize) {
    while length > 127 {
        out.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}
