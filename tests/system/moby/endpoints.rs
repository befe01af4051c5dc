//! Endpoints that join networks and leave them, after moby's `bridge_linux_test.go`, `mac_addr_test.go` and
//! `network/bridge`.

use tests::namespace::Namespace;
use tests::topology::Bed;

use super::{host_on, ping};

/// Gateway and interface of the default route of each family, empty for none.
fn default_routes(ns: &Namespace) -> [String; 2] {
    ["-4", "-6"].map(|family| {
        let route = ns.sh(&format!("ip {family} route show default")).ok().stdout;
        let words: Vec<&str> = route.split_whitespace().collect();
        assert!(route.lines().count() <= 1, "{route}");
        words.get(4).map_or_else(String::new, |interface| format!("{} {interface}", words[2]))
    })
}

#[test]
fn gateway_selection() {
    let bed = Bed::new();
    let host = host_on(&bed);
    for (name, options) in [
        ("a4", &["--subnet", "10.51.0.0/24"][..]),
        ("b4", &["--subnet", "10.52.0.0/24"]),
        ("c6", &["--ipv4=false", "--ipv6", "--subnet", "fd00:53::/64"]),
        ("d46", &["--ipv6", "--subnet", "10.54.0.0/24", "--subnet", "fd00:54::/64"]),
        ("inner", &["--internal", "--ipv6", "--subnet", "10.55.0.0/24", "--subnet", "fd00:55::/64"]),
    ] {
        host.netdp(&[&["network", "create"], options, &[name]].concat()).done();
    }
    let c1 = bed.container(&host, "c1", &["--network", "b4"]);
    let connect = |options: &[&str]| host.netdp(&[&["network", "connect"], options].concat()).done();
    let assert_routes = |v4: &str, v6: &str| assert_eq!(default_routes(&c1.ns), [v4, v6]);
    assert_routes("10.52.0.1 eth0", "");
    connect(&["a4", "c1"]);
    assert_routes("10.51.0.1 eth1", "");
    connect(&["c6", "c1"]);
    assert_routes("10.51.0.1 eth1", "fd00:53::1 eth2");
    connect(&["d46", "c1"]);
    assert_routes("10.51.0.1 eth1", "fd00:53::1 eth2");
    connect(&["--gw-priority", "100", "inner", "c1"]);
    assert_routes("10.51.0.1 eth1", "fd00:53::1 eth2");
    assert!(ping(&c1.ns, bed.outside.address));
    assert!(ping(&c1.ns, bed.outside.address6));
    let disconnect = |network: &str| host.netdp(&["network", "disconnect", network, "c1"]).done();
    disconnect("d46");
    connect(&["--gw-priority", "1", "d46", "c1"]);
    assert_routes("10.54.0.1 eth3", "fd00:54::1 eth3");
    disconnect("a4");
    assert_routes("10.54.0.1 eth3", "fd00:54::1 eth3");
    disconnect("d46");
    assert_routes("10.52.0.1 eth0", "fd00:53::1 eth2");
    disconnect("b4");
    assert_routes("", "fd00:53::1 eth2");
    disconnect("c6");
    assert_routes("", "");
    disconnect("inner");
    assert_eq!(c1.ns.sh("ip -o link | wc -l").ok().stdout.trim(), "1", "only lo is left");
    let rules = c1.ns.sh("ip rule; ip -6 rule").ok().stdout;
    assert!(!rules.contains("3000"), "{rules}");
    connect(&["a4", "c1"]);
    assert_routes("10.51.0.1 eth0", "");
    assert!(ping(&c1.ns, bed.outside.address));
}

/// Docker's gateway is the bridge itself and cannot be missing; the error is that of a route which somebody else has made.
#[test]
fn gateway_error_on_net_disconnect() {
    let bed = Bed::new();
    let host = host_on(&bed);
    for (name, subnet) in [("a", "10.51.0.0/24"), ("b", "10.52.0.0/24")] {
        host.netdp(&["network", "create", "--subnet", subnet, name]).done();
    }
    let c1 = bed.container(&host, "c1", &["--network", "b"]);
    host.netdp(&["network", "connect", "a", "c1"]).done();
    // A default route of the container's own stays whatever the networks do.
    c1.ns.sh("ip route del default; ip route add default via 10.52.0.77 dev eth0 metric 5").done();
    c1.ns.sh("ip link add own0 type veth peer name own1 && ip addr add 198.51.100.2/24 dev own0 && ip link set own0 up && \
             ip link set own1 up").done();
    c1.ns.sh("ip route replace default via 198.51.100.1 dev own0").done();
    c1.ns.sh("ip route del default via 10.52.0.77").done();
    host.netdp(&["network", "disconnect", "a", "c1"]).done();
    assert_eq!(default_routes(&c1.ns), ["198.51.100.1 own0", ""]);
    host.netdp(&["network", "connect", "a", "c1"]).done();
    assert_eq!(default_routes(&c1.ns), ["198.51.100.1 own0", ""]);
    // An interface that somebody took away does not keep the endpoint from leaving.
    c1.ns.sh("ip link del eth1").done();
    host.netdp(&["network", "disconnect", "a", "c1"]).done();
    host.netdp(&["network", "disconnect", "b", "c1"]).done();
    assert_eq!(host.json(&["inspect", "c1"])["NetworkSettings"]["Networks"], serde_json::json!({}));
}

#[test]
fn set_endpoint_sysctl() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "blue"]).done();
    let c1 = bed.container(&host, "c1", &[]);
    let option = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0";
    host.netdp(&["network", "connect", "--driver-opt", option, "blue", "c1"]).done();
    let values = "cat /proc/sys/net/ipv4/conf/eth1/log_martians /proc/sys/net/ipv4/conf/eth1/forwarding";
    assert_eq!(c1.ns.sh(values).ok().stdout, "1\n0\n");
    // What the kernel does not take leaves everything as it was.
    let c2 = bed.container(&host, "c2", &[]);
    let before = (host.json(&["inspect", "c2"]), c2.ns.sh("ip -o addr; ip route").ok().stdout);
    for wrong in ["net.ipv4.conf.IFNAME.no_such_thing=1", "net.ipv4.conf.IFNAME.forwarding=many"] {
        let ran = host.netdp(&["network", "connect", "--sysctl", wrong, "blue", "c2"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("sysctl"), "{ran:?}");
        assert_eq!(before, (host.json(&["inspect", "c2"]), c2.ns.sh("ip -o addr; ip route").ok().stdout));
    }
    let ran =
        host.netdp(&["network", "connect", "--sysctl", "net.ipv4.conf.eth1.forwarding=1", "blue", "c2"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("unrecognised network interface sysctl"), "{ran:?}");
}

#[test]
fn endpoint_with_custom_ifname() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "blue"]).done();
    let c1 = bed.container(&host, "c1", &[]);
    let option = "com.docker.network.endpoint.ifname=foobar";
    host.netdp(&["network", "connect", "--driver-opt", option, "blue", "c1"]).done();
    assert!(c1.ns.sh("ip addr show foobar").ok().stdout.contains("inet "));
    host.netdp(&["network", "create", "red"]).done();
    let taken = host.netdp(&["network", "connect", "--ifname", "foobar", "red", "c1"]);
    assert_eq!(taken.code, Some(1));
    assert!(taken.stderr.contains("has an interface foobar already"), "{taken:?}");
}

#[test]
fn disable_ipv6_on_interface() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "--ipv6", "both"]).done();
    let c1 = bed.container(&host, "c1", &[]);
    let option = "com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1";
    host.netdp(&["network", "connect", "--driver-opt", option, "both", "c1"]).done();
    assert_eq!(c1.ns.sh("ip -6 addr show eth1").ok().stdout, "");
    assert!(c1.ns.sh("ip -4 addr show eth1").ok().stdout.contains("inet "));
    assert_eq!(host.json(&["inspect", "c1"])["NetworkSettings"]["Networks"]["both"]["GlobalIPv6Address"], "");
}

#[test]
fn network_connect_with_mac_address() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "blue"]).done();
    let c1 = bed.container(&host, "c1", &[]);
    host.netdp(&["network", "connect", "--mac-address", "02:42:08:26:a9:55", "blue", "c1"]).done();
    assert!(c1.ns.sh("ip link show eth1").ok().stdout.contains("02:42:08:26:a9:55"));
    let shown = host.json(&["inspect", "c1"]);
    assert_eq!(shown["NetworkSettings"]["Networks"]["blue"]["MacAddress"], "02:42:08:26:a9:55");
}

#[test]
fn dns_names() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "shop"]).done();
    let options = ["--network", "shop", "--network-alias", "sql", "--hostname", "db7"];
    let attached = bed.container(&host, "db", &options).attached;
    let names = &attached["NetworkSettings"]["Networks"]["shop"]["DNSNames"];
    let id = &attached["Id"].as_str().unwrap()[..12];
    assert_eq!(names, &serde_json::json!(["db", "sql", id, "db7"]));
}

#[test]
fn advertise_addresses() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let neighbour = bed.container(&host, "c1", &[]);
    let before = bed.container(&host, "c2", &["--ip", "172.17.0.9", "--mac-address", "02:42:00:00:00:01"]);
    assert!(ping(&neighbour.ns, before.address) && ping(&host.ns, before.address));
    host.netdp(&["detach", "c2"]).done();
    let after = bed.container(&host, "c3", &["--ip", "172.17.0.9", "--mac-address", "02:42:00:00:00:02"]);
    assert_eq!(after.address, before.address);
    assert!(ping(&neighbour.ns, after.address), "a neighbour that knows the MAC of before");
    assert!(ping(&host.ns, after.address), "the host, which knows it too");
}
