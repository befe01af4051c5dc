//! Both ends by raw frames: what is sent is sent as it is, and what arrives is looked at byte by byte.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::capture::{Capture, Frame, RawSocket};
use tests::namespace::Namespace;
use tests::packet::{Carries, ICMP, Mac, Packet, layers, sum};
use tests::process::eventually;
use tests::topology::{Container, UPLINK};

use crate::lan::Lan;

/// An address behind the outside, which nobody there answers for: only raw frames come from it.
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Another one.
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
/// A router somewhere on the way.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long it takes until what did not arrive will not arrive: a redirect is done before the sender returns.
const SETTLED: Duration = Duration::from_millis(100);

/// One end of a wire.
pub(crate) struct Station {
    socket: RawSocket,
    seen: Capture,
    mac: Mac,
    next: Mac,
}

impl Station {
    /// A container, whose own stack says nothing any more.
    pub(crate) fn container(lan: &Lan, container: &Container) -> Self {
        let rules =
            "add table ip quiet; add chain ip quiet out { type filter hook output priority 0; policy drop; }";
        container.ns.sh(&format!("nft '{rules}'")).done();
        Self::listening(lan, container)
    }

    /// A container with its stack.
    pub(crate) fn listening(lan: &Lan, container: &Container) -> Self {
        Self::new((&container.ns, "eth0"), mac_of(&lan.host.ns, "netdp0"))
    }

    /// The outside, which does not answer for [`REMOTE`] and the others.
    pub(crate) fn outside(lan: &Lan) -> Self {
        Self::new((&lan.bed.outside.ns, "h1"), mac_of(&lan.host.ns, UPLINK))
    }

    /// The host itself, at its uplink.
    pub(crate) fn host(lan: &Lan) -> Self {
        Self::new((&lan.host.ns, UPLINK), mac_of(&lan.bed.outside.ns, "wan0"))
    }

    /// Another one, behind this router.
    pub(crate) fn behind(ns: &Namespace, router: Ipv4Addr) -> Self {
        ns.sh(&format!("ping -n -q -c 1 -W 2 {router}")).done();
        let entry: Value = ns.sh(&format!("ip -j neigh show to {router}")).json();
        Self::new((ns, "eth0"), parse_mac(entry[0]["lladdr"].as_str().unwrap()))
    }

    pub(crate) fn new((ns, interface): (&Namespace, &str), next: Mac) -> Self {
        let socket = RawSocket::open(ns, interface, &[]);
        let seen = Capture::start(ns, interface, &[]);
        Self { socket, seen, mac: mac_of(ns, interface), next }
    }

    /// Sends to the next hop, whatever the packet says.
    pub(crate) fn send(&self, packet: &Packet) {
        self.socket.send(&packet.clone().link(self.mac, self.next).build());
    }

    /// The IPv4 packets that have arrived, oldest first.
    pub(crate) fn arrived(&self) -> Vec<Ip> {
        let incoming = |frame: &&Frame| !frame.outgoing;
        self.seen.seen().frames.iter().filter(incoming).filter_map(|frame| Ip::of(&frame.bytes)).collect()
    }

    /// The first that is as wanted, once it has arrived.
    pub(crate) fn awaits(&self, what: &str, want: impl Fn(&Ip) -> bool) -> Ip {
        let mut found = None;
        eventually(what, Duration::from_secs(3), || {
            found = self.arrived().into_iter().find(&want);
            found.is_some()
        });
        self.seen.seen().assert_checksums();
        found.unwrap()
    }

    /// None arrives that is as unwanted.
    pub(crate) fn refuses(&self, what: &str, unwanted: impl Fn(&Ip) -> bool) {
        thread::sleep(SETTLED);
        let found: Vec<_> =
            self.arrived().iter().filter(|ip| unwanted(ip)).map(|ip| layers(&ip.frame)).collect();
        assert!(found.is_empty(), "{what}: {found:#?}");
    }
}

/// An IPv4 packet that arrived, or one inside an ICMP error.
#[derive(Debug, Clone)]
pub(crate) struct Ip {
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) protocol: u8,
    /// More fragments, and the offset in units of 8 bytes.
    pub(crate) fragment: (bool, u16),
    /// The header without its options has a right checksum.
    pub(crate) header_sum: bool,
    /// What follows the header.
    pub(crate) body: Vec<u8>,
    /// The whole frame, for messages.
    pub(crate) frame: Vec<u8>,
}

impl Ip {
    fn of(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        Self::parse(ip, frame)
    }

    fn parse(ip: &[u8], frame: &[u8]) -> Option<Self> {
        let length = usize::from(ip.first()? & 0x0f) * 4;
        let (header, body) = ip.split_at_checked(length.max(20))?;
        let end = usize::from(be16(header, 2)).saturating_sub(header.len()).min(body.len());
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let fragment = be16(header, 6);
        Some(Self {
            src: address(12),
            dst: address(16),
            protocol: header[9],
            fragment: (fragment & 0x2000 != 0, fragment & 0x1fff),
            header_sum: sum(header, 0) == 0xffff,
            body: body[..end].to_vec(),
            frame: frame.to_vec(),
        })
    }

    /// Source port; of an echo, type and code.
    pub(crate) fn sport(&self) -> u16 {
        be16(&self.body, 0)
    }

    /// Destination port.
    pub(crate) fn dport(&self) -> u16 {
        be16(&self.body, 2)
    }

    /// Identifier of an echo.
    pub(crate) fn id(&self) -> u16 {
        be16(&self.body, 4)
    }

    /// Type and code of an ICMP message.
    pub(crate) fn kind(&self) -> Option<(u8, u8)> {
        (self.protocol == ICMP && self.body.len() >= 8).then(|| (self.body[0], self.body[1]))
    }

    /// Flags of a TCP segment.
    pub(crate) fn flags(&self) -> u8 {
        self.body.get(13).copied().unwrap_or(0)
    }

    /// The packet that an ICMP error is about.
    pub(crate) fn inner(&self) -> Self {
        Self::parse(&self.body[8..], &self.frame).unwrap()
    }

    /// Whether these bytes are somewhere in it.
    pub(crate) fn has(&self, text: &[u8]) -> bool {
        self.body.windows(text.len()).any(|part| part == text)
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// An ICMP message of any type, with a checksum that is right or off by one.
pub(crate) fn icmp(from: Ipv4Addr, to: Ipv4Addr, head: [u8; 8], body: &[u8]) -> Packet {
    let mut message = [&head[..], body].concat();
    message[2..4].fill(0);
    let checksum = !sum(&message, 0);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Packet::new(from, to, Carries::Other(ICMP)).with(|packet| packet.payload = message)
}

/// The MAC of an interface.
pub(crate) fn mac_of(ns: &Namespace, interface: &str) -> Mac {
    let shown: Value = ns.sh(&format!("ip -j link show dev {interface}")).json();
    parse_mac(shown[0]["address"].as_str().unwrap())
}

fn parse_mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Frames by the thousand: nothing is kept, and the sender is its own socket, which another thread may have beside.
pub(crate) struct Sender {
    socket: RawSocket,
    mac: Mac,
    next: Mac,
}

impl Sender {
    /// At a container.
    pub(crate) fn container(lan: &Lan, container: &Container) -> Self {
        Self::new((&container.ns, "eth0"), mac_of(&lan.host.ns, "netdp0"))
    }

    /// At the outside.
    pub(crate) fn outside(lan: &Lan) -> Self {
        Self::new((&lan.bed.outside.ns, "h1"), mac_of(&lan.host.ns, UPLINK))
    }

    pub(crate) fn new((ns, interface): (&Namespace, &str), next: Mac) -> Self {
        Self { socket: RawSocket::open(ns, interface, &[]), mac: mac_of(ns, interface), next }
    }

    /// The packet as a frame to the next hop.
    pub(crate) fn frame(&self, packet: &Packet) -> Vec<u8> {
        packet.clone().link(self.mac, self.next).build()
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.socket.send(frame);
    }

    /// The next IPv4 packet that has arrived; `None` when nothing, or something else, came within 20 ms.
    pub(crate) fn next(&self) -> Option<Ip> {
        let frame = self.socket.receive().filter(|frame| !frame.outgoing)?;
        Ip::of(&frame.bytes)
    }

    /// The same for a frame of any protocol.
    pub(crate) fn next_frame(&self) -> Option<Vec<u8>> {
        self.socket.receive().filter(|frame| !frame.outgoing).map(|frame| frame.bytes)
    }
}
