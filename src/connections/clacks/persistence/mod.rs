//! Keeping the cache while the server is down.

mod error;
mod file;
mod lines;
mod old;
mod scalar;
mod v3;

pub use error::{FileError, PersistenceError};
pub use file::{FileVersion, read_file, write_file};
