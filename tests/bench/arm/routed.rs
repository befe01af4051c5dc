//! The kernel forwards and translates nothing: the floor of every way that leaves the host.

use tests::namespace::Namespace;

use super::address::{Addresses, OUTSIDE};
use super::plug::{CLIENT, Ends, GATEWAY, SERVER, lead_to_gateway, plug, subnet};
use super::{Arm, Place, Way};
use crate::counter::Counter;
use crate::options::{Family, Scenario};
use crate::word::word;

/// Containers with a link of their own to the host, and a neighbour who knows the way to them.
pub(super) struct Routed {
    ends: Ends,
}

impl Routed {
    pub(super) fn build() -> Self {
        let ends = Ends::new();
        let host = &ends.host.ns;
        for (ns, addresses) in [(&ends.client, CLIENT), (&ends.server, SERVER)] {
            let port = plug(ns, host);
            host.sh(&format!("ip link set {port} up")).done();
            ns.sh("ip link set eth0 up").done();
            for family in Family::BOTH {
                link(host, &port, ns, addresses, family);
            }
        }
        for family in Family::BOTH {
            host.set_sysctl(family.forwarding(), "1");
            let by = Addresses::of_host(&ends.host).of(family);
            let way = format!("ip -{} route add {} via {by}", word(&family), subnet(family));
            ends.bed.outside.ns.sh(&way).done();
        }
        Self { ends }
    }
}

/// Each end knows the one address of the other.
fn link(host: &Namespace, port: &str, container: &Namespace, addresses: Addresses, family: Family) {
    let (address, gateway, ip) = (addresses.of(family), GATEWAY.of(family), format!("ip -{}", word(&family)));
    container.sh(&format!("{ip} address add {address} dev eth0 && {ip} route add {gateway} dev eth0")).done();
    lead_to_gateway(container, family);
    host.sh(&format!("{ip} address add {gateway} dev {port} && {ip} route add {address} dev {port}")).done();
}

impl Arm for Routed {
    fn place(&self, place: Place) -> &Namespace {
        self.ends.place(place)
    }

    fn note(&self) -> Option<String> {
        Some("publishes nothing: the neighbour asks by the container's own address".to_owned())
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        let way = match scenario {
            Scenario::ContainerToOutside => Way::new(Place::Client, Place::Outside, OUTSIDE.of(family)),
            Scenario::OutsideToPublished => Way::new(Place::Outside, Place::Server, SERVER.of(family)),
            _ => return None,
        };
        Some(way.counted_by([Counter::Forwarded]))
    }
}
