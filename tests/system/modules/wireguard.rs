//! A tunnel of the host: an interface without Ethernet addresses, which is no uplink.

use std::net::Ipv4Addr;

use tests::capture::{Capture, Seen};
use tests::module::needs;
use tests::namespace::Namespace;
use tests::server::{Server, assert_refused, assert_served};
use tests::topology::{Bed, Container, Host, Neighbour, UPLINK};

use super::{assert_transfer, sent};
use crate::isolation::assert_counted;

/// The ends of the tunnel.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// One end: makes a key, and gives the public one.
fn end(bed: &Bed, ns: &Namespace, address: Ipv4Addr) -> String {
    let key = bed.file(&format!("{}.key", ns.name()));
    ns.sh(&format!(
        "umask 077 && wg genkey > {0} && ip link add wg0 type wireguard && \
         wg set wg0 private-key {0} listen-port 51820 && ip address add {address}/24 dev wg0 && ip link set wg0 up",
        key.display()
    ))
    .done();
    ns.out("wg show wg0 public-key").trim().to_owned()
}

fn join(ns: &Namespace, key: &str, allowed: &str, at: Ipv4Addr) {
    ns.sh(&format!("wg set wg0 peer {key} allowed-ips {allowed} endpoint {at}:51820")).done();
}

/// A host with a tunnel to a neighbour, and a container.
fn tunnelled(bed: &Bed) -> (Host, Container, Neighbour) {
    needs("wireguard");
    let (host, n1) = (bed.host("h1"), bed.neighbour("n1"));
    let (near, far) = (end(bed, &host.ns, NEAR), end(bed, &n1.ns, FAR));
    join(&host.ns, &far, "10.99.0.0/24", n1.address);
    join(&n1.ns, &near, "0.0.0.0/0", host.address);
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    (host, c1, n1)
}

/// Whether a packet from or to an address was seen: an interface without Ethernet shows packets from the IP header on.
fn mentions(seen: &Seen, address: Ipv4Addr) -> bool {
    let octets = address.octets();
    seen.frames.iter().any(|frame| {
        let ends = [frame.bytes.get(12..16), frame.bytes.get(16..20)];
        ends.contains(&Some(&octets[..]))
    })
}

#[test]
#[ignore = "runs in the VM: needs the module wireguard"]
fn tunnel_of_the_host_goes_on_beside_netdp() {
    let bed = Bed::new();
    let (host, c1, n1) = tunnelled(&bed);
    let _servers = [Server::start(&n1.ns, 80), Server::start(&host.ns, 81)];
    assert_served(&host.ns, (FAR, 80), "n1");
    assert_served(&n1.ns, (NEAR, 81), "h1");
    assert_transfer((&n1.ns, 90), &host.ns, (FAR, 90), 1 << 20);
    assert_transfer((&host.ns, 91), &n1.ns, (NEAR, 91), 1 << 20);
    assert_served(&c1.ns, (n1.address, 80), "n1");
}

#[test]
#[ignore = "runs in the VM: needs the module wireguard"]
fn container_does_not_get_into_the_tunnel_nor_past_it() {
    let bed = Bed::new();
    let (host, c1, n1) = tunnelled(&bed);
    let _server = Server::start(&n1.ns, 80);
    let (tunnel, wire) = (Capture::start(&host.ns, "wg0", &[]), Capture::start(&host.ns, UPLINK, &[]));
    assert_counted(&host, "no_uplink", || assert_refused(&c1.ns, (FAR, 80)));
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    assert_counted(&host, "no_uplink", || assert_refused(&c1.ns, (FAR, 80)));
    assert!(!mentions(&tunnel.seen(), c1.address), "a container's address in the tunnel");
    assert!(sent(&wire, None).iter().all(|(_, to)| *to != FAR), "past the tunnel, in the clear");
}

#[test]
#[ignore = "runs in the VM: needs the module wireguard"]
fn forwarding_switched_off_later_sends_nothing_past_the_tunnel() {
    let bed = Bed::new();
    let (host, c1, n1) = tunnelled(&bed);
    let _server = Server::start(&n1.ns, 80);
    let wire = Capture::start(&host.ns, UPLINK, &[]);
    // Zero already; but to change it and change it back switches forwarding off on netdp's bridges as well.
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    host.ns.set_sysctl("net/ipv4/ip_forward", "0");
    assert_refused(&c1.ns, (FAR, 80));
    assert!(sent(&wire, None).iter().all(|(_, to)| *to != FAR), "past the tunnel, in the clear");
    host.up_once();
    assert_served(&c1.ns, (n1.address, 80), "n1");
}

#[test]
#[ignore = "runs in the VM: needs the module wireguard"]
fn tunnel_is_no_way_in() {
    let bed = Bed::new();
    let (host, c1, n1) = tunnelled(&bed);
    let _server = Server::start(&c1.ns, 80);
    n1.ns.sh(&format!("ip route add {} dev wg0", c1.address)).done();
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    // Its own address, so that the host knows the way back.
    host.ns.sh(&format!("ping -n -q -c 1 -W 3 {FAR}")).done();
    assert_counted(&host, "direct_routing", || assert_refused(&n1.ns, (c1.address, 80)));
    assert_refused(&n1.ns, (NEAR, 8080));
    assert_served(&n1.ns, (host.address, 8080), "c1");
}

#[test]
#[ignore = "runs in the VM: needs the module wireguard"]
fn tunnel_named_as_uplink_is_refused_by_name() {
    let bed = Bed::new();
    let (host, _c1, _n1) = tunnelled(&bed);
    host.down();
    let ran = host.netdp(&["up", "--once", "--uplink", "wg0"]).exits(1);
    ran.says("wg0").says("not an Ethernet interface").done_failing();
}
