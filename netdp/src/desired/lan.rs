//! Interfaces of endpoints on a LAN: they are in the containers, and the host has nothing of them but the parent.

use super::{Desired, Inside, veth_alias};
use crate::model::{Attachment, Endpoint, Lan, LanMode, Network, vlan_of};

/// An interface of a container on one of the host's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LanLink {
    /// Whose it is: `netdp:endpoint:<id of the attachment>`.
    pub alias: String,
    /// Its name until it has its alias, by which it is known when a command is killed in between.
    pub draft: String,
    /// Name of the interface of the host.
    pub parent: String,
    /// How it shares the parent.
    pub mode: LanMode,
    /// MTU in bytes; none is the parent's.
    pub mtu: Option<u32>,
    /// All the rest.
    pub inside: Inside,
}

/// An interface of the host that is a VLAN of another one, made where it is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VlanLink {
    /// Whose it is: `netdp:network:<id>`.
    pub alias: String,
    /// Name of the interface that it is a VLAN of.
    pub base: String,
    /// Number of the VLAN.
    pub number: u16,
}

impl Desired {
    /// Adds the interface by which a network is on a LAN, if that can be made.
    pub(super) fn add_parent(&mut self, network: &Network, parent: &str) {
        let Some((base, number)) = vlan_of(parent) else { return };
        let alias = super::bridge_alias(network);
        self.vlans.insert(parent.to_owned(), VlanLink { alias, base: base.to_owned(), number });
    }

    /// Adds one interface of an endpoint on a LAN.
    pub(super) fn add_on_lan(
        &mut self,
        (network, lan): (&Network, &Lan),
        endpoint: &Endpoint,
        attachment: &Attachment,
    ) {
        let link = LanLink {
            alias: veth_alias(attachment),
            draft: attachment.veth(),
            parent: lan.parent.clone(),
            mode: lan.mode,
            mtu: lan.mtu.or(attachment.lease.as_ref().and_then(|lease| lease.mtu)),
            inside: super::inside(network, endpoint, attachment),
        };
        self.lans.insert(link.alias.clone(), link);
    }
}
