//! Takes over the database of an older version. Either all of it is as this version writes it afterwards, or nothing has
//! changed.
//!
//! What a table was like in a schema stands here as it was then: it does not follow the tables of today.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::PATIENCE;

/// From IPv4 addresses as numbers to addresses of both families as text, and to ports that can be for some sources only:
/// those that are there are for everybody. References are by the names of tables, and hold
/// again once the new ones have them.
const TO_2: &str = "
CREATE TABLE attachments2 (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    endpoint INTEGER NOT NULL REFERENCES endpoints (number) ON DELETE CASCADE,
    network INTEGER NOT NULL REFERENCES networks (number),
    addr4 TEXT,
    addr6 TEXT,
    mac TEXT NOT NULL,
    ifname TEXT NOT NULL,
    UNIQUE (network, addr4),
    UNIQUE (network, addr6),
    UNIQUE (endpoint, network),
    UNIQUE (endpoint, ifname)
) STRICT;
INSERT INTO attachments2
    SELECT number, id, endpoint, network,
        format('%d.%d.%d.%d', address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255), NULL, mac, ifname
    FROM attachments;
CREATE TABLE ports2 (
    protocol TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    host_address TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    sources TEXT NOT NULL,
    attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
    PRIMARY KEY (protocol, host_port, host_address)
) STRICT, WITHOUT ROWID;
INSERT INTO ports2
    SELECT protocol, host_port, format('%d.%d.%d.%d', host_address >> 24, host_address >> 16 & 255,
        host_address >> 8 & 255, host_address & 255), container_port, '', attachment
    FROM ports;
DROP TABLE ports;
DROP TABLE attachments;
ALTER TABLE attachments2 RENAME TO attachments;
ALTER TABLE ports2 RENAME TO ports;
CREATE INDEX ports_by_attachment ON ports (attachment);
CREATE TABLE ula (prefix TEXT NOT NULL) STRICT;
PRAGMA user_version = 2;
";

/// What was asked for beyond addresses and ports is kept as one JSON object, so that a later option needs no other table.
const TO_3: &str = "
ALTER TABLE endpoints ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
ALTER TABLE attachments ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
PRAGMA user_version = 3;
";

/// Ports of routed addresses have none of the host's.
const TO_4: &str = "
CREATE TABLE ports4 (
    protocol TEXT NOT NULL,
    host_port INTEGER,
    host_address TEXT NOT NULL,
    container_port INTEGER NOT NULL,
    sources TEXT NOT NULL,
    attachment INTEGER NOT NULL REFERENCES attachments (number) ON DELETE CASCADE,
    UNIQUE (protocol, host_port, host_address)
) STRICT;
INSERT INTO ports4
    SELECT protocol,
        CASE json_extract(driver, CASE WHEN host_address LIKE '%:%' AND addr6 IS NOT NULL
            THEN '$.Bridge.gateway_mode6' ELSE '$.Bridge.gateway_mode4' END)
        WHEN 'routed' THEN NULL ELSE host_port END,
        host_address, container_port, sources, attachment
    FROM ports
    JOIN attachments ON attachments.number = ports.attachment
    JOIN networks ON networks.number = attachments.network;
DROP TABLE ports;
ALTER TABLE ports4 RENAME TO ports;
CREATE INDEX ports_by_attachment ON ports (attachment);
PRAGMA user_version = 4;
";

/// Brings a database of an older schema to the present one, step by step, unless somebody else has done so meanwhile.
pub(super) fn to_present(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    whole(&mut connection)?;
    connection.close().map_err(|(_, source)| source)
}

/// The same of a database that is open.
pub(super) fn whole(connection: &mut Connection) -> rusqlite::Result<()> {
    // A table that goes would take the rows that refer to it along.
    connection.pragma_update(None, "foreign_keys", false)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (from, step) in [(1, TO_2), (2, TO_3), (3, TO_4)] {
        if transaction.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? == from {
            transaction.execute_batch(step)?;
        }
    }
    transaction.commit()
}
