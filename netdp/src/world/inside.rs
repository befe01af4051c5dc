//! What is in the namespaces of endpoints, for comparison, and what they say of it.

use ipnet::IpNet;

use super::{Kernel, link_in, open_netns};
use crate::Error;
use crate::announce::{self, Announcement};
use crate::desired::Inside;
use crate::host::uplink::Observed;
use crate::model::Netns;
use crate::netlink::{Netlink, Rule};

impl Kernel {
    /// An address that is not announced is there all the same, and is found when it is asked for.
    pub(super) async fn announce(&self, inside: &Inside) -> Result<(), Error> {
        let ns = open_netns(&inside.netns)?;
        let link = link_in(&Netlink::in_netns(&ns)?, &inside.ifname).await?;
        let addresses = inside.addresses.iter().map(IpNet::addr).collect();
        let announcement = Announcement { index: link.index, mac: link.mac, addresses };
        if let Err(error) = announce::begin(&ns, &announcement) {
            tracing::warn!("the addresses of {} are not announced on the LAN: {error}", inside.ifname);
        }
        Ok(())
    }
}

/// Links, addresses and routes of an endpoint's namespace, and the rules that choose a routing table.
pub(crate) async fn observe(netns: &Netns) -> Result<(Observed, Vec<Rule>), Error> {
    let netlink = Netlink::in_netns(&open_netns(netns)?)?;
    Ok((Observed::of(&netlink).await?, netlink.rules().await?))
}
