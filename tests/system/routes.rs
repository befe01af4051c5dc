//! Routes that networks put into their containers, and what interfaces there are called.

use std::net::Ipv4Addr;

use tests::namespace::Namespace;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, address_of};

const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn way(ns: &Namespace) -> String {
    ns.sh(&format!("ip route get {FAR}")).ok().stdout
}

#[test]
fn network_of_several_has_the_route_that_it_was_given() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    bed.outside.ns.sh(&format!("ip address add {FAR}/32 dev lo && ip link set lo up")).done();
    let vpn = ["-o", "route=198.51.100.0/24", "-o", "ifname-prefix=vpn", "--subnet", "10.5.0.0/24", "vpn"];
    host.netdp(&[&["network", "create"], &vpn[..]].concat()).done();
    let c1 = bed.container(&host, "c1", &[]);
    assert!(way(&c1.ns).contains("dev eth0"));
    let path = c1.ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "vpn"]).done();
    assert_eq!(address_of(&c1.ns, "vpn0"), Ipv4Addr::new(10, 5, 0, 2));
    let by_vpn = || way(&c1.ns).contains("via 10.5.0.1 dev vpn0");
    assert!(by_vpn(), "{}", way(&c1.ns));
    let server = Server::start_at(&bed.outside.ns, (FAR, 81).into());
    assert_eq!(assert_served(&c1.ns, (FAR, 81), "outside"), host.address);
    drop(server);
    host.down();
    host.up_once();
    assert!(by_vpn(), "{}", way(&c1.ns));
    host.netdp(&["detach", "c1", "--network", "vpn"]).done();
    assert!(way(&c1.ns).contains("dev eth0"));
}

#[test]
fn router_on_the_lan_is_the_next_hop() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let router = bed.neighbour("n1");
    router.ns.sh(&format!("ip address add {FAR}/32 dev lo && ip link set lo up")).done();
    let route = format!("route=198.51.100.0/24,{}", router.address);
    let lan = ["-d", "macvlan", "-o", "parent=up0", "-o", &route, "--subnet", "203.0.113.0/24", "lan"];
    host.netdp(&[&["network", "create"], &lan[..]].concat()).done();
    let c1 = bed.container(&host, "c1", &["--network", "lan", "--ip", "203.0.113.99"]);
    let _server = Server::start_at(&router.ns, (FAR, 81).into());
    assert_eq!(assert_served(&c1.ns, (FAR, 81), "n1"), c1.address);
}

#[test]
fn route_that_cannot_be_is_refused() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    for (route, said) in [
        ("x", "10.9.0.0/16,10.5.0.7"),
        ("10.9.0.1/16", "without host bits"),
        ("10.9.0.0/16,10.6.0.1", "next hop 10.6.0.1 is not in the subnet 10.5.0.0/24"),
        ("10.9.0.0/16,10.5.0.9", "no next hop but the gateway"),
        ("fd00::/64", "add --ipv6"),
    ] {
        let route = format!("route={route}");
        let command = ["network", "create", "--subnet", "10.5.0.0/24", "-o", &route, "vpn"];
        host.netdp(&command).exits(1).says(said).done_failing();
    }
    assert_eq!(host.json(&["network", "ls", "-f", "type=custom"]), serde_json::json!([]));
}
