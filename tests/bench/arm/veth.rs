//! The wire: what a packet costs at least.

use std::net::Ipv4Addr;

use tests::namespace::Namespace;
use tests::topology::Bed;

use super::{Arm, Place, Way, plug};
use crate::counter::Counter;
use crate::options::Scenario;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Two namespaces joined by a veth pair. It stands beside every scenario, also where the ways of the other arms are longer.
pub(super) struct Veth {
    client: Namespace,
    server: Namespace,
    _bed: Bed,
}

impl Veth {
    pub(super) fn build() -> Self {
        let bed = Bed::new();
        let (client, server) = (bed.namespace("client"), bed.namespace("server"));
        plug::allow_many_connections(&client);
        let peer = server.path().display().to_string();
        client.sh(&format!("ip link add eth0 type veth peer name eth0 netns {peer}")).done();
        for (ns, address) in [(&client, "192.0.2.1".to_owned()), (&server, ADDRESS.to_string())] {
            ns.sh(&format!("ip address add {address}/24 dev eth0 && ip link set eth0 up")).done();
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

    fn way(&self, _scenario: Scenario) -> Option<Way> {
        let way = Way::new(Place::Client, Place::Server, ADDRESS);
        Some(way.counted_by([Counter::Interfaces(Place::Server, "eth0")]))
    }
}
