//! What nobody but the host may say to a neighbour: where addresses come from, and by which router to go. Router
//! advertisements and redirects of IPv6 are judged with the rest of neighbour discovery.

use netdp_common::{Port, Reason, proto};

use super::access::Packet;
use super::parse::{self, ETH_LEN, Tuple, icmp_type};

/// Ports that clients of DHCP (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 7.2) listen on. A server may send from any port, and
/// nobody but a server sends to these.
const CLIENT: Port = Port::new(68);
const CLIENT6: Port = Port::new(546);
/// Offset of flags and fragment offset in an IPv4 header, and the bits of the latter.
const FRAGMENT: u32 = ETH_LEN + 6;
const OFFSET: u16 = 0x1fff;
/// The same from the end of a fragment header of IPv6, which is where the tuple says that the rest begins.
const FRAGMENT6: u32 = 6;
const OFFSET6: u16 = 0xfff8;

/// Judges a packet that goes to neighbours. One comparison for TCP.
#[inline(always)]
pub(super) fn check(packet: &Packet, tuple: &Tuple) -> Result<(), Reason> {
    if tuple.key.proto == proto::TCP { Ok(()) } else { judge(packet, tuple) }
}

#[inline(never)]
fn judge(packet: &Packet, tuple: &Tuple) -> Result<(), Reason> {
    // Options for the destination, behind a fragment header, which would hide from us what the receiver finds.
    if parse::hides_transport(tuple) {
        return Err(Reason::ExtensionHeaders);
    }
    match tuple.key.proto {
        proto::UDP => {
            let [_, dport] = words(packet, tuple);
            let client = if tuple.key.dst.is_v4() { CLIENT } else { CLIENT6 };
            if dport == client.0 && has_transport(packet, tuple) { Err(Reason::RogueDhcp) } else { Ok(()) }
        }
        proto::ICMP => {
            let [kind, _] = words(packet, tuple)[0].to_ne_bytes();
            if kind == icmp_type::REDIRECT && has_transport(packet, tuple) {
                return Err(Reason::IcmpRedirect);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The first words of the transport header, in network order; zero when there are none.
#[inline(always)]
fn words(packet: &Packet, tuple: &Tuple) -> [u16; 2] {
    packet.read(tuple.l4).or_else(|| packet.load(tuple.l4)).unwrap_or([0; 2])
}

/// Whether the transport header stands where it would: a later part of a datagram has anything there.
#[inline(always)]
fn has_transport(packet: &Packet, tuple: &Tuple) -> bool {
    if !tuple.fragment {
        return true;
    }
    let (at, mask) = if tuple.key.dst.is_v4() { (FRAGMENT, OFFSET) } else { (tuple.l4 - FRAGMENT6, OFFSET6) };
    packet.load::<u16>(at).is_none_or(|offset| u16::from_be(offset) & mask == 0)
}
