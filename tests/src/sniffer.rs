//! The guard of every uplink: fails a test when an address of a container leaves the host.
//!
//! The addresses of test hosts are from the documentation prefixes (RFC 5737, RFC 3849), those of container networks
//! from private space (RFC 1918, RFC 4193). So the rule needs no knowledge of the test: no private and no loopback
//! address may be the source of a frame, or the sender in an ARP message, that an uplink sends.
//!
//! The rule is a classic BPF filter on the socket: the kernel hands over breaches only, so a stream at full
//! speed neither slows down nor overflows the socket.

use libc::sock_filter;

use crate::capture::Capture;
use crate::namespace::Namespace;
use crate::packet::layers;

/// Network and mask of what must not leave: 10/8, 172.16/12, 192.168/16 and 127/8.
const PRIVATE: [(u32, u32); 4] = [
    (0x0a00_0000, 0xff00_0000),
    (0xac10_0000, 0xfff0_0000),
    (0xc0a8_0000, 0xffff_0000),
    (0x7f00_0000, 0xff00_0000),
];

const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const AND: u16 = 0x54;
const A_TO_X: u16 = 0x07;
const X_TO_A: u16 = 0x87;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: the packet type instead of a byte of the frame.
const PACKET_TYPE: u32 = 0xffff_f000 + 4;
/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u32 = 4;

/// Watches one uplink.
#[derive(Debug)]
pub struct Sniffer {
    place: String,
    capture: Capture,
}

impl Sniffer {
    /// Starts to watch an interface of a host.
    pub fn start(host: &Namespace, uplink: &str) -> Self {
        let place = format!("{uplink} of {}", host.name());
        Self { place, capture: Capture::start(host, uplink, &filter()) }
    }

    /// One line per frame that should not have left.
    pub fn breaches(&self) -> Vec<String> {
        let seen = self.capture.seen();
        seen.frames.iter().map(|frame| format!("{}: {:?}", self.place, layers(&frame.bytes))).collect()
    }
}

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn branch(k: u32, equal: u8, other: u8) -> sock_filter {
    sock_filter { code: JUMP_IF_EQUAL, jt: equal, jf: other, k }
}

fn filter() -> Vec<sock_filter> {
    let mut program = vec![
        step(LOAD_BYTE, PACKET_TYPE),
        branch(OUTGOING, 1, 0),
        step(RETURN, 0),
        step(LOAD_HALF, 12),
        branch(0x0800, 0, 2),
        step(LOAD_WORD, 26),
        branch(0, 12, 12),
        branch(0x0806, 10, 0),
        branch(0x86dd, 1, 0),
        step(RETURN, 0),
        // IPv6: fc00::/7, and of what begins with a zero ::1.
        step(LOAD_BYTE, 22),
        step(AND, 0xfe),
        branch(0xfc, 3, 0),
        branch(0, 0, 3),
        step(LOAD_WORD, 34),
        branch(1, 0, 1),
        step(RETURN, u32::MAX),
        step(RETURN, 0),
        step(LOAD_WORD, 28),
        step(A_TO_X, 0),
    ];
    for (network, mask) in PRIVATE {
        program.extend([step(X_TO_A, 0), step(AND, mask), branch(network, 0, 1), step(RETURN, u32::MAX)]);
    }
    program.push(step(RETURN, 0));
    program
}
