//! Addresses that a DHCP server has lent, in the containers that have them.

use std::net::IpAddr;

use super::{Kernel, link_in, open_netns};
use crate::Error;
use crate::desired::Inside;
use crate::instance;
use crate::netlink::Netlink;

/// The address that is lent, if it is one of the interface's.
fn lent(inside: &Inside) -> Option<ipnet::IpNet> {
    inside.addresses.iter().copied().find(|address| matches!(address.addr(), IpAddr::V4(_)))
}

impl Kernel {
    /// Gives an interface its addresses. One that is lent goes by itself when its time is over, whether or not somebody is there
    /// to see to it: from then on it may be another host's.
    pub(super) async fn add_addresses(netlink: &Netlink, index: u32, inside: &Inside) -> Result<(), Error> {
        for address in &inside.addresses {
            match inside.until.filter(|_| address.addr().is_ipv4()) {
                Some(until) => netlink.lend_address(index, *address, seconds_to(until)).await?,
                None => netlink.add_address(index, *address).await?,
            }
        }
        Ok(())
    }

    /// Gives an interface what is lent to it now instead of what was; its default route is not looked at.
    pub async fn lend(&self, before: &Inside, after: &Inside) -> Result<(), Error> {
        let ns = open_netns(&after.netns)?;
        let netlink = Netlink::in_netns(&ns)?;
        let link = link_in(&netlink, &after.ifname).await?;
        // The old one first: with the first address of a subnet the kernel takes away the others.
        if let Some(old) = lent(before).filter(|old| lent(after) != Some(*old)) {
            netlink.delete_address(link.index, old).await?;
        }
        Self::add_lent(&netlink, link.index, after).await?;
        Self::add_routes(&netlink, link.index, after).await
    }

    async fn add_lent(netlink: &Netlink, index: u32, inside: &Inside) -> Result<(), Error> {
        let Some(address) = lent(inside) else { return Ok(()) };
        Ok(netlink.lend_address(index, address, inside.until.map_or(u32::MAX, seconds_to)).await?)
    }

    /// Routes beside the default one.
    pub(super) async fn add_routes(netlink: &Netlink, index: u32, inside: &Inside) -> Result<(), Error> {
        for route in &inside.routes {
            match netlink.add_route(route.to, route.via, index).await {
                // Of several networks with the same route the first one has it.
                Err(error) if error.is_exists() => {}
                result => result?,
            }
        }
        Ok(())
    }
}

/// What is left until a moment; the kernel takes no address for no time at all.
fn seconds_to(moment: u64) -> u32 {
    u32::try_from(moment.saturating_sub(instance::now())).unwrap_or(u32::MAX - 1).max(1)
}
