//! Bridges that somebody else made and networks use.

use ipnet::IpNet;

use super::Kernel;
use crate::Error;
use crate::desired::BridgeLink;
use crate::host::sysctl::FirstValues;
use crate::host::uplink;
use crate::model::Mac;
use crate::plan::Foreign;

/// A bridge of somebody else's as it is.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses that are valid beyond the link.
    pub addresses: Vec<IpNet>,
    /// Whether a default route leads by it.
    pub leads_out: bool,
}

impl Kernel {
    /// The bridge of that name, if there is one that netdp did not make. Anything else of that name is in the way.
    pub async fn bridge_of_others(&self, name: &str) -> Result<Option<Found>, Error> {
        let host = uplink::Observed::of(&self.netlink).await?;
        let Some(link) = host.links.iter().find(|link| link.name == name && !uplink::is_owned(link)) else {
            return Ok(None);
        };
        if link.kind.as_deref() != Some("bridge") {
            return Err(Foreign(name.to_owned()).into());
        }
        let own = host.addresses.iter().filter(|address| address.index == link.index && address.global);
        Ok(Some(Found {
            mac: Mac(link.mac),
            mtu: link.mtu,
            addresses: own.map(|address| address.net).collect(),
            leads_out: host.routes.iter().any(|route| route.oif == link.index && route.is_default()),
        }))
    }

    /// Gives a bridge back: without the addresses that the network needed, and with the settings that it had.
    pub(super) async fn leave_bridge(&self, name: &str, bridge: &BridgeLink) -> Result<(), Error> {
        let Some(link) = self.netlink.link(name).await? else { return Ok(()) };
        for address in &bridge.addresses {
            self.netlink.delete_address(link.index, *address).await?;
        }
        let first = FirstValues::of(&self.run_dir);
        first
            .put_back_of(bridge.sysctls.keys())
            .or_else(|errors| Error::all(errors.into_iter().map(Error::from).collect()))
    }
}
