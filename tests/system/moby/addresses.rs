//! Which addresses a network and its containers have, after moby's `bridge_linux_test.go` and `bridge_test.go`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use tests::topology::{Bed, Host};

use super::{host_on, ping};

fn inspect(host: &Host, network: &str) -> Value {
    host.json(&["network", "inspect", network])[0].clone()
}

fn created(host: &Host, name: &str, options: &[&str]) -> Value {
    host.netdp(&[&["network", "create"], options, &[name]].concat()).done();
    inspect(host, name)
}

#[test]
fn default_bridge_addresses() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let gateway = inspect(&host, "bridge")["IPAM"]["Config"][0]["Gateway"].as_str().unwrap().to_owned();
    let on_bridge = host.ns.out("ip -4 -brief address show dev netdp0");
    assert!(on_bridge.contains(&format!(" {gateway}/")), "{on_bridge}");
    host.down();
    host.up_once();
    assert_eq!(
        host.ns.out("ip -4 -brief address show dev netdp0").split_whitespace().nth(2),
        on_bridge.split_whitespace().nth(2)
    );
}

#[test]
fn disable_ipv6_addrs() {
    let bed = Bed::new();
    let host = host_on(&bed);
    created(&host, "both", &["--ipv6"]);
    for (network, expected) in [("bridge", false), ("both", true)] {
        let container = bed.container(&host, &format!("in-{network}"), &["--network", network]);
        let there = container.ns.out("ip -6 -brief address show dev eth0");
        assert_eq!(!there.trim().is_empty(), expected, "{network}: {there}");
    }
}

#[test]
fn non_ipv6_network() {
    let bed = Bed::new();
    let host = host_on(&bed);
    created(&host, "v4", &[]);
    let container = bed.container(&host, "c1", &["--network", "v4"]);
    assert_eq!(container.ns.sysctl("net/ipv6/conf/eth0/disable_ipv6"), "1");
    assert_eq!(container.ns.out("ip -6 address show dev eth0").trim(), "", "not even one of the link");
    let bridge = host.ns.out("ip -br link show type bridge");
    for name in bridge.lines().filter_map(|line| line.split_whitespace().next()) {
        assert_eq!(host.ns.out(&format!("ip -6 address show dev {name}")).trim(), "", "{name}");
    }
}

#[test]
fn disable_ipv4() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let _ = host.netdp(&["network", "create", "--ipv4=false", "nothing"]).exits(1);
    let network = created(&host, "six", &["--ipv4=false", "--ipv6"]);
    assert_eq!((&network["EnableIPv4"], &network["EnableIPv6"]), (&Value::Bool(false), &Value::Bool(true)));
    let netns = ["c1", "c2"].map(|name| bed.namespace(name));
    for ns in &netns {
        let path = ns.path().to_str().unwrap();
        host.netdp(&["attach", "--netns", path, "--name", ns.name(), "--network", "six"]).done();
        assert_eq!(ns.out("ip -4 -brief address show dev eth0").trim(), "");
    }
    let to = tests::topology::address6_of(&netns[1], "eth0").unwrap();
    assert!(ping(&netns[0], to));
    assert!(ping(&netns[0], bed.outside.address6), "and out, translated");
}

#[test]
fn create_with_ipv6_defaults_to_ula_prefix() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let network = created(&host, "both", &["--ipv6"]);
    let configs = network["IPAM"]["Config"].as_array().unwrap();
    let subnets = configs.iter().filter_map(|config| config["Subnet"].as_str()?.parse::<IpNet>().ok());
    let six: Vec<IpNet> = subnets.filter(|subnet| matches!(subnet, IpNet::V6(_))).collect();
    assert_eq!(six.len(), 1);
    assert!("fd00::/8".parse::<IpNet>().unwrap().contains(&six[0]), "{six:?}");
    assert_eq!(six[0].prefix_len(), 64);
}

#[test]
fn network_inspect_gateway() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let network = created(&host, "both", &["--ipv6"]);
    for config in network["IPAM"]["Config"].as_array().unwrap() {
        let gateway = config["Gateway"].as_str().unwrap();
        assert!(gateway.parse::<IpAddr>().is_ok(), "an address, without the length of a prefix: {gateway}");
    }
}

#[test]
fn ip_range_of_64_bits() {
    let bed = Bed::new();
    let host = host_on(&bed);
    // All of the lower half of an IPv6 address: more addresses than a 64-bit counter has.
    let options = ["--ipv6", "--subnet", "fddd::/48", "--ip-range", "fddd:0:0:8000::/64"];
    created(&host, "wide", &options);
    let container = bed.container(&host, "c1", &["--network", "wide"]);
    let range: IpNet = "fddd:0:0:8000::/64".parse().unwrap();
    assert!(range.contains(&IpAddr::V6(container.address6.unwrap())), "{:?}", container.address6);
}

#[test]
fn ip_range_at_64_bit_limit() {
    let bed = Bed::new();
    let host = host_on(&bed);
    for (number, (subnet, range)) in [
        ("fdaa:1::/48", "fdaa:1:0:0:ffff:ffff:ffff:fffe/127"),
        ("fdaa:2::/48", "fdaa:2:0:ffff:ffff:ffff:ffff:fffc/126"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("n{number}");
        created(&host, &name, &["--ipv6", "--subnet", subnet, "--ip-range", range]);
        let container = bed.container(&host, &format!("c{number}"), &["--network", &name]);
        let inside: IpNet = range.parse().unwrap();
        assert!(
            inside.contains(&IpAddr::V6(container.address6.unwrap())),
            "{range}: {:?}",
            container.address6
        );
    }
}

#[test]
fn set_ip_with_no_configured_subnet() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let network = created(&host, "own", &[]);
    let subnet: IpNet = network["IPAM"]["Config"][0]["Subnet"].as_str().unwrap().parse().unwrap();
    let asked = subnet.hosts().nth(76).unwrap().to_string();
    let container = bed.container(&host, "c1", &["--network", "own", "--ip", &asked]);
    assert_eq!(container.address.to_string(), asked);
    let path = bed.namespace("c2").path().to_str().unwrap().to_owned();
    let line = ["attach", "--netns", &path, "--name", "c2", "--network", "own", "--ip", "10.254.254.254"];
    let _ = host.netdp(&line).exits(1);
}
