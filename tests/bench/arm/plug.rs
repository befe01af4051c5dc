//! Containers as every runtime makes them, for the arms that are not a runtime.

use std::net::{Ipv4Addr, Ipv6Addr};

use tests::namespace::Namespace;
use tests::topology::{Bed, Host};

use super::address::Addresses;
use crate::options::Family;
use crate::word::word;

/// The network that the arms without a runtime have in common: Docker's second choice, so that nobody takes it for Docker's.
pub(super) const GATEWAY: Addresses = station(1);
pub(super) const SERVER: Addresses = station(2);
pub(super) const CLIENT: Addresses = station(3);

const fn station(number: u8) -> Addresses {
    let six = Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, number as u16);
    Addresses::new(Ipv4Addr::new(172, 18, 0, number), six)
}

/// The whole of that network.
pub(super) fn subnet(family: Family) -> String {
    let network = station(0).of(family);
    format!("{network}/{}", family.prefix())
}

/// The ends of a bed that has one host.
pub(super) struct Ends {
    pub(super) client: Namespace,
    pub(super) server: Namespace,
    pub(super) host: Host,
    pub(super) bed: Bed,
}

impl Ends {
    /// Two empty containers, a host, and what is outside.
    pub(super) fn new() -> Self {
        let bed = Bed::new();
        let host = bed.unwatched_host("host");
        allow_many_connections(&host.ns);
        let (client, server) = (container(&bed, "client"), container(&bed, "server"));
        Self { client, server, host, bed }
    }

    /// The namespace of an end.
    pub(super) fn place(&self, place: super::Place) -> &Namespace {
        match place {
            super::Place::Client => &self.client,
            super::Place::Server => &self.server,
            super::Place::Host => &self.host.ns,
            super::Place::Outside => &self.bed.outside.ns,
        }
    }

    /// A bridge with both containers at it.
    pub(super) fn bridged(&self) {
        let host = &self.host.ns;
        host.sh("ip link add br0 type bridge").done();
        add_address(host, "br0", GATEWAY);
        for (ns, addresses) in [(&self.client, CLIENT), (&self.server, SERVER)] {
            let port = plug(ns, host);
            host.sh(&format!("ip link set {port} master br0 up")).done();
            add_address(ns, "eth0", addresses);
            ns.sh("ip link set eth0 up").done();
        }
        host.sh("ip link set br0 up").done();
        for family in Family::BOTH {
            lead_to_gateway(&self.client, family);
            lead_to_gateway(&self.server, family);
        }
    }
}

/// An empty namespace.
pub(super) fn container(bed: &Bed, name: &str) -> Namespace {
    let ns = bed.namespace(name);
    allow_many_connections(&ns);
    // Nobody else has the address: it may be used at once.
    ns.set_sysctl("net/ipv6/conf/all/accept_dad", "0");
    ns.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
    ns
}

/// A veth pair from `eth0` of a container to an interface of the host, whose name it gives.
pub(super) fn plug(container: &Namespace, host: &Namespace) -> String {
    let port = format!("veth-{}", container.name());
    let line = format!("ip link add eth0 type veth peer name {port} netns {}", host.path().display());
    container.sh(&line).done();
    port
}

/// Gives an interface its place in a network, in both families.
pub(super) fn add_address(ns: &Namespace, interface: &str, addresses: Addresses) {
    for family in Family::BOTH {
        let (address, prefix) = (addresses.of(family), family.prefix());
        ns.sh(&format!("ip address add {address}/{prefix} dev {interface}")).done();
    }
}

/// The container's way to everywhere else.
pub(super) fn lead_to_gateway(container: &Namespace, family: Family) {
    let gateway = GATEWAY.of(family);
    container.sh(&format!("ip -{} route add default via {gateway}", word(&family))).done();
}

/// Who opens connections at full speed would otherwise run out of ports within seconds.
pub(super) fn allow_many_connections(ns: &Namespace) {
    ns.set_sysctl("net/ipv4/tcp_tw_reuse", "1");
}
