//! ICMP errors about what an end has received, right and wrong ones.

use tests::packet::ICMP;

use crate::beds::{Plan, ROUTER, UPLINK_MTU};
use crate::flow::Flow;
use crate::frame::{self, IP, Ipv4, address, header_length, put16};
use crate::random::Random;
use crate::stream::Side;
use crate::traffic::{Input, macs};

/// What is wrong, or strange, about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    None,
    InnerChecksum,
    InnerOptions,
    InnerFragment,
    InnerVersion,
    InnerProtocol,
    InnerPorts,
    OuterChecksum,
    Extension,
}

/// How much of the packet is quoted behind its IP header; `None`: of the header itself nineteen bytes.
const QUOTED: [(usize, Option<usize>, &str); 6] = [
    (40, Some(8), "8 bytes quoted"),
    (20, Some(28), "28 bytes quoted"),
    (20, Some(2000), "all quoted"),
    (6, Some(0), "no transport quoted"),
    (6, Some(4), "4 bytes quoted"),
    (8, None, "part of the header quoted"),
];

/// An error that this side sends about the last packet that it has received; `None` when there was none.
pub(crate) fn error(
    plan: &Plan,
    flow: &Flow,
    side: Side,
    random: &mut Random,
    id: u16,
) -> Option<(String, Input)> {
    let received = flow.delivered(side)?;
    let end = flow.end(side);
    let kind = random.weighted(&[(60, 3), (20, 11), (8, 12), (6, 4), (6, 5)]);
    let code = match kind {
        3 => random.u8() % 16,
        11 => random.u8() % 2,
        12 => random.u8() % 3,
        _ => 1,
    };
    let quoted = random.weighted(&QUOTED.map(|(weight, length, label)| (weight, (length, label))));
    let defect = random.weighted(&[
        (70, Defect::None),
        (4, Defect::InnerChecksum),
        (4, Defect::InnerOptions),
        (4, Defect::InnerFragment),
        (4, Defect::InnerVersion),
        (4, Defect::InnerProtocol),
        (4, Defect::InnerPorts),
        (3, Defect::OuterChecksum),
        (3, Defect::Extension),
    ]);
    let by_router = !end.is_container() && random.percent(50);
    let mtu = random.pick(&[0, 68, 576, 1300, UPLINK_MTU]);
    let frames = received.map(|frame| {
        let inner = quote(frame, quoted.0, defect);
        let payload = message((kind, code), mtu, &inner, defect);
        let src = if by_router { ROUTER.0 } else { address(frame, IP + 16) };
        let dst = address(frame, IP + 12);
        Ipv4 { src, dst, proto: 1, ttl: 64, id, fragment: 0, payload }.build(macs(plan, end, src, dst))
    });
    let reporter = if by_router { "a router" } else { "the receiver" };
    let code = if kind == 3 && code == 4 { "3/4".to_owned() } else { kind.to_string() };
    let label = format!("icmp error {code} by {reporter}, {}, {defect:?}", quoted.1);
    Some((label, Input { end, frames }))
}

fn quote(frame: &[u8], length: Option<usize>, defect: Defect) -> Vec<u8> {
    let mut about = frame.to_vec();
    // A link pads short frames, and a stack takes that off again: it is no part of the packet.
    about.truncate(IP + usize::from(frame::get16(frame, IP + 2).unwrap_or(u16::MAX)));
    let header = header_length(&about, IP).unwrap_or(20);
    match defect {
        Defect::InnerChecksum => about[IP + 10] ^= 0x10,
        Defect::InnerOptions => crate::mutation::insert_options(&mut about, &[1, 1, 1, 0]),
        Defect::InnerFragment => put16(&mut about, IP + 6, 0x0010),
        Defect::InnerVersion => about[IP] = 0x60 | about[IP] & 0xf,
        Defect::InnerProtocol => about[IP + 9] = 253,
        // Of an echo, the identifier; its type and code stand where others have their source port.
        Defect::InnerPorts if about[IP + 9] == ICMP => about[IP + header + 5] ^= 0x55,
        Defect::InnerPorts => about[IP + header + 1] ^= 0x55,
        Defect::None | Defect::OuterChecksum | Defect::Extension => {}
    }
    if matches!(defect, Defect::InnerFragment | Defect::InnerProtocol) {
        frame::fix_ip(&mut about);
    }
    let header = header_length(&about, IP).unwrap_or(20);
    let end = length.map_or(IP + 19, |length| IP + header + length);
    about[IP..end.min(about.len()).min(IP + 1200)].to_vec()
}

fn message(kind: (u8, u8), mtu: u16, inner: &[u8], defect: Defect) -> Vec<u8> {
    let [high, low] = if kind == (3, 4) { mtu.to_be_bytes() } else { [0, 0] };
    let mut rest = [0, 0, high, low];
    let mut payload = inner.to_vec();
    if defect == Defect::Extension {
        // RFC 4884: the quoted packet padded to 128 bytes, their number in words, and an object of a kind nobody knows.
        payload.resize(128, 0);
        rest[1] = 32;
        let mut extension = vec![0x20, 0, 0, 0, 0, 8, 99, 1, 0xde, 0xad, 0xbe, 0xef];
        let sum = !tests::packet::sum(&extension, 0);
        put16(&mut extension, 2, sum);
        payload.extend(extension);
    }
    let mut bytes = frame::icmp(kind, rest, &payload);
    if defect == Defect::OuterChecksum {
        bytes[2] ^= 0x11;
    }
    bytes
}
