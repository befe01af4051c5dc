//! IPv6 that stays on the container's link: neighbour discovery, multicast, link-local addresses. The bridge and the
//! host's stack go on with it; nobody speaks for somebody else, and nobody but the host for a router.

use netdp_common::policy::{self, Origin, Target};
use netdp_common::prefilter::is_neighbour_discovery;
use netdp_common::{Addr, EndpointKey, Link, Mac, Reason, link_flags, proto};

use super::access::Packet;
use super::forward::{self, Action};
use super::from_container;
use super::maps::ENDPOINTS;
use super::parse::{EthHeader, Tuple, icmp_type};
use super::rogue;

/// Neighbour discovery is believed only when no router can have passed it on (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;
/// Where a solicitation or an advertisement says whom it is about, from its ICMPv6 header on.
const TARGET: u32 = 8;
/// Where the options of a solicitation or an advertisement begin, from its ICMPv6 header on: behind the target.
const OPTIONS: u32 = 24;
/// Options with a link-layer address (RFC 4861, 4.6.1), whose first word also says a length of eight bytes.
const LINK_LAYER: [[u8; 2]; 2] = [[1, 1], [2, 1]];
/// A solicitation has at most two options of the six that there are (RFC 4861, RFC 3971).
const MAX_OPTIONS: u32 = 4;
/// Reports and queries of multicast listeners (RFC 2710, RFC 3810).
const MLD: [u8; 4] = [130, 131, 132, 143];

/// An option of neighbour discovery that carries a MAC.
#[repr(C)]
#[derive(Clone, Copy)]
struct NdOption {
    kind_len: [u8; 2],
    mac: Mac,
}

/// Whether this is no routed traffic.
#[inline(always)]
pub(super) fn is_on_link(packet: &Packet, tuple: &Tuple) -> bool {
    let (src, dst) = (tuple.key.src, tuple.key.dst);
    if dst.is_v4() {
        return false;
    }
    src.is_link_local()
        || src == Addr::UNSPECIFIED
        || dst.is_link_local()
        || dst.is_group()
        || is_discovery(kind(packet, tuple))
}

/// The type of an ICMPv6 message; zero is none.
#[inline(always)]
fn kind(packet: &Packet, tuple: &Tuple) -> u8 {
    if tuple.key.proto != proto::ICMPV6 {
        return 0;
    }
    packet.load::<[u8; 2]>(tuple.l4).map_or(0, |[kind, _]| kind)
}

#[inline(always)]
fn is_discovery(kind: u8) -> bool {
    matches!(kind, icmp_type::V6_ROUTER_SOLICITATION..=icmp_type::V6_REDIRECT)
}

/// Whether this is neighbour discovery from a link outside, which is never refused for its source: no packet finds its
/// way without.
#[inline(always)]
pub(super) fn is_from_link(packet: &Packet, tuple: &Tuple) -> bool {
    is_neighbour_discovery(tuple.key.proto, kind(packet, tuple), tuple.ttl)
}

/// Whether the container may send it: from addresses of its own, and discovery of its own addresses only.
#[inline(never)]
pub(super) fn check(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<(), Reason> {
    let src = tuple.key.src;
    let kind = kind(packet, tuple);
    if src != link.addr6 && src != Addr::link_local(link.mac) && (src != Addr::UNSPECIFIED || kind == 0) {
        return Err(Reason::SpoofedIp);
    }
    if is_discovery(kind) { discovery(packet, link, tuple, kind) } else { Ok(()) }
}

/// A solicitation of a neighbour goes to it alone: what crosses the bridge for it may meet rules of netfilter that are meant
/// for routed packets (`br_netfilter`), and is nobody else's business. The host is asked by way of the bridge.
#[inline(always)]
pub(super) fn to_group(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<Action, Reason> {
    let kind = kind(packet, tuple);
    if kind != icmp_type::V6_NEIGHBOUR_SOLICITATION {
        let finds_gateway = is_discovery(kind) || MLD.contains(&kind);
        if !finds_gateway {
            let all = Target::of_group(link.flags);
            policy::decide(Origin::Container, link.flags, all, false).verdict()?;
        }
        rogue::check(packet, link, tuple)?;
        return Ok(Action::SlowPath);
    }
    let addr: Addr = packet.load(tuple.l4 + TARGET).ok_or(Reason::Malformed)?;
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let Some(neighbour) = (unsafe { ENDPOINTS.get(EndpointKey { addr, network: link.network }) }) else {
        return Ok(Action::SlowPath);
    };
    let is_own = neighbour.mac == link.mac;
    if is_own && link.flags & link_flags::LAN != 0 {
        return Ok(Action::SlowPath);
    }
    policy::decide(Origin::Container, link.flags, Target::Neighbour, false).verdict()?;
    // Its own address: whether it is taken, which it is not.
    if is_own {
        return Err(Reason::IccDisabled);
    }
    packet.write(0, &neighbour.mac).ok_or(Reason::Malformed)?;
    forward::peer(packet, neighbour.ifindex, Action::Local)
}

/// To the gateway's link-local address, or discovery that is for the gateway; what is for a neighbour is on its way. On a LAN
/// there are others beside the two.
#[inline(always)]
pub(super) fn to_gateway(
    packet: &Packet,
    eth: &EthHeader,
    link: &Link,
    tuple: &Tuple,
) -> Result<Action, Reason> {
    if eth.dst == link.gateway_mac {
        // From its link-local address it may speak to the link: of the host's other addresses it has what it has anyway.
        if !tuple.key.dst.is_link_local() {
            return to_host(&tuple.key.dst, link);
        }
        return Ok(Action::SlowPath);
    }
    if link.flags & link_flags::LAN == 0 {
        return Err(Reason::WrongMac);
    }
    rogue::check(packet, link, tuple)?;
    Ok(Action::SlowPath)
}

/// Solicitations ask for anybody, with the asker's own MAC; advertisements are of the container's own addresses, and so is
/// what asks whether an address is taken: to ask that of another's would deny it to that one (RFC 4862, 5.4.3). Parts of
/// a message are refused, as nobody could tell (RFC 6980).
#[inline(always)]
fn discovery(packet: &Packet, link: &Link, tuple: &Tuple, kind: u8) -> Result<(), Reason> {
    // A later part says nothing of what it is.
    if !rogue::has_transport(packet, tuple) {
        return Ok(());
    }
    if tuple.fragment || tuple.ttl != HOP_LIMIT {
        return Err(Reason::RogueNd);
    }
    match kind {
        icmp_type::V6_ROUTER_SOLICITATION => Ok(()),
        icmp_type::V6_NEIGHBOUR_SOLICITATION if tuple.key.src != Addr::UNSPECIFIED => {
            options(packet, link, tuple)
        }
        icmp_type::V6_NEIGHBOUR_SOLICITATION | icmp_type::V6_NEIGHBOUR_ADVERTISEMENT => {
            let target: Addr = packet.load(tuple.l4 + TARGET).ok_or(Reason::Malformed)?;
            if target != link.addr6 && target != Addr::link_local(link.mac) {
                return Err(Reason::RogueNd);
            }
            options(packet, link, tuple)
        }
        _ => Err(Reason::RogueNd),
    }
}

#[inline(always)]
fn options(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<(), Reason> {
    let mut at = tuple.l4 + OPTIONS;
    for _ in 0..MAX_OPTIONS {
        if at >= tuple.end {
            return Ok(());
        }
        let option: NdOption = packet.load(at).ok_or(Reason::Malformed)?;
        let [_, len] = option.kind_len;
        if len == 0 {
            return Err(Reason::Malformed);
        }
        if LINK_LAYER.contains(&option.kind_len) && option.mac != link.mac {
            return Err(Reason::RogueNd);
        }
        at += u32::from(len) * 8;
    }
    if at < tuple.end { Err(Reason::RogueNd) } else { Ok(()) }
}

/// Of its own stack: that of the program is full.
#[inline(never)]
fn to_host(dst: &Addr, link: &Link) -> Result<Action, Reason> {
    from_container::to_host(dst, link)
}
