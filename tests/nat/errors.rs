//! ICMP errors, both ways (RFC 5508 section 4, RFC 4787 section 9, RFC 5382 section 7.3).

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use tests::packet::{ACK, Packet, SYN, TCP, UDP};
use tests::server::ask_udp;

use crate::lan::{Lan, PUBLISHED, REMOTES};
use crate::wire::{Ip, OTHER, REMOTE, ROUTER, Station, icmp};

/// What must be translated: network, host, port unreachable, fragmentation needed (with an MTU), prohibited; both kinds of
/// time exceeded.
pub(crate) const KINDS: [(u8, u8); 7] = [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (11, 1)];

/// A container and the outside, with a flow between them.
pub(crate) struct Pair {
    pub(crate) c1: Station,
    pub(crate) outside: Station,
    pub(crate) lan: Lan,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let lan = Lan::new();
        Self { c1: Station::container(&lan, &lan.c1), outside: Station::outside(&lan), lan }
    }

    /// The first packet of a flow to [`REMOTE`], as the outside got it.
    fn begin(&self, packet: &Packet) -> Ip {
        self.c1.send(packet);
        let (protocol, text) = (packet.protocol(), packet.payload.clone());
        self.outside.awaits("the first packet", |ip| {
            ip.dst == REMOTE && ip.protocol == protocol && (text.is_empty() || ip.has(&text))
        })
    }

    pub(crate) fn udp(&self, port: u16) -> Ip {
        self.begin(&Packet::udp((self.lan.c1.address, port), (REMOTE, 53)))
    }

    /// One flow of each protocol: what the container sent, and what the outside got.
    pub(crate) fn flows(&self) -> [(Packet, Ip); 3] {
        let own = self.lan.c1.address;
        let packets = [
            Packet::udp((own, 5000), (REMOTE, 53)),
            Packet::tcp((own, 5000), (REMOTE, 80), SYN),
            Packet::ping(own, REMOTE, 5000),
        ];
        packets.map(|packet| {
            let seen = self.begin(&packet);
            (packet, seen)
        })
    }

    /// An error of the router with these bytes inside reaches the container.
    pub(crate) fn delivered(&self, error: &Packet, kind: (u8, u8)) -> Ip {
        let before = self.errors(kind).len();
        self.outside.send(error);
        self.c1.awaits("the error", |_| self.errors(kind).len() > before);
        self.errors(kind).pop().unwrap()
    }

    fn errors(&self, kind: (u8, u8)) -> Vec<Ip> {
        self.c1.arrived().into_iter().filter(|ip| ip.kind() == Some(kind)).collect()
    }

    /// Whether the flow of port 5000 still works both ways, from the same outside port.
    fn assert_alive(&self, seen: &Ip) {
        let (own, host) = (self.lan.c1.address, self.lan.host.address);
        let back = Packet::udp((REMOTE, 53), (host, seen.sport())).with(|p| p.payload = b"alive?".to_vec());
        self.outside.send(&back);
        self.c1.awaits("the reply", |ip| ip.protocol == UDP && ip.has(b"alive?"));
        self.c1.send(&Packet::udp((own, 5000), (REMOTE, 53)).with(|p| p.payload = b"alive!".to_vec()));
        let again = self.outside.awaits("the next packet", |ip| ip.protocol == UDP && ip.has(b"alive!"));
        assert_eq!(again.sport(), seen.sport());
    }
}

/// The head of an error; fragmentation needed says 1300.
pub(crate) fn head((kind, code): (u8, u8)) -> [u8; 8] {
    let mtu = if (kind, code) == (3, 4) { 1300_u16 } else { 0 }.to_be_bytes();
    [kind, code, 0, 0, 0, 0, mtu[0], mtu[1]]
}

/// The IP packet of a frame, as far as an error quotes it.
pub(crate) fn quote(seen: &Ip, bytes: usize) -> Vec<u8> {
    seen.frame[14..seen.frame.len().min(34 + bytes)].to_vec()
}

/// An error of the router about a packet that the outside got.
pub(crate) fn about(seen: &Ip, kind: (u8, u8), bytes: usize) -> Packet {
    icmp(ROUTER, seen.src, head(kind), &quote(seen, bytes))
}

#[test]
fn every_kind_of_error_reaches_the_container_as_if_about_its_own_packet() {
    let pair = Pair::new();
    for (sent, seen) in pair.flows() {
        for kind in KINDS {
            let error = pair.delivered(&about(&seen, kind, 64), kind);
            let inner = error.inner();
            assert_eq!((error.src, error.dst), (ROUTER, pair.lan.c1.address), "{kind:?}");
            assert_eq!((inner.src, inner.dst), (sent.src, REMOTE), "{kind:?}");
            assert_eq!(inner.protocol, sent.protocol());
            assert!(inner.header_sum, "{kind:?}: the inner IP checksum");
            assert_eq!(inner.body[..4], sent.build()[34..38], "{kind:?}: the ports");
            let mtu = if kind == (3, 4) { [5, 20] } else { [0, 0] };
            assert_eq!(error.body[6..8], mtu, "{kind:?}");
        }
    }
}

#[test]
fn eight_bytes_inside_are_enough() {
    let pair = Pair::new();
    for (sent, seen) in pair.flows() {
        for kind in [(3, 1), (3, 4), (11, 0)] {
            let error = pair.delivered(&about(&seen, kind, 8), kind);
            let inner = error.inner();
            assert!(inner.header_sum && inner.src == sent.src);
            assert_eq!(inner.body[..4], sent.build()[34..38], "the ports, {kind:?}");
            assert_eq!(error.body.len(), 8 + 20 + 8);
        }
    }
}

#[test]
fn no_error_ends_a_mapping() {
    let pair = Pair::new();
    let seen = pair.udp(5000);
    let kinds = (0..=15).map(|code| (3, code)).chain([(11, 0), (11, 1), (12, 0), (4, 0), (5, 1)]);
    for kind in kinds {
        pair.outside.send(&about(&seen, kind, 64));
        pair.outside.send(&icmp(REMOTE, seen.src, head(kind), &quote(&seen, 64)));
    }
    pair.assert_alive(&seen);
}

#[test]
fn no_error_ends_a_tcp_connection() {
    let pair = Pair::new();
    let (own, host) = (pair.lan.c1.address, pair.lan.host.address);
    let seen = pair.begin(&Packet::tcp((own, 5000), (REMOTE, 80), SYN));
    pair.outside.send(&Packet::tcp((REMOTE, 80), (host, seen.sport()), SYN | ACK));
    pair.c1.awaits("the answer", |ip| ip.flags() == SYN | ACK);
    pair.c1.send(&Packet::tcp((own, 5000), (REMOTE, 80), ACK));
    pair.outside.awaits("the handshake's end", |ip| ip.flags() == ACK);
    for kind in (0..=15).map(|code| (3, code)).chain([(11, 0), (11, 1), (12, 0)]) {
        pair.outside.send(&about(&seen, kind, 20));
    }
    let data = |from, to| Packet::tcp(from, to, ACK).with(|p| p.payload = b"data".to_vec());
    pair.outside.send(&data((REMOTE, 80), (host, seen.sport())));
    pair.c1.awaits("data", |ip| ip.protocol == TCP && ip.has(b"data"));
    pair.c1.send(&data((own, 5000), (REMOTE, 80)));
    let again = pair.outside.awaits("data", |ip| ip.protocol == TCP && ip.has(b"data"));
    assert_eq!(again.sport(), seen.sport());
}

#[test]
fn inner_transport_checksum_is_not_judged() {
    let pair = Pair::new();
    let seen = pair.udp(5000);
    let mut inside = quote(&seen, 64);
    inside[26] ^= 0x55;
    let error = pair.delivered(&icmp(ROUTER, seen.src, head((3, 3)), &inside), (3, 3));
    assert_eq!((error.inner().src, error.inner().sport()), (pair.lan.c1.address, 5000));
}

#[test]
fn options_of_the_inner_header_are_skipped() {
    let pair = Pair::new();
    // A record-route option with room for one address, and the end of the list.
    let options = vec![7, 7, 4, 0, 0, 0, 0, 0];
    let sent = Packet::udp((pair.lan.c1.address, 5000), (REMOTE, 53)).with(|p| p.options = options.clone());
    let seen = pair.begin(&sent);
    let error = pair.delivered(&icmp(ROUTER, seen.src, head((3, 3)), &seen.frame[14..]), (3, 3));
    let inner = error.inner();
    assert!(inner.header_sum && error.body[8] == 0x47);
    assert_eq!((inner.src, inner.sport(), inner.dport()), (pair.lan.c1.address, 5000, 53));
    assert_eq!(error.body[28..36], options);
}

#[test]
fn extension_behind_the_inner_packet_is_left_as_it_is() {
    let pair = Pair::new();
    let seen = pair.udp(5000);
    // RFC 4884: 128 bytes of the packet, which is 32 words in byte 5, then version 2 and one object.
    let mut body = quote(&seen, 64);
    body.resize(128, 0);
    let extension = [0x20, 0, 0xd1, 0xe5, 0, 8, 1, 1, 0x0a, 0x0b, 0x0c, 0x0d];
    body.extend(extension);
    let mut head = head((11, 0));
    head[5] = 32;
    let error = pair.delivered(&icmp(ROUTER, seen.src, head, &body), (11, 0));
    assert_eq!(error.body.len(), 8 + 128 + extension.len());
    assert_eq!((error.body[5], &error.body[136..]), (32, &extension[..]));
    assert_eq!((error.inner().src, error.inner().sport()), (pair.lan.c1.address, 5000));
}

#[test]
fn error_about_no_mapping_does_not_reach_a_container() {
    let pair = Pair::new();
    let (host, own) = (pair.lan.host.address, pair.lan.c1.address);
    let seen = pair.udp(5000);
    for (from, to) in [
        ((host, 5001), (REMOTE, 53)),
        ((host, seen.sport()), (REMOTE, 54)),
        ((host, seen.sport()), (OTHER, 53)),
        ((own, 5000), (REMOTE, 53)),
    ] {
        let inside = Packet::udp(from, to).build()[14..].to_vec();
        pair.outside.send(&icmp(ROUTER, host, head((3, 3)), &inside));
        pair.outside.send(&icmp(ROUTER, own, head((3, 3)), &inside));
    }
    pair.c1.refuses("about no mapping", |ip| ip.kind() == Some((3, 3)));
}

#[test]
fn error_of_a_container_about_a_published_packet_leaves_as_the_hosts() {
    let lan = Lan::new();
    let outside = Station::outside(&lan);
    let error = ask_udp(&lan.bed.outside.ns, 7000, (lan.host.address, PUBLISHED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let error = outside.awaits("the error", |ip| ip.kind() == Some((3, 3)));
    let inner = error.inner();
    assert_eq!((error.src, error.dst), (lan.host.address, REMOTES[0]));
    assert_eq!((inner.src, inner.sport()), (REMOTES[0], 7000));
    assert_eq!((inner.dst, inner.dport()), (lan.host.address, PUBLISHED));
    assert!(inner.header_sum);
}

/// As the container got it: what the outside sends to the published port.
fn published_packet(outside: &Station, c1: &Station, host: Ipv4Addr) -> Ip {
    outside.send(&Packet::udp((REMOTE, 7000), (host, PUBLISHED)));
    c1.awaits("the published packet", |ip| ip.dport() == 80)
}

#[test]
fn every_kind_of_error_of_a_container_leaves_as_the_hosts() {
    let pair = Pair::new();
    let (host, own) = (pair.lan.host.address, pair.lan.c1.address);
    let got = published_packet(&pair.outside, &pair.c1, host);
    for kind in KINDS {
        pair.c1.send(&icmp(own, REMOTE, head(kind), &quote(&got, 64)));
        let error = pair.outside.awaits("the error", |ip| ip.kind() == Some(kind));
        let inner = error.inner();
        assert_eq!((error.src, inner.src, inner.dst), (host, REMOTE, host));
        assert_eq!((inner.sport(), inner.dport()), (7000, PUBLISHED));
        assert!(inner.header_sum);
    }
}

#[test]
fn error_of_a_container_about_no_mapping_of_its_own_does_not_leave() {
    let pair = Pair::new();
    let (host, own) = (pair.lan.host.address, pair.lan.c1.address);
    let other = pair.lan.c2.address;
    published_packet(&pair.outside, &pair.c1, host);
    for (from, to) in
        [((REMOTE, 7001), (own, 80)), ((REMOTE, 7000), (other, 80)), ((REMOTE, 7000), (own, 81))]
    {
        let inside = Packet::udp(from, to).build()[14..].to_vec();
        pair.c1.send(&icmp(own, REMOTE, head((3, 3)), &inside));
    }
    pair.outside.refuses("about no mapping", |ip| ip.kind() == Some((3, 3)));
}
