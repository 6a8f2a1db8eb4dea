//! Values that the protocol's lines can't hold.

use super::error::ClientError;
use super::structure::Structure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Before a value in base64.
const BINARY: &[u8] = b"PAGECAMELCLACKSB64:";
/// Before a structured value, which is YAML in base64. A space follows when it is written.
const STRUCTURED: &[u8] = b"PAGECAMELCLACKSYAMLB64:";

/// A value as it can stand in a line: one that holds a line end, or that would be taken for an encoded one, is encoded, as
/// all clients do it (`PAGECAMELCLACKSB64:` and base64). The server does not look inside.
pub fn encode_value(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) || value.starts_with(BINARY) {
        Cow::Owned(encoded(BINARY, value))
    } else {
        Cow::Borrowed(value)
    }
}

/// A value as it was before [`encode_value`]. What says that it is encoded and is not comes back as it is.
pub fn decode_value(value: &[u8]) -> Cow<'_, [u8]> {
    match value.strip_prefix(BINARY).map(|encoded| STANDARD.decode(encoded.trim_ascii())) {
        Some(Ok(decoded)) => Cow::Owned(decoded),
        _ => Cow::Borrowed(value),
    }
}

/// A value of a [`Cache`](super::Cache): bytes, or a structure. On the wire all clients encode it the same way; the server does
/// not look inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, a number, any bytes.
    Bytes(Vec<u8>),
    /// Something with parts.
    Structured(Structure),
}

impl Value {
    /// The bytes, unless it is structured.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Structured(_) => None,
        }
    }

    /// The text, unless it is structured or no UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// As it stands in a line.
    ///
    /// # Errors
    /// When a structure is too deep to be written.
    pub fn to_wire(&self) -> Result<Cow<'_, [u8]>, ClientError> {
        match self {
            Self::Bytes(bytes) if bytes.starts_with(STRUCTURED) => Ok(Cow::Owned(encoded(BINARY, bytes))),
            Self::Bytes(bytes) => Ok(encode_value(bytes)),
            Self::Structured(structure) => {
                let yaml = structure.to_yaml().map_err(ClientError::Structure)?;
                let mut wire = STRUCTURED.to_vec();
                wire.push(b' ');
                Ok(Cow::Owned(encoded(&wire, &yaml)))
            }
        }
    }

    /// Out of a line. What says that it is base64 and is not comes back as it is.
    ///
    /// # Errors
    /// When it says that it is structured, and what is in it can't be read.
    pub fn of_wire(wire: &[u8]) -> Result<Self, ClientError> {
        match wire.strip_prefix(STRUCTURED).map(|encoded| STANDARD.decode(encoded.trim_ascii())) {
            Some(Ok(yaml)) => {
                Structure::from_yaml(&yaml).map(Self::Structured).map_err(ClientError::Structure)
            }
            Some(Err(_)) => Ok(Self::Bytes(wire.to_vec())),
            None => Ok(Self::Bytes(decode_value(wire).into_owned())),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Structure> for Value {
    fn from(structure: Structure) -> Self {
        Self::Structured(structure)
    }
}

fn encoded(prefix: &[u8], value: &[u8]) -> Vec<u8> {
    let mut encoded = prefix.to_vec();
    encoded.extend_from_slice(STANDARD.encode(value).as_bytes());
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_what_needs_none_stays() {
        for (value, encoded) in [
            ("plain = text", "plain = text"),
            ("", ""),
            ("a\nb", "PAGECAMELCLACKSB64:YQpi"),
            ("a\r\n", "PAGECAMELCLACKSB64:YQ0K"),
            ("PAGECAMELCLACKSB64:YQpi", "PAGECAMELCLACKSB64:UEFHRUNBTUVMQ0xBQ0tTQjY0OllRcGk="),
        ] {
            assert_eq!(encode_value(value.as_bytes()), encoded.as_bytes());
            assert_eq!(decode_value(encoded.as_bytes()), value.as_bytes());
        }
        assert_eq!(&*decode_value(b"PAGECAMELCLACKSB64:?"), b"PAGECAMELCLACKSB64:?");
    }

    #[test]
    fn values_of_a_cache_come_back_as_they_were() {
        let check = |value: Value, wire: &str| {
            let written = value.to_wire().unwrap();
            assert_eq!(written.escape_ascii().to_string(), wire);
            assert!(!written.contains(&b'\n'));
            assert_eq!(Value::of_wire(&written).unwrap(), value);
        };
        check("plain".into(), "plain");
        check("a\nb".into(), "PAGECAMELCLACKSB64:YQpi");
        check(vec![0, 0xff].into(), "\\x00\\xff");
        let yaml = "PAGECAMELCLACKSYAMLB64: LS0tIAphOiBiCg==";
        check(Structure::map([("a", "b".into())]).into(), yaml);
        // A text that only looks like one.
        check(yaml.into(), &format!("PAGECAMELCLACKSB64:{}", STANDARD.encode(yaml)));
        let without_space = Value::of_wire(b"PAGECAMELCLACKSYAMLB64:LS0tIAphOiBiCg==").unwrap();
        assert_eq!(without_space, Structure::map([("a", "b".into())]).into());
        let no_base64 = &b"PAGECAMELCLACKSYAMLB64: ?"[..];
        assert_eq!(Value::of_wire(no_base64).unwrap(), no_base64.into());
        let error = Value::of_wire(b"PAGECAMELCLACKSYAMLB64: LS0tICox").unwrap_err();
        assert_eq!(error.to_string(), "the structured value can't be used: line 1: an alias");
    }
}
