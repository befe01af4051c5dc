//! What nobody but the host may say to a neighbour: where addresses come from, and by which router to go. Router
//! advertisements and redirects of IPv6 are judged with the rest of neighbour discovery.

use netdp_common::{Addr, Link, Mac, Port, Reason, link_flags, proto};

use super::access::Packet;
use super::forward::Action;
use super::parse::{self, ETH_LEN, Tuple, icmp_type};

/// Ports that clients of DHCP (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 7.2) listen on. A server may send from any port, and
/// nobody but a server sends to these.
const CLIENT: Port = Port::new(68);
const CLIENT6: Port = Port::new(546);
/// Where servers of DHCP listen.
const SERVER: Port = Port::new(67);
/// Offset of the client's MAC (`chaddr`) from the UDP header (RFC 2131, 2).
const CLIENT_MAC: u32 = 8 + 28;
/// Offset of flags and fragment offset in an IPv4 header, and the bits of the latter.
const FRAGMENT: u32 = ETH_LEN + 6;
const OFFSET: u16 = 0x1fff;
/// The same from the end of a fragment header of IPv6, which is where the tuple says that the rest begins.
const FRAGMENT6: u32 = 6;
const OFFSET6: u16 = 0xfff8;

/// Of a packet that has not got its container's address: on a LAN a client of DHCP has none yet (RFC 2131, 4.1), and asks
/// everybody there.
#[inline(never)]
pub(super) fn asks_for_address(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<Action, Reason> {
    let key = &tuple.key;
    let is_from_nobody = key.src == Addr::ANY4 && key.dst == Addr::BROADCAST4;
    if link.flags & link_flags::LAN == 0 || !is_from_nobody || key.proto != proto::UDP || tuple.fragment {
        return Err(Reason::SpoofedIp);
    }
    if words(packet, tuple) != [CLIENT.0, SERVER.0] {
        return Err(Reason::SpoofedIp);
    }
    if link.flags & link_flags::NO_DHCP != 0 {
        return Err(Reason::RogueDhcp);
    }
    // Who asks for others could take all addresses that there are.
    let asker: Mac = packet.load(tuple.l4 + CLIENT_MAC).ok_or(Reason::Malformed)?;
    if asker == link.mac { Ok(Action::SlowPath) } else { Err(Reason::RogueDhcp) }
}

/// Judges a packet that goes to neighbours. One comparison for TCP.
#[inline(always)]
pub(super) fn check(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<(), Reason> {
    if tuple.key.proto == proto::TCP { Ok(()) } else { judge(packet, link, tuple) }
}

#[inline(never)]
fn judge(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<(), Reason> {
    // Options for the destination, behind a fragment header, which would hide from us what the receiver finds.
    if parse::hides_transport(tuple) {
        return Err(Reason::ExtensionHeaders);
    }
    match tuple.key.proto {
        proto::UDP => {
            let [_, dport] = words(packet, tuple);
            let is_v4 = tuple.key.dst.is_v4();
            let client = if is_v4 { CLIENT } else { CLIENT6 };
            let is_to_server = is_v4 && dport == SERVER.0 && link.flags & link_flags::NO_DHCP != 0;
            if (dport == client.0 || is_to_server) && has_transport(packet, tuple) {
                Err(Reason::RogueDhcp)
            } else {
                Ok(())
            }
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
pub(super) fn has_transport(packet: &Packet, tuple: &Tuple) -> bool {
    if !tuple.fragment {
        return true;
    }
    let (at, mask) = if tuple.key.dst.is_v4() { (FRAGMENT, OFFSET) } else { (tuple.l4 - FRAGMENT6, OFFSET6) };
    packet.load::<u16>(at).is_none_or(|offset| u16::from_be(offset) & mask == 0)
}
