//! Networks on a LAN: endpoints with an interface of their own on one of the host's.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::server::{Server, assert_refused, assert_served};
use tests::topology::{Bed, Container, Host, OUTSIDE, address_of, address6_of};

const SUBNET: [&str; 4] = ["--subnet", "203.0.113.0/24", "--gateway", "203.0.113.1"];

fn create(host: &Host, name: &str, options: &[&str]) {
    let command =
        [&["network", "create", "-d", "macvlan", "-o", "parent=up0"], &SUBNET[..], options, &[name]];
    host.netdp(&command.concat()).done();
}

fn street() -> (Bed, Host) {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    (bed, host)
}

fn link(container: &Container) -> Value {
    let links: Value = container.ns.sh("ip -d -j link show dev eth0").json();
    links[0].clone()
}

#[test]
fn macvlan_endpoint_is_on_the_lan_by_itself() {
    let (bed, host) = street();
    create(&host, "lan", &["--ip-range", "203.0.113.128/25"]);
    let c1 = bed.container(&host, "c1", &["--network", "lan"]);
    let c2 = bed.container(&host, "c2", &["--network", "lan", "--ip", "203.0.113.200"]);
    assert_eq!((c1.address, c2.address), (Ipv4Addr::new(203, 0, 113, 128), Ipv4Addr::new(203, 0, 113, 200)));
    let there = link(&c1);
    assert_eq!(there["linkinfo"]["info_kind"], "macvlan", "{there}");
    assert_eq!(there["linkinfo"]["info_data"]["mode"], "bridge", "{there}");
    let (one, two) = (Server::start(&c1.ns, 80), Server::start(&c2.ns, 80));
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
    assert_served(&c1.ns, (c2.address, 80), "c2");
    let out = Server::start(&bed.outside.ns, 81);
    assert_served(&c2.ns, (OUTSIDE, 81), "outside");
    // The host itself does not hear its own macvlan interfaces: that is the kernel's way.
    let inspected = host.json(&["network", "inspect", "lan"]);
    assert_eq!(inspected[0]["Driver"], "macvlan");
    assert_eq!(inspected[0]["IPAM"]["Config"][0]["Gateway"], "203.0.113.1");
    drop((one, two, out));
    host.netdp(&["detach", "c1"]).done();
    assert!(!c1.ns.sh("ip -br link").ok().stdout.contains("eth0"), "it is gone with its attachment");
    assert_refused(&bed.outside.ns, (c1.address, 80));
}

#[test]
fn macvlan_endpoints_come_back_with_up_and_go_with_down() {
    let (bed, host) = street();
    create(&host, "lan", &["-o", "mode=private", "--ipv6", "--subnet", "2001:db8:113::/64"]);
    let c1 = bed.container(&host, "c1", &["--network", "lan", "--ip", "203.0.113.77"]);
    let c2 = bed.container(&host, "c2", &["--network", "lan", "--ip", "203.0.113.78"]);
    assert_eq!(address6_of(&c1.ns, "eth0").map(|it| it.to_string()), c1.address6.map(|it| it.to_string()));
    assert!(c1.address6.is_some());
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c2.ns, 80)];
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
    assert_refused(&c1.ns, (c2.address, 80));
    c1.ns.sh("ip link delete eth0").done();
    host.up_once();
    assert_eq!(address_of(&c1.ns, "eth0"), c1.address);
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
    let before = link(&c1)["ifindex"].clone();
    host.up_once();
    assert_eq!(link(&c1)["ifindex"], before, "what is right is not touched");
    host.down();
    assert!(!c1.ns.sh("ip -br link").ok().stdout.contains("eth0"));
    host.up_once();
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
    host.down();
}

#[test]
fn addresses_on_the_lan_are_not_those_of_the_host() {
    let (bed, host) = street();
    // The bed's host has 203.0.113.10: the lowest free ones are those around it.
    create(&host, "lan", &["--ip-range", "203.0.113.8/30"]);
    let addresses = ["c1", "c2", "c3"].map(|name| bed.container(&host, name, &["--network", "lan"]).address);
    assert_eq!(addresses.map(|it| it.octets()[3]), [8, 9, 11]);
    let ns = bed.namespace("c4");
    let path = ns.path().to_str().unwrap();
    let attach =
        |ip: &str| host.netdp(&["attach", "--netns", path, "--name", "c4", "--network", "lan", "--ip", ip]);
    attach("203.0.113.10").exits(1).says("address 203.0.113.10 is already in use").done_failing();
    attach("10.0.0.1").exits(1).says("is not in the subnet 203.0.113.0/24").done_failing();
}

#[test]
fn what_a_lan_network_cannot_be_is_refused_and_changes_nothing() {
    let (bed, host) = street();
    let create = |arguments: &[&str]| host.netdp(&[&["network", "create"], arguments, &["x"]].concat());
    create(&["-d", "macvlan"])
        .exits(1)
        .says("a macvlan network needs the interface that is on the LAN")
        .done_failing();
    create(&["-d", "macvlan", "-o", "parent=eth9"])
        .exits(1)
        .says("parent=eth9: there is no such interface; this host has")
        .done_failing();
    create(&["-d", "macvlan", "-o", "parent=lo"]).exits(1).says("loopback").done_failing();
    create(&["-d", "macvlan", "-o", "parent=up0", "-o", "mode=l2"])
        .exits(1)
        .says("bridge, private, vepa or passthru")
        .done_failing();
    create(&["-d", "macvlan", "-o", "parent=up0", "-o", "icc=false"]).exits(1).says("known").done_failing();
    create(&["-d", "overlay"]).exits(1).says("overlay").done_failing();
    create(&["-d", "host"]).exits(1).says("pre-made").done_failing();
    assert!(host.netdp(&["network", "ls"]).ok().stdout.lines().all(|line| !line.contains(" x ")));
    self::create(&host, "lan", &[]);
    create(&["-d", "macvlan", "-o", "parent=up0"])
        .exits(1)
        .says("network lan is already using parent interface up0")
        .done_failing();
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "lan", "-p", "80:80"])
        .exits(1)
        .says("cannot publish ports in network lan")
        .done_failing();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
}

#[test]
fn ipvlan_is_as_the_kernel_has_it() {
    let (bed, host) = street();
    let has_it =
        host.ns.sh("ip link add link up0 name probe type ipvlan && ip link del probe").code == Some(0);
    let command = [&["network", "create", "-d", "ipvlan", "-o", "parent=up0"], &SUBNET[..], &["lan"]];
    let created = host.netdp(&command.concat());
    if !has_it {
        created.exits(3).says("ipvlan").done_failing();
        assert_eq!(host.ns.sh("ip -br link").ok().stdout.matches("nd-probe").count(), 0);
        return;
    }
    created.done();
    let c1 = bed.container(&host, "c1", &["--network", "lan", "--ip", "203.0.113.77"]);
    let _server = Server::start(&c1.ns, 80);
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
}
