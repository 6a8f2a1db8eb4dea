//! `store`, `get`, `del`, `incr`, `decr`, `keys` and `clear`.

use crate::arguments::{Connection, Get, Key, Keys, Pair, Step};
use crate::failure::Failure;
use crate::glob::Glob;
use crate::output::Output;
use std::os::unix::ffi::OsStrExt;

pub(crate) fn store(pair: &Pair, connection: &Connection) -> Result<(), Failure> {
    let value = pair.wire_value()?;
    Ok(connection.call("store")?.store(pair.name.as_bytes(), &value)?)
}

pub(crate) fn get(get: &Get, connection: &Connection) -> Result<(), Failure> {
    let Some(value) = connection.call("get")?.retrieve(get.key.as_bytes())? else {
        return Err(Failure::NotFound(format!("there is no value under {:?}", get.key)));
    };
    let mut output = Output::new();
    output.text(&get.values.decode(&value).bytes)?;
    if !get.exact {
        output.bytes(b"\n")?;
    }
    output.flush()
}

pub(crate) fn del(key: &Key, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("del")?.remove(key.key.as_bytes())?)
}

pub(crate) fn incr(step: &Step, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("incr")?.increment(step.key.as_bytes(), step.step.as_deref())?)
}

pub(crate) fn decr(step: &Step, connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("decr")?.decrement(step.key.as_bytes(), step.step.as_deref())?)
}

pub(crate) fn keys(keys: &Keys, connection: &Connection) -> Result<(), Failure> {
    let pattern = keys.pattern.as_ref().map(|pattern| Glob::new(pattern.as_bytes())).transpose();
    let pattern = pattern.map_err(|error| Failure::Usage(error.to_string()))?;
    let mut output = Output::new();
    for key in connection.call("keys")?.key_list()? {
        if pattern.as_ref().is_none_or(|pattern| pattern.matches(&key)) {
            output.line(&[&key])?;
        }
    }
    output.flush()
}

pub(crate) fn clear(connection: &Connection) -> Result<(), Failure> {
    Ok(connection.call("clear")?.clear_cache()?)
}
