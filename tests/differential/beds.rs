//! Two beds that differ in nothing but who translates: one host has nftables, the other has netdp.
//!
//! ```text
//!   outside ── up0 (MTU 1400) ┤ host ├ bridge ── veth ── c1
//!                                            └── veth ── c2
//! ```
//!
//! No end has a stack that could answer: their interfaces have no addresses, and every frame that comes or goes there is
//! one of the test's raw sockets. Addresses, MACs, MTUs and the hosts' settings are the same in both beds.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::capture::RawSocket;
use tests::namespace::Namespace;
use tests::topology::{Bed, Container, Host, UPLINK};

pub(crate) type Mac = [u8; 6];

/// Where a frame goes in or comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Outside,
    C1,
    C2,
}

impl End {
    pub(crate) const ALL: [Self; 3] = [Self::Outside, Self::C1, Self::C2];

    pub(crate) fn is_container(self) -> bool {
        self != Self::Outside
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Nftables,
    Netdp,
}

impl Who {
    pub(crate) const BOTH: [Self; 2] = [Self::Nftables, Self::Netdp];
}

/// The uplink of both hosts, smaller than the containers' so that packets can be too big.
pub(crate) const UPLINK_MTU: u16 = 1400;
/// The router that everything but the neighbour is behind, and a station of the same segment.
pub(crate) const ROUTER: (Ipv4Addr, Mac) = (Ipv4Addr::new(203, 0, 113, 1), [2, 0, 0, 0, 1, 1]);
pub(crate) const NEIGHBOUR: (Ipv4Addr, Mac) = (Ipv4Addr::new(203, 0, 113, 20), [2, 0, 0, 0, 1, 0x14]);

/// One published port: protocol, port of the host, whose, and its port there.
pub(crate) const PUBLISHED: [(u8, u16, End, u16); 5] = [
    (6, 8080, End::C1, 80),
    (17, 8080, End::C1, 80),
    (17, 53, End::C1, 5353),
    (6, 9090, End::C2, 9090),
    (17, 9091, End::C2, 90),
];

/// What both beds have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) host: Ipv4Addr,
    pub(crate) uplink_mac: Mac,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) bridge_mac: Mac,
    pub(crate) containers: [(Ipv4Addr, Mac); 2],
}

impl Plan {
    /// Address and MAC of a container.
    pub(crate) fn container(&self, end: End) -> (Ipv4Addr, Mac) {
        self.containers[usize::from(end == End::C2)]
    }
}

/// Both beds. Sockets and hosts go before what they stand in.
pub(crate) struct Beds {
    taps: [[RawSocket; 3]; 2],
    pub(crate) plan: Plan,
    others: Vec<Namespace>,
    _containers: [Container; 2],
    host: Host,
    _bed: Bed,
}

/// Settings of both hosts: routing on; every answer given, however many are asked for; fragments wait for longer than
/// the test runs, for when they are given up is not compared.
const SETTINGS: [(&str, &str); 9] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv4/ipfrag_time", "3600"),
    ("net/ipv4/ipfrag_high_thresh", "268435456"),
    ("net/ipv4/ipfrag_max_dist", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

impl Beds {
    pub(crate) fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        settle(&host.ns);
        let outside = &bed.outside.ns;
        outside.sh("ip link del wan0").done();
        silence(outside, "h1");
        neighbours(&host.ns);
        host.up_once();
        let containers = ["c1", "c2"].map(|name| bed.container(&host, name, &published(name)));
        // Only now: a network that is made takes over the MTU of the uplink.
        host.ns.sh(&format!("ip link set {UPLINK} mtu {UPLINK_MTU}")).done();
        let plan = Plan {
            host: host.address,
            uplink_mac: mac(&host.ns, UPLINK),
            gateway: gateway(&containers[0]),
            bridge_mac: mac(&host.ns, &bridge(&host.ns)),
            containers: [&containers[0], &containers[1]].map(|c| (c.address, mac(&c.ns, "eth0"))),
        };
        for container in &containers {
            let (veth, bridge) = (veth_of(&host.ns, container), bridge(&host.ns));
            let (address, mac) = (container.address, text(mac(&container.ns, "eth0")));
            silence(&container.ns, "eth0");
            host.ns.sh(&station(address, &mac, &bridge, &veth)).done();
        }
        let netdp = [
            RawSocket::open(outside, "h1", &[]),
            RawSocket::open(&containers[0].ns, "eth0", &[]),
            RawSocket::open(&containers[1].ns, "eth0", &[]),
        ];
        let (others, nftables) = reference(&bed, &plan);
        Self { taps: [nftables, netdp], plan, others, _containers: containers, host, _bed: bed }
    }

    pub(crate) fn send(&self, who: Who, end: End, frame: &[u8]) {
        self.taps[who as usize][end as usize].send(frame);
    }

    /// Takes what has come out at an end; `None` when there is nothing (more).
    pub(crate) fn take(&self, who: Who, end: End, buffer: &mut [u8]) -> Option<usize> {
        self.taps[who as usize][end as usize].take(buffer)
    }

    /// Changes the host of nftables, to see whether that is noticed.
    pub(crate) fn reference(&self, line: &str) {
        self.others[3].sh(line).done();
    }

    /// How many fragments of containers netdp has dropped for being more than it keeps.
    pub(crate) fn beyond_limit(&self) -> u64 {
        let drops = self.host.json(&["drops"]);
        let limit = drops.as_array().unwrap().iter().find(|row| row["reason"] == "fragment_limit");
        limit.map_or(0, |row| row["packets"].as_u64().unwrap())
    }

    /// What netdp counted, for a failure.
    pub(crate) fn drops(&self) -> String {
        self.host.netdp(&["drops"]).stdout
    }
}

fn published(name: &str) -> Vec<&'static str> {
    match name {
        "c1" => vec!["-p", "8080:80", "-p", "8080:80/udp", "-p", "53:5353/udp"],
        _ => vec!["-p", "9090:9090", "-p", "9091:90/udp"],
    }
}

fn settle(host: &Namespace) {
    for (path, value) in SETTINGS {
        host.set_sysctl(path, value);
    }
    // Of the machine and not of the namespace before Linux 6.13; then its default must do.
    for path in ["net/ipv4/icmp_msgs_per_sec", "net/ipv4/icmp_msgs_burst"] {
        let _ = host.sh(&format!("test -w /proc/sys/{path} && echo 1000000 > /proc/sys/{path}"));
    }
    // Where br_netfilter is loaded: the forwarding policy is for what is routed.
    let _ = host.sh("test -w /proc/sys/net/bridge/bridge-nf-call-iptables && echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables");
}

/// Takes away all that an end could answer with.
fn silence(ns: &Namespace, interface: &str) {
    ns.set_sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1");
    ns.sh(&format!(
        "ip address flush dev {interface} && ip link set {interface} arp off && ip link set {interface} up"
    ))
    .done();
}

fn neighbours(host: &Namespace) {
    for (address, mac) in [ROUTER, NEIGHBOUR] {
        let mac = text(mac);
        host.sh(&format!("ip neighbour replace {address} lladdr {mac} dev {UPLINK} nud permanent")).done();
    }
}

/// What the host knows of a container without asking.
fn station(address: Ipv4Addr, mac: &str, bridge: &str, veth: &str) -> String {
    format!(
        "ip neighbour replace {address} lladdr {mac} dev {bridge} nud permanent && \
         bridge fdb replace {mac} dev {veth} master static && ip link set {bridge} type bridge mcast_snooping 0"
    )
}

fn reference(bed: &Bed, plan: &Plan) -> (Vec<Namespace>, [RawSocket; 3]) {
    let host = bed.namespace("nft");
    let ends = ["wire", "r1", "r2"].map(|name| bed.namespace(name));
    host.set_sysctl("net/ipv6/conf/all/accept_dad", "0");
    settle(&host);
    let (uplink, bridge) = (text(plan.uplink_mac), text(plan.bridge_mac));
    host.sh(&format!(
        "ip link add {UPLINK} address {uplink} mtu {UPLINK_MTU} type veth peer name eth0 netns {wire} && \
         ip address add {host}/24 dev {UPLINK} && ip link set {UPLINK} up && ip route add default via {router} && \
         ip link add br0 address {bridge} type bridge && ip address add {gateway}/16 dev br0 && ip link set br0 up",
        wire = ends[0].path().display(),
        host = plan.host,
        router = ROUTER.0,
        gateway = plan.gateway,
    ))
    .done();
    for (n, (address, mac)) in (1..).zip(plan.containers) {
        let (mac, inside) = (text(mac), ends[n].path().display());
        host.sh(&format!(
            "ip link add v{n} type veth peer name eth0 address {mac} netns {inside} && ip link set v{n} master br0 up && {}",
            station(address, &mac, "br0", &format!("v{n}"))
        ))
        .done();
    }
    for end in &ends {
        silence(end, "eth0");
    }
    neighbours(&host);
    let rules = bed.file("reference.nft");
    std::fs::write(&rules, ruleset(plan)).unwrap();
    host.sh(&format!("nft -f {}", rules.display())).done();
    let taps = [&ends[0], &ends[1], &ends[2]].map(|end| RawSocket::open(end, "eth0", &[]));
    let [a, b, c] = ends;
    (vec![a, b, c, host], taps)
}

/// Masquerade, published ports and the forwarding policy as Docker makes them, and the guards against forged sources that
/// netdp has in its programs. Hairpin as RFC 4787, REQ-9 wants it: the receiver sees the address that the sender was told.
fn ruleset(plan: &Plan) -> String {
    let ports = |proto: u8| {
        let rows = PUBLISHED.iter().filter(|row| row.0 == proto);
        rows.map(|(_, port, end, to)| format!("{port} : {} . {to}", plan.container(*end).0))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let guards = (1..).zip(plan.containers).map(|(n, (address, mac))| {
        format!(
            "chain v{n} {{ type filter hook ingress device v{n} priority 0; \
             ether saddr != {} drop; ip saddr != {address} drop; }}\n",
            text(mac)
        )
    });
    format!(
        "table ip nat {{
           map tcp_ports {{ type inet_service : ipv4_addr . inet_service; elements = {{ {} }}; }}
           map udp_ports {{ type inet_service : ipv4_addr . inet_service; elements = {{ {} }}; }}
           chain before {{ type nat hook prerouting priority dstnat;
             fib daddr type local meta l4proto tcp dnat to tcp dport map @tcp_ports;
             fib daddr type local meta l4proto udp dnat to udp dport map @udp_ports;
           }}
           chain after {{ type nat hook postrouting priority srcnat;
             oifname {UPLINK} ip saddr {gateway}/16 masquerade;
             iifname br0 oifname br0 ct status dnat snat to {host};
           }}
         }}
         table ip filter {{
           chain across {{ type filter hook forward priority 0; policy drop;
             ct state established,related accept;
             iifname br0 oifname {UPLINK} ct state new accept;
             ct state new ct status dnat accept;
           }}
         }}
         table netdev guard {{
           chain uplink {{ type filter hook ingress device {UPLINK} priority 0; ip saddr {gateway}/16 drop; }}
           {}
         }}",
        ports(6),
        ports(17),
        guards.collect::<String>(),
        gateway = plan.gateway,
        host = plan.host,
    )
}

fn link(ns: &Namespace, interface: &str) -> Value {
    ns.sh(&format!("ip -j link show dev {interface}")).json()[0].clone()
}

fn mac(ns: &Namespace, interface: &str) -> Mac {
    let link = link(ns, interface);
    let parts =
        link["address"].as_str().unwrap().split(':').map(|part| u8::from_str_radix(part, 16).unwrap());
    parts.collect::<Vec<_>>().try_into().unwrap()
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn bridge(host: &Namespace) -> String {
    let all: Value = host.sh("ip -j link show type bridge").json();
    all[0]["ifname"].as_str().unwrap().to_owned()
}

fn veth_of(host: &Namespace, container: &Container) -> String {
    let other = &link(&container.ns, "eth0")["link_index"];
    let all: Value = host.sh("ip -j link show type veth").json();
    let found = all.as_array().unwrap().iter().find(|link| link["ifindex"] == *other).unwrap();
    found["ifname"].as_str().unwrap().to_owned()
}

/// The gateway that the container was given, before its routes go.
fn gateway(container: &Container) -> Ipv4Addr {
    let routes: Value = container.ns.sh("ip -4 -j route show default").json();
    routes[0]["gateway"].as_str().unwrap().parse().unwrap()
}
