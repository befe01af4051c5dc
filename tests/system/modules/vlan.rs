//! An uplink that is a VLAN of an Ethernet interface.

use std::net::{IpAddr, Ipv4Addr};

use tests::capture::{Capture, Frame};
use tests::module::needs;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Host, OUTSIDE, UPLINK};

use super::assert_transfer;

/// The outside and the host on VLAN 10.
const OUTSIDE_TAGGED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const HOST_TAGGED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const PORTS: [&str; 6] = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "9000:90"];

/// A host that has a VLAN on its link to the outside.
fn tagged(bed: &Bed) -> Host {
    needs("8021q");
    let host = bed.host("h1");
    host.ns
        .sh(&format!(
            "ip link add link {UPLINK} name up0.10 type vlan id 10 && ip link set up0.10 up && \
             ip address add {HOST_TAGGED}/24 dev up0.10"
        ))
        .done();
    bed.outside
        .ns
        .sh(&format!(
            "ip link add link wan0 name wan0.10 type vlan id 10 && ip link set wan0.10 up && \
             ip address add {OUTSIDE_TAGGED}/24 dev wan0.10"
        ))
        .done();
    bed.watch(&host, "up0.10");
    host
}

/// Tags of the IPv4 packets between two addresses, in both directions.
fn tags(capture: &Capture, host: Ipv4Addr, other: Ipv4Addr) -> Vec<Option<u16>> {
    let between = |frame: &&Frame| {
        frame.ipv4().is_some_and(|(_, from, to)| (from, to) == (host, other) || (from, to) == (other, host))
    };
    capture.seen().frames.iter().filter(between).map(|frame| frame.vlan).collect()
}

fn assert_tags(capture: &Capture, host: Ipv4Addr, other: Ipv4Addr, tag: Option<u16>) {
    let found = tags(capture, host, other);
    assert!(!found.is_empty() && found.iter().all(|t| *t == tag), "{host} and {other}: {found:?}");
}

#[test]
#[ignore = "runs in the VM: needs the module 8021q"]
fn vlan_with_the_default_route_is_the_uplink() {
    let bed = Bed::new();
    let host = tagged(&bed);
    host.ns.sh(&format!("ip route replace default via {OUTSIDE_TAGGED} && ip -6 route del default")).done();
    host.up_once();
    let uplinks = host.json(&["status"])["uplinks"].clone();
    assert_eq!((&uplinks[0]["interface"], uplinks.as_array().unwrap().len()), (&"up0.10".into(), 1));
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let wire = Capture::start(&host.ns, UPLINK, &[]);
    assert_eq!(assert_served(&c1.ns, (OUTSIDE_TAGGED, 80), "outside"), IpAddr::from(HOST_TAGGED));
    assert_eq!(assert_served(&bed.outside.ns, (HOST_TAGGED, 8080), "c1"), IpAddr::from(OUTSIDE_TAGGED));
    assert_transfer((&bed.outside.ns, 90), &c1.ns, (OUTSIDE_TAGGED, 90), 1 << 20);
    assert_transfer((&c1.ns, 90), &bed.outside.ns, (HOST_TAGGED, 9000), 1 << 20);
    wire.seen().assert_checksums();
    assert_tags(&wire, HOST_TAGGED, OUTSIDE_TAGGED, Some(10));
}

#[test]
#[ignore = "runs in the VM: needs the module 8021q"]
fn vlan_and_its_parent_are_two_uplinks() {
    let bed = Bed::new();
    let host = tagged(&bed);
    host.ns.sh(&format!("ip route add default via {OUTSIDE_TAGGED} metric 50")).done();
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let wire = Capture::start(&host.ns, UPLINK, &[]);
    for (host_address, other) in [(HOST_TAGGED, OUTSIDE_TAGGED), (host.address, OUTSIDE)] {
        assert_eq!(assert_served(&c1.ns, (other, 80), "outside"), IpAddr::from(host_address));
        assert_eq!(assert_served(&bed.outside.ns, (host_address, 8080), "c1"), IpAddr::from(other));
    }
    assert_tags(&wire, HOST_TAGGED, OUTSIDE_TAGGED, Some(10));
    assert_tags(&wire, host.address, OUTSIDE, None);
}

#[test]
#[ignore = "runs in the VM: needs the module 8021q"]
fn vlan_that_is_no_uplink_is_no_way_out_of_a_container() {
    let bed = Bed::new();
    let host = tagged(&bed);
    host.netdp(&["up", "--once", "--uplink", UPLINK]).done();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let refused = || tests::server::assert_refused(&c1.ns, (OUTSIDE_TAGGED, 80));
    crate::isolation::assert_counted(&host, "no_uplink", refused);
    assert_served(&c1.ns, (OUTSIDE, 80), "outside");
    assert_served(&host.ns, (OUTSIDE_TAGGED, 80), "outside");
}
