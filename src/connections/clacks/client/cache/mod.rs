//! The server's cache as programs use one: keys of any text, values of any bytes and structures, a copy at hand.

mod blocking;
mod evented;
mod local;

pub use blocking::BlockingCache;
pub use evented::Cache;
pub(super) use local::Local;
pub use local::LocalCopy;

use std::borrow::Cow;

/// The key that is kept for a key: a space and `=`, which can't stand in one, become `___`, as the reference client has it.
fn kept(key: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| !matches!(byte, b' ' | b'=');
    if key.iter().all(is_plain) {
        return Cow::Borrowed(key);
    }
    let bytes = key.iter().flat_map(|byte| if is_plain(byte) { std::slice::from_ref(byte) } else { b"___" });
    Cow::Owned(bytes.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_no_spaces_and_equal_signs() {
        for (key, wanted) in [("key", "key"), ("a b", "a___b"), ("=a  ", "___a______"), ("", "")] {
            assert_eq!(kept(key.as_bytes()), wanted.as_bytes());
        }
    }
}
