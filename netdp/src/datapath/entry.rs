//! Rows of the maps that the controller writes.

use std::borrow::Borrow;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError};
use netdp_common::{
    Addr, Backend, DestinationKey, Endpoint, EndpointKey, Link, PortKey, SourceKey, SubnetKey, Uplink, names,
};

use super::Datapath;
use super::error::Error;

/// One row of a map that the controller writes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Entry {
    /// Who may send on a host-side veth (`ifindex`).
    Link(u32, Link),
    /// Where a container address is reached.
    Endpoint(EndpointKey, Endpoint),
    /// A published port.
    Port(PortKey, Backend),
    /// Sources that may use a published port.
    Source(SourceKey),
    /// A container subnet and its network id.
    Subnet(SubnetKey, u32),
    /// A prefix that a network reaches untranslated.
    Excluded(DestinationKey),
    /// An uplink (`ifindex`) and its addresses.
    Uplink(u32, Uplink),
    /// An address of the host, and whether it lasts (`netdp_common::uplink`).
    HostAddr(Addr, u32),
    /// A prefix of the deny list.
    Denied(SubnetKey),
    /// What is taken from the wire (`netdp_common::prefilter::flags`); no row is a row of none.
    Wire(u32),
    /// The timer of a state that is set: its number, and the timeout in ticks, never zero; or a limit, in a row of its own.
    Timer(u32, u32),
}

/// The row of a timer that is not set: an array has no fewer rows than it has.
const UNSET: u32 = 0;

fn timer((number, row): (u32, u32)) -> Entry {
    Entry::Timer(number, row)
}

impl Datapath {
    /// Inserts a row, or replaces the one with the same key.
    ///
    /// # Errors
    /// The map is full.
    pub fn put(&self, entry: &Entry) -> Result<(), Error> {
        match entry {
            Entry::Link(k, v) => self.insert(names::LINKS, k, v),
            Entry::Endpoint(k, v) => self.insert(names::ENDPOINTS, k, v),
            Entry::Port(k, v) => self.insert(names::PORTS, k, v),
            Entry::Uplink(k, v) => self.insert(names::UPLINKS, k, v),
            Entry::HostAddr(k, v) => self.insert(names::HOST_ADDRS, k, v),
            Entry::Excluded(k) => self.put_excluded(k),
            Entry::Source(k) => self.put_source(k),
            Entry::Denied(k) => self.deny(k),
            Entry::Wire(flags) => self.set_wire(*flags),
            Entry::Timer(k, v) => self.set_timer_row(*k, *v),
            Entry::Subnet(k, v) => {
                let result = self.subnets()?.insert(&lpm_key(k), v, 0);
                result.map_err(|e| Error::map(names::SUBNETS, e))
            }
        }
    }

    /// Deletes the row with the entry's key; one that is gone already is deleted.
    ///
    /// # Errors
    /// The map cannot be opened.
    pub fn delete(&self, entry: &Entry) -> Result<(), Error> {
        match entry {
            Entry::Link(k, _) => self.remove::<_, Link>(names::LINKS, k),
            Entry::Endpoint(k, _) => self.remove::<_, Endpoint>(names::ENDPOINTS, k),
            Entry::Port(k, _) => self.remove::<_, Backend>(names::PORTS, k),
            Entry::Uplink(k, _) => self.remove::<_, Uplink>(names::UPLINKS, k),
            Entry::HostAddr(k, _) => self.remove::<_, u32>(names::HOST_ADDRS, k),
            Entry::Excluded(k) => self.delete_excluded(k),
            Entry::Source(k) => self.delete_source(k),
            Entry::Timer(k, _) => self.set_timer_row(*k, UNSET),
            Entry::Subnet(k, _) => gone(names::SUBNETS, self.subnets()?.remove(&lpm_key(k))),
            Entry::Denied(k) => gone(names::DENY, self.prefixes(names::DENY)?.remove(&lpm_key(k))),
            Entry::Wire(_) => self.set_wire(0),
        }
    }

    /// The row that has the entry's key.
    ///
    /// # Errors
    /// The map cannot be opened.
    pub fn lookup(&self, entry: &Entry) -> Result<Option<Entry>, Error> {
        Ok(match entry {
            Entry::Link(k, _) => self.find(names::LINKS, k)?.map(|v| Entry::Link(*k, v)),
            Entry::Endpoint(k, _) => self.find(names::ENDPOINTS, k)?.map(|v| Entry::Endpoint(*k, v)),
            Entry::Port(k, _) => self.find(names::PORTS, k)?.map(|v| Entry::Port(*k, v)),
            Entry::Uplink(k, _) => self.find(names::UPLINKS, k)?.map(|v| Entry::Uplink(*k, v)),
            Entry::HostAddr(k, _) => self.find(names::HOST_ADDRS, k)?.map(|v| Entry::HostAddr(*k, v)),
            Entry::Excluded(k) => self.find_excluded(k)?.map(Entry::Excluded),
            Entry::Source(k) => self.find_source(k)?.map(Entry::Source),
            Entry::Subnet(k, _) => self.subnet(k)?.map(|v| Entry::Subnet(*k, v)),
            Entry::Denied(k) => self.is_denied(k)?.then_some(Entry::Denied(*k)),
            Entry::Wire(_) => self.wire()?.map(Entry::Wire),
            Entry::Timer(k, _) => self.set_timers()?.into_iter().find(|(number, _)| number == k).map(timer),
        })
    }

    /// Every row of every map that the controller writes.
    ///
    /// # Errors
    /// A map cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        all.extend(self.rows(names::LINKS)?.into_iter().map(|(k, v)| Entry::Link(k, v)));
        all.extend(self.rows(names::ENDPOINTS)?.into_iter().map(|(k, v)| Entry::Endpoint(k, v)));
        all.extend(self.rows(names::PORTS)?.into_iter().map(|(k, v)| Entry::Port(k, v)));
        all.extend(self.rows(names::UPLINKS)?.into_iter().map(|(k, v)| Entry::Uplink(k, v)));
        all.extend(self.rows(names::HOST_ADDRS)?.into_iter().map(|(k, v)| Entry::HostAddr(k, v)));
        all.extend(self.excluded_keys()?.into_iter().map(Entry::Excluded));
        all.extend(self.source_keys()?.into_iter().map(Entry::Source));
        all.extend(self.set_timers()?.into_iter().map(timer));
        for row in &self.subnets()? {
            let (key, network) = row.map_err(|e| Error::map(names::SUBNETS, e))?;
            let key = SubnetKey { prefix_len: key.prefix_len(), addr: key.data() };
            all.push(Entry::Subnet(key, network));
        }
        all.extend(self.denied()?.into_iter().map(Entry::Denied));
        all.extend(self.wire()?.map(Entry::Wire));
        Ok(all)
    }

    /// A hash map by name; key and value sizes are those of the object, which [`Datapath::load`] has compared.
    pub(super) fn hash<K: Pod, V: Pod>(&self, name: &'static str) -> Result<HashMap<MapData, K, V>, Error> {
        self.map(name, Map::HashMap)?.try_into().map_err(|e| Error::map(name, e))
    }

    fn subnets(&self) -> Result<LpmTrie<MapData, Addr, u32>, Error> {
        self.prefixes(names::SUBNETS)
    }

    pub(super) fn prefixes(&self, name: &'static str) -> Result<LpmTrie<MapData, Addr, u32>, Error> {
        self.map(name, Map::LpmTrie)?.try_into().map_err(|e| Error::map(name, e))
    }

    /// The network of exactly this prefix. The kernel's look-up alone would also find a shorter one.
    fn subnet(&self, key: &SubnetKey) -> Result<Option<u32>, Error> {
        for row in &self.subnets()? {
            let (found, network) = row.map_err(|e| Error::map(names::SUBNETS, e))?;
            if found.prefix_len() == key.prefix_len && found.data() == key.addr {
                return Ok(Some(network));
            }
        }
        Ok(None)
    }

    /// The error that a full map is told with; the kernel's own where its size is not to be had.
    pub(super) fn insert_error(&self, name: &'static str, error: MapError) -> Error {
        // A trie says ENOSPC where a hash table says E2BIG.
        let full = matches!(
            &error,
            MapError::SyscallError(e) if matches!(e.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
        );
        match aya::maps::MapInfo::from_pin(self.map_path(name)) {
            Ok(info) if full => Error::Full { name, max: info.max_entries() },
            _ => Error::map(name, error),
        }
    }

    pub(super) fn rows<K: Pod, V: Pod>(&self, name: &'static str) -> Result<Vec<(K, V)>, Error> {
        let map = self.hash::<K, V>(name)?;
        let rows: Result<Vec<_>, _> = map.borrow().iter().collect();
        rows.map_err(|e| Error::map(name, e))
    }
}

pub(super) fn lpm_key(key: &SubnetKey) -> Key<Addr> {
    Key::new(key.prefix_len, key.addr)
}

/// A deletion that finds nothing has nothing to do.
pub(super) fn gone(name: &'static str, result: Result<(), MapError>) -> Result<(), Error> {
    match result {
        Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(Error::map(name, error)),
    }
}
