//! A container that sends what ends on its way, and hears who says so; in either family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tests::capture::{Capture, Frame, RawSocket};
use tests::packet::{Address, ICMP, ICMPV6, Mac, Packet};
use tests::process::eventually;

use crate::lan::Lan;
use crate::wire::mac_of;

/// Where the IP header begins.
const IP: usize = 14;
/// Bytes of an ICMP header.
const ICMP_LEN: usize = 8;

/// A container by its wire.
pub(crate) struct Traced {
    socket: RawSocket,
    seen: Capture,
    macs: (Mac, Mac),
    own: IpAddr,
}

impl Traced {
    /// The first container, by its address of this family.
    pub(crate) fn of<A: Address>(lan: &Lan, own: A) -> Self {
        let ns = &lan.c1.ns;
        let bridge: serde_json::Value = lan.host.ns.sh("ip -j link show type bridge").json();
        let with_gateway = |name: &str| {
            let shown = lan.host.ns.out(&format!("ip address show dev {name}"));
            shown.contains("10.6.0.1/") || shown.contains("fd00:6::1/")
        };
        let names = bridge.as_array().unwrap().iter().filter_map(|link| link["ifname"].as_str());
        let bridge = names.into_iter().find(|name| with_gateway(name)).unwrap();
        Self {
            socket: RawSocket::open(ns, "eth0", &[]),
            seen: Capture::start(ns, "eth0", &[]),
            macs: (mac_of(ns, "eth0"), mac_of(&lan.host.ns, bridge)),
            own: own.ip(),
        }
    }

    /// Sends a packet to the gateway, and waits for the ICMP message of this type and code that is about it.
    pub(crate) fn answer<A: Address>(&self, packet: &Packet<A>, kind: (u8, u8)) -> Answer {
        let before = self.answers().len();
        self.socket.send(&packet.clone().link(self.macs.0, self.macs.1).build());
        let mut found = None;
        eventually(&format!("an answer {kind:?} to {packet:?}"), Duration::from_secs(3), || {
            found = self.answers().into_iter().skip(before).find(|answer| answer.kind() == kind);
            found.is_some()
        });
        self.seen.seen().assert_checksums();
        found.unwrap()
    }

    /// Every ICMP message that has come to the container's address.
    fn answers(&self) -> Vec<Answer> {
        let incoming = |frame: &&Frame| !frame.outgoing;
        let answer = |frame: &Frame| Answer::of(&frame.bytes).filter(|answer| answer.between().1 == self.own);
        self.seen.seen().frames.iter().filter(incoming).filter_map(answer).collect()
    }
}

/// An ICMP message, from its IP header on.
#[derive(Debug)]
pub(crate) struct Answer(Vec<u8>);

/// Length of an IP header without options, its protocol, source and destination.
fn header(packet: &[u8]) -> Option<(usize, u8, IpAddr, IpAddr)> {
    let four = |at: usize| -> Option<IpAddr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into())
    };
    let six = |at: usize| -> Option<IpAddr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into())
    };
    match packet.first()? >> 4 {
        4 => Some((20, *packet.get(9)?, four(12)?, four(16)?)),
        6 => Some((40, *packet.get(6)?, six(8)?, six(24)?)),
        _ => None,
    }
}

impl Answer {
    fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(IP..)?;
        let (length, protocol, ..) = header(packet)?;
        let is_icmp = [ICMP, ICMPV6].contains(&protocol) && packet.len() >= length + ICMP_LEN;
        is_icmp.then(|| Self(packet.to_vec()))
    }

    fn message(&self) -> &[u8] {
        &self.0[header(&self.0).unwrap().0..]
    }

    fn kind(&self) -> (u8, u8) {
        (self.message()[0], self.message()[1])
    }

    /// Source and destination.
    pub(crate) fn between(&self) -> (IpAddr, IpAddr) {
        let (_, _, src, dst) = header(&self.0).unwrap();
        (src, dst)
    }

    /// Source, destination and ports of the packet that it is about.
    pub(crate) fn about(&self) -> (IpAddr, IpAddr, [u16; 2]) {
        let inner = &self.message()[ICMP_LEN..];
        let (length, _, src, dst) = header(inner).unwrap();
        let port = |at: usize| u16::from_be_bytes([inner[length + at], inner[length + at + 1]]);
        (src, dst, [port(0), port(2)])
    }
}
