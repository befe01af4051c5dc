//! Which interfaces can be made, tried in a namespace that ends with the trial.

use std::os::fd::{AsFd, OwnedFd};

use aya::programs::tc::qdisc_add_clsact;

use super::CheckRow;
use crate::{
    host::netns,
    netlink::{self, Netlink, VethEnd},
};

/// Names inside the throw-away namespace.
const BRIDGE: &str = "bridge";
const VETH: &str = "veth";
const PEER: &str = "peer";

pub(super) struct Rows {
    /// Programs can be attached to a clsact qdisc.
    pub(super) clsact: CheckRow,
    pub(super) others: Vec<CheckRow>,
}

pub(super) async fn rows() -> Rows {
    match open() {
        Ok((ns, netlink)) => tried(&ns, &netlink).await,
        Err(error) => untried(&error),
    }
}

fn open() -> Result<(OwnedFd, Netlink), String> {
    let ns = netns::create().map_err(|error| error.to_string())?;
    let netlink = Netlink::in_netns(&ns).map_err(|error| error.to_string())?;
    Ok((ns, netlink))
}

fn untried(error: &str) -> Rows {
    let row = |name| CheckRow::missing(name, format!("cannot be tried: {error}"));
    Rows { clsact: row("clsact"), others: vec![row("network namespaces"), row("bridge"), row("veth")] }
}

async fn tried(ns: &OwnedFd, netlink: &Netlink) -> Rows {
    let mac = [2, 0, 0, 0, 0, 1];
    let bridge = netlink.add_bridge(BRIDGE, mac, 1500, "").await;
    let end = |name: &str| VethEnd { name: name.to_owned(), mac, mtu: 1500, alias: None };
    let veth = netlink.add_veth(&end(VETH), &end(PEER), ns).await;
    let others = vec![
        CheckRow::found("network namespaces", "can be made"),
        CheckRow::of("bridge", made(bridge)),
        CheckRow::of("veth", made(veth)),
        CheckRow::of("fragments", fragments(ns)).optional(),
    ];
    Rows { clsact: CheckRow::of("clsact", clsact(ns, netlink).await), others }
}

fn made(result: Result<u32, netlink::Error>) -> Result<String, String> {
    result.map(|_index| "can be made".to_owned()).map_err(|error| error.to_string())
}

fn fragments(ns: &OwnedFd) -> Result<String, String> {
    netns::in_netns(ns.as_fd(), || netlink::sort_fragments(VETH))
        .map_err(|error| error.to_string())?
        .map_err(|error| {
            format!(
                "{error}; fragments to and from containers are dropped without CONFIG_NF_TABLES_INET, \
                 CONFIG_NF_TABLES_NETDEV, CONFIG_NFT_CT and CONFIG_NETFILTER_EGRESS"
            )
        })?;
    Ok("are put in order in a network namespace of their own".to_owned())
}

async fn clsact(ns: &OwnedFd, netlink: &Netlink) -> Result<String, String> {
    netns::in_netns(ns.as_fd(), || qdisc_add_clsact(VETH))
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{error}; the kernel lacks it (CONFIG_NET_SCH_INGRESS)"))?;
    let index = netlink.link(VETH).await.map_err(|error| error.to_string())?.map_or(0, |link| link.index);
    match netlink.knows_bpf_filters(index).await {
        Ok(true) => Ok("programs can be attached to a qdisc, where the kernel lacks TCX".to_owned()),
        Ok(false) => {
            Err("the kernel has the qdisc, but no filters that are programs (CONFIG_NET_CLS_BPF)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
