//! `flush`, `status` and `shutdown`.

use crate::arguments::{Connection, Json, Shutdown};
use crate::failure::Failure;
use crate::json::Object;
use crate::output::{Output, visible};

pub(crate) fn flush(connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("flush")?.flush()?)
}

pub(crate) fn status(json: &Json, connection: &Connection) -> Result<(), Failure> {
    let status = connection.call("status")?.status()?;
    let mut output = Output::new();
    if json.json {
        let object = status.iter().fold(Object::new(), |object, (name, value)| match value.parse::<u64>() {
            Ok(number) => object.plain(name, number),
            Err(_) => object.text(name, value.as_bytes()),
        });
        output.line(&[object.line().as_bytes()])?;
    } else {
        for (name, value) in &status {
            output.line(&[&visible(name.as_bytes(), b""), b"=", &visible(value.as_bytes(), b"")])?;
        }
    }
    output.flush()
}

pub(crate) fn shut_down(shutdown: &Shutdown, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("shutdown")?.shut_down(shutdown.seconds)?)
}
