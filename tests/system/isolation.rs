//! What must not pass, and the reason that it is counted under.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::capture::{Capture, RawSocket};
use tests::namespace::Namespace;
use tests::packet::{Mac, Packet, arp_request};
use tests::server::{Server, assert_refused, assert_served};
use tests::topology::{Bed, Container, Host};

/// Packets counted under a reason, by `netdp status`.
pub(crate) fn dropped(host: &Host, reason: &str) -> u64 {
    let status = host.json(&["status"]);
    find_count(&status, reason).unwrap_or(0)
}

/// The number of packets beside a reason's name, wherever the document has it.
fn find_count(value: &Value, reason: &str) -> Option<u64> {
    match value {
        Value::Object(map) => {
            let named = map.values().any(|v| v.as_str() == Some(reason));
            let here =
                named.then(|| map.get("packets").or(map.get("Packets")).and_then(Value::as_u64)).flatten();
            here.or_else(|| map.values().find_map(|v| find_count(v, reason)))
        }
        Value::Array(items) => items.iter().find_map(|item| find_count(item, reason)),
        _ => None,
    }
}

pub(crate) fn assert_counted(host: &Host, reason: &str, act: impl FnOnce()) {
    let before = dropped(host, reason);
    act();
    assert!(dropped(host, reason) > before, "{reason} was not counted: {}", host.json(&["status"]));
}

fn one_host(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host
}

#[test]
fn interface_that_is_no_uplink_is_no_way_to_a_container_either() {
    let bed = Bed::new();
    let host = one_host(&bed);
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    let side = bed.namespace("side");
    let path = side.path().display();
    host.ns.sh(&format!("ip link add side0 type veth peer name eth0 netns {path}")).done();
    host.ns.sh("ip address add 10.78.0.1/24 dev side0 && ip link set side0 up").done();
    side.sh("ip address add 10.78.0.2/24 dev eth0 && ip link set eth0 up").done();
    side.sh("ip route add default via 10.78.0.1").done();
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    for (name, options) in [("c1", &[][..]), ("z1", &["--network", "inner"])] {
        let container = bed.container(&host, name, options);
        let _server = Server::start(&container.ns, 80);
        let seen = Capture::start(&container.ns, "eth0", &[]);
        assert_counted(&host, "direct_routing", || assert_refused(&side, (container.address, 80)));
        let from_side = |frame: &&tests::capture::Frame| frame.bytes.windows(4).any(|w| w == [10, 78, 0, 2]);
        assert_eq!(seen.seen().frames.iter().filter(from_side).count(), 0, "{name} was reached");
        assert_served(&host.ns, (container.address, 80), name);
    }
}

#[test]
fn vlan_tag_of_a_container_goes_nowhere() {
    let bed = Bed::new();
    let host = one_host(&bed);
    let c1 = bed.container(&host, "c1", &[]);
    let mut frame = Packet::udp((c1.address, 1111), (bed.outside.address, 2222)).build();
    frame[..6].copy_from_slice(&mac_of(&host.ns, "netdp0"));
    frame[6..12].copy_from_slice(&mac_of(&c1.ns, "eth0"));
    frame.splice(12..12, [0x81, 0, 0, 100]);
    let socket = RawSocket::open(&c1.ns, "eth0", &[]);
    assert_counted(&host, "vlan_tag", || socket.send(&frame));
}

#[test]
fn outside_cannot_reach_a_container_address() {
    for ip_forward in ["0", "1"] {
        let bed = Bed::new();
        let host = one_host(&bed);
        host.ns.set_sysctl("net/ipv4/ip_forward", ip_forward);
        let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
        let _server = Server::start(&c1.ns, 80);
        bed.outside.ns.sh(&format!("ip route add {} via {}", c1.address, host.address)).done();
        assert_counted(&host, "direct_routing", || {
            assert_refused(&bed.outside.ns, (c1.address, 80));
            bed.outside.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {}", c1.address)).exits(1).done_failing();
        });
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    }
}

#[test]
fn networks_are_closed_to_one_another() {
    let bed = Bed::new();
    let host = one_host(&bed);
    host.netdp(&["network", "create", "a"]).done();
    host.netdp(&["network", "create", "b"]).done();
    let in_a = bed.container(&host, "ca", &["--network", "a"]);
    let in_b = bed.container(&host, "cb", &["--network", "b"]);
    let in_default = bed.container(&host, "cd", &[]);
    let _servers =
        [Server::start(&in_a.ns, 80), Server::start(&in_b.ns, 80), Server::start(&bed.outside.ns, 80)];
    assert_counted(&host, "inter_network", || {
        assert_refused(&in_a.ns, (in_b.address, 80));
        assert_refused(&in_b.ns, (in_a.address, 80));
        assert_refused(&in_default.ns, (in_a.address, 80));
    });
    for container in [&in_a, &in_b, &in_default] {
        assert_served(&container.ns, (bed.outside.address, 80), "outside");
    }
}

#[test]
fn another_networks_gateway_is_not_a_way_in() {
    let bed = Bed::new();
    let host = one_host(&bed);
    host.netdp(&["network", "create", "b"]).done();
    let in_b = bed.container(&host, "cb", &["--network", "b"]);
    let in_default = bed.container(&host, "cd", &[]);
    let _server = Server::start(&in_b.ns, 80);
    let gateway = crate::ways::gateway(&in_b);
    in_default.ns.sh(&format!("ip route add {} via {gateway} onlink dev eth0", in_b.address)).done();
    assert_refused(&in_default.ns, (in_b.address, 80));
}

#[test]
fn internal_network_reaches_its_own_and_the_host_only() {
    let bed = Bed::new();
    let host = one_host(&bed);
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "inner"]);
    let c2 = bed.container(&host, "c2", &["--network", "inner"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    assert_served(&c2.ns, (c1.address, 80), "c1");
    assert_served(&host.ns, (c1.address, 80), "c1");
    // With or without a default route of its own: the container may add one.
    let [a, b, c, _] = c2.address.octets();
    c2.ns.sh(&format!("ip route replace default via {a}.{b}.{c}.1")).done();
    assert_counted(&host, "internal_network", || assert_refused(&c2.ns, (bed.outside.address, 80)));
}

#[test]
fn icc_false_closes_a_network_to_its_own_containers() {
    let bed = Bed::new();
    let host = one_host(&bed);
    host.netdp(&["network", "create", "-o", "icc=false", "closed"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "closed"]);
    let c2 = bed.container(&host, "c2", &["--network", "closed"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    assert_counted(&host, "icc_disabled", || {
        assert_refused(&c2.ns, (c1.address, 80));
        c2.ns.sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {}", c1.address)).exits(1).done_failing();
    });
    assert_served(&c2.ns, (bed.outside.address, 80), "outside");
}

#[test]
fn network_without_masquerade_sends_nothing_out() {
    let bed = Bed::new();
    let host = one_host(&bed);
    let plain = ["network", "create", "-o", "masquerade=false", "plain"];
    host.netdp(&plain).ok().says("nothing gets out of network plain").done();
    let c1 = bed.container(&host, "c1", &["--network", "plain"]);
    let _server = Server::start(&bed.outside.ns, 80);
    assert_counted(&host, "masquerade_off", || assert_refused(&c1.ns, (bed.outside.address, 80)));
}

pub(crate) fn mac_of(ns: &Namespace, interface: &str) -> Mac {
    let shown: Value = ns.sh(&format!("ip -j link show dev {interface}")).json();
    let text = shown[0]["address"].as_str().unwrap();
    let bytes: Vec<u8> = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

struct Spoofer {
    host: Host,
    victim: Container,
    attacker: Container,
    socket: RawSocket,
    at_victim: Capture,
    bed: Bed,
}

impl Spoofer {
    fn new() -> Self {
        let bed = Bed::new();
        let host = one_host(&bed);
        let victim = bed.container(&host, "victim", &[]);
        let attacker = bed.container(&host, "attacker", &[]);
        let socket = RawSocket::open(&attacker.ns, "eth0", &[]);
        let at_victim = Capture::start(&victim.ns, "eth0", &[]);
        Self { host, victim, attacker, socket, at_victim, bed }
    }

    /// Sends frames that must be counted under the reason and never reach the victim.
    fn assert_stopped(&self, reason: &str, frames: &[Vec<u8>]) {
        assert_counted(&self.host, reason, || frames.iter().for_each(|frame| self.socket.send(frame)));
        let seen = self.at_victim.seen();
        let arrived = seen.frames.iter().filter(|got| frames.contains(&got.bytes)).count();
        assert_eq!(arrived, 0, "{reason}: {arrived} arrived");
    }
}

#[test]
fn spoofed_sources_are_dropped_and_counted() {
    let bed = Spoofer::new();
    let (own, victim) = (mac_of(&bed.attacker.ns, "eth0"), mac_of(&bed.victim.ns, "eth0"));
    let bridge = mac_of(&bed.host.ns, "netdp0");
    let (from, to) = (bed.attacker.address, bed.victim.address);
    let foreign = Ipv4Addr::new(198, 51, 100, 9);
    let ping = |src, mac| Packet::ping(src, to, 1).link(mac, victim).build();
    bed.assert_stopped("invalid_source_mac", &[ping(from, [2, 0x42, 9, 9, 9, 9]), ping(from, bridge)]);
    bed.assert_stopped("invalid_source_ip", &[ping(foreign, own), ping(Ipv4Addr::new(172, 17, 0, 77), own)]);
    let out = |src| Packet::udp((src, 9), (bed.bed.outside.address, 9)).link(own, bridge).build();
    bed.assert_stopped("invalid_source_ip", &[out(to), out(bed.host.address)]);
    let gateway = crate::ways::gateway(&bed.victim);
    bed.assert_stopped("invalid_source_arp", &[arp_request(own, gateway, to), arp_request(own, to, to)]);
}

#[test]
fn malformed_frames_of_a_container_are_dropped_and_counted() {
    let bed = Spoofer::new();
    let (own, victim) = (mac_of(&bed.attacker.ns, "eth0"), mac_of(&bed.victim.ns, "eth0"));
    let ping = Packet::ping(bed.attacker.address, bed.victim.address, 1).link(own, victim);
    let frames = [
        ping.clone().with(|p| p.lies.version = Some(6)).build(),
        ping.clone().with(|p| p.lies.header_words = Some(4)).build(),
        ping.clone().with(|p| p.lies.header_words = Some(15)).build(),
        ping.clone().with(|p| p.lies.total_length = Some(2000)).build(),
        ping.build()[..20].to_vec(),
        ping.build()[..33].to_vec(),
        arp_request(own, bed.attacker.address, bed.victim.address)[..30].to_vec(),
    ];
    for frame in frames {
        bed.assert_stopped("malformed", &[frame]);
    }
}
