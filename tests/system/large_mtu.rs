//! A network whose links carry more than the way out: large packets between its containers, and such that fit to all others.

use std::net::IpAddr;
use std::time::Duration;

use tests::namespace::Namespace;
use tests::process::{Service, eventually};
use tests::topology::{Bed, Container, Host};

use crate::ways::iperf;

/// The most that an interface takes.
const LARGE: &str = "mtu=65535";

struct Walk {
    c1: Container,
    c2: Container,
    host: Host,
    bed: Bed,
}

impl Walk {
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        let subnets = ["--ipv6", "--subnet", "10.6.0.0/16", "--subnet", "fd00:6::/64"];
        host.netdp(&[&["network", "create"][..], &subnets, &["-o", LARGE, "large"]].concat()).done();
        let c1 = bed.container(&host, "c1", &["--network", "large"]);
        let c2 = bed.container(&host, "c2", &["--network", "large", "-p", "5201:5201"]);
        Self { c1, c2, host, bed }
    }
}

fn both(v4: impl Into<IpAddr>, v6: impl Into<IpAddr>) -> [IpAddr; 2] {
    [v4.into(), v6.into()]
}

fn listening(server: &Namespace) -> Service {
    let service = Service::start(server.command("iperf3").args(["-s"]));
    eventually("iperf3 listens", Duration::from_secs(5), || {
        server.out("ss -Hltn sport = :5201").contains("5201")
    });
    service
}

#[test]
fn containers_of_one_network_exchange_large_packets() {
    let walk = Walk::new();
    let _server = listening(&walk.c2.ns);
    for to in both(walk.c2.address, walk.c2.address6.unwrap()) {
        walk.c1.ns.sh(&format!("ping -n -M do -c 2 -i 0.2 -W 2 -s 60000 {to}")).done();
        iperf(&walk.c1.ns, to, "-n 64M");
    }
}

#[test]
fn what_goes_further_fits_without_being_told() {
    let walk = Walk::new();
    let (neighbour, host) = (&walk.bed.outside, &walk.host);
    let _servers = [listening(&neighbour.ns), listening(&walk.c2.ns)];
    let outside = both(neighbour.address, neighbour.address6);
    let published = both(host.address, host.address6);
    for to in outside {
        let route = walk.c1.ns.out(&format!("ip route get {to}"));
        assert!(route.contains("mtu 1500"), "{route}");
    }
    for direction in ["-n 8M", "-n 8M -R"] {
        let ways = [
            (&walk.c1.ns, outside),
            (&neighbour.ns, published),
            (&walk.c1.ns, published),
            (&host.ns, published),
        ];
        for (from, to) in ways.iter().flat_map(|(from, to)| to.map(|to| (*from, to))) {
            iperf(from, to, direction);
        }
    }
    let status = host.json(&["status"]);
    let told = status["forwards"].as_array().unwrap().iter().find(|entry| entry["reason"] == "answered");
    assert!(told.is_none_or(|entry| entry["packets"] == 0), "{told:?}");
}

#[test]
fn network_of_the_usual_size_has_no_other_route_than_before() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    let route = c1.ns.out(&format!("ip route get {}", bed.outside.address));
    assert!(!route.contains("mtu"), "{route}");
}
