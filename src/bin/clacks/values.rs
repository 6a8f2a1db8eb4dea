//! Values on their way between the command line and the wire.

use crate::arguments::{Pair, Values};
use crate::failure::Failure;
use eventdispatcher::connections::clacks::MAX_LINE;
use eventdispatcher::connections::clacks::client::{decode_value, encode_value};
use std::borrow::Cow;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

impl Values {
    pub(crate) fn encode<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        if self.raw_values { Cow::Borrowed(value) } else { encode_value(value) }
    }

    pub(crate) fn decode<'a>(&self, value: &'a [u8]) -> Cow<'a, [u8]> {
        if self.raw_values { Cow::Borrowed(value) } else { decode_value(value) }
    }
}

impl Pair {
    /// The value as it goes onto the wire.
    pub(crate) fn wire_value(&self) -> Result<Cow<'_, [u8]>, Failure> {
        if self.value != "-" {
            return Ok(self.values.encode(self.value.as_bytes()));
        }
        let mut value = Vec::new();
        let most = MAX_LINE as u64;
        io::stdin().lock().take(most + 1).read_to_end(&mut value).map_err(Failure::Input)?;
        if value.len() as u64 > most {
            return Err(Failure::Usage(format!("the value is longer than a line may be: {most} bytes")));
        }
        if !self.exact && value.ends_with(b"\n") {
            value.pop();
        }
        Ok(Cow::Owned(self.values.encode(&value).into_owned()))
    }
}
