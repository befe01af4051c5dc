//! Networks on a bridge that somebody else made: it is used, and left as it was.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Host, OUTSIDE};

/// A host with a bridge of its own, which has these addresses.
fn street(addresses: &[&str]) -> (Bed, Host) {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip link add br-mine type bridge && ip link set br-mine mtu 1460 up").done();
    for address in addresses {
        host.ns.sh(&format!("ip address add {address} dev br-mine nodad")).done();
    }
    host.up_once();
    (bed, host)
}

/// What must be the same afterwards: MAC, MTU, addresses, settings.
fn facts(host: &Host) -> (String, String) {
    let shown: Value = host.ns.sh("ip -j address show dev br-mine").json();
    let addresses: Vec<String> = shown[0]["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["scope"] == "global")
        .map(|it| it["local"].to_string())
        .collect();
    let link = format!("{} {} {addresses:?}", shown[0]["address"], shown[0]["mtu"]);
    let settings =
        "cat /proc/sys/net/ipv4/conf/br-mine/forwarding /proc/sys/net/ipv6/conf/br-mine/*forwarding";
    (link, host.ns.sh(settings).ok().stdout)
}

#[test]
fn bridge_with_an_address_is_used_and_left_as_it_was() {
    let (bed, host) = street(&["10.77.0.1/24"]);
    let before = facts(&host);
    host.netdp(&["network", "create", "-o", "bridge-name=br-mine", "mine"]).done();
    let inspected = host.json(&["network", "inspect", "mine"]);
    let config = &inspected[0]["IPAM"]["Config"][0];
    assert_eq!((&config["Subnet"], &config["Gateway"]), (&"10.77.0.0/24".into(), &"10.77.0.1".into()));
    let [c1, c2] = ["c1", "c2"].map(|name| {
        let port = if name == "c1" { 8080 } else { 8081 };
        let [tcp, udp] = ["tcp", "udp"].map(|protocol| format!("{port}:80/{protocol}"));
        bed.container(&host, name, &["--network", "mine", "-p", &tcp, "-p", &udp])
    });
    assert_eq!(c1.address, Ipv4Addr::new(10, 77, 0, 2));
    assert_eq!(facts(&host).0, before.0, "ports do not change the MAC of a bridge that is used");
    let (_one, out) = (Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 81));
    let serve = || {
        assert_served(&c2.ns, (c1.address, 80), "c1");
        assert_served(&host.ns, (c1.address, 80), "c1");
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
        assert_eq!(assert_served(&c1.ns, (OUTSIDE, 81), "outside"), host.address);
    };
    serve();
    host.down();
    assert_eq!(facts(&host), before);
    host.up_once();
    serve();
    drop(out);
    host.netdp(&["network", "rm", "-f", "mine"]).done();
    assert_eq!(facts(&host), before);
    host.down();
    assert_eq!(facts(&host), before);
}

#[test]
fn bridge_without_an_address_gets_one_for_as_long_as_the_network_lives() {
    let (bed, host) = street(&[]);
    let before = facts(&host);
    let command =
        ["network", "create", "--ipv6", "--subnet", "10.78.0.0/24", "-o", "bridge-name=br-mine", "mine"];
    host.netdp(&command).done();
    let c1 = bed.container(&host, "c1", &["--network", "mine"]);
    let _one = Server::start(&c1.ns, 80);
    assert_served(&host.ns, (c1.address, 80), "c1");
    assert!(facts(&host).0.contains("10.78.0.1") && c1.address6.is_some());
    host.netdp(&["network", "rm", "-f", "mine"]).done();
    assert_eq!(facts(&host), before);
}

#[test]
fn bridge_that_is_missing_keeps_nobody_else_from_being_served() {
    let (bed, host) = street(&["10.77.0.1/24"]);
    host.netdp(&["network", "create", "-o", "bridge-name=br-mine", "mine"]).done();
    let [c1, c2] = [("c1", "mine"), ("c2", "bridge")]
        .map(|(name, network)| bed.container(&host, name, &["--network", network, "-p", "80"]));
    host.down();
    host.ns.sh("ip link delete br-mine").done();
    host.netdp(&["up", "--once"]).ok().says("waits for the interface br-mine").done();
    let _two = Server::start(&c2.ns, 80);
    assert_served(&host.ns, (c2.address, 80), "c2");
    host.ns.sh("ip link add br-mine type bridge && ip address add 10.77.0.1/24 dev br-mine && ip link set br-mine up").done();
    host.up_once();
    let _one = Server::start(&c1.ns, 80);
    assert_served(&host.ns, (c1.address, 80), "c1");
}

#[test]
fn device_gets_no_ipv4_address_where_that_is_inhibited() {
    let (bed, host) = street(&[]);
    for (name, device) in [("mine", "br-mine"), ("own", "br-own")] {
        let bridge = format!("bridge-name={device}");
        host.netdp(&[
            "network",
            "create",
            "-o",
            &bridge,
            "-o",
            "com.docker.network.bridge.inhibit_ipv4=true",
            name,
        ])
        .done();
        assert!(
            !host.ns.sh(&format!("ip -4 address show dev {device}")).ok().stdout.contains("inet"),
            "{device}"
        );
    }
    let [c1, c2] = ["c1", "c2"].map(|name| bed.container(&host, name, &["--network", "own"]));
    let _one = Server::start(&c1.ns, 80);
    assert_served(&c2.ns, (c1.address, 80), "c1");
}

#[test]
fn what_is_no_bridge_is_refused_and_so_is_one_that_leads_out_of_an_internal_network() {
    let (_bed, host) = street(&["10.77.0.1/24"]);
    let create = |device: &str, options: &[&str]| {
        let bridge = format!("bridge-name={device}");
        host.netdp(&[&["network", "create", "-o", &bridge], options, &["mine"]].concat()).exits(1)
    };
    create("up0", &[]).says("there is an interface up0 already").done_failing();
    create("br-mine", &["--internal"]).says("whose other ports hear").done_failing();
    host.ns.sh("ip route add default via 10.77.0.9 metric 700").done();
    create("br-mine", &["--internal"]).says("by which the default route leads").done_failing();
    assert_eq!(host.json(&["network", "ls", "-f", "type=custom"]), serde_json::json!([]));
}
