//! What a container and a network keep, and what nobody gets twice, after moby's `mac_addr_test.go` and `bridge_test.go`.

use std::net::IpAddr;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::topology::{Bed, Host};

use super::{host_on, ping};

fn mac_of(ns: &Namespace) -> String {
    let links: Value = ns.sh("ip -j link show dev eth0").json();
    links[0]["address"].as_str().unwrap().to_owned()
}

fn in_bridge(host: &Host, name: &str) -> Value {
    host.json(&["inspect", name])["NetworkSettings"]["Networks"]["bridge"].clone()
}

#[test]
fn mac_addr_on_restart() {
    let bed = Bed::new();
    let host = host_on(&bed);
    bed.container(&host, "c1", &[]);
    host.netdp(&["detach", "c1"]).done();
    // Takes the address that is free again, and with it the MAC that goes with the address.
    let c2 = bed.container(&host, "c2", &[]);
    let c3 = bed.container(&host, "c3", &[]);
    let c4 = bed.container(&host, "c4", &[]);
    let macs = [&c2, &c3, &c4].map(|container| mac_of(&container.ns));
    assert!(macs[0] != macs[1] && macs[1] != macs[2] && macs[0] != macs[2], "{macs:?}");
    assert!(ping(&c2.ns, c3.address) && ping(&c3.ns, c4.address));
}

#[test]
fn cfgd_mac_addr_on_restart() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let asked = "02:42:de:ad:be:ef";
    let container = bed.container(&host, "c1", &["--mac-address", asked]);
    assert_eq!(in_bridge(&host, "c1")["MacAddress"], asked);
    host.down();
    host.up_once();
    assert_eq!(mac_of(&container.ns), asked, "made anew with the MAC that was asked for");
    assert_eq!(in_bridge(&host, "c1")["MacAddress"], asked);
}

#[test]
fn container_disabled_ipv6() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "--ipv6", "both"]).done();
    let ns = bed.namespace("c1");
    ns.set_sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    ns.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
    let path = ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "both"]).done();
    let neighbour = bed.container(&host, "c2", &["--network", "both"]);
    assert!(ping(&ns, neighbour.address), "it is reached by IPv4");
    assert!(ping(&ns, bed.outside.address), "and gets out");
}

#[test]
fn preferred_subnet_restore() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "mine"]).done();
    let config = |host: &Host| host.json(&["network", "inspect", "mine"])[0]["IPAM"]["Config"].clone();
    let before = config(&host);
    host.down();
    let file = bed.file("netdp.toml");
    std::fs::write(&file, "default-address-pools = [{ base = \"10.200.0.0/16\", size = 24 }]\n").unwrap();
    host.netdp(&["up", "--once", "-c", file.to_str().unwrap()]).done();
    assert_eq!(config(&host), before, "other pools are for other networks");
    host.netdp(&["network", "create", "next"]).done();
    let next = host.json(&["network", "inspect", "next"])[0]["IPAM"]["Config"][0]["Subnet"].clone();
    assert!(next.as_str().unwrap().starts_with("10.200."), "{next}");
}

#[test]
fn default_bridge_ipv6() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let file = bed.file("daemon.json");
    std::fs::write(&file, "{\"ipv6\": true, \"fixed-cidr-v6\": \"fdd1:8161:2d2c::/64\"}").unwrap();
    host.netdp(&["up", "--once", "-c", file.to_str().unwrap()]).done();
    let (c1, c2) = (bed.container(&host, "c1", &[]), bed.container(&host, "c2", &[]));
    let to = c2.address6.unwrap();
    assert!(to.to_string().starts_with("fdd1:8161:2d2c:"), "{to}");
    assert!(ping(&c1.ns, to) && ping(&c1.ns, c2.address));
    assert!(ping(&c1.ns, IpAddr::from(bed.outside.address6)));
}
