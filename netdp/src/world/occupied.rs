//! Addresses that the host has already, by itself or by its routes.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::Kernel;
use crate::Error;
use crate::clash::Occupied;
use crate::host::{pools, uplink};
use crate::ipam::Taken;
use crate::netlink::Netlink;

impl Kernel {
    /// Addresses and routes of the host that a new subnet must not overlap; those of our own links are their
    /// networks'.
    pub async fn taken(&self) -> Result<Vec<Taken>, Error> {
        self.taken_beside(None).await
    }

    /// The same without what one bridge has.
    pub async fn taken_beside(&self, bridge: Option<&str>) -> Result<Vec<Taken>, Error> {
        let all = occupied(&uplink::Observed::of(&self.netlink).await?);
        let other = all.into_iter().filter(|occupied| bridge != Some(occupied.link.as_str()));
        Ok(other.map(|occupied| occupied.taken).collect())
    }

    /// What a network may come to overlap later, when a VPN is set up.
    pub async fn occupied(&self) -> Result<Vec<Occupied>, Error> {
        Ok(occupied(&uplink::Observed::of(&self.netlink).await?))
    }
}

/// The same for somebody who may only look; nothing is found where that is not allowed.
pub async fn occupied_here() -> Vec<Occupied> {
    let look = async || Ok::<_, Error>(occupied(&uplink::Observed::of(&Netlink::here()?).await?));
    look().await.unwrap_or_default()
}

fn occupied(host: &uplink::Observed) -> Vec<Occupied> {
    let ours: BTreeSet<u32> =
        host.links.iter().filter(|link| uplink::is_owned(link)).map(|link| link.index).collect();
    let names: BTreeMap<u32, &str> = host.links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let occupied = |net: IpNet, what: &str, index: u32| {
        let link = names.get(&index).copied().unwrap_or_default().to_owned();
        let by = if link.is_empty() { what.to_owned() } else { format!("{what} ({link})") };
        pools::is_occupied(&net).then(|| Occupied { link, taken: Taken { net: net.trunc(), by } })
    };
    let addresses = host.addresses.iter().filter(|address| !ours.contains(&address.index));
    let routes = host.routes.iter().filter(|route| !route.is_default() && !ours.contains(&route.oif));
    addresses
        .filter_map(|address| occupied(address.net, "an address of this host", address.index))
        .chain(routes.filter_map(|route| occupied(route.dst, "a route of this host", route.oif)))
        .collect()
}
