//! Values that the protocol's lines can't hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// Before a value in base64.
const BINARY: &[u8] = b"PAGECAMELCLACKSB64:";

/// A value as it can stand in a line: one that holds a line end, or that would be taken for an encoded one, is encoded, as
/// all clients do it (`PAGECAMELCLACKSB64:` and base64). The server does not look inside.
pub fn encode_value(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) || value.starts_with(BINARY) {
        let mut encoded = BINARY.to_vec();
        encoded.extend_from_slice(STANDARD.encode(value).as_bytes());
        Cow::Owned(encoded)
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
}
