//! Rows of the tables, as values of the model and back.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, Type, ValueRef};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::model::{Attachment, Endpoint, Netns, Network, PublishedPort};
use crate::names::Id;

pub(super) const ENDPOINTS: &str =
    "SELECT number, id, name, created, netns_path, netns_device, netns_inode, options FROM endpoints";

/// A value kept as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: for<'de> Deserialize<'de>> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    Ok(serde_json::to_string(value)?)
}

pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| {
        let wrong = format!("{text:?} in column {column}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, wrong.into())
    })
}

pub(super) fn parsed_if_any<T: std::str::FromStr>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

pub(super) fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network {
        number: row.get(0)?,
        id: Id::stored(row.get(1)?),
        name: parsed(row, 2)?,
        created: row.get::<_, i64>(3)?.cast_unsigned(),
        driver: row.get::<_, Json<_>>(4)?.0,
        options: row.get::<_, Json<_>>(5)?.0,
        labels: row.get::<_, Json<_>>(6)?.0,
    })
}

pub(super) fn endpoint(row: &Row<'_>) -> rusqlite::Result<(i64, Endpoint)> {
    let path: Vec<u8> = row.get(4)?;
    let netns = Netns {
        path: OsString::from_vec(path).into(),
        device: row.get::<_, i64>(5)?.cast_unsigned(),
        inode: row.get::<_, i64>(6)?.cast_unsigned(),
    };
    let endpoint = Endpoint {
        id: Id::stored(row.get(1)?),
        name: parsed(row, 2)?,
        created: row.get::<_, i64>(3)?.cast_unsigned(),
        netns,
        options: row.get::<_, Json<_>>(7)?.0,
        attachments: Vec::new(),
    };
    Ok((row.get(0)?, endpoint))
}

pub(super) fn attachment(row: &Row<'_>) -> rusqlite::Result<(i64, Attachment)> {
    let attachment = Attachment {
        id: Id::stored(row.get(1)?),
        network: row.get(2)?,
        addr4: parsed_if_any(row, 3)?,
        addr6: parsed_if_any(row, 4)?,
        mac: parsed(row, 5)?,
        ifname: row.get(6)?,
        options: row.get::<_, Json<_>>(7)?.0,
        ports: Vec::new(),
        lease: None,
    };
    Ok((row.get(0)?, attachment))
}

pub(super) fn port(row: &Row<'_>) -> rusqlite::Result<PublishedPort> {
    Ok(PublishedPort {
        protocol: parsed(row, 0)?,
        host_port: row.get(1)?,
        host_address: parsed(row, 2)?,
        container_port: row.get(3)?,
        sources: parsed(row, 4)?,
    })
}
