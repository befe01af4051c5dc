//! Every way that a packet can take, with netfilter watching that none takes it through the host's stack.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::{Service, eventually, slowness};
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Container, Host, UPLINK};

/// Counts what enters, crosses and leaves the host's IP layer, except by `lo`, where the host talks to itself.
const WATCH: &str = r#"
table ip watch {
  counter entered { }
  counter crossed { }
  counter left { }
  chain before { type filter hook prerouting priority -300; iifname != "lo" ip protocol { icmp, tcp, udp } counter name entered; }
  chain across { type filter hook forward priority -300; policy POLICY; counter name crossed; }
  chain after { type filter hook postrouting priority 300; oifname != "lo" ip protocol { icmp, tcp, udp } counter name left; }
}
"#;

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
    to: Ipv4Addr,
    web: u16,
    server: &'a Namespace,
    seen_as: Ipv4Addr,
}

impl Walk {
    fn new(ip_forward: &str, policy: &str) -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.ns.set_sysctl("net/ipv4/ip_forward", ip_forward);
        host.up_once();
        let ports = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "5201:5201", "-p", "5201:5201/udp"];
        let c1 = bed.container(&host, "c1", &ports);
        let c2 = bed.container(&host, "c2", &[]);
        let rules = bed.file("watch.nft");
        std::fs::write(&rules, WATCH.replace("POLICY", policy)).unwrap();
        host.ns.sh(&format!("nft -f {}", rules.display())).done();
        Self { host, c1, c2, bed }
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let (host, outside) = (&self.host, &self.bed.outside);
        let gateway = gateway(&self.c1);
        let direct = |name, from, to, server, seen_as| Way { name, from, to, web: 80, server, seen_as };
        let published =
            |name, from, to, seen_as| Way { name, from, to, web: 8080, server: &self.c1.ns, seen_as };
        vec![
            direct("container to container", &self.c2.ns, self.c1.address, &self.c1.ns, self.c2.address),
            direct("container to outside", &self.c1.ns, outside.address, &outside.ns, host.address),
            published("outside to published port", &outside.ns, host.address, outside.address),
            published("host to 127.0.0.1", &host.ns, Ipv4Addr::LOCALHOST, gateway),
            published("host to its own address", &host.ns, host.address, gateway),
            published("host to the gateway address", &host.ns, gateway, gateway),
            published("container to the gateway's published port", &self.c2.ns, gateway, gateway),
            published("container to published port", &self.c2.ns, host.address, host.address),
            published("container to its own published port", &self.c1.ns, host.address, host.address),
        ]
    }

    /// Packets that the three hooks of netfilter have counted together.
    fn counted(&self) -> u64 {
        let listed: Value = self.host.ns.sh("nft -j list counters table ip watch").json();
        let entries = listed["nftables"].as_array().unwrap();
        let counters: Vec<u64> = entries.iter().filter_map(|e| e["counter"]["packets"].as_u64()).collect();
        assert_eq!(counters.len(), 3, "{listed}");
        counters.iter().sum()
    }
}

/// The default gateway inside a container.
pub(crate) fn gateway(container: &Container) -> Ipv4Addr {
    let route: Value = container.ns.sh("ip -4 -j route show default").json();
    route[0]["gateway"].as_str().unwrap().parse().unwrap()
}

/// Runs iperf3 once to the server that listens there and gives its summary.
pub(crate) fn iperf(from: &Namespace, to: impl Display, options: &str) -> Value {
    let mut left = 20;
    loop {
        let ran = from.sh(&format!("iperf3 -J -c {to} --connect-timeout 3000 {options}"));
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}\n{ran}"));
        if left == 0 || !is_between_two_tests(&report) {
            assert!(report["error"].is_null() && ran.code == Some(0), "{ran}");
            return report["end"].clone();
        }
        left -= 1;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The server of iperf3 closes its socket after each test and opens a new one: who comes meanwhile is refused.
fn is_between_two_tests(report: &Value) -> bool {
    let error = report["error"].as_str().unwrap_or_default();
    let refused = ["busy", "refused", "reset", "control socket"].iter().any(|word| error.contains(word));
    refused && report["start"]["connected"].as_array().is_none_or(Vec::is_empty)
}

/// Datagrams that found the buffers of their sockets full, in a namespace.
fn overruns(ns: &Namespace) -> u64 {
    ns.stack_counter("snmp", "Udp", "RcvbufErrors")
}

fn assert_streams_both_ways(way: &Way) {
    let iperf_server = Service::start(way.server.command("iperf3").args(["-s", "-p", "5201"]));
    eventually("iperf3 listens", Duration::from_secs(5), || {
        way.server.out("ss -Hltn sport = :5201").contains("5201")
    });
    for options in ["-n 8M", "-n 8M -R"] {
        let end = iperf(way.from, way.to, options);
        // iperf3 counts as received what was read when the sender said that it was done.
        let bytes = |side: &str| end[side]["bytes"].as_u64().unwrap();
        let (sent, received) = (bytes("sum_sent"), bytes("sum_received"));
        assert!(sent >= 8 << 20 && received > 0, "{} {options}: {sent} sent, {received} received", way.name);
    }
    let rate = if slowness() > 1 { "10M" } else { "40M" };
    for (direction, receiver) in [("", way.server), ("-R", way.from)] {
        let before = overruns(receiver);
        let end = iperf(way.from, way.to, &format!("-u -l 1400 -b {rate} -n 1M {direction}"));
        let number = |key: &str| end["sum"][key].as_u64().unwrap();
        let (lost, all) = (number("lost_packets"), number("packets"));
        // What a busy receiver does not fetch in time is lost at its socket, and not on the way.
        let on_the_way = lost.saturating_sub(overruns(receiver) - before);
        assert!(
            all > 500 && lost * 2 < all && on_the_way * 50 < all,
            "{} {direction}: {lost} of {all} lost, {on_the_way} of them on the way",
            way.name
        );
    }
    drop(iperf_server);
}

fn assert_way(way: &Way) {
    let seen = assert_served(way.from, (way.to, way.web), way.server.name());
    assert_eq!(seen, IpAddr::from(way.seen_as), "{}: the client as the server sees it", way.name);
    let page = way.from.out(&format!("curl -sS -m 5 http://{}:{}/", way.to, way.web));
    assert!(page.starts_with(&format!("{} {}", way.server.name(), way.seen_as)), "{}: {page}", way.name);
    assert_streams_both_ways(way);
}

fn assert_all_ways_avoid_netfilter(ip_forward: &str, policy: &str) {
    let walk = Walk::new(ip_forward, policy);
    let _servers = [Server::start(&walk.c1.ns, 80), Server::start(&walk.bed.outside.ns, 80)];
    let pings = [
        (&walk.c1.ns, walk.c2.address),
        (&walk.c2.ns, walk.c1.address),
        (&walk.c1.ns, walk.bed.outside.address),
    ];
    for (from, to) in pings {
        from.sh(&format!("ping -n -q -c 5 -i 0.02 -W 1 {to}")).done();
    }
    for way in walk.ways() {
        assert_way(&way);
        assert_eq!(walk.counted(), 0, "{}: netfilter saw packets", way.name);
    }
}

#[test]
fn every_way_works_past_netfilter_with_ip_forward_0_and_policy_drop() {
    assert_all_ways_avoid_netfilter("0", "drop");
}

#[test]
fn every_way_works_past_netfilter_with_ip_forward_1_and_policy_accept() {
    assert_all_ways_avoid_netfilter("1", "accept");
}

#[test]
fn every_way_works_past_netfilter_with_ip_forward_0_and_policy_accept() {
    assert_all_ways_avoid_netfilter("0", "accept");
}

#[test]
fn every_way_works_past_netfilter_with_ip_forward_1_and_policy_drop() {
    assert_all_ways_avoid_netfilter("1", "drop");
}

#[test]
fn host_reaches_containers_directly_over_the_bridge() {
    let walk = Walk::new("0", "drop");
    let _server = Server::start(&walk.c1.ns, 80);
    let seen = assert_served(&walk.host.ns, (walk.c1.address, 80), "c1");
    assert_eq!(seen, IpAddr::from(gateway(&walk.c1)));
    walk.c1.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {}", gateway(&walk.c1))).done();
}

#[test]
fn host_keeps_its_own_traffic_over_a_managed_uplink() {
    let walk = Walk::new("0", "drop");
    let _servers = [Server::start(&walk.bed.outside.ns, 80), Server::start(&walk.host.ns, 8081)];
    let outside = &walk.bed.outside;
    assert_served(&walk.host.ns, (outside.address, 80), "outside");
    assert_served(&outside.ns, (walk.host.address, 8081), "h1");
    assert_served(&walk.host.ns, (Ipv4Addr::LOCALHOST, 8081), "h1");
    for (from, to) in [(&walk.host.ns, outside.address), (&outside.ns, walk.host.address)] {
        from.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {to}")).done();
    }
    assert!(walk.counted() > 0, "this traffic is the stack's: the counters do count");
}

#[test]
fn port_published_on_one_address_answers_there_only() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh(&format!("ip address add 203.0.113.200/24 dev {UPLINK}")).done();
    host.up_once();
    let spec = "203.0.113.200:8080:80";
    let c1 = bed.container(&host, "c1", &["-p", spec, "-p", &format!("{spec}/udp")]);
    let _server = Server::start(&c1.ns, 80);
    let bound = "203.0.113.200".parse().unwrap();
    for from in [&bed.outside.ns, &host.ns] {
        assert_served(from, (bound, 8080), "c1");
        tests::server::assert_refused(from, (host.address, 8080));
    }
    tests::server::assert_refused(&host.ns, (Ipv4Addr::LOCALHOST, 8080));
}

#[test]
fn two_containers_of_two_networks_meet_by_a_published_port_only() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "other"]).done();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let c2 = bed.container(&host, "c2", &["--network", "other"]);
    let _server = Server::start(&c1.ns, 80);
    tests::server::assert_refused(&c2.ns, (c1.address, 80));
    assert_eq!(assert_served(&c2.ns, (host.address, 8080), "c1"), IpAddr::from(host.address));
}
