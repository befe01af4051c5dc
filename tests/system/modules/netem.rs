//! A link that loses, doubles, delays and reorders, on the way in and on the way out.

use serde_json::Value;
use tests::capture::Capture;
use tests::module::needs;
use tests::namespace::Namespace;
use tests::topology::{Bed, Container, Host, Neighbour, UPLINK};

use super::assert_transfer;

const LENGTH: usize = 512 << 10;

/// Frames go one by one, not as one of 64 KiB: each is lost, or its checksum judged, for itself.
fn without_offloads(ns: &Namespace, interface: &str) {
    ns.sh(&format!("ethtool -K {interface} tx off rx off sg off tso off gso off gro off")).done();
}

/// Both ends of the way from the host to the neighbour are bridge ports of `outside`: what they send is what the other
/// side receives.
fn spoil(bed: &Bed, ports: &[&str]) {
    for port in ports {
        bed.outside
            .ns
            .sh(&format!(
                "tc qdisc add dev {port} root netem delay 10ms 5ms reorder 25% 50% loss 3% duplicate 2%"
            ))
            .done();
    }
}

/// Frames that the bad link to a port has lost.
fn lost(bed: &Bed, port: &str) -> u64 {
    let shown: Value = bed.outside.ns.sh(&format!("tc -s -j qdisc show dev {port}")).json();
    shown[0]["drops"].as_u64().unwrap_or_else(|| panic!("{shown}"))
}

fn up(bed: &Bed) -> (Host, Container, Neighbour) {
    needs("sch_netem");
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80"]);
    let n1 = bed.neighbour("n1");
    for (ns, interface) in [(&host.ns, UPLINK), (&n1.ns, "eth0"), (&c1.ns, "eth0")] {
        without_offloads(ns, interface);
    }
    spoil(bed, &["h1", "n1"]);
    (host, c1, n1)
}

fn captures(host: &Host, n1: &Neighbour, c1: &Container) -> [(&'static str, Capture); 3] {
    [
        ("uplink", Capture::start(&host.ns, UPLINK, &[])),
        ("neighbour", Capture::start(&n1.ns, "eth0", &[])),
        ("c1", Capture::start(&c1.ns, "eth0", &[])),
    ]
}

fn assert_bad_and_right(bed: &Bed, captures: &[(&str, Capture)]) {
    for (place, capture) in captures {
        let seen = capture.seen();
        println!("{place}: {} frames", seen.total);
        seen.assert_checksums();
    }
    for port in ["h1", "n1"] {
        assert!(lost(bed, port) > 0, "the link to {port} has lost nothing");
    }
}

#[test]
#[ignore = "runs in the VM: needs the module sch_netem"]
fn every_byte_of_a_masqueraded_stream_arrives_over_a_bad_link() {
    let bed = Bed::new();
    let (host, c1, n1) = up(&bed);
    let captures = captures(&host, &n1, &c1);
    assert_transfer((&n1.ns, 80), &c1.ns, (n1.address, 80), LENGTH);
    assert_bad_and_right(&bed, &captures);
}

#[test]
#[ignore = "runs in the VM: needs the module sch_netem"]
fn every_byte_to_a_published_port_arrives_over_a_bad_link() {
    let bed = Bed::new();
    let (host, c1, n1) = up(&bed);
    let captures = captures(&host, &n1, &c1);
    assert_transfer((&c1.ns, 80), &n1.ns, (host.address, 8080), LENGTH);
    assert_bad_and_right(&bed, &captures);
}
