//! Everything that a container sends.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::fragments::LIMIT_CONTAINER;
use netdp_common::policy::{self, Origin, Rule, Target};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::uplink::{self, LASTING};
use netdp_common::{
    Addr, EndpointKey, Exit, Flow, FlowKey, Link, Reason, Uplink, Zone, link_flags, proto, subnet,
};

use super::access::Packet;
use super::clock;
use super::conntrack;
use super::direct;
use super::excluded;
use super::forward::{self, Action};
use super::fragments::{self, Part};
use super::icmp;
use super::mapping::{self, Admission};
use super::maps::{ENDPOINTS, HOST_ADDRS, LINKS, SUBNETS, UPLINKS};
use super::neighbour;
use super::parse::{self, ArpHeader, ETH_LEN, EthHeader, Tuple, ethertype, icmp_type};
use super::route::{self, Route};
use super::scratch;
use super::{rogue, sockets, sound, source};

/// Who sends: the veth and what may come in by it.
type Sender = (u32, &'static Link);

#[inline(always)]
pub(super) fn decide(packet: &Packet, tuple: &mut Tuple) -> Result<Action, Reason> {
    let ifindex = packet.ifindex();
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let link = unsafe { LINKS.get(ifindex) }.ok_or(Reason::UnknownEndpoint)?;
    let eth = parse::ethernet(packet)?;
    if eth.src != link.mac {
        return Err(Reason::SpoofedMac);
    }
    if packet.has_vlan_tag() {
        return Err(Reason::VlanTag);
    }
    match eth.ethertype {
        ethertype::ARP => arp(packet, link),
        ethertype::IPV6 if link.addr6 == Addr::UNSPECIFIED => Err(Reason::Ipv6Disabled),
        _ => ip(packet, &eth, (ifindex, link), tuple),
    }
}

/// The bridge answers; but nobody claims another's address (0.0.0.0 is a probe, RFC 5227, 2.1.1).
#[inline(always)]
fn arp(packet: &Packet, link: &Link) -> Result<Action, Reason> {
    let arp: ArpHeader = packet.read(ETH_LEN).ok_or(Reason::Malformed)?;
    let [high, low] = arp.sender_ip;
    let sender = u32::from(high) | u32::from(low) << 16;
    if arp.sender_mac != link.mac || (sender != link.addr4.v4_be() && sender != 0) {
        return Err(Reason::SpoofedArp);
    }
    let target = Addr::from_v4_be(arp.target());
    // A probe for an address that somebody else is probing would deny it to that one.
    if sender == 0 && target != link.addr4 {
        return Err(Reason::SpoofedArp);
    }
    // Nobody is asked but the gateway, and whether the own address is taken. An answer goes to whoever has asked: the host.
    if arp.is_request() && target != link.gateway4 && target != link.addr4 {
        policy::decide(Origin::Container, link.flags, asked(link, target), true).verdict()?;
    }
    Ok(Action::SlowPath)
}

/// Whose address is asked for. On a LAN it may be anybody's who is no container.
#[inline(never)]
fn asked(link: &Link, addr: Addr) -> Target {
    if link.flags & link_flags::LAN == 0 {
        return Target::Neighbour;
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let neighbour = unsafe { ENDPOINTS.get(EndpointKey { addr, network: link.network }) };
    if neighbour.is_some() { Target::Neighbour } else { Target::Lan }
}

#[inline(always)]
fn ip(packet: &Packet, eth: &EthHeader, from: Sender, tuple: &mut Tuple) -> Result<Action, Reason> {
    parse::network(packet, eth.ethertype, tuple)?;
    let (link, dst) = (from.1, tuple.key.dst);
    let is_on_link = neighbour::is_on_link(packet, tuple);
    if is_on_link {
        neighbour::check(packet, link, tuple)?;
    } else if tuple.key.src != if dst.is_v4() { link.addr4 } else { link.addr6 } {
        return rogue::asks_for_address(packet, link, tuple);
    }
    // By the IP address, not by the MAC: a unicast packet in a broadcast frame would be everybody's on the bridge.
    if dst.is_group() {
        return if is_on_link {
            neighbour::to_group(packet, link, tuple)
        } else {
            to_group(packet, link, tuple)
        };
    }
    let is_for_gateway = eth.dst == link.gateway_mac && !is_on_link;
    let mut read = Transport::Unread;
    // On a LAN, who has come by a published port may be a neighbour, or behind another router.
    if is_for_gateway || link.flags & link_flags::LAN != 0 && !is_on_link {
        read = transport(packet, tuple);
        // A flow leads beyond the network: no neighbour's address has one.
        if let Transport::Read = read
            && let Some(flow) = conntrack::follow(packet, tuple)
        {
            // SAFETY: the kernel keeps the value in place while the program runs.
            return deliver(packet, tuple, unsafe { &*flow }, link);
        }
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if let Some(neighbour) = unsafe { ENDPOINTS.get(EndpointKey { addr: dst, network: link.network }) } {
        policy::decide(Origin::Container, link.flags, Target::Neighbour, dst.is_v4()).verdict()?;
        rogue::check(packet, link, tuple)?;
        if eth.dst != neighbour.mac {
            packet.write(0, &[neighbour.mac, link.gateway_mac]).ok_or(Reason::Malformed)?;
        }
        return forward::peer(packet, neighbour.ifindex, Action::Local);
    }
    if dst.is_loopback() || dst.is_unspecified() {
        policy::decide(Origin::Container, link.flags, Target::Loopback, dst.is_v4()).verdict()?;
    }
    if is_on_link {
        return neighbour::to_gateway(packet, eth, link, tuple);
    }
    if !is_for_gateway {
        return past_gateway(packet, link, tuple, eth.dst.is_group());
    }
    // By the host's uplink it would go round the LAN's firewall. Flows of published ports were followed above.
    if link.flags & link_flags::NO_GATEWAY != 0 {
        return Err(Reason::WrongMac);
    }
    match read {
        Transport::Unread | Transport::Read => beyond_network(packet, from, tuple, read),
        Transport::Unknown => untracked(packet, tuple, link, Reason::UnknownL4),
        Transport::Malformed => Err(Reason::Malformed),
    }
}

/// What is known of the transport header. Without payloads, as [`Action`].
#[repr(u32)]
#[derive(Clone, Copy)]
enum Transport {
    /// Nothing yet: a fragment, or a header that is not to be believed.
    Unread,
    /// It stands in the tuple.
    Read,
    /// It names no flow.
    Unknown,
    Malformed,
}

/// Reads the transport header of a packet that is whole and sound.
#[inline(always)]
fn transport(packet: &Packet, tuple: &mut Tuple) -> Transport {
    if tuple.fragment || sound::header(packet, tuple).is_err() {
        return Transport::Unread;
    }
    match parse::transport(packet, Zone::CONTAINER, tuple) {
        Ok(()) => Transport::Read,
        Err(Reason::UnknownL4) => Transport::Unknown,
        Err(_) => Transport::Malformed,
    }
}

/// Not to the gateway and to no endpoint: to a machine on the LAN, or by a router that is one; else the broadcast of the own
/// network (`for_many`: by the MAC), or a frame that the bridge would hand to somebody whom the packet is not for.
#[inline(never)]
fn past_gateway(packet: &Packet, link: &Link, tuple: &Tuple, for_many: bool) -> Result<Action, Reason> {
    let dst = &tuple.key.dst;
    let is_own = match SUBNETS.get(Key::new(128, *dst)) {
        Some(row) if subnet::network(*row) != link.network => {
            let target = Target::of_address(true);
            policy::decide(Origin::Container, link.flags, target, dst.is_v4()).verdict()?;
            return Err(Reason::WrongMac);
        }
        found => found.is_some(),
    };
    if link.flags & link_flags::LAN == 0 {
        let is_broadcast = is_own && dst.is_v4() && for_many && *dst != link.gateway4;
        return if is_broadcast { to_group(packet, link, tuple) } else { Err(Reason::WrongMac) };
    }
    // It is the container's own, as was looked at before, and stays as it is.
    policy::decide(Origin::Container, link.flags, Target::Lan, dst.is_v4()).verdict()?;
    rogue::check(packet, link, tuple)?;
    Ok(Action::SlowPath)
}

/// To everybody who listens, which the bridge knows; it would reach the neighbours.
#[inline(always)]
fn to_group(packet: &Packet, link: &Link, tuple: &Tuple) -> Result<Action, Reason> {
    policy::decide(Origin::Container, link.flags, Target::of_group(link.flags), true).verdict()?;
    rogue::check(packet, link, tuple)?;
    Ok(Action::SlowPath)
}

/// To the host, to another network or to the outside: what has no flow, or is a fragment, or is not to be believed.
#[inline(always)]
fn beyond_network(
    packet: &Packet,
    from: Sender,
    tuple: &mut Tuple,
    read: Transport,
) -> Result<Action, Reason> {
    let mut found = None;
    if let Transport::Unread = read {
        // What stays in its network is no router's to judge, as on any bridge.
        sound::header(packet, tuple)?;
        if !packet.is_sorted() {
            return unsorted(packet, tuple, from.1);
        }
        if let Part::Later = fragments::part(packet, tuple, Zone::CONTAINER) {
            found = conntrack::followed(tuple);
        }
        if found.is_none() {
            if !tuple.is_first {
                return untracked(packet, tuple, from.1, Reason::Fragment);
            }
            if let Err(reason) = parse::transport(packet, Zone::CONTAINER, tuple) {
                return untracked(packet, tuple, from.1, reason);
            }
            found = conntrack::follow(packet, tuple);
        }
    }
    let flow = match found {
        Some(flow) => flow,
        None => match begin(packet, from, tuple)? {
            First::Prepared | First::Untranslated => {
                conntrack::follow(packet, tuple).ok_or(Reason::CtInvalid)?
            }
            _ => return Ok(Action::SlowPath),
        },
    };
    // SAFETY: the kernel keeps the value in place while the program runs.
    deliver(packet, tuple, unsafe { &*flow }, from.1)
}

/// A fragment as it was sent. One whose time to live ends here is the stack's to answer.
#[inline(always)]
fn unsorted(packet: &Packet, tuple: &Tuple, link: &Link) -> Result<Action, Reason> {
    if tuple.ttl <= 1 {
        return untracked(packet, tuple, link, Reason::TtlExceeded);
    }
    fragments::sort(packet, LIMIT_CONTAINER).or_else(|reason| untracked(packet, tuple, link, reason))
}

/// Begins the flow of a first packet, unless that is somebody else's. One call after the other, not one inside the other:
/// the stack of a chain of calls is 512 bytes in all.
#[inline(always)]
fn begin(packet: &Packet, from: Sender, tuple: &Tuple) -> Result<First, Reason> {
    let mut next = first(packet, tuple, from.1)?;
    match next {
        First::Hairpin => next = hairpin(packet, tuple, from)?,
        First::Outside => {
            next = masquerade(packet, tuple, from)?;
            if let First::Prepared = next {
                mapping::refuse_held()?;
                mapping::prefer(from.1.flags)?;
            }
        }
        First::Meeting => {
            next = First::SlowPath;
            if let Admission::Prepared = mapping::meet(packet, tuple, from)? {
                mapping::prefer(from.1.flags)?;
                next = First::Prepared;
            }
        }
        First::Direct => {
            let sender = (Origin::Container, from.1.flags, from.1.bridge);
            direct::prepare(tuple, sender, &Delivery::link(from.0, from.1))?;
            next = First::Untranslated;
        }
        First::SlowPath | First::Prepared | First::Untranslated => {}
    }
    match next {
        First::Prepared => conntrack::begin_translated(packet)?,
        First::Untranslated => conntrack::begin_as_it_is()?,
        _ => {}
    }
    Ok(next)
}

#[inline(always)]
fn deliver(packet: &Packet, tuple: &Tuple, flow: &Flow, link: &Link) -> Result<Action, Reason> {
    match flow.exit {
        Exit::UPLINK => forward::to_uplink(packet, tuple, flow, link.bridge),
        Exit::ENDPOINT => forward::to_endpoint(packet, tuple, flow),
        Exit::LOOPBACK => forward::to_loopback(packet, tuple, flow),
        Exit::WAITING => Err(Reason::UdpFiltered),
        _ => Err(Reason::CtInvalid),
    }
}

/// A packet without a tuple: an ICMP error, or something that only the host itself can do something with.
#[inline(always)]
fn untracked(packet: &Packet, tuple: &Tuple, link: &Link, reason: Reason) -> Result<Action, Reason> {
    if reason == Reason::Malformed {
        return Err(reason);
    }
    if tuple.key.proto == proto::ICMP && tuple.flags == icmp_type::REDIRECT {
        return Err(Reason::IcmpRedirect);
    }
    let mut reason = reason;
    if reason == Reason::UnknownL4 && icmp::is_error(tuple) {
        let decision = icmp::error(packet, tuple, Zone::CONTAINER);
        // About a packet of the host's own, perhaps: that is looked at below.
        let Err(Reason::IcmpUnrelated) = decision else { return decision };
        reason = Reason::IcmpUnrelated;
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&tuple.key.dst) }.is_none() {
        return Err(reason);
    }
    to_host(&tuple.key.dst, link)
}

/// To the host's own stack.
#[inline(always)]
pub(super) fn to_host(dst: &Addr, link: &Link) -> Result<Action, Reason> {
    let target = Target::of_host(is_gateway(*dst, link), false, link.flags);
    policy::decide(Origin::Container, link.flags, target, dst.is_v4()).verdict()?;
    Ok(Action::SlowPath)
}

#[inline(always)]
fn is_gateway(dst: Addr, link: &Link) -> bool {
    dst == link.gateway4 || dst == link.gateway6
}

/// What becomes of the first packet of a tuple.
#[repr(u32)]
enum First {
    /// No flow: the bridge or the host's stack goes on with it.
    SlowPath,
    /// To a published port of this host: a flow is to be prepared.
    Hairpin,
    /// To the outside: a flow is to be prepared.
    Outside,
    /// To the outside endpoint of a container: a flow is to be prepared.
    Meeting,
    /// To a container of another network at its own address: a flow is to be prepared.
    Direct,
    /// A flow is prepared: it is to be begun, and the packet follows it.
    Prepared,
    /// The same, with its source as it is.
    Untranslated,
}

/// Networks whose containers nobody outside sees.
const HAVE_NO_OUTSIDE: u32 = link_flags::INTERNAL | link_flags::NO_MASQUERADE;

#[inline(never)]
fn first(packet: &Packet, tuple: &Tuple, link: &Link) -> Result<First, Reason> {
    let (dst, v4) = (tuple.key.dst, tuple.key.dst.is_v4());
    // It goes to the host, or by a way on which nobody reads this.
    if link.flags & link_flags::LAN != 0 {
        packet.mark_watched();
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&dst) }.is_some() {
        return first_to_host(&tuple.key, link);
    }
    match SUBNETS.get(Key::new(128, dst)) {
        // Nobody has that address: ARP finds out.
        Some(row) if subnet::network(*row) == link.network => Ok(First::SlowPath),
        Some(_) => Ok(First::Direct),
        None => {
            policy::decide(Origin::Container, link.flags, Target::Outside, v4).verdict()?;
            Ok(First::Outside)
        }
    }
}

#[inline(always)]
fn first_to_host(key: &FlowKey, link: &Link) -> Result<First, Reason> {
    let (v4, is_published) = (key.dst.is_v4(), sockets::published(key.dst, key.dport, key.proto).is_some());
    let target = Target::of_host(is_gateway(key.dst, link), is_published, link.flags);
    let rule = policy::decide(Origin::Container, link.flags, target, v4);
    rule.verdict()?;
    if let Rule::Published = rule {
        return Ok(First::Hairpin);
    }
    let is_seen = link.flags & HAVE_NO_OUTSIDE == 0 && !link.is_routed(v4);
    if !is_published && is_seen && mapping::is_outside(key) {
        Ok(First::Meeting)
    } else {
        Ok(First::SlowPath)
    }
}

/// To a published port of this host: the receiver sees the address that the sender was told to use, so that its
/// replies come back through us (RFC 4787, REQ-9).
#[inline(never)]
fn hairpin(packet: &Packet, tuple: &Tuple, from: Sender) -> Result<First, Reason> {
    let key = &tuple.key;
    let Some(backend) = sockets::published(key.dst, key.dport, key.proto) else { return Ok(First::SlowPath) };
    let Some(state) = tracker::first(tuple.key.proto, tuple.flags, false) else {
        // A reply to a connection that a process of the host has opened from that port.
        return Ok(First::SlowPath);
    };
    if sockets::socket(packet.skb(), &tuple.key) {
        return Ok(First::SlowPath);
    }
    let target = source::target(Target::Published, key, backend);
    policy::decide(Origin::Container, from.1.flags, target, key.dst.is_v4()).verdict()?;
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let back = Delivery::link(from.0, from.1);
    let new = conntrack::prepare()?;
    // Between families the receiver sees its gateway, for there is no other address that it could answer to.
    let src = if backend.addr.is_v4() == tuple.key.dst.is_v4() { tuple.key.dst } else { backend.gateway };
    *new = NewFlow::publish(tuple.key, src, backend, back, state, clock::now());
    Ok(First::Prepared)
}

#[inline(never)]
fn masquerade(packet: &Packet, tuple: &Tuple, from: Sender) -> Result<First, Reason> {
    let state = tracker::first(tuple.key.proto, tuple.flags, true).ok_or(Reason::CtInvalid)?;
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let ifindex = match route::ask(packet, tuple, from.1.bridge, &tuple.key.dst, route::SOURCE) {
        Route::Via | Route::Cut => scratch::answer().map_or(uplink::FIRST, |answer| answer.ifindex()),
        Route::Disabled => uplink::FIRST,
        Route::Stack => return Ok(First::SlowPath),
        Route::FragNeeded => return Err(Reason::FragNeeded),
        Route::NoFib => return Err(Reason::NoFib),
    };
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let uplink = unsafe { UPLINKS.get(ifindex) }.ok_or(Reason::NoUplink)?;
    let is_kept = from.1.is_routed(tuple.key.dst.is_v4()) || excluded::is_excluded(from.1, &tuple.key.dst);
    let new = conntrack::prepare()?;
    *new = NewFlow::masquerade(tuple.key, from, (uplink.ifindex, tuple.key.src), state, clock::now());
    if is_kept {
        return Ok(First::Untranslated);
    }
    choose_source(new, from.1, uplink)?;
    Ok(First::Prepared)
}

/// Gives a masqueraded flow its source: that of the network, else what the route prefers where the kernel says so, else that
/// of the uplink. All of them are the host's own.
#[inline(always)]
fn choose_source(new: &mut NewFlow, link: &Link, uplink: &Uplink) -> Result<(), Reason> {
    let v4 = new.key.dst.is_v4();
    let snat = link.snat(v4);
    if snat != Addr::UNSPECIFIED {
        new.src = snat;
        // SAFETY: the controller replaces entries whole, and the map is not preallocated.
        return if unsafe { HOST_ADDRS.get(&new.src) }.is_some() { Ok(()) } else { Err(Reason::SnatIpGone) };
    }
    let own = if v4 { uplink.addr4 } else { uplink.addr6 };
    if own == Addr::UNSPECIFIED {
        return Err(Reason::NoUplink);
    }
    new.src = scratch::answer().map_or(own, |answer| answer.source(v4));
    // SAFETY: as above. Until the controller knows an address it is not used, and what was not answered is the container's.
    if !unsafe { HOST_ADDRS.get(&new.src) }.is_some_and(|lasts| *lasts == LASTING) {
        new.src = own;
    }
    Ok(())
}
