//! The namespace where the kernel puts fragments in order, and the veth that leads there.
//!
//! Nothing lives in it but a router that sends everything back by the one interface that it has. Its connection tracking
//! tracks nothing, but puts datagrams together before they are routed, and has them cut again as they were. It is held by
//! a mount in the run directory, and so outlives the controller as the programs do.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use netdp_common::fragments::{LIMIT_MEMORY, PATIENCE_SECONDS, SORTER_MAC};

use super::Kernel;
use crate::Error;
use crate::datapath::Hook;
use crate::host::netns;
use crate::host::sysctl::Sysctl;
use crate::netlink::{Link, MAX_MTU, Netlink, VethEnd};

/// The end of the veth on the host.
pub(crate) const LINK: &str = "netdp-frag";
const ALIAS: &str = "netdp:fragments";
/// The other end.
const INSIDE: &str = "frag";
/// Number of `lo` in every namespace.
const LOOPBACK: u32 = 1;

/// The mount that holds the namespace.
fn holder(run_dir: &Path) -> PathBuf {
    run_dir.join("fragments")
}

/// Whether a link is the one that leads there.
pub(super) fn is_ours(link: &Link) -> bool {
    link.name == LINK && link.alias.as_deref() == Some(ALIAS)
}

impl Kernel {
    /// Makes it, unless it is there. Without it fragments that need their ports are dropped, and all else works.
    pub(super) async fn establish_sorter(&self) {
        if let Err(error) = self.try_to_establish().await {
            tracing::warn!("fragmented packets are dropped: {error}");
        }
    }

    async fn try_to_establish(&self) -> Result<(), Error> {
        let there = self.netlink.link(LINK).await?;
        let whole = there.as_ref().is_some_and(|link| is_ours(link) && link.up);
        let number = match there {
            Some(link) if whole && netns::open(&holder(&self.run_dir)).is_ok() => link.index,
            _ => {
                self.remove_sorter().await?;
                self.make_sorter().await?
            }
        };
        self.datapath()?.attach(Hook::FromFragments, LINK, number)?;
        Ok(self.datapath()?.set_sorter(number)?)
    }

    async fn make_sorter(&self) -> Result<u32, Error> {
        let ns = netns::create()?;
        netns::in_netns(ns.as_fd(), prepare)??;
        let end = |name: &str, mac, alias: &str| VethEnd {
            name: name.to_owned(),
            mac,
            mtu: MAX_MTU,
            alias: (!alias.is_empty()).then(|| alias.to_owned()),
        };
        let host_mac = [0x02, 0x6e, 0x64, 0x70, 0x00, 0x02];
        let number =
            self.netlink.add_veth(&end(LINK, host_mac, ALIAS), &end(INSIDE, SORTER_MAC.0, ""), &ns).await?;
        let made = async {
            netns::hold(&ns, &holder(&self.run_dir))?;
            // The host's own stack has no part in it.
            Sysctl::ipv6(LINK, "disable_ipv6").set_if_there("1")?;
            self.netlink.set_up(number).await?;
            furnish(&ns).await
        };
        match made.await {
            Ok(()) => Ok(number),
            Err(error) => {
                // The first failure is the one to report.
                let _ = self.remove_sorter().await;
                Err(error)
            }
        }
    }

    /// Takes it away, if it is there.
    pub(super) async fn remove_sorter(&self) -> Result<(), Error> {
        if let Ok(datapath) = self.datapath() {
            // A map of this version has the slot, whatever it held.
            let _ = datapath.set_sorter(0);
        }
        remove(&self.netlink, &self.run_dir).await
    }
}

/// Takes away what is there of it.
pub(super) async fn remove(netlink: &Netlink, run_dir: &Path) -> Result<(), Error> {
    if let Some(link) = netlink.link(LINK).await?.filter(is_ours) {
        netlink.delete_link(link.index).await?;
    }
    Ok(netns::release(&holder(run_dir))?)
}

/// Before there is an interface, as one takes over what is set by then.
fn prepare() -> Result<(), Error> {
    let set = |path: &str, value: &str| Sysctl::new(path).set_if_there(value).map(drop);
    for family in ["ipv4", "ipv6"] {
        for which in ["all", "default"] {
            set(&format!("net/{family}/conf/{which}/forwarding"), "1")?;
        }
    }
    for which in ["all", "default"] {
        set(&format!("net/ipv4/conf/{which}/rp_filter"), "0")?;
        set(&format!("net/ipv4/conf/{which}/send_redirects"), "0")?;
        set(&format!("net/ipv6/conf/{which}/accept_ra"), "0")?;
    }
    set("net/ipv6/conf/default/addr_gen_mode", "1")?;
    Ok(())
}

async fn furnish(ns: &impl AsFd) -> Result<(), Error> {
    netns::in_netns(ns.as_fd(), || crate::netlink::sort_fragments(INSIDE))??;
    // These come with the tracking.
    netns::in_netns(ns.as_fd(), || {
        let (memory, patience) = (LIMIT_MEMORY.to_string(), PATIENCE_SECONDS.to_string());
        for (path, value) in [
            ("net/ipv4/ipfrag_high_thresh", &memory),
            ("net/ipv4/ipfrag_time", &patience),
            ("net/netfilter/nf_conntrack_frag6_high_thresh", &memory),
            ("net/netfilter/nf_conntrack_frag6_timeout", &patience),
        ] {
            Sysctl::new(path).set_if_there(value)?;
        }
        Ok::<(), Error>(())
    })??;
    let netlink = Netlink::in_netns(ns)?;
    // With it the routing table of what is local comes, and no gateway can be told from a broadcast before.
    netlink.set_up(LOOPBACK).await?;
    let number = super::number_in(&netlink, INSIDE).await?;
    netlink.set_up_without_arp(number).await?;
    Ok(netlink.add_only_routes(number).await?)
}
