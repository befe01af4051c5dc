//! Every way that an IPv6 packet can take, with netfilter watching that none takes it through the host's stack.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tests::capture::Capture;
use tests::namespace::Namespace;
use tests::process::{Service, eventually};
use tests::server::{Server, ask_udp_at, assert_refused_at, assert_served_at};
use tests::topology::{Bed, Container, Host, UPLINK};

use crate::ways::iperf;

/// Counts what enters, crosses and leaves the host's IPv6 layer, except by `lo`, where the host talks to itself.
/// Neighbour discovery is the stack's own; where a bridge calls netfilter, a solicitation of the gateway crosses it.
const WATCH: &str = r#"
table ip6 watch {
  counter entered { }
  counter crossed { }
  counter left { }
  chain before { type filter hook prerouting priority -300; iifname != "lo" meta l4proto { tcp, udp } counter name entered; }
  chain across { type filter hook forward priority -300; policy drop; meta l4proto { tcp, udp } counter name crossed; }
  chain after { type filter hook postrouting priority 300; oifname != "lo" meta l4proto { tcp, udp } counter name left; }
}
"#;

const PORTS: [&str; 8] = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "5201:5201", "-p", "5201:5201/udp"];

struct Walk {
    host: Host,
    c1: Container,
    c2: Container,
    bed: Bed,
}

/// One way: who asks, whom, which server answers, and as whom that server sees the client.
struct Way<'a> {
    name: &'static str,
    from: &'a Namespace,
    to: SocketAddr,
    server: &'a Namespace,
    seen_as: Ipv6Addr,
}

fn gateway() -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 6, 0, 0, 0, 0, 0, 1)
}

fn address6(container: &Container) -> Ipv6Addr {
    container.address6.unwrap_or_else(|| panic!("{} has no IPv6 address", container.ns.name()))
}

impl Walk {
    /// Two containers of one network with both families, the first with published ports.
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        let subnets = ["--ipv6", "--subnet", "10.6.0.0/16", "--subnet", "fd00:6::/64", "six"];
        host.netdp(&[&["network", "create"][..], &subnets].concat()).done();
        let c1 = bed.container(&host, "c1", &[&["--network", "six"][..], &PORTS].concat());
        let c2 = bed.container(&host, "c2", &["--network", "six"]);
        Self { host, c1, c2, bed }
    }

    fn servers(&self) -> [Server; 2] {
        [Server::start_dual(&self.c1.ns, 80), Server::start_dual(&self.bed.outside.ns, 80)]
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let (host, outside) = (&self.host, &self.bed.outside);
        let (c1, c2) = (&self.c1, &self.c2);
        let direct = |name, from, to: Ipv6Addr, server, seen_as| {
            let to = SocketAddr::new(to.into(), 80);
            Way { name, from, to, server, seen_as }
        };
        let published = |name, from, to: Ipv6Addr, seen_as| {
            let to = SocketAddr::new(to.into(), 8080);
            Way { name, from, to, server: &c1.ns, seen_as }
        };
        let own = host.address6;
        vec![
            direct("container to container", &c2.ns, address6(c1), &c1.ns, address6(c2)),
            direct("container to outside", &c1.ns, outside.address6, &outside.ns, own),
            published("outside to published port", &outside.ns, own, outside.address6),
            published("host to ::1", &host.ns, Ipv6Addr::LOCALHOST, gateway()),
            published("host to its own address", &host.ns, own, gateway()),
            published("host to the gateway address", &host.ns, gateway(), gateway()),
            published("container to the gateway's published port", &c2.ns, gateway(), gateway()),
            published("container to published port", &c2.ns, own, own),
            published("container to its own published port", &c1.ns, own, own),
        ]
    }

    fn watch(&self) {
        let rules = self.bed.file("watch6.nft");
        std::fs::write(&rules, WATCH).unwrap();
        self.host.ns.sh(&format!("nft -f {}", rules.display())).done();
    }

    /// Packets that the three hooks of netfilter have counted together.
    fn counted(&self) -> u64 {
        let listed: Value = self.host.ns.sh("nft -j list counters table ip6 watch").json();
        let entries = listed["nftables"].as_array().unwrap();
        let counters: Vec<u64> = entries.iter().filter_map(|e| e["counter"]["packets"].as_u64()).collect();
        assert_eq!(counters.len(), 3, "{listed}");
        counters.iter().sum()
    }
}

fn listening(server: &Namespace) -> Service {
    let service = Service::start(server.command("iperf3").args(["-s"]));
    eventually("iperf3 listens", Duration::from_secs(5), || {
        server.out("ss -Hltn sport = :5201").contains("5201")
    });
    service
}

fn assert_streams_both_ways(way: &Way) {
    let _server = listening(way.server);
    for options in ["-n 8M", "-n 8M -R"] {
        let end = iperf(way.from, way.to.ip(), options);
        let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap();
        let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
        assert!(sent >= 8 << 20 && received > 0, "{} {options}: {sent} sent, {received} received", way.name);
    }
}

#[test]
fn every_way_of_ipv6_works_past_netfilter() {
    let walk = Walk::new();
    walk.watch();
    let _servers = walk.servers();
    for way in walk.ways() {
        let seen = assert_served_at(way.from, way.to, way.server.name());
        assert_eq!(seen, IpAddr::from(way.seen_as), "{}: the client as the server sees it", way.name);
        let page = way.from.out(&format!("curl -sS -m 5 http://{}/", way.to));
        assert!(
            page.starts_with(&format!("{} [{}]", way.server.name(), way.seen_as)),
            "{}: {page}",
            way.name
        );
        assert_streams_both_ways(&way);
        assert_eq!(walk.counted(), 0, "{}: netfilter saw packets", way.name);
    }
}

#[test]
fn every_way_of_ipv6_has_right_checksums_on_every_wire() {
    let walk = Walk::new();
    let off = |ns: &Namespace, interface: &str| {
        ns.sh(&format!("ethtool -K {interface} tx off rx off sg off tso off gso off gro off")).done();
    };
    off(&walk.host.ns, UPLINK);
    off(&walk.bed.outside.ns, "h1");
    off(&walk.bed.outside.ns, "wan0");
    off(&walk.c1.ns, "eth0");
    off(&walk.c2.ns, "eth0");
    let wires =
        [(&walk.bed.outside.ns, "h1"), (&walk.host.ns, UPLINK), (&walk.c1.ns, "eth0"), (&walk.c2.ns, "eth0")];
    let captures = wires.map(|(ns, interface)| Capture::start(ns, interface, &[]));
    let _servers = walk.servers();
    for way in walk.ways() {
        assert_served_at(way.from, way.to, way.server.name());
    }
    for capture in captures {
        let seen = capture.seen();
        assert!(!seen.frames.is_empty());
        seen.assert_checksums();
    }
}

#[test]
fn echoes_are_answered_on_every_way() {
    let walk = Walk::new();
    let (c1, c2, outside) = (&walk.c1, &walk.c2, &walk.bed.outside);
    for (from, to) in [
        (&c1.ns, address6(c2)),
        (&c1.ns, outside.address6),
        (&c1.ns, gateway()),
        (&c1.ns, walk.host.address6),
        (&walk.host.ns, address6(c1)),
    ] {
        from.sh(&format!("ping -6 -n -q -c 5 -i 0.02 -W 1 {to}")).done();
    }
}

#[test]
fn neighbours_are_found() {
    let walk = Walk::new();
    for to in [gateway(), address6(&walk.c2)] {
        walk.c1.ns.sh(&format!("ping -6 -n -q -c 1 -W 5 {to}")).done();
        let entry = walk.c1.ns.out(&format!("ip -6 neigh show to {to}"));
        assert!(entry.contains("lladdr"), "{entry}");
    }
}

#[test]
fn expired_hop_limit_is_answered_by_the_gateway() {
    let walk = Walk::new();
    let outside = walk.bed.outside.address6;
    let ran = walk.c1.ns.sh(&format!("ping -6 -n -c 1 -t 1 -W 2 {outside}"));
    let answer = format!("From {}", gateway());
    assert!(ran.stdout.contains(&answer) && ran.stdout.contains("Hop limit"), "{ran}");
    walk.c1.ns.sh(&format!("ping -6 -n -c 1 -t 2 -W 2 {outside}")).done();
}

#[test]
fn ipv6_packet_too_big_for_the_uplink_is_answered_with_its_mtu() {
    let walk = Walk::new();
    walk.host.ns.sh(&format!("ip link set {UPLINK} mtu 1300")).done();
    walk.bed.outside.ns.sh("ip link set h1 mtu 1300").done();
    let outside = walk.bed.outside.address6;
    let ran = walk.c1.ns.sh(&format!("ping -6 -n -c 2 -i 0.2 -M do -s 1400 -W 2 {outside}"));
    assert!(ran.stdout.to_lowercase().contains("mtu") && ran.stdout.contains("1300"), "{ran}");
    walk.c1.ns.sh(&format!("ping -6 -n -c 2 -i 0.2 -M do -s 1200 -W 2 {outside}")).done();
}

#[test]
fn tcp_over_ipv6_finds_a_smaller_path_mtu_in_both_directions() {
    let walk = Walk::new();
    walk.host.ns.sh(&format!("ip link set {UPLINK} mtu 1300")).done();
    walk.bed.outside.ns.sh("ip link set h1 mtu 1300").done();
    let _server = listening(&walk.bed.outside.ns);
    for direction in ["-t 1", "-t 1 -R"] {
        let end = iperf(&walk.c1.ns, walk.bed.outside.address6, direction);
        assert!(end["sum_received"]["bytes"].as_u64().unwrap() >= 8 << 20, "{direction}: {end}");
    }
}

#[test]
fn closed_udp_ports_are_reported_in_ipv6_both_ways() {
    let walk = Walk::new();
    let refused = |from: &Namespace, to: Ipv6Addr, port: u16| {
        let error = ask_udp_at(from, 0, SocketAddr::new(to.into(), port)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}");
    };
    refused(&walk.c1.ns, walk.bed.outside.address6, 9);
    refused(&walk.bed.outside.ns, walk.host.address6, 8080);
    refused(&walk.host.ns, Ipv6Addr::LOCALHOST, 8080);
}

#[test]
fn port_published_on_one_ipv6_address_answers_there_only() {
    let walk = Walk::new();
    let c3 = walk.bed.container(
        &walk.host,
        "c3",
        &["--network", "six", "-p", "[::1]:8081:80", "-p", "[::1]:8081:80/udp"],
    );
    let _server = Server::start_dual(&c3.ns, 80);
    let at = |address: Ipv6Addr| SocketAddr::new(address.into(), 8081);
    assert_eq!(assert_served_at(&walk.host.ns, at(Ipv6Addr::LOCALHOST), "c3"), IpAddr::from(gateway()));
    assert_refused_at(&walk.host.ns, at(walk.host.address6));
    assert_refused_at(&walk.bed.outside.ns, at(walk.host.address6));
    assert_refused_at(&walk.c2.ns, at(gateway()));
}

#[test]
fn outside_reaches_no_ipv6_container_directly_and_no_other_network_either() {
    let walk = Walk::new();
    let host = &walk.host;
    host.netdp(&["network", "create", "--ipv6", "--subnet", "fd00:7::/64", "other"]).done();
    let c3 = walk.bed.container(host, "c3", &["--network", "other"]);
    let _servers = walk.servers();
    let c1 = SocketAddr::new(address6(&walk.c1).into(), 80);
    walk.bed.outside.ns.sh(&format!("ip -6 route add fd00:6::/64 via {}", host.address6)).done();
    assert_refused_at(&walk.bed.outside.ns, c1);
    assert_refused_at(&c3.ns, c1);
    assert_served_at(&c3.ns, SocketAddr::new(host.address6.into(), 8080), "c1");
}

#[test]
fn container_sends_from_no_other_ipv6_address() {
    let walk = Walk::new();
    let _servers = walk.servers();
    walk.c2.ns.sh("ip -6 address add fd00:6::77/64 dev eth0 nodad").done();
    let own =
        walk.c2.ns.sh(&format!("ping -6 -n -q -c 1 -W 5 -I {} {}", address6(&walk.c2), address6(&walk.c1)));
    own.done();
    for to in [address6(&walk.c1), gateway(), walk.bed.outside.address6] {
        walk.c2.ns.sh(&format!("ping -6 -n -q -c 1 -W 1 -I fd00:6::77 {to}")).done_failing();
    }
}

#[test]
fn ipv6_client_is_served_by_a_container_that_has_ipv4_only() {
    let walk = Walk::new();
    let host = &walk.host;
    host.netdp(&["network", "create", "--subnet", "10.4.0.0/16", "only4"]).done();
    let ports = ["-p", "[::]:8082:80", "-p", "[::]:8082:80/udp", "-p", "8082:80", "-p", "8082:80/udp"];
    let c4 = walk.bed.container(host, "c4", &[&["--network", "only4"][..], &ports].concat());
    assert_eq!(c4.address6, None);
    let _server = Server::start(&c4.ns, 80);
    let seen = IpAddr::from(Ipv4Addr::new(10, 4, 0, 1));
    for (from, to) in
        [(&walk.bed.outside.ns, host.address6), (&host.ns, Ipv6Addr::LOCALHOST), (&host.ns, host.address6)]
    {
        assert_eq!(assert_served_at(from, SocketAddr::new(to.into(), 8082), "c4"), seen, "{to}");
    }
    assert_served_at(&walk.bed.outside.ns, SocketAddr::new(host.address.into(), 8082), "c4");
}

#[test]
fn ipv6_goes_on_when_the_controller_is_killed_and_ends_with_the_detached_container() {
    let walk = Walk::new();
    let controller = walk.host.up();
    let servers = walk.servers();
    controller.kill();
    for way in walk.ways() {
        assert_served_at(way.from, way.to, way.server.name());
    }
    drop(servers);
    walk.host.netdp(&["detach", "c1"]).done();
    assert_refused_at(&walk.bed.outside.ns, SocketAddr::new(walk.host.address6.into(), 8080));
}
