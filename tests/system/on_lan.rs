//! Bridges on a LAN: containers that speak with its machines by themselves, by a port of netdp's own bridge (`-o parent`) or by
//! those of somebody else's.
//!
//! ```text
//!   c1, c2 ── bridge ── eth1 of h1 ══ h1 ┐
//!                                        ├ sw0 (bridge) in `lan`
//!          machine ── eth0 ══════════════┤
//!           router ── eth0 ══════════════┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::eventually;
use tests::server::{Server, ask_tcp_at, assert_refused, assert_served, assert_served_at};
use tests::topology::{Bed, Container, Host, OUTSIDE, OUTSIDE6};

use crate::isolation::assert_counted;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const MACHINE: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 9);
const MACHINE6: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 9);
/// Behind the router.
const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 7);

/// A host with one more interface, which is on a LAN.
struct Street {
    // Before the bed, which holds what they are in.
    machine: Namespace,
    router: Namespace,
    _lan: Namespace,
    host: Host,
    bed: Bed,
}

impl Street {
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        let lan = bed.namespace("lan");
        lan.sh("ip link add sw0 type bridge mcast_snooping 0 && ip link set sw0 up").done();
        plug(&lan, &host.ns, "h1", "eth1");
        host.ns
            .sh("ip link set eth1 up && for _ in $(seq 500); do \
                 ip -6 address show dev eth1 scope link | grep -q inet6 && break || sleep 0.01; done")
            .done();
        let station = |name: &str, last: u8| {
            let ns = bed.namespace(name);
            plug(&lan, &ns, name, "eth0");
            ns.sh(&format!(
                "ip address add 192.168.50.{last}/24 dev eth0 && ip address add fd50::{last}/64 dev eth0 nodad && \
                 ip link set eth0 up && ip link set lo up"
            ))
            .done();
            ns
        };
        let (router, machine) = (station("router", 1), station("machine", 9));
        router
            .sh(&format!("ip address add {FAR}/32 dev lo && ip address add {FAR6}/128 dev lo nodad"))
            .done();
        machine.sh("ip route add default via 192.168.50.1 && ip -6 route add default via fd50::1").done();
        host.up_once();
        Self { machine, router, _lan: lan, host, bed }
    }

    fn container(&self, name: &str, last: u8) -> Container {
        let (ip, ip6) = (format!("192.168.50.{last}"), format!("fd50::{last}"));
        self.bed.container(&self.host, name, &["--network", "lan", "--ip", &ip, "--ip6", &ip6])
    }

    /// The interface on the LAN, as somebody sees it who looks for a difference.
    fn eth1(&self) -> String {
        let shown: Value = self.host.ns.sh("ip -d -j address show dev eth1").json();
        let link = &shown[0];
        let addresses: Vec<_> = link["addr_info"].as_array().unwrap().iter().map(|it| &it["local"]).collect();
        format!(
            "{} {} {} {} {} {addresses:?}",
            link["address"], link["mtu"], link["promiscuity"], link["operstate"], link["master"]
        )
    }
}

/// Joins an interface of a namespace to the switch.
fn plug(lan: &Namespace, ns: &Namespace, port: &str, interface: &str) {
    let path = ns.path().display();
    lan.sh(&format!(
        "ip link add {port} type veth peer name {interface} netns {path} && ip link set {port} master sw0 up"
    ))
    .done();
}

fn six(address: Ipv6Addr) -> SocketAddr {
    SocketAddr::new(address.into(), 80)
}

const LAN: [&str; 11] = [
    "network",
    "create",
    "--ipv6",
    "--subnet",
    "192.168.50.0/24",
    "--subnet",
    "fd50::/64",
    "--gateway",
    "192.168.50.1",
    "--gateway",
    "fd50::1",
];

/// As whom a container is seen behind the router. By TCP: a datagram would be answered from the router's nearest address.
fn seen_from_afar(container: &Container, to: SocketAddr) -> IpAddr {
    ask_tcp_at(&container.ns, to).unwrap().seen.ip().to_canonical()
}

/// Everybody to everybody, both families, each with its own address.
fn all_reach_all(street: &Street, containers: [&Container; 2]) {
    let [c1, c2] = containers;
    let servers = [
        Server::start_dual(&c1.ns, 80),
        Server::start_dual(&c2.ns, 80),
        Server::start_dual(&street.machine, 80),
        Server::start_dual(&street.router, 80),
    ];
    for container in containers {
        let (own, own6) = (IpAddr::from(container.address), IpAddr::from(container.address6.unwrap()));
        for to in [MACHINE, ROUTER, FAR] {
            container.ns.sh(&format!("ping -c 1 -W 3 {to}")).done();
        }
        for to in [MACHINE6, FAR6] {
            container.ns.sh(&format!("ping -c 1 -W 3 {to}")).done();
        }
        assert_eq!(assert_served(&container.ns, (MACHINE, 80), "machine").to_canonical(), own);
        assert_eq!(seen_from_afar(container, (FAR, 80).into()), own);
        assert_eq!(assert_served_at(&container.ns, six(MACHINE6), "machine"), own6);
        assert_eq!(seen_from_afar(container, six(FAR6)), own6);
    }
    for (container, name) in [(c1, "c1"), (c2, "c2")] {
        for (from, address) in [(&street.machine, MACHINE), (&street.router, ROUTER)] {
            from.sh(&format!("ping -c 1 -W 3 {}", container.address)).done();
            let seen = assert_served(from, (container.address, 80), name).to_canonical();
            assert_eq!(seen, IpAddr::from(address));
        }
        street.machine.sh(&format!("ping -c 1 -W 3 {}", container.address6.unwrap())).done();
        assert_eq!(
            assert_served_at(&street.machine, six(container.address6.unwrap()), name),
            IpAddr::from(MACHINE6)
        );
    }
    assert_served(&c1.ns, (c2.address, 80), "c2");
    drop(servers);
}

#[test]
fn interface_in_the_bridge_puts_containers_on_the_lan_and_is_left_as_it_was() {
    let street = Street::new();
    let before = street.eth1();
    let host = &street.host;
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    assert_ne!(street.eth1(), before, "it is a port");
    let (c1, c2) = (street.container("c1", 77), street.container("c2", 78));
    all_reach_all(&street, [&c1, &c2]);
    assert_eq!(host.json(&["check", "--deep"])["differences"], serde_json::json!([]), "what is differs");
    host.up_once();
    assert_served_by_machine(&street, &c1);
    host.down();
    assert_eq!(street.eth1(), before);
    host.up_once();
    all_reach_all(&street, [&c1, &c2]);
    host.netdp(&["network", "rm", "-f", "lan"]).done();
    assert_eq!(street.eth1(), before);
    host.down();
    assert_eq!(street.eth1(), before);
}

/// Else it would leave by the host's uplink, past whatever guards the LAN.
#[test]
fn bridge_of_the_lan_is_no_way_around_its_router() {
    let street = Street::new();
    let host = &street.host;
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let options = ["--network", "lan", "--ip", "192.168.50.77", "--ip6", "fd50::77", "-p", "8080:80"];
    let c1 = street.bed.container(host, "c1", &[&options[..], &["-p", "8080:80/udp"]].concat());
    let (_inside, _outside) = (Server::start(&c1.ns, 80), Server::start(&street.bed.outside.ns, 80));
    assert_served(&street.bed.outside.ns, (host.address, 8080), "c1");
    let eth1: Value = host.ns.sh("ip -j link show dev eth1").json();
    let bridge = eth1[0]["master"].as_str().unwrap();
    let bridge: Value = host.ns.sh(&format!("ip -j link show dev {bridge}")).json();
    let bridge = bridge[0]["address"].as_str().unwrap();
    c1.ns.sh(&format!("ip neigh replace 192.168.50.1 lladdr {bridge} dev eth0 nud permanent")).done();
    for to in [street.bed.outside.address, host.address] {
        assert_counted(host, "invalid_destination_mac", || {
            assert!(ask_tcp_at(&c1.ns, SocketAddr::new(to.into(), 80)).is_err(), "{to}");
        });
    }
    assert_served(&street.bed.outside.ns, (host.address, 8080), "c1");
}

fn assert_served_by_machine(street: &Street, container: &Container) {
    let _server = Server::start(&street.machine, 80);
    assert_served(&container.ns, (MACHINE, 80), "machine");
}

/// What knows an address by another MAC for as long as nothing else is said.
fn remember_predecessor(machine: &Namespace, addresses: [&str; 2]) {
    for address in addresses {
        machine
            .sh(&format!("ip neigh replace {address} lladdr 02:de:ad:00:00:01 dev eth0 nud reachable"))
            .done();
    }
}

/// The very first packet finds its way.
fn first_packet_arrives(machine: &Namespace, addresses: [&str; 2]) {
    for address in addresses {
        machine.sh(&format!("ping -c 1 -W 5 {address}")).done();
    }
}

#[test]
fn address_of_a_dead_machine_is_reached_at_once_when_a_container_gets_it() {
    let street = Street::new();
    let host = &street.host;
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let addresses = ["192.168.50.77", "fd50::77"];
    remember_predecessor(&street.machine, addresses);
    street.machine.sh("ping -c 1 -W 1 192.168.50.77").exits(1).done_failing();
    let _c1 = street.container("c1", 77);
    first_packet_arrives(&street.machine, addresses);
    host.netdp(&["detach", "c1"]).done();
    host.netdp(&["network", "rm", "lan"]).done();
    host.netdp(&[&LAN[..], &["-d", "macvlan", "-o", "parent=eth1", "lan"]].concat()).done();
    remember_predecessor(&street.machine, addresses);
    let _c2 = street.container("c2", 77);
    first_packet_arrives(&street.machine, addresses);
}

#[test]
fn port_that_went_and_came_back_is_one_again() {
    let street = Street::new();
    let host = &street.host;
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let c1 = street.container("c1", 77);
    assert_served_by_machine(&street, &c1);
    host.ns.sh("ip link set eth1 nomaster").done();
    host.up_once();
    assert_served_by_machine(&street, &c1);
    // The host has it for itself by now.
    host.ns.sh("ip link set eth1 nomaster && ip address add 192.168.50.20/24 dev eth1").done();
    host.netdp(&["up", "--once"]).ok().says("eth1 has addresses of this host").done();
    host.ns.sh("ping -c 1 -W 3 192.168.50.9").done();
}

#[test]
fn port_that_is_missing_or_down_keeps_nobody_waiting() {
    let street = Street::new();
    let host = &street.host;
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let (c1, c2) = (
        street.container("c1", 77),
        street.bed.container(host, "c2", &["-p", "8080:80", "-p", "8080:80/udp"]),
    );
    let _server = Server::start(&c2.ns, 80);
    for (spoil, repair, said) in [
        ("ip link set eth1 name eth7", "ip link set eth7 name eth1", "eth1 is not there"),
        ("ip link set eth1 down", "ip link set eth1 up", "eth1 is down"),
    ] {
        host.down();
        host.ns.sh(&format!("ip link set eth1 down && {spoil}")).done();
        host.netdp(&["up", "--once"]).ok().says(said).done();
        assert_served(&street.bed.outside.ns, (host.address, 8080), "c2");
        host.ns.sh(&format!("{repair} && ip link set eth1 up")).done();
        host.up_once();
        assert_served_by_machine(&street, &c1);
    }
    host.down();
    host.ns.sh("ip link set eth1 down && ip link set eth1 name eth7").done();
    let mut service = host.up();
    host.ns.sh("ip link set eth7 name eth1 && ip link set eth1 up").done();
    eventually("it is a port again", Duration::from_secs(20), || {
        c1.ns.sh(&format!("ping -c 1 -W 1 {MACHINE}")).code == Some(0)
    });
    let told = service.finish().stderr;
    assert_eq!(told.matches("eth1 is not there").count(), 1, "{told}");
}

#[test]
fn containers_apart_from_one_another_reach_the_lan() {
    let street = Street::new();
    street.host.netdp(&[&LAN[..], &["-o", "parent=eth1", "-o", "icc=false", "lan"]].concat()).done();
    let (c1, c2) = (street.container("c1", 77), street.container("c2", 78));
    let _servers = [Server::start(&c1.ns, 80), Server::start(&street.machine, 80)];
    for container in [&c1, &c2] {
        assert_eq!(assert_served(&container.ns, (MACHINE, 80), "machine"), IpAddr::from(container.address));
    }
    assert_served(&street.machine, (c1.address, 80), "c1");
    assert_refused(&c2.ns, (c1.address, 80));
}

#[test]
fn who_takes_the_address_of_another_is_not_heard_on_the_lan() {
    let street = Street::new();
    street.host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let c1 = street.container("c1", 77);
    let _server = Server::start(&street.machine, 80);
    c1.ns.sh("ip address flush dev eth0 scope global && ip address add 192.168.50.66/24 dev eth0").done();
    assert_refused(&c1.ns, (MACHINE, 80));
    let seen = street.machine.sh("ip neigh show 192.168.50.66").ok().stdout;
    assert!(!seen.contains("lladdr"), "{seen}");
}

#[test]
fn bridge_of_somebody_elses_with_a_port_leads_to_the_lan_and_to_the_host() {
    let street = Street::new();
    let host = &street.host;
    host.ns
        .sh("ip link add br0 type bridge && ip link set eth1 master br0 && ip link set br0 up && \
             ip address add 192.168.50.20/24 dev br0 && ip address add fd50::20/64 dev br0 nodad")
        .done();
    host.up_once();
    let before = street.eth1();
    host.netdp(&[&LAN[..], &["-o", "bridge-name=br0", "lan"]].concat()).done();
    let (c1, c2) = (street.container("c1", 77), street.container("c2", 78));
    all_reach_all(&street, [&c1, &c2]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&host.ns, 81)];
    assert_served(&host.ns, (c1.address, 80), "c1");
    assert_served(&c2.ns, (Ipv4Addr::new(192, 168, 50, 20), 81), "h1");
    host.netdp(&["network", "rm", "-f", "lan"]).done();
    assert_eq!(street.eth1(), before, "its ports are none of netdp's business");
}

#[test]
fn bridge_that_is_the_gateway_too_masquerades_to_the_outside_and_not_to_the_lan() {
    let street = Street::new();
    let host = &street.host;
    host.ns
        .sh("ip link add br0 type bridge && ip link set eth1 master br0 && ip link set br0 up && \
             ip address add 192.168.50.20/24 dev br0")
        .done();
    host.up_once();
    host.netdp(&["network", "create", "-o", "bridge-name=br0", "lan"]).done();
    let bed = &street.bed;
    let c1 = bed.container(
        host,
        "c1",
        &["--network", "lan", "--ip", "192.168.50.77", "-p", "8080:80", "-p", "8080:80/udp"],
    );
    let _servers =
        [Server::start(&c1.ns, 80), Server::start(&street.machine, 80), Server::start(&bed.outside.ns, 81)];
    assert_eq!(assert_served(&c1.ns, (MACHINE, 80), "machine"), IpAddr::from(c1.address));
    assert_eq!(assert_served(&c1.ns, (OUTSIDE, 81), "outside"), IpAddr::from(host.address));
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_served(&street.machine, (c1.address, 80), "c1");
}

#[test]
fn what_cannot_be_a_port_is_refused_and_changes_nothing() {
    let street = Street::new();
    let (host, before) = (&street.host, street.eth1());
    let create = |options: &[&str]| host.netdp(&[&LAN[..], options, &["lan"]].concat()).exits(1);
    create(&["-o", "parent=up0"])
        .says("the interface has addresses of this host (203.0.113.")
        .says("-o bridge-name=BRIDGE")
        .done_failing();
    create(&["-o", "parent=eth9"]).says("there is no such interface; this host has").done_failing();
    create(&["-o", "parent=lo"]).says("loopback").done_failing();
    create(&["-o", "parent=netdp0"]).says("it is a bridge").done_failing();
    create(&["-o", "parent=eth1", "--internal"]).says("an internal network is on no LAN").done_failing();
    create(&["-o", "parent=eth1", "-o", "gateway-mode=routed"]).says("gateway-mode").done_failing();
    host.ns.sh("ip link set eth1 down").done();
    create(&["-o", "parent=eth1"]).says("it is down").done_failing();
    host.ns.sh("ip link set eth1 up && ip link add br7 type bridge && ip link set eth1 master br7").done();
    create(&["-o", "parent=eth1"]).says("a port of another interface").done_failing();
    create(&["-o", "parent=eth1", "-o", "bridge-name=br7"]).says("a port of").done_failing();
    host.ns.sh("ip link delete br7").done();
    assert_eq!(host.json(&["network", "ls", "-f", "type=custom"]), serde_json::json!([]));
    assert_eq!(street.eth1(), before);
    host.netdp(&[&LAN[..], &["-o", "parent=eth1", "lan"]].concat()).done();
    let second = ["network", "create", "-d", "macvlan", "-o", "parent=eth1", "--subnet", "10.9.0.0/24", "x"];
    host.netdp(&second).exits(1).says("network lan is already using parent interface eth1").done_failing();
}

/// A shell command that waits for the address that the kernel gives an interface with a carrier, which a bridge has up to
/// a second after its first port (linkwatch).
fn has_link_local(interface: &str) -> String {
    let look = format!("ip -6 address show dev {interface} scope link | grep -q inet6");
    format!("for _ in $(seq 500); do {look} && break || sleep 0.01; done && {look}")
}

/// The host's way out is moved to a bridge, as the advice about such a parent says.
fn bridge_that_leads_out() -> (Bed, Host) {
    let bed = Bed::new();
    let host = bed.host("h1");
    let (address, address6) = (host.address, host.address6);
    host.ns
        .sh(&format!(
            "ip link add br0 type bridge && ip address flush dev up0 && ip link set up0 master br0 && \
             ip link set br0 up && ip address add {address}/24 dev br0 && \
             ip address add {address6}/64 dev br0 nodad && ip -6 route flush default && ip route add default via {OUTSIDE} && \
             ip -6 route add default via {OUTSIDE6} && {}",
            has_link_local("br0")
        ))
        .done();
    bed.watch(&host, "br0");
    (bed, host)
}

#[test]
fn bridge_that_is_the_hosts_own_way_out_has_containers_on_its_lan() {
    let (bed, host) = bridge_that_leads_out();
    let _controller = host.up();
    let create = [
        "network",
        "create",
        "--ipv6",
        "-o",
        "bridge-name=br0",
        "--gateway",
        "203.0.113.1",
        "--gateway",
        "2001:db8:113::1",
        "lan",
    ];
    host.netdp(&create).done();
    let c1 = bed.container(
        &host,
        "c1",
        &[
            "--network",
            "lan",
            "--ip",
            "203.0.113.77",
            "--ip6",
            "2001:db8:113::77",
            "-p",
            "8080:80",
            "-p",
            "8080:80/udp",
        ],
    );
    let c2 = bed.container(&host, "c2", &["-p", "8082:80", "-p", "8082:80/udp"]);
    let n1 = bed.neighbour("n1");
    let _servers = [
        Server::start_dual(&c1.ns, 80),
        Server::start(&c2.ns, 80),
        Server::start_dual(&host.ns, 81),
        Server::start_dual(&bed.outside.ns, 82),
        Server::start_dual(&n1.ns, 83),
    ];
    let own6 = |address: Ipv6Addr, port: u16| SocketAddr::new(address.into(), port);
    let seen = |ns: &Namespace, to: SocketAddr, name: &str| assert_served_at(ns, to, name).to_canonical();
    // From the container: the LAN as itself, the host, a published port of another network.
    assert_eq!(seen(&c1.ns, (OUTSIDE, 82).into(), "outside"), IpAddr::from(c1.address));
    assert_eq!(seen(&c1.ns, (n1.address, 83).into(), "n1"), IpAddr::from(c1.address));
    assert_eq!(seen(&c1.ns, own6(n1.address6, 83), "n1"), IpAddr::from(c1.address6.unwrap()));
    assert_eq!(seen(&c1.ns, (host.address, 81).into(), "h1"), IpAddr::from(c1.address));
    assert_eq!(seen(&c1.ns, own6(host.address6, 81), "h1"), IpAddr::from(c1.address6.unwrap()));
    seen(&c1.ns, (host.address, 8082).into(), "c2");
    // In parts too.
    for to in [IpAddr::from(host.address), host.address6.into(), n1.address.into(), n1.address6.into()] {
        c1.ns.sh(&format!("ping -c 1 -W 3 -s 3000 {to}")).done();
    }
    // To it: directly, and by its published port, also from who is beside it.
    for ns in [&n1.ns, &bed.outside.ns, &host.ns] {
        seen(ns, (c1.address, 80).into(), "c1");
        seen(ns, own6(c1.address6.unwrap(), 80), "c1");
        seen(ns, (host.address, 8080).into(), "c1");
        seen(ns, own6(host.address6, 8080), "c1");
        seen(ns, (host.address, 8082).into(), "c2");
    }
    // Another network is masqueraded, and does not reach the container.
    assert_eq!(seen(&c2.ns, (n1.address, 83).into(), "n1"), IpAddr::from(host.address));
    assert_refused(&c2.ns, (c1.address, 80));
    host.netdp(&["network", "rm", "-f", "lan"]).done();
    seen(&n1.ns, (host.address, 8082).into(), "c2");
    assert_eq!(seen(&c2.ns, (n1.address, 83).into(), "n1"), IpAddr::from(host.address));
}

#[test]
fn bridge_that_is_the_hosts_own_way_out_is_the_containers_gateway_without_another() {
    let (bed, host) = bridge_that_leads_out();
    host.up_once();
    let internal = ["network", "create", "--internal", "-o", "bridge-name=br0", "lan"];
    host.netdp(&internal).exits(1).says("an internal network on the bridge br0").done_failing();
    host.netdp(&["network", "create", "-o", "bridge-name=br0", "lan"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "lan", "--ip", "203.0.113.77"]);
    bed.outside.ns.sh(&format!("ip address add {FAR}/32 dev lo && ip link set lo up")).done();
    let _servers =
        [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 82), Server::start(&host.ns, 81)];
    assert_eq!(ask_tcp_at(&c1.ns, (FAR, 82).into()).unwrap().seen.ip(), IpAddr::from(host.address));
    assert_eq!(assert_served(&c1.ns, (OUTSIDE, 82), "outside"), IpAddr::from(c1.address));
    assert_served(&c1.ns, (host.address, 81), "h1");
    assert_served(&bed.outside.ns, (c1.address, 80), "c1");
    host.down();
    assert!(host.ns.sh("ip -br address show dev br0").ok().stdout.contains("203.0.113."));
}
