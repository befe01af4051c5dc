//! Network interfaces: bridges, veth pairs and whatever else a host has.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use futures_util::{TryFutureExt, future::try_join_all};
use rtnetlink::{
    LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::{
        RouteNetlinkMessage,
        link::{
            InfoBridgePort, InfoData, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask,
            LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
        },
    },
};

use super::{CHANGE, CREATE, Error, Netlink, Request};

/// Largest MTU of a veth.
pub const MAX_MTU: u32 = 65_535;
/// Longest interface name that the kernel takes, in bytes (`IFNAMSIZ` less the final NUL).
pub const MAX_NAME: usize = 15;

/// One interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The interface's number in its namespace.
    pub index: u32,
    /// The interface's name.
    pub name: String,
    /// The kind of a virtual interface, in the kernel's word (`bridge`, `veth`, ...); `None` for a physical
    /// one.
    pub kind: Option<String>,
    /// Ethernet address; zero where the interface has none of six bytes.
    pub mac: [u8; 6],
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The alias that its maker gave it.
    pub alias: Option<String>,
    /// The interface that this one is a port of, by number.
    pub controller: Option<u32>,
    /// The namespace's loopback.
    pub loopback: bool,
    /// Frames carry an Ethernet header.
    pub ether: bool,
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let header = &message.header;
        let mut link = Self {
            index: header.index,
            name: String::new(),
            kind: None,
            mac: [0; 6],
            mtu: 0,
            up: header.flags.contains(LinkFlags::Up),
            alias: None,
            controller: None,
            loopback: header.flags.contains(LinkFlags::Loopback),
            ether: header.link_layer_type == LinkLayerType::Ether,
        };
        for attribute in &message.attributes {
            link.read(attribute);
        }
        link
    }
}

impl Link {
    fn read(&mut self, attribute: &LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => self.alias = Some(alias.clone()),
            LinkAttribute::Address(mac) => self.mac = mac.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => self.mtu = *mtu,
            LinkAttribute::Controller(index) => self.controller = Some(*index),
            LinkAttribute::LinkInfo(infos) => self.kind = infos.iter().find_map(kind_of),
            _ => {}
        }
    }
}

fn kind_of(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Name of the interface, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its alias; heeded for the end that stays in this namespace.
    pub alias: Option<String>,
}

impl VethEnd {
    fn peer_message(&self, ns: BorrowedFd<'_>) -> LinkMessage {
        // Not `up` here: the kernel answers ENOTCONN, as the pair is not joined yet at that moment.
        LinkMessageBuilder::<LinkUnspec>::new()
            .name(self.name.clone())
            .address(self.mac.to_vec())
            .mtu(self.mtu)
            .setns_by_fd(ns.as_raw_fd())
            .build()
    }
}

impl Netlink {
    /// Every interface of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let what = Request { operation: "list", object: "network interfaces" };
        let message = RouteNetlinkMessage::GetLink(without_statistics(LinkUnspec::new_with_index(0)));
        Ok(self.dump(what, message).await?.iter().filter_map(link_in).collect())
    }

    /// Names of all interfaces of the namespace.
    pub async fn link_names(&self) -> Result<BTreeSet<String>, Error> {
        Ok(self.links().await?.into_iter().map(|link| link.name).collect())
    }

    /// The interface called `name`, if there is one.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, Error> {
        // The kernel refuses a longer name as malformed, but the answer to the question is just "no".
        if name.is_empty() || name.len() > MAX_NAME {
            return Ok(None);
        }
        self.one_link(name, LinkUnspec::new_with_name(name)).await
    }

    /// The interface with the number `index`, if there is one.
    pub async fn link_at(&self, index: u32) -> Result<Option<Link>, Error> {
        self.one_link(&numbered(index), LinkUnspec::new_with_index(index)).await
    }

    async fn one_link(
        &self,
        object: &str,
        which: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<Option<Link>, Error> {
        let what = Request { operation: "look up interface", object };
        match self.get(what, RouteNetlinkMessage::GetLink(without_statistics(which))).await {
            Ok(answer) => Ok(link_in(&answer)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a bridge, down and without ports, and returns its number. Its MAC does not follow its ports.
    pub async fn add_bridge(&self, name: &str, mac: [u8; 6], mtu: u32, alias: &str) -> Result<u32, Error> {
        let what = Request { operation: "create bridge", object: name };
        let message = LinkMessageBuilder::<LinkBridge>::new(name).address(mac.to_vec()).build();
        self.execute(what, RouteNetlinkMessage::NewLink(message), CREATE).await?;
        // An MTU given at creation would be overridden by the first port's.
        self.finish(name, LinkUnspec::new_with_name(name).mtu(mtu).alias(alias)).await
    }

    /// Makes a veth pair, both ends down, with `peer` directly in the namespace `peer_ns`. Returns the
    /// number of `host`.
    pub async fn add_veth(&self, host: &VethEnd, peer: &VethEnd, peer_ns: impl AsFd) -> Result<u32, Error> {
        let object = format!("{} (its other end {})", host.name, peer.name);
        let what = Request { operation: "create veth pair", object: &object };
        let message = LinkMessageBuilder::<LinkVeth>::new(&host.name, &peer.name)
            .address(host.mac.to_vec())
            .mtu(host.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.peer_message(peer_ns.as_fd()))))
            .build();
        self.execute(what, RouteNetlinkMessage::NewLink(message), CREATE).await?;
        let alias = host.alias.as_deref().unwrap_or_default();
        self.finish(&host.name, LinkUnspec::new_with_name(&host.name).alias(alias)).await
    }

    /// Applies what the kernel does not take at creation; a link that cannot be finished is removed again.
    pub(super) async fn finish(
        &self,
        name: &str,
        change: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<u32, Error> {
        let what = Request { operation: "configure interface", object: name };
        let finished = self
            .execute(what, RouteNetlinkMessage::NewLink(change.build()), CHANGE)
            .and_then(|()| self.link(name))
            .await;
        match finished {
            Ok(Some(link)) => Ok(link.index),
            Ok(None) => Err(what.no_answer()),
            Err(error) => {
                let message = LinkUnspec::new_with_name(name).build();
                // The first failure is the one to report.
                let _ = self.execute(what, RouteNetlinkMessage::DelLink(message), CHANGE).await;
                Err(error)
            }
        }
    }

    /// Brings an interface up.
    pub async fn set_up(&self, index: u32) -> Result<(), Error> {
        self.change("bring up interface", index, LinkMessageBuilder::up).await
    }

    /// Brings an interface up whose neighbours all have its own Ethernet address: nobody is asked for theirs.
    pub async fn set_up_without_arp(&self, index: u32) -> Result<(), Error> {
        self.change("bring up interface", index, |link| link.arp(false).up()).await
    }

    /// Makes the interface `index` a port of the bridge `bridge`.
    pub async fn set_controller(&self, index: u32, bridge: u32) -> Result<(), Error> {
        self.change("add to its bridge interface", index, |link| link.controller(bridge)).await
    }

    /// Keeps a port of a bridge apart from its other ports that are kept apart: it reaches the bridge itself, and they do
    /// not reach one another in any protocol.
    pub async fn isolate_port(&self, index: u32) -> Result<(), Error> {
        let port = LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Isolated(true)]));
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(InfoPortKind::Bridge), port]);
        self.change("isolate from its neighbours interface", index, |link| link.append_extra_attribute(info))
            .await
    }

    /// Sets an interface's alias.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), Error> {
        self.change("set the alias of interface", index, |link| link.alias(alias)).await
    }

    /// Sets an interface's Ethernet address; that of a bridge does not follow its ports any more.
    pub async fn set_mac(&self, index: u32, mac: [u8; 6]) -> Result<(), Error> {
        self.change("set the MAC of interface", index, |link| link.address(mac.to_vec())).await
    }

    /// Sets an interface's MTU, in bytes.
    pub async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.change("set the MTU of interface", index, |link| link.mtu(mtu)).await
    }

    async fn change(
        &self,
        operation: &'static str,
        index: u32,
        edit: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), Error> {
        let message = edit(LinkUnspec::new_with_index(index)).build();
        let what = Request { operation, object: &numbered(index) };
        self.execute(what, RouteNetlinkMessage::NewLink(message), CHANGE).await
    }

    /// Removes an interface (of a veth pair: both ends). One that is gone already is no error.
    pub async fn delete_link(&self, index: u32) -> Result<Removed, Error> {
        let what = Request { operation: "remove interface", object: &numbered(index) };
        let message = RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build());
        Removed::of(self.execute(what, message, CHANGE).await)
    }
}

/// What became of an interface that was to be removed. That it was there is said too, because the kernel waits then until no
/// program runs any more that ran before (`synchronize_net` in `unregister_netdevice`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removed {
    /// It was there.
    Now,
    /// It was gone already.
    Before,
}

impl Removed {
    fn of(result: Result<(), Error>) -> Result<Self, Error> {
        match result {
            Ok(()) => Ok(Self::Now),
            Err(error) if error.is_missing() => Ok(Self::Before),
            Err(error) => Err(error),
        }
    }
}

impl Netlink {
    /// Removes interfaces (of veth pairs: both ends) at once. The kernel waits for all who may still use one, some
    /// 20 ms; of a group it waits once. Those that are gone already are no error.
    ///
    /// `group` is a number that no other interface has; not 0, which is every interface's from the beginning.
    pub async fn delete_links(&self, indexes: &[u32], group: NonZeroU32) -> Result<Removed, Error> {
        try_join_all(indexes.iter().map(|index| self.group(*index, group))).await?;
        let what = Request { operation: "remove interfaces of", object: &format!("group {group}") };
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Group(group.get()));
        Removed::of(self.execute(what, RouteNetlinkMessage::DelLink(message), CHANGE).await)
    }
}

impl Netlink {
    async fn group(&self, index: u32, group: NonZeroU32) -> Result<(), Error> {
        let grouped = self.change("group for removal interface", index, |link| {
            link.append_extra_attribute(LinkAttribute::Group(group.get()))
        });
        match grouped.await {
            Err(error) if error.is_missing() => Ok(()),
            result => result,
        }
    }
}

fn numbered(index: u32) -> String {
    format!("number {index}")
}

/// Counters are most of a link's description, and nobody here reads them.
fn without_statistics(link: LinkMessageBuilder<LinkUnspec>) -> LinkMessage {
    link.append_extra_attribute(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])).build()
}

fn link_in(answer: &RouteNetlinkMessage) -> Option<Link> {
    match answer {
        RouteNetlinkMessage::NewLink(message) => Some(message.into()),
        _ => None,
    }
}
