//! The frames between the daemon and the server: 0x2a, channel, sequence, length, payload; numbers with the high byte first.

use eventdispatcher::codec::{DecodeError, EncodeError, Frame, Header, LengthPrefixed};
use eventdispatcher::{Communicator, Id, SendError};

/// How the bytes of a connection become frames.
pub(crate) type Flaps = LengthPrefixed<Flap>;

/// Who one is, and that one is known: the user's name, and nothing.
pub(crate) const SIGN_ON: u8 = 1;
/// A question or its answer: four bytes of a number, and a text.
pub(crate) const DATA: u8 = 2;
/// Nothing more will come.
pub(crate) const SIGN_OFF: u8 = 4;
/// One is still there.
pub(crate) const KEEP_ALIVE: u8 = 5;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flap {
    pub(crate) channel: u8,
    /// Counts the frames of one direction of one connection, from 0.
    pub(crate) sequence: u16,
}

impl Header for Flap {
    type Bytes = [u8; 6];

    fn read(bytes: &[u8; 6]) -> Result<(Self, usize), DecodeError> {
        let [0x2a, channel, s1, s0, l1, l0] = *bytes else {
            return Err(DecodeError::invalid("a frame begins with 0x2a", 0));
        };
        let flap = Self { channel, sequence: u16::from_be_bytes([s1, s0]) };
        Ok((flap, u16::from_be_bytes([l1, l0]).into()))
    }

    fn write(&self, payload_len: usize) -> Result<[u8; 6], EncodeError> {
        let limit = u16::MAX.into();
        let length = u16::try_from(payload_len).map_err(|_| EncodeError::TooLong { limit })?;
        let ([s1, s0], [l1, l0]) = (self.sequence.to_be_bytes(), length.to_be_bytes());
        Ok([0x2a, self.channel, s1, s0, l1, l0])
    }
}

/// Where the two directions of a connection are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sequences {
    sent: u16,
    received: u16,
}

impl Sequences {
    /// Sends a frame with the next number.
    pub(crate) fn send(
        &mut self,
        communicator: &Communicator,
        to: Id<Flaps>,
        channel: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        communicator.send(to, Frame { header: Flap { channel, sequence: self.sent }, payload })?;
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    /// Looks whether what came is the next one.
    pub(crate) fn receive(&mut self, flap: Flap) -> Result<(), String> {
        if flap.sequence != self.received {
            return Err(format!("frame {} where {} is next", flap.sequence, self.received));
        }
        self.received = self.received.wrapping_add(1);
        Ok(())
    }
}

/// The number and the text of a frame on [`DATA`].
pub(crate) fn data(payload: &[u8]) -> Result<(u32, &str), String> {
    let (number, text) = payload.split_first_chunk().ok_or("a frame of data without a number")?;
    let text = str::from_utf8(text).map_err(|error| format!("a frame of data: {error}"))?;
    Ok((u32::from_be_bytes(*number), text))
}

/// The payload of a frame on [`DATA`].
pub(crate) fn write_data(number: u32, text: &str) -> Vec<u8> {
    [&number.to_be_bytes(), text.as_bytes()].concat()
}
