//! Who has published which port of the host.

use std::collections::HashMap;

use rusqlite::{Row, params};

use super::rows::port;
use super::{Error, Store};
use crate::model::{Protocol, PublishedPort};

/// A published port, and the name of the endpoint that has it.
pub type Holder = (PublishedPort, String);

impl Store {
    /// Who has published a host port of a protocol, on whatever address.
    pub fn holders(&self, protocol: Protocol, host_port: u16) -> Result<Vec<Holder>, Error> {
        Ok(self.holders_between(protocol, host_port, host_port)?.remove(&host_port).unwrap_or_default())
    }

    /// Who has published ports of a protocol from the first to the last, by port.
    pub fn holders_between(
        &self,
        protocol: Protocol,
        first: u16,
        last: u16,
    ) -> Result<HashMap<u16, Vec<Holder>>, Error> {
        let sql = "SELECT ports.protocol, host_port, host_address, container_port, sources, endpoints.name FROM ports \
                   JOIN attachments ON attachments.number = ports.attachment \
                   JOIN endpoints ON endpoints.number = attachments.endpoint \
                   WHERE ports.protocol = ?1 AND host_port BETWEEN ?2 AND ?3";
        let read = |row: &Row<'_>| Ok((port(row)?, row.get(5)?));
        let mut all = HashMap::<u16, Vec<Holder>>::new();
        for holder in self.rows(sql, params![protocol.to_string(), first, last], read)? {
            // What is NULL lies between nothing.
            all.entry(holder.0.host_port.unwrap_or_default()).or_default().push(holder);
        }
        Ok(all)
    }
}
