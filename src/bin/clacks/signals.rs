//! `set` and `notify`.

use crate::arguments::{Connection, Name, Pair};
use crate::failure::Failure;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn set(pair: &Pair, connection: &Connection) -> Result<(), Failure> {
    let value = pair.wire_value()?;
    Ok(connection.call("set")?.set(pair.name.as_bytes(), &value)?)
}

pub(crate) fn notify(name: &Name, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("notify")?.notify(name.name.as_bytes())?)
}
