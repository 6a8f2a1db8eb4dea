//! `flush` and `shutdown`.

use crate::arguments::{Connection, Shutdown};
use crate::failure::Failure;

pub(crate) fn flush(connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("flush")?.flush()?)
}

pub(crate) fn shut_down(shutdown: &Shutdown, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("shutdown")?.shut_down(shutdown.seconds)?)
}
