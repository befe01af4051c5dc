//! What is on the way to the outside: routers, and a link in the middle with a smaller MTU (R10, RFC 4787 REQ-13).
//!
//! ```text
//!   host ══ outside ══ 1300 bytes ══ middle ══ far
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tests::module::needs;
use tests::namespace::Namespace;
use tests::packet::{Address, Packet};
use tests::process::patient;

use crate::lan::{Lan, PUBLISHED, REMOTES, REMOTES6};
use crate::route::{Answer, Traced};
use crate::wire::Station;

const MIDDLE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 2);
/// The same in IPv6.
const MIDDLE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1800, 0, 0, 0, 0, 2);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1801, 0, 0, 0, 0, 2);
/// Bytes that cannot arrive in packets that are too big.
const MUCH: usize = 1 << 20;

pub(crate) struct Path {
    pub(crate) far: Namespace,
    _middle: Namespace,
    pub(crate) lan: Lan,
}

impl Path {
    pub(crate) fn new() -> Self {
        Self::behind(Lan::new())
    }

    fn behind(lan: Lan) -> Self {
        let (middle, far) = (lan.bed.namespace("middle"), lan.bed.namespace("far"));
        let link = |from: &Namespace, name: &str, to: &Namespace, mtu: u16| {
            let path = to.path().display();
            from.sh(&format!(
                "ip link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {path} && ip link set {name} up"
            ))
            .done();
            to.sh("ip link set eth0 up").done();
        };
        let outside = &lan.bed.outside.ns;
        for ns in [outside, &middle, &far] {
            ns.set_sysctl("net/ipv6/conf/default/accept_dad", "0");
        }
        link(outside, "narrow", &middle, 1300);
        link(&middle, "wide", &far, 1500);
        outside
            .sh("ip address add 198.18.0.1/24 dev narrow && ip route add 198.18.1.0/24 via 198.18.0.2")
            .done();
        middle.sh("ip address add 198.18.0.2/24 dev eth0 && ip address add 198.18.1.1/24 dev wide").done();
        middle.sh("ip route add default via 198.18.0.1").done();
        far.sh("ip address add 198.18.1.2/24 dev eth0 && ip route add default via 198.18.1.1").done();
        outside
            .sh("ip address add 2001:db8:1800::1/64 dev narrow nodad && ip -6 route add 2001:db8:1801::/64 via 2001:db8:1800::2")
            .done();
        middle
            .sh("ip address add 2001:db8:1800::2/64 dev eth0 nodad && ip address add 2001:db8:1801::1/64 dev wide nodad && \
                 ip -6 route add default via 2001:db8:1800::1")
            .done();
        far.sh("ip address add 2001:db8:1801::2/64 dev eth0 nodad && ip -6 route add default via 2001:db8:1801::1").done();
        for router in [outside, &middle] {
            router.set_sysctl("net/ipv4/ip_forward", "1");
            router.set_sysctl("net/ipv4/icmp_ratelimit", "0");
            router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
            router.set_sysctl("net/ipv6/icmp/ratelimit", "0");
        }
        Self { far, _middle: middle, lan }
    }

    /// The far end in each family, and the host as it sees it.
    fn families(&self) -> [(IpAddr, IpAddr); 2] {
        [(FAR.into(), self.lan.host.address.into()), (FAR6.into(), self.lan.host.address6.into())]
    }
}

/// Takes one connection of either family.
fn accept(ns: &Namespace, port: u16) -> thread::JoinHandle<TcpStream> {
    let listener = ns.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap();
    thread::spawn(move || listener.accept().unwrap().0)
}

fn connect(ns: &Namespace, to: (IpAddr, u16)) -> TcpStream {
    ns.enter(|| TcpStream::connect_timeout(&SocketAddr::from(to), patient(Duration::from_secs(5)))).unwrap()
}

/// Much goes over the connection in this direction, and arrives as it was.
fn assert_much(from: &TcpStream, to: &TcpStream) {
    let bytes: Vec<u8> = (0..MUCH).map(|n| u8::try_from(n % 251).unwrap()).collect();
    to.set_read_timeout(Some(patient(Duration::from_secs(10)))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = from;
            from.write_all(&bytes).unwrap();
            from.shutdown(Shutdown::Write).unwrap();
        });
        let (mut to, mut heard) = (to, Vec::new());
        to.read_to_end(&mut heard).unwrap();
        assert!(heard == bytes, "{} of {MUCH} bytes arrived", heard.len());
    });
}

#[test]
fn stream_of_a_container_finds_the_smaller_mtu_in_the_middle_in_both_directions() {
    let path = Path::behind(Lan::dual());
    for (far, _) in path.families() {
        let accepted = accept(&path.far, 80);
        let inside = connect(&path.lan.c1.ns, (far, 80));
        let outside = accepted.join().unwrap();
        assert_much(&inside, &outside);
        assert_much(&outside, &inside);
    }
}

#[test]
fn stream_to_a_published_port_finds_the_smaller_mtu_in_the_middle_in_both_directions() {
    let path = Path::behind(Lan::dual());
    for (_, host) in path.families() {
        let accepted = accept(&path.lan.c1.ns, 80);
        let outside = connect(&path.far, (host, PUBLISHED));
        let inside = accepted.join().unwrap();
        assert_much(&inside, &outside);
        assert_much(&outside, &inside);
    }
}

/// The answers that tell of the MTU come late, when more has been sent that is too big.
#[test]
#[ignore = "runs in the VM: needs the module sch_netem"]
fn streams_find_the_smaller_mtu_behind_a_link_that_delays() {
    needs("sch_netem");
    let path = Path::behind(Lan::dual());
    path.lan.bed.outside.ns.sh("tc qdisc add dev narrow root netem delay 20ms").done();
    for (far, host) in path.families() {
        let accepted = accept(&path.far, 80);
        let inside = connect(&path.lan.c1.ns, (far, 80));
        let outside = accepted.join().unwrap();
        assert_much(&inside, &outside);
        assert_much(&outside, &inside);
        let accepted = accept(&path.lan.c1.ns, 80);
        let outside = connect(&path.far, (host, PUBLISHED));
        let inside = accepted.join().unwrap();
        assert_much(&inside, &outside);
        assert_much(&outside, &inside);
    }
}

#[test]
fn traceroute_of_a_container_names_every_hop() {
    let path = Path::new();
    let c1 = Station::container(&path.lan, &path.lan.c1);
    let gateway = Ipv4Addr::from(u32::from(path.lan.c1.address) & 0xffff_0000 | 1);
    let hops =
        [(gateway, (11, 0)), (path.lan.bed.outside.address, (11, 0)), (MIDDLE, (11, 0)), (FAR, (3, 3))];
    for (ttl, (hop, kind)) in (1..).zip(hops) {
        let port = 33_434 + u16::from(ttl);
        c1.send(&Packet::udp((path.lan.c1.address, 50_000), (FAR, port)).with(|p| p.ttl = ttl));
        let about = |ip: &crate::wire::Ip| ip.kind() == Some(kind) && ip.inner().dport() == port;
        let answer = c1.awaits(&format!("the answer of hop {ttl}"), about);
        assert_eq!((answer.src, answer.dst), (hop, path.lan.c1.address), "hop {ttl}");
        let inner = answer.inner();
        assert_eq!((inner.src, inner.sport(), inner.dst), (path.lan.c1.address, 50_000, FAR), "hop {ttl}");
    }
}

/// The types and codes of a family's answers: a closed port, an expired packet, an echo.
struct Kinds {
    closed: (u8, u8),
    expired: (u8, u8),
    echo: (u8, u8),
}

/// Each hop of a container's way to somebody, asked for by datagrams and by pings: who answers (by any of its addresses), and
/// that the answer is about the container's own packet.
fn assert_traced<A: Address>(path: &Path, own: A, hops: [&[A]; 4], kinds: &Kinds) {
    let traced = Traced::of(&path.lan, own);
    let far = hops[3][0];
    for (ttl, hop) in (1..).zip(hops) {
        let is_far = ttl == 4;
        let (port, id) = (33_434 + u16::from(ttl), 700 + u16::from(ttl));
        let datagram = Packet::udp((own, 50_000), (far, port)).with(|p| p.ttl = ttl);
        let answer = traced.answer(&datagram, if is_far { kinds.closed } else { kinds.expired });
        let is_of = |answer: &Answer| hop.iter().any(|hop| answer.between() == (hop.ip(), own.ip()));
        assert!(is_of(&answer), "datagram, hop {ttl}: {:?}", answer.between());
        assert_eq!(answer.about(), (own.ip(), far.ip(), [50_000, port]), "datagram, hop {ttl}");
        let ping = Packet::ping(own, far, id).with(|p| p.ttl = ttl);
        let answer = traced.answer(&ping, if is_far { kinds.echo } else { kinds.expired });
        assert!(is_of(&answer), "ping, hop {ttl}: {:?}", answer.between());
        if !is_far {
            let (from, to, _) = answer.about();
            assert_eq!((from, to), (own.ip(), far.ip()), "ping, hop {ttl}");
        }
    }
}

#[test]
fn traceroute_of_a_container_names_every_hop_in_both_families_by_datagrams_and_by_pings() {
    let path = Path::behind(Lan::dual());
    let c1 = &path.lan.c1;
    let kinds = Kinds { closed: (3, 3), expired: (11, 0), echo: (0, 0) };
    let gateway = Ipv4Addr::new(10, 6, 0, 1);
    assert_traced(&path, c1.address, [&[gateway], &REMOTES, &[MIDDLE], &[FAR]], &kinds);
    let kinds = Kinds { closed: (1, 4), expired: (3, 0), echo: (129, 0) };
    let gateway = Ipv6Addr::new(0xfd00, 6, 0, 0, 0, 0, 0, 1);
    assert_traced(&path, c1.address6.unwrap(), [&[gateway], &REMOTES6, &[MIDDLE6], &[FAR6]], &kinds);
}
