//! Messages as text, the table of actions, and codecs.

use crate::Failed;
use crate::meter::Meter;
use eventdispatcher::codec::{ByteLines, Codec, Decoded, Lines};
use eventdispatcher::dispatcher::{Entry, MessageRef, Messages, Table};
use std::hint::black_box;

const TIMES: usize = 20_000;
/// 83 bytes, four parameters, sender and receiver.
const TEXT: &[u8] = b"<remote:firewall jungle:watchdog/CONNECT neighbor=db;race=true;speed=1078;version=1";
const LINE: &[u8] = b"SET sensors.kitchen.temperature=21.5";

pub(crate) fn parse(meter: &mut Meter) -> Result<(), Failed> {
    MessageRef::parse(TEXT)?;
    meter.measure(TIMES, || {
        for _ in 0..TIMES {
            let _ = black_box(MessageRef::parse(black_box(TEXT)));
        }
    });
    Ok(())
}

pub(crate) fn write(meter: &mut Meter) -> Result<(), Failed> {
    let message = MessageRef::parse(TEXT)?.to_message();
    let mut out = Vec::with_capacity(256);
    meter.measure(TIMES, || {
        for _ in 0..TIMES {
            out.clear();
            let _ = black_box(black_box(&message).view().write_text(&mut out));
        }
    });
    if out == TEXT { Ok(()) } else { Err("a message is not written as it was read".into()) }
}

pub(crate) fn get(meter: &mut Meter) -> Result<(), Failed> {
    let message = MessageRef::parse(TEXT)?;
    if message.get("speed").is_none() {
        return Err("a parameter is missing".into());
    }
    meter.measure(TIMES, || {
        for _ in 0..TIMES {
            let _ = black_box(black_box(message).get(black_box("speed")));
        }
    });
    Ok(())
}

pub(crate) fn dispatch_10(meter: &mut Meter) -> Result<(), Failed> {
    dispatch(meter, 10)
}

pub(crate) fn dispatch_1000(meter: &mut Meter) -> Result<(), Failed> {
    dispatch(meter, 1_000)
}

fn dispatch(meter: &mut Meter, entries: usize) -> Result<(), Failed> {
    let mut table = Table::new();
    for number in 0..entries {
        table.add(Entry::new(format!("COMMAND_{number}").parse()?, number))?;
    }
    let message = MessageRef::parse(b"COMMAND_7 a=1")?;
    let mut found = 0;
    meter.measure(TIMES, || {
        for _ in 0..TIMES {
            let mut cursor = table.cursor();
            let hit = table.next(&mut cursor, black_box(message));
            found += usize::from(hit.is_some_and(|hit| *hit.action == 7));
        }
    });
    if found == TIMES { Ok(()) } else { Err(format!("{found} of {TIMES} were found").into()) }
}

pub(crate) fn decode_message(meter: &mut Meter) -> Result<(), Failed> {
    decode(meter, Messages::new(), TEXT)
}

pub(crate) fn decode_line(meter: &mut Meter) -> Result<(), Failed> {
    decode(meter, Lines::new(), LINE)
}

pub(crate) fn decode_byte_line(meter: &mut Meter) -> Result<(), Failed> {
    decode(meter, ByteLines::new(), LINE)
}

fn decode<C: Codec>(meter: &mut Meter, mut codec: C, line: &[u8]) -> Result<(), Failed> {
    let input = [line, b"\n"].concat().repeat(TIMES);
    let (mut items, mut at) = (0, 0);
    meter.measure(TIMES, || {
        while let Ok(Decoded::Item(item, used)) = codec.decode(input.get(at..).unwrap_or_default()) {
            black_box(item);
            items += 1;
            at += used;
        }
    });
    if items == TIMES { Ok(()) } else { Err(format!("{items} of {TIMES} were decoded").into()) }
}
