//! What the controller does for IPv6: addresses, routes, settings, rows of the maps, and the words about them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use netdp::datapath::{Datapath, Entry};
use netdp_common::uplink::LASTING;
use netdp_common::{Addr, Port, PortKey, SubnetKey, proto};
use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::eventually;
use tests::server::{Server, assert_served};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Container, Host, OUTSIDE6, UPLINK, address6_of, link_local_of};

const LIMIT: Duration = Duration::from_secs(10);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A host that is up, with the networks `six` (both families), `only6` and `only4`.
fn host(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    create(&host);
    host
}

fn create(host: &Host) {
    let both =
        ["--ipv6", "--subnet", "10.6.0.0/16", "--subnet", "fd00:6::/64", "-o", "bridge-name=br6", "six"];
    host.netdp(&[&["network", "create"][..], &both].concat()).done();
    let only = ["--ipv6", "--ipv4=false", "--subnet", "fd00:7::/64", "-o", "bridge-name=br7", "only6"];
    host.netdp(&[&["network", "create"][..], &only].concat()).done();
    let four = ["--subnet", "10.4.0.0/16", "-o", "bridge-name=br4", "only4"];
    host.netdp(&[&["network", "create"][..], &four].concat()).done();
}

fn attach(host: &Host, ns: &Namespace, options: &[&str]) {
    let path = ns.path().to_str().unwrap();
    host.netdp(&[&["attach", "--netns", path, "--name", ns.name()], options].concat()).done();
}

fn entries(host: &Host) -> Vec<Entry> {
    Datapath::open(&host.run_dir().join("bpf")).unwrap().unwrap().entries().unwrap()
}

fn has_host_address(host: &Host, address: impl Into<IpAddr>) -> bool {
    entries(host).contains(&Entry::HostAddr(Addr::from(address.into()), LASTING))
}

/// The IPv6 address that masqueraded packets get, of each row of the uplinks.
fn masquerade_addresses(host: &Host) -> Vec<IpAddr> {
    let rows = entries(host).into_iter();
    rows.filter_map(|entry| if let Entry::Uplink(_, row) = entry { Some(row.addr6.ip()) } else { None })
        .collect()
}

fn gateway6(ns: &Namespace) -> Vec<String> {
    let routes: Value = ns.sh("ip -6 -j route show default").json();
    let routes = routes.as_array().unwrap().iter();
    routes.map(|route| route["gateway"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Settings of an interface as `key=value` words.
fn settings(ns: &Namespace, interface: &str, keys: &[&str]) -> String {
    let value = |key: &&str| format!("{key}={}", ns.sysctl(&format!("net/ipv6/conf/{interface}/{key}")));
    keys.iter().map(value).collect::<Vec<_>>().join(" ")
}

#[test]
fn addresses_of_both_families_are_in_use_when_attach_returns() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "six"]);
    assert_eq!((c1.address, c1.address6), (Ipv4Addr::new(10, 6, 0, 2), Some(v6("fd00:6::2"))));
    for ns in [&c1.ns, &host.ns] {
        let shown = ns.out("ip -6 address show scope global; ip -6 address show type bridge; ip -6 address show eth0 || true");
        assert!(!shown.contains("tentative") && !shown.contains("dadfailed"), "{shown}");
    }
    assert_eq!(gateway6(&c1.ns), ["fd00:6::1"]);
    assert_eq!(address6_of(&host.ns, "br6"), Some(v6("fd00:6::1")));
    let listening = c1.ns.enter(|| TcpListener::bind((v6("fd00:6::2"), 80)));
    listening.unwrap();
}

#[test]
fn only_interfaces_of_ours_forward_and_none_listens_to_routers() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let keys = ["forwarding", "accept_ra", "accept_redirects", "disable_ipv6"];
    let others = |host: &Host| ["all", "default", "lo", UPLINK].map(|name| settings(&host.ns, name, &keys));
    let before = others(&host);
    host.up_once();
    create(&host);
    let c1 = bed.container(&host, "c1", &["--network", "six"]);
    assert_eq!(others(&host), before);
    let ours = "forwarding=1 accept_ra=0 accept_redirects=0 disable_ipv6=0";
    assert_eq!(settings(&host.ns, "br6", &keys), ours);
    assert_eq!(settings(&host.ns, "br7", &keys), ours);
    assert_eq!(settings(&c1.ns, "eth0", &keys[1..]), "accept_ra=0 accept_redirects=0 disable_ipv6=0");
}

#[test]
fn network_without_ipv6_has_none_at_all() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "only4"]);
    assert_eq!(c1.address6, None);
    for (ns, interface) in [(&host.ns, "br4"), (&host.ns, "netdp0"), (&c1.ns, "eth0")] {
        assert_eq!(settings(ns, interface, &["disable_ipv6"]), "disable_ipv6=1", "{interface}");
        assert_eq!(ns.out(&format!("ip -6 address show dev {interface}")), "", "{interface}");
    }
}

#[test]
fn network_without_ipv4_has_none_at_all() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.namespace("c1");
    attach(&host, &c1, &["--network", "only6", "-p", "8080:80"]);
    assert_eq!(c1.out("ip -4 address show dev eth0; ip -4 route"), "");
    assert_eq!(address6_of(&c1, "eth0"), Some(v6("fd00:7::2")));
    assert_eq!(host.netdp(&["port", "c1"]).ok().stdout, "80/tcp -> [::]:8080\n");
    let inspected = host.json(&["inspect", "c1"]);
    let network = &inspected["NetworkSettings"]["Networks"]["only6"];
    assert_eq!((&network["IPAddress"], &network["Gateway"]), (&"".into(), &"".into()));
}

#[test]
fn free_subnets_are_of_one_prefix_that_the_host_keeps() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.netdp(&["network", "create", "--ipv6", "one"]).done();
    host.up_once();
    host.down();
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "two"]).done();
    let shown = host.json(&["network", "inspect", "one", "two"]);
    let subnet = |at: usize| {
        let config = shown[at]["IPAM"]["Config"].as_array().unwrap();
        assert_eq!(config.len(), 2, "{config:?}");
        config[1]["Subnet"].as_str().unwrap().strip_suffix("/64").map(v6).unwrap()
    };
    let (one, two) = (subnet(0), subnet(1));
    assert_eq!(one.octets()[0], 0xfd, "{one}");
    assert_eq!((one.octets()[..6].to_vec(), one.segments()[3]), (two.octets()[..6].to_vec(), 0));
    assert_eq!(two.segments()[3], 1);
}

#[test]
fn inspect_prints_dockers_keys_of_ipv6() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "six", "--ip6", "fd00:6::99"]);
    let networks = host.json(&["network", "inspect", "six", "only6", "only4"]);
    let enabled: Vec<_> =
        networks.as_array().unwrap().iter().map(|it| (&it["EnableIPv4"], &it["EnableIPv6"])).collect();
    let (yes, no) = (Value::from(true), Value::from(false));
    assert_eq!(enabled, [(&yes, &yes), (&no, &yes), (&yes, &no)]);
    assert_eq!(networks[0]["IPAM"]["Config"][1]["Subnet"], "fd00:6::/64");
    assert_eq!(networks[0]["IPAM"]["Config"][1]["Gateway"], "fd00:6::1");
    let members = networks[0]["Containers"].as_object().unwrap();
    let member = members.values().next().unwrap();
    assert_eq!(
        (&member["IPv4Address"], &member["IPv6Address"]),
        (&"10.6.0.2/16".into(), &"fd00:6::99/64".into())
    );
    let network = &c1.attached["NetworkSettings"]["Networks"]["six"];
    assert_eq!(network["GlobalIPv6Address"], "fd00:6::99");
    assert_eq!(network["GlobalIPv6PrefixLen"], 64);
    assert_eq!(network["IPv6Gateway"], "fd00:6::1");
    assert!(host.netdp(&["ps"]).ok().stdout.contains("six=fd00:6::99"));
    assert!(host.netdp(&["network", "ls"]).ok().stdout.contains("10.6.0.0/16 fd00:6::/64"));
}

#[test]
fn maps_have_rows_of_both_families() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "six", "-p", "8080:80"]);
    let rows = entries(&host);
    let link = rows.iter().find_map(|entry| if let Entry::Link(_, link) = entry { Some(link) } else { None });
    let link = link.expect("a link");
    assert_eq!((link.addr4.ip(), link.addr6.ip()), (c1.address.into(), v6("fd00:6::2").into()));
    assert_eq!(link.gateway6.ip(), IpAddr::from(v6("fd00:6::1")));
    let endpoints = rows.iter().filter_map(|entry| match entry {
        Entry::Endpoint(key, _) => Some(key.addr.ip()),
        _ => None,
    });
    let mut endpoints: Vec<IpAddr> = endpoints.collect();
    endpoints.sort();
    let of_the_link = link_local_of(&c1.ns, "eth0").into();
    assert_eq!(endpoints, [IpAddr::from(c1.address), v6("fd00:6::2").into(), of_the_link]);
    let subnet = SubnetKey { prefix_len: 64, addr: v6("fd00:6::").into() };
    assert!(rows.contains(&Entry::Subnet(subnet, link.network)), "{rows:?}");
    for address in [
        v6("fd00:6::1"),
        host.address6,
        Ipv6Addr::LOCALHOST,
        link_local_of(&host.ns, UPLINK),
        link_local_of(&host.ns, "br6"),
    ] {
        assert!(has_host_address(&host, address), "{address}");
    }
    assert_eq!(masquerade_addresses(&host), [IpAddr::from(host.address6), host.address6.into()]);
}

fn backend(host: &Host, address: &str, port: u16) -> (IpAddr, IpAddr) {
    let key = PortKey::new(Addr::from(address.parse::<IpAddr>().unwrap()), Port::new(port), proto::TCP);
    let rows = entries(host);
    let row = rows.iter().find_map(|entry| match entry {
        Entry::Port(found, backend) if *found == key => Some((backend.addr.ip(), backend.gateway.ip())),
        _ => None,
    });
    row.unwrap_or_else(|| panic!("no row of {address}:{port}: {rows:?}"))
}

#[test]
fn port_is_published_in_each_family_that_the_container_has() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "six", "-p", "8080:80", "-p", "[::1]:8081:80"]);
    let listed = host.netdp(&["port", "c1"]).ok().stdout;
    assert_eq!(listed, "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n80/tcp -> [::1]:8081\n");
    let ports = &c1.attached["NetworkSettings"]["Ports"]["80/tcp"];
    assert_eq!((&ports[1]["HostIp"], &ports[1]["HostPort"]), (&"::".into(), &"8080".into()));
    let six = (v6("fd00:6::2").into(), v6("fd00:6::1").into());
    assert_eq!(backend(&host, "0.0.0.0", 8080), (c1.address.into(), Ipv4Addr::new(10, 6, 0, 1).into()));
    assert_eq!((backend(&host, "::", 8080), backend(&host, "::1", 8081)), (six, six));
    let path = c1.ns.path().to_str().unwrap();
    let again = [
        "attach",
        "--netns",
        path,
        "--name",
        "c1",
        "--network",
        "six",
        "-p",
        "8080:80",
        "-p",
        "[::1]:8081:80",
    ];
    host.netdp(&again).done();
    host.netdp(&["detach", "c1"]).done();
    assert!(!entries(&host).iter().any(|entry| matches!(entry, Entry::Port(..))));
}

#[test]
fn ipv6_address_of_the_host_leads_to_a_container_without_ipv6_by_its_ipv4_address() {
    let bed = Bed::new();
    let host = host(&bed);
    let address = host.address6.to_string();
    let spec = format!("[{address}]:8080:80");
    let c1 = bed.container(&host, "c1", &["--network", "only4", "-p", &spec]);
    assert_eq!(backend(&host, &address, 8080), (c1.address.into(), Ipv4Addr::new(10, 4, 0, 1).into()));
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let attach = ["attach", "--netns", path, "--name", "c2", "--network", "only6", "-p", "0.0.0.0:8081:80"];
    host.netdp(&attach).exits(1).says("the endpoint has none").done_failing();
}

#[test]
fn ports_of_the_two_families_do_not_clash_and_those_of_one_do() {
    let bed = Bed::new();
    let host = host(&bed);
    let _c1 = bed.container(&host, "c1", &["--network", "six", "-p", "8080:80"]);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let publish =
        |spec: &str| host.netdp(&["attach", "--netns", path, "--name", "c2", "--network", "six", "-p", spec]);
    for taken in ["[::1]:8080:80", "[::]:8080:80", "8080:80"] {
        publish(taken).exits(1).says("failed: port is already allocated by endpoint c1").done_failing();
    }
    publish("[2001:db8::77]:8082:80")
        .exits(1)
        .says("2001:db8::77 is not an address of this host")
        .done_failing();
    let listener = host.ns.enter(|| TcpListener::bind("[::1]:8083")).unwrap();
    publish("8083:80").exits(1).says("Bind for [::]:8083 failed: port is already allocated").done_failing();
    publish("127.0.0.1:8083:80").done();
    drop(listener);
    let c3 = bed.container(&host, "c3", &["--network", "six", "-p", "0.0.0.0:8084:80"]);
    let c4 = bed.container(&host, "c4", &["--network", "six", "-p", "[::]:8084:80"]);
    assert_eq!(backend(&host, "0.0.0.0", 8084).0, IpAddr::from(c3.address));
    assert_eq!(backend(&host, "::", 8084).0, IpAddr::from(c4.address6.unwrap()));
}

#[test]
fn published_ipv6_port_is_refused_to_programs_of_the_host() {
    let bed = Bed::new();
    let host = host(&bed);
    let _c1 = bed.container(&host, "c1", &["--network", "six", "-p", "8080:80", "-p", "[::1]:8081:80"]);
    let bind = |address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        host.ns.enter(|| TcpListener::bind(address)).err().map(|error| error.kind())
    };
    let taken = Some(std::io::ErrorKind::AddrInUse);
    for address in ["[::]:8080", "[::1]:8080", "[::1]:8081", "[::]:8081"] {
        assert_eq!(bind(address), taken, "{address}");
    }
    assert_eq!(bind(&format!("[{}]:8081", host.address6)), None);
    assert_eq!(bind("127.0.0.1:8081"), None);
}

#[test]
fn addresses_of_the_host_are_followed_as_they_come_and_go() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let (old, new) = (host.address6, v6("2001:db8:113::99"));
    host.ns.sh(&format!("ip address add {new}/64 dev {UPLINK} nodad")).done();
    eventually("the new address", LIMIT, || has_host_address(&host, new));
    host.ns.sh(&format!("ip -6 route replace default via {OUTSIDE6} src {new}")).done();
    eventually("the preferred address", LIMIT, || {
        masquerade_addresses(&host).iter().all(|address| *address == IpAddr::from(new))
    });
    host.ns
        .sh(&format!("ip -6 route replace default via {OUTSIDE6} && ip address del {new}/64 dev {UPLINK}"))
        .done();
    eventually("the old address", LIMIT, || {
        masquerade_addresses(&host).iter().all(|address| *address == IpAddr::from(old))
            && !has_host_address(&host, new)
    });
    controller.terminate(LIMIT).done();
}

#[test]
fn interface_with_an_ipv6_default_route_only_is_an_uplink() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip route del default").done();
    let controller = host.up();
    let hooks = || host.attached_programs().iter().filter(|(interface, ..)| interface == UPLINK).count();
    assert_eq!(hooks(), 2);
    assert_eq!(host.json(&["status"])["uplinks"][0]["address6"], host.address6.to_string());
    host.ns.sh("ip -6 route del default").done();
    eventually("no hooks without a default route", LIMIT, || hooks() == 0);
    host.ns.sh(&format!("ip -6 route add default via {OUTSIDE6}")).done();
    eventually("the hooks of the uplink", LIMIT, || hooks() == 2);
    controller.terminate(LIMIT).done();
}

#[test]
fn default_route_of_ipv6_passes_to_the_next_network() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.namespace("c1");
    for network in ["six", "only4", "only6"] {
        attach(&host, &c1, &["--network", network]);
    }
    // Of equals, the first by name.
    assert_eq!(gateway6(&c1), ["fd00:7::1"]);
    host.netdp(&["detach", "c1", "--network", "only6"]).done();
    assert_eq!(gateway6(&c1), ["fd00:6::1"]);
    assert!(c1.out("ip -4 route show default").contains("via 10.4.0.1"));
}

/// Attaches to every kind of network and uses what moves already.
fn furnish<'a>(bed: &Bed, host: &Host, containers: &'a [Namespace; 3]) -> &'a [Namespace; 3] {
    create(host);
    for (ns, network) in containers.iter().zip(["six", "only6", "only4"]) {
        attach(host, ns, &["--network", network]);
    }
    let _server = Server::start(&bed.outside.ns, 80);
    assert_served(&containers[0], (bed.outside.address, 80), "outside");
    containers
}

fn namespaces(bed: &Bed) -> [Namespace; 3] {
    ["c1", "c2", "c3"].map(|name| bed.namespace(name))
}

#[test]
fn down_leaves_no_difference_with_ipv6_networks() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let containers = namespaces(&bed);
    let before = Snapshot::of(&host);
    let controller = host.up();
    furnish(&bed, &host, &containers);
    host.down();
    drop(controller);
    before.assert_still(&host);
    for ns in &containers {
        assert_eq!(ns.out("ip -o link | grep -v ' lo:' | wc -l").trim(), "0");
    }
    host.up_once();
    assert_eq!(address6_of(&containers[0], "eth0"), Some(v6("fd00:6::2")));
    assert_eq!(gateway6(&containers[1]), ["fd00:7::1"]);
}

#[test]
fn detach_and_network_rm_take_away_what_ipv6_needed() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let containers = namespaces(&bed);
    let before = Snapshot::of(&host);
    let rows = entries(&host);
    for ns in furnish(&bed, &host, &containers) {
        host.netdp(&["detach", ns.name()]).done();
    }
    host.netdp(&["network", "rm", "six", "only6", "only4"]).done();
    before.assert_still(&host);
    let sorted = |mut rows: Vec<Entry>| {
        rows.sort();
        rows
    };
    assert_eq!(sorted(entries(&host)), sorted(rows));
}

#[test]
fn addresses_that_somebody_removed_come_back() {
    let bed = Bed::new();
    let host = host(&bed);
    let c1 = bed.container(&host, "c1", &["--network", "six"]);
    let bridge = || settings(&host.ns, "br6", &["forwarding", "accept_ra", "disable_ipv6"]);
    let right = bridge();
    host.ns.sh("ip -6 address flush dev br6 && echo 0 > /proc/sys/net/ipv6/conf/br6/forwarding").done();
    host.up_once();
    assert_eq!((address6_of(&host.ns, "br6"), bridge()), (Some(v6("fd00:6::1")), right.clone()));
    host.ns.sh("ip link del br6").done();
    host.up_once();
    assert_eq!((address6_of(&host.ns, "br6"), bridge()), (Some(v6("fd00:6::1")), right));
    assert_eq!(address6_of(&c1.ns, "eth0"), c1.address6);
    assert_eq!(gateway6(&c1.ns), ["fd00:6::1"]);
}

#[test]
fn controller_brings_back_what_an_interface_lost_while_it_was_down() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    create(&host);
    let c1: Container = bed.container(&host, "c1", &["--network", "six"]);
    // The kernel takes IPv6 addresses off an interface that is brought down, and leaves those of IPv4.
    host.ns.sh("ip link set br6 down").done();
    eventually("the gateway", LIMIT, || address6_of(&host.ns, "br6") == Some(v6("fd00:6::1")));
    eventually("the bridge", LIMIT, || host.ns.out("ip -br link show br6").contains(",UP"));
    assert_eq!(address6_of(&c1.ns, "eth0"), c1.address6);
    controller.terminate(LIMIT).done();
}
