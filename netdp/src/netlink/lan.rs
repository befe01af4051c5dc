//! Interfaces that share another one: macvlan, ipvlan and VLANs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rtnetlink::{
    LinkMacVlan, LinkMessageBuilder, LinkUnspec, LinkVlan,
    packet_route::{
        RouteNetlinkMessage,
        link::{
            InfoData, InfoIpVlan, InfoKind, IpVlanMode, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
        },
    },
};

use super::{CHANGE, CREATE, Error, Netlink, Request};
use crate::model::{IpvlanMode, LanMode, MacvlanMode};

/// An interface on a parent that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// Number of the parent.
    pub parent: u32,
    /// How it shares the parent.
    pub mode: LanMode,
    /// Name of the interface, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address, where it has one of its own.
    pub mac: Option<[u8; 6]>,
}

impl Shared {
    fn message(&self) -> LinkMessage {
        let mut message = match self.mode {
            LanMode::Macvlan(mode) => LinkMacVlan::new(&self.name, self.parent, macvlan(mode)).build(),
            LanMode::Ipvlan(mode) => {
                let mut message = LinkUnspec::new_with_name(&self.name).link(self.parent).build();
                message.attributes.push(LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::IpVlan),
                    LinkInfo::Data(InfoData::IpVlan(vec![InfoIpVlan::Mode(ipvlan(mode))])),
                ]));
                message
            }
        };
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        message
    }
}

fn macvlan(mode: MacvlanMode) -> MacVlanMode {
    match mode {
        MacvlanMode::Bridge => MacVlanMode::Bridge,
        MacvlanMode::Private => MacVlanMode::Private,
        MacvlanMode::Vepa => MacVlanMode::Vepa,
        MacvlanMode::Passthru => MacVlanMode::Passthrough,
    }
}

fn ipvlan(mode: IpvlanMode) -> IpVlanMode {
    match mode {
        IpvlanMode::L2 => IpVlanMode::L2,
        IpvlanMode::L3 => IpVlanMode::L3,
        IpvlanMode::L3s => IpVlanMode::L3S,
    }
}

impl Netlink {
    /// Makes an interface on a parent of this namespace, down, directly in the namespace `ns` or here.
    pub async fn add_shared(&self, shared: &Shared, ns: Option<&OwnedFd>) -> Result<(), Error> {
        let what = Request { operation: "create interface", object: &shared.name };
        let mut message = shared.message();
        message.attributes.extend(ns.map(|ns| LinkAttribute::NetNsFd(ns.as_fd().as_raw_fd())));
        self.execute(what, RouteNetlinkMessage::NewLink(message), CREATE).await
    }

    /// Makes VLAN `number` of the interface `parent`, down, and returns the number of its interface.
    pub async fn add_vlan(&self, name: &str, parent: u32, number: u16, alias: &str) -> Result<u32, Error> {
        let what = Request { operation: "create VLAN interface", object: name };
        let message = LinkMessageBuilder::<LinkVlan>::new(name).link(parent).id(number).build();
        self.execute(what, RouteNetlinkMessage::NewLink(message), CREATE).await?;
        self.finish(name, LinkUnspec::new_with_name(name).alias(alias)).await
    }

    /// Gives an interface in this namespace its name and what it is known by, both or neither.
    pub async fn name_as_ours(&self, index: u32, name: &str, alias: &str) -> Result<(), Error> {
        let what = Request { operation: "name interface", object: name };
        let message = LinkUnspec::new_with_index(index).name(name.to_owned()).alias(alias).build();
        self.execute(what, RouteNetlinkMessage::NewLink(message), CHANGE).await
    }
}
