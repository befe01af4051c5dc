//! The kernel forwards and translates nothing: the floor of every way that leaves the host.

use tests::namespace::Namespace;
use tests::topology::OUTSIDE;

use super::plug::{CLIENT, Ends, GATEWAY, SERVER, SUBNET, plug};
use super::{Arm, Place, Way};
use crate::counter::Counter;
use crate::options::Scenario;

/// Containers with a link of their own to the host, and a neighbour who knows the way to them.
pub(super) struct Routed {
    ends: Ends,
}

impl Routed {
    pub(super) fn build() -> Self {
        let ends = Ends::new();
        let host = &ends.host.ns;
        host.set_sysctl("net/ipv4/ip_forward", "1");
        for (ns, address) in [(&ends.client, CLIENT), (&ends.server, SERVER)] {
            let port = plug(ns, host);
            host.sh(&format!("ip address add {GATEWAY}/32 dev {port} && ip link set {port} up")).done();
            ns.sh(&format!(
                "ip address add {address}/32 dev eth0 && ip link set eth0 up && \
                 ip route add {GATEWAY} dev eth0 && ip route add default via {GATEWAY}"
            ))
            .done();
            host.sh(&format!("ip route add {address} dev {port}")).done();
        }
        ends.bed.outside.ns.sh(&format!("ip route add {SUBNET} via {}", ends.host.address)).done();
        Self { ends }
    }
}

impl Arm for Routed {
    fn place(&self, place: Place) -> &Namespace {
        self.ends.place(place)
    }

    fn note(&self) -> Option<String> {
        Some("publishes nothing: the neighbour asks by the container's own address".to_owned())
    }

    fn way(&self, scenario: Scenario) -> Option<Way> {
        let way = match scenario {
            Scenario::ContainerToOutside => Way::new(Place::Client, Place::Outside, OUTSIDE),
            Scenario::OutsideToPublished => Way::new(Place::Outside, Place::Server, SERVER),
            _ => return None,
        };
        Some(way.counted_by([Counter::Forwarded]))
    }
}
