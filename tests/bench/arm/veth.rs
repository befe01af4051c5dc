//! The wire: what a packet costs at least.

use std::net::{Ipv4Addr, Ipv6Addr};

use tests::namespace::Namespace;
use tests::topology::Bed;

use super::address::Addresses;
use super::plug::{add_address, container};
use super::{Arm, Place, Way};
use crate::counter::Counter;
use crate::options::{Family, Scenario};

const CLIENT: Addresses =
    Addresses::new(Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1));
const SERVER: Addresses =
    Addresses::new(Ipv4Addr::new(192, 0, 2, 2), Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2));

/// Two namespaces joined by a veth pair. It stands beside every scenario, also where the ways of the other arms are longer.
pub(super) struct Veth {
    client: Namespace,
    server: Namespace,
    _bed: Bed,
}

impl Veth {
    pub(super) fn build() -> Self {
        let bed = Bed::new();
        let (client, server) = (container(&bed, "client"), container(&bed, "server"));
        let peer = server.path().display().to_string();
        client.sh(&format!("ip link add eth0 type veth peer name eth0 netns {peer}")).done();
        for (ns, addresses) in [(&client, CLIENT), (&server, SERVER)] {
            add_address(ns, "eth0", addresses);
            ns.sh("ip link set eth0 up").done();
        }
        Self { client, server, _bed: bed }
    }
}

impl Arm for Veth {
    fn place(&self, place: Place) -> &Namespace {
        match place {
            Place::Client => &self.client,
            _ => &self.server,
        }
    }

    fn note(&self) -> Option<String> {
        Some("one bare pair for every scenario: shorter than any way to or from the outside".to_owned())
    }

    fn way(&self, _scenario: Scenario, family: Family) -> Option<Way> {
        let way = Way::new(Place::Client, Place::Server, SERVER.of(family));
        Some(way.counted_by([Counter::Interfaces(Place::Server, "eth0")]))
    }
}
