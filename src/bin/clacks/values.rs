//! Values on their way between the command line and the wire.

use crate::arguments::{Pair, Values};
use crate::failure::Failure;
use eventdispatcher::connections::clacks::MAX_LINE;
use eventdispatcher::connections::clacks::client::{ClientError, Structure, Value};
use std::borrow::Cow;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

impl Values {
    /// The value for people: of a structured one its YAML, without the last line end. What can't be read stays as it is.
    pub(crate) fn decode(&self, wire: &[u8]) -> Decoded {
        let value = if self.raw_values { Ok(wire.into()) } else { Value::of_wire(wire) };
        let yaml = match value {
            Ok(Value::Bytes(bytes)) => return Decoded { bytes, is_yaml: false },
            Ok(Value::Structured(structure)) => structure.to_yaml().ok(),
            Err(_) => None,
        };
        match yaml {
            Some(mut yaml) => {
                yaml.pop_if(|last| *last == b'\n');
                Decoded { bytes: yaml, is_yaml: true }
            }
            None => Decoded { bytes: wire.to_vec(), is_yaml: false },
        }
    }
}

/// A value as it was before it was encoded for the wire.
pub(crate) struct Decoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_yaml: bool,
}

impl Pair {
    /// The value as it goes onto the wire.
    pub(crate) fn wire_value(&self) -> Result<Cow<'_, [u8]>, Failure> {
        if self.value != "-" {
            return self.encode(self.value.as_bytes());
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
        Ok(Cow::Owned(self.encode(&value)?.into_owned()))
    }

    fn encode<'a>(&self, value: &'a [u8]) -> Result<Cow<'a, [u8]>, Failure> {
        if self.values.raw_values {
            return Ok(Cow::Borrowed(value));
        }
        let value = if self.yaml {
            Value::Structured(Structure::from_yaml(value).map_err(ClientError::Structure)?)
        } else {
            Value::Bytes(value.to_vec())
        };
        Ok(Cow::Owned(value.to_wire()?.into_owned()))
    }
}
