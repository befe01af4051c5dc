//! What the configuration file has said and is asked for long after: each a value in JSON under its name.

use std::net::IpAddr;

use rusqlite::{Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Change, Error, Store, json};
use crate::model::{AddressPool, NetworkOptions, Resolver};

/// Settings that are set. Apart, because a database that an earlier version made has no such table.
const SETTINGS: &str = "
CREATE TABLE IF NOT EXISTS settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What can be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Setting {
    /// How names are resolved that no network knows: [`Resolver`].
    Resolver,
    /// Where subnets of new networks come from: [`AddressPool`]s.
    AddressPools,
    /// What `host-gateway` stands for: addresses.
    HostGateway,
    /// Options of new networks: [`NetworkOptions`].
    NetworkOptions,
    /// What the file declares.
    Declared,
    /// What the file has set that commands set too.
    OfFile,
    /// Whether published ports are reached at the containers' own addresses from everywhere.
    DirectRouting,
}

impl Setting {
    const fn name(self) -> &'static str {
        match self {
            Self::Resolver => "resolver",
            Self::AddressPools => "address-pools",
            Self::HostGateway => "host-gateway",
            Self::NetworkOptions => "network-options",
            Self::Declared => "declared",
            Self::OfFile => "of-file",
            Self::DirectRouting => "allow-direct-routing",
        }
    }
}

impl Store {
    /// What is set; the default of its type when nothing is, or when an other version has written it otherwise.
    pub fn setting<T: Default + DeserializeOwned>(&self, setting: Setting) -> Result<T, Error> {
        let there = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'settings'";
        if self.rows(there, [], |row| row.get::<_, String>(0))?.is_empty() {
            return Ok(T::default());
        }
        let read = |row: &Row<'_>| row.get::<_, String>(0);
        let rows = self.rows("SELECT value FROM settings WHERE name = ?1", [setting.name()], read)?;
        Ok(rows.first().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }

    /// How names are resolved that no network knows, where an endpoint does not say it itself.
    pub fn resolver(&self) -> Result<Resolver, Error> {
        self.setting(Setting::Resolver)
    }

    /// What `host-gateway` stands for, one address of each family at most; none is the gateway of the default network.
    pub fn host_gateway(&self) -> Result<Vec<IpAddr>, Error> {
        self.setting(Setting::HostGateway)
    }

    /// Whether published ports are reached at the containers' own addresses from everywhere.
    pub fn allows_direct_routing(&self) -> Result<bool, Error> {
        self.setting(Setting::DirectRouting)
    }

    /// Where subnets of new networks come from; none is Docker's choice.
    pub fn address_pools(&self) -> Result<Vec<AddressPool>, Error> {
        self.setting(Setting::AddressPools)
    }

    /// Options of networks that are made without them, by driver.
    pub fn network_options(&self) -> Result<NetworkOptions, Error> {
        self.setting(Setting::NetworkOptions)
    }
}

impl Change<'_> {
    /// Sets one.
    pub fn set_setting(&self, setting: Setting, value: &impl Serialize) -> Result<(), Error> {
        self.execute(SETTINGS, [])?;
        let values = params![setting.name(), json(value)?];
        self.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)", values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_also_in_a_database_that_knows_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.resolver().unwrap(), Resolver::default());
        let resolver = Resolver { servers: vec!["192.0.2.1".parse().unwrap()], ..Resolver::default() };
        let pools = vec![AddressPool { base: "10.10.0.0/16".parse().unwrap(), size: 24 }];
        let change = store.begin().unwrap();
        change.set_setting(Setting::Resolver, &resolver).unwrap();
        change.set_setting(Setting::AddressPools, &pools).unwrap();
        change.commit().unwrap();
        assert_eq!((store.resolver().unwrap(), store.address_pools().unwrap()), (resolver, pools));
    }

    #[test]
    fn what_is_changed_in_a_copy_stays_there() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Store::copy(directory.path()).unwrap().networks().unwrap().is_empty());
        assert!(!directory.path().join("netdp.db").exists(), "nothing is made in order to look");
        let resolver = Resolver { search: vec!["lan".to_owned()], ..Resolver::default() };
        for store in [Store::open(directory.path()).unwrap(), Store::copy(directory.path()).unwrap()] {
            let change = store.begin().unwrap();
            let search = vec![format!("lan{}", u8::from(store.resolver().unwrap() == resolver))];
            change.set_setting(Setting::Resolver, &Resolver { search, ..Resolver::default() }).unwrap();
            change.commit().unwrap();
        }
        assert_eq!(Store::open(directory.path()).unwrap().resolver().unwrap().search, ["lan0"]);
    }
}
