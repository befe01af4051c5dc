//! What networks take over from the host while a controller runs: the MTU of the uplink, and clashes with a VPN.

use std::time::Duration;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::eventually;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, OUTSIDE};

fn mtu(ns: &Namespace, interface: &str) -> u64 {
    let links: Value = ns.sh(&format!("ip -j link show dev {interface}")).json();
    links[0]["mtu"].as_u64().unwrap()
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn mtu_of_a_network_follows_the_uplink_unless_it_was_chosen() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    host.netdp(&["network", "create", "-o", "mtu=1450", "fixed"]).done();
    host.netdp(&["network", "create", "--ipv6", "six"]).done();
    let [c1, c2, c3] = [("c1", "bridge"), ("c2", "fixed"), ("c3", "six")]
        .map(|(name, network)| bed.container(&host, name, &["--network", network]));
    assert_eq!([&c1, &c2, &c3].map(|container| mtu(&container.ns, "eth0")), [1500, 1450, 1500]);
    let set = |bytes: u32| host.ns.sh(&format!("ip link set up0 mtu {bytes}")).done();
    set(1400);
    eventually("the container has the uplink's MTU", SOON, || mtu(&c1.ns, "eth0") == 1400);
    eventually("the bridge has the uplink's MTU", SOON, || mtu(&host.ns, "netdp0") == 1400);
    assert_eq!(mtu(&c2.ns, "eth0"), 1450, "one that was chosen stays");
    let new = bed.container(&host, "c4", &[]);
    assert_eq!(mtu(&new.ns, "eth0"), 1400);
    let out = Server::start(&bed.outside.ns, 81);
    assert_served(&c1.ns, (OUTSIDE, 81), "outside");
    // The kernel takes IPv6 off an interface below 1280 bytes.
    set(1200);
    eventually("IPv6 keeps its least MTU", SOON, || mtu(&c3.ns, "eth0") == 1280);
    set(1500);
    eventually("it is as large as before", SOON, || {
        mtu(&c1.ns, "eth0") == 1500 && mtu(&c3.ns, "eth0") == 1500
    });
    controller.terminate(SOON).ok().exits(0).done();
    drop(out);
    set(1380);
    host.up_once();
    assert_eq!(mtu(&c1.ns, "eth0"), 1380, "up follows too");
}

#[test]
fn subnet_that_a_vpn_takes_later_is_warned_of() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let _c1 = bed.container(&host, "c1", &[]);
    assert_eq!(host.json(&["status"])["warnings"], serde_json::json!([]));
    let subnet = host.json(&["network", "inspect", "bridge"])[0]["IPAM"]["Config"][0]["Subnet"].clone();
    assert_eq!(subnet, "172.17.0.0/16");
    host.ns.sh("ip link add vpn0 type veth peer name vpn1 && ip address add 172.17.9.1/24 dev vpn0 && ip link set vpn0 up").done();
    let said =
        "network bridge: its subnet 172.17.0.0/16 overlaps 172.17.9.0/24 of a route of this host (vpn0)";
    eventually("status warns", SOON, || host.json(&["status"])["warnings"].to_string().contains(said));
    let inspected = host.json(&["network", "inspect", "bridge"]);
    assert!(inspected[0]["Status"]["Warnings"].to_string().contains(said), "{inspected}");
    assert!(host.netdp(&["status"]).ok().stdout.contains(&format!("warning: {said}")));
    // It tells before it gives the host's new address its row; a second time would be told by its next look.
    eventually("the controller has seen it", SOON, || host.netdp(&["check", "--deep"]).code == Some(0));
    std::thread::sleep(Duration::from_secs(1));
    let talk = controller.terminate(SOON).ok();
    assert_eq!(talk.stderr.matches(said).count(), 1, "told once\n{talk}");
}
