//! Containers as every runtime makes them, for the arms that are not a runtime.

use std::net::Ipv4Addr;

use tests::namespace::Namespace;
use tests::topology::{Bed, Host};

/// The network that the arms without a runtime have in common: Docker's second choice, so that nobody takes it for Docker's.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);
pub(super) const SUBNET: &str = "172.18.0.0/16";

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
        let (client, server) = (bed.namespace("client"), bed.namespace("server"));
        allow_many_connections(&client);
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
        self.host
            .ns
            .sh(&format!("ip link add br0 type bridge && ip address add {GATEWAY}/16 dev br0"))
            .done();
        for (ns, address) in [(&self.client, CLIENT), (&self.server, SERVER)] {
            let port = plug(ns, &self.host.ns);
            self.host.ns.sh(&format!("ip link set {port} master br0 up")).done();
            ns.sh(&format!("ip address add {address}/16 dev eth0 && ip link set eth0 up")).done();
        }
        self.host.ns.sh("ip link set br0 up").done();
        for ns in [&self.client, &self.server] {
            ns.sh(&format!("ip route add default via {GATEWAY}")).done();
        }
    }
}

/// A veth pair from `eth0` of a container to an interface of the host, whose name it gives.
pub(super) fn plug(container: &Namespace, host: &Namespace) -> String {
    let port = format!("veth-{}", container.name());
    let line = format!("ip link add eth0 type veth peer name {port} netns {}", host.path().display());
    container.sh(&line).done();
    port
}

/// Who opens connections at full speed would otherwise run out of ports within seconds.
pub(super) fn allow_many_connections(ns: &Namespace) {
    ns.set_sysctl("net/ipv4/tcp_tw_reuse", "1");
}
