//! What a container says to its own link with IPv6: neighbour discovery (RFC 4861), listeners, link-local addresses.

use std::net::{IpAddr, Ipv6Addr};

use netdp_common::{Addr, Mac, Reason, link_flags};
use tests::expect::Expect;
use tests::packet::{Carries, DESTINATION, FRAGMENT, Packet as Any};

use crate::fixture::ipv6::{C1, C2, GATEWAY, HOST, Packet, REMOTE, UNSPECIFIED, UNUSED, World};
use crate::fixture::mac;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Where multicast of IPv6 goes.
const GROUP_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// The address that an interface with this MAC gives itself.
fn link_local(of: [u8; 6]) -> Ipv6Addr {
    match Addr::link_local(Mac(of)).ip() {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is IPv4"),
    }
}

/// The group of those who may have this address.
fn solicited(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a & 0xff, b)
}

/// An option with a link-layer address.
fn link_layer(kind: u8, address: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &address].concat()
}

/// A message of discovery about `target`, with hop limit 255.
fn message(src: Ipv6Addr, dst: Ipv6Addr, kind: u8, target: Ipv6Addr, options: &[u8]) -> Packet {
    let to = if dst.is_multicast() { GROUP_MAC } else { mac(C2) };
    let packet: Packet = Any::new(src, dst, Carries::Message { kind, rest: [0; 4] });
    packet.link(mac(C1), to).with(|p| {
        p.ttl = 255;
        p.payload = [&target.octets()[..], options].concat();
    })
}

fn asks_for(target: Ipv6Addr) -> Packet {
    message(C1, solicited(target), SOLICITATION, target, &link_layer(1, mac(C1)))
}

#[test]
fn solicitation_goes_to_the_neighbour_alone_and_for_others_to_the_bridge() {
    let mut world = World::new();
    let packet = asks_for(C2);
    let handed = packet.clone().link(mac(C1), mac(C2)).build();
    Expect::redirected(Reason::Local).packet(handed).of(&world.container_sends(&packet));
    for target in [GATEWAY, UNUSED, link_local(mac(C2))] {
        Expect::slow_path().of(&world.container_sends(&asks_for(target)));
    }
    let own = message(UNSPECIFIED, solicited(C1), SOLICITATION, C1, &[]);
    Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&own));
    // Whoever is about to take an address gives it up when another asks for it too.
    for address in [UNUSED, C2] {
        let anothers = message(UNSPECIFIED, solicited(address), SOLICITATION, address, &[]);
        Expect::dropped(Reason::RogueNd).of(&world.container_sends(&anothers));
    }
}

#[test]
fn later_part_of_a_datagram_that_begins_as_discovery_would_is_none() {
    let mut world = World::new();
    for kind in [SOLICITATION, ADVERTISEMENT, 137] {
        let later = |to, offset: u16| {
            let [high, low] = offset.to_be_bytes();
            let packet: Packet = Any::new(C1, to, Carries::Message { kind, rest: [0; 4] });
            packet.link(mac(C1), mac(C2)).with(|p| {
                p.extensions = vec![(FRAGMENT, vec![0, 0, high, low, 0, 0, 0, 7])];
                p.payload = vec![0; 200];
            })
        };
        Expect::redirected(Reason::Local).of(&world.container_sends(&later(C2, 1480)));
        // The part that says what it is says so of all.
        Expect::dropped(Reason::RogueNd).of(&world.container_sends(&later(C2, 1)));
    }
}

#[test]
fn internal_network_has_no_address_of_the_host_but_its_gateways_from_a_link_local_one_either() {
    let own = link_local(mac(C1));
    for (flags, elsewhere) in
        [(0, Expect::slow_path()), (link_flags::INTERNAL, Expect::dropped(Reason::InternalNetwork))]
    {
        let mut world = World::with_flags(flags);
        let ping = |to| {
            let packet: Packet = Any::ping(own, to, 1);
            packet.link(mac(C1), world.bridge_mac())
        };
        let (gateway, host, linked) = (ping(GATEWAY), ping(HOST), ping(link_local(world.bridge_mac())));
        Expect::slow_path().of(&world.container_sends(&gateway));
        Expect::slow_path().of(&world.container_sends(&linked));
        elsewhere.of(&world.container_sends(&host));
    }
}

#[test]
fn network_without_icc_finds_its_gateway_and_no_neighbour() {
    let mut world = World::with_flags(link_flags::NO_ICC);
    Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&asks_for(C2)));
    Expect::slow_path().of(&world.container_sends(&asks_for(GATEWAY)));
    let report = message(C1, ALL_ROUTERS, 143, UNSPECIFIED, &[]);
    Expect::slow_path().of(&world.container_sends(&report));
    let echo: Packet = Any::ping(C1, ALL_NODES, 1).link(mac(C1), GROUP_MAC);
    Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&echo));
}

#[test]
fn who_speaks_for_another_or_for_a_router_is_refused() {
    let mut world = World::new();
    let own = link_layer(2, mac(C1));
    for packet in [
        message(C1, solicited(GATEWAY), SOLICITATION, GATEWAY, &link_layer(1, mac(C2))),
        message(C1, ALL_NODES, ADVERTISEMENT, C2, &own),
        message(C1, ALL_NODES, ADVERTISEMENT, GATEWAY, &own),
        message(C1, ALL_NODES, ADVERTISEMENT, C1, &link_layer(2, mac(C2))),
        message(C1, C2, ADVERTISEMENT, C1, &[&own[..], &link_layer(2, mac(C2))].concat()),
        message(link_local(mac(C1)), ALL_NODES, 134, UNSPECIFIED, &[]),
        message(C1, C2, 137, REMOTE, &[]),
        asks_for(GATEWAY).with(|p| p.ttl = 64),
        asks_for(GATEWAY).with(|p| p.ttl = 254),
        // Whole, but by a header for parts: nobody could tell (RFC 6980).
        asks_for(GATEWAY).with(|p| p.more_fragments = true),
    ] {
        Expect::dropped(Reason::RogueNd).of(&world.container_sends(&packet));
    }
    for packet in [
        message(C2, solicited(GATEWAY), SOLICITATION, GATEWAY, &[]),
        message(link_local(mac(C2)), ALL_NODES, ADVERTISEMENT, C1, &own),
        message(GATEWAY, ALL_NODES, 134, UNSPECIFIED, &[]),
    ] {
        Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&packet));
    }
}

#[test]
fn options_that_lie_about_their_length_and_too_many_are_refused() {
    let mut world = World::new();
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let with = |options: &[u8]| message(C1, solicited(GATEWAY), SOLICITATION, GATEWAY, options);
    Expect::slow_path().of(&world.container_sends(&with(&nonce.repeat(4))));
    Expect::dropped(Reason::RogueNd).of(&world.container_sends(&with(&nonce.repeat(5))));
    for options in [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[14], &nonce[..7]] {
        Expect::dropped(Reason::Malformed).of(&world.container_sends(&with(options)));
    }
}

#[test]
fn own_advertisement_takes_the_bridge() {
    let mut world = World::new();
    for (src, target) in [(C1, C1), (link_local(mac(C1)), link_local(mac(C1)))] {
        let packet = message(src, ALL_NODES, ADVERTISEMENT, target, &link_layer(2, mac(C1)));
        Expect::slow_path().of(&world.container_sends(&packet));
    }
    let router = message(link_local(mac(C1)), ALL_ROUTERS, 133, UNSPECIFIED, &[]);
    Expect::slow_path().of(&world.container_sends(&router));
}

#[test]
fn link_local_traffic_reaches_the_gateway_and_nobody_past_it() {
    let mut world = World::new();
    let gateway = link_local(world.bridge_mac());
    let packet: Packet = Any::ping(link_local(mac(C1)), gateway, 1);
    let to_gateway = world.as_c1(packet.clone());
    Expect::slow_path().of(&world.container_sends(&to_gateway));
    let past = packet.link(mac(C1), mac(C2));
    Expect::dropped(Reason::WrongMac).of(&world.container_sends(&past));
    let spoofed: Packet = Any::ping(link_local(mac(C2)), gateway, 1);
    let spoofed = world.as_c1(spoofed);
    Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&spoofed));
}

#[test]
fn machines_on_a_lan_are_found_and_answered_and_containers_that_are_kept_apart_are_not() {
    let mut world = World::with_flags(link_flags::LAN | link_flags::NO_ICC);
    let machine = [2, 0x11, 0x22, 0x33, 0x44, 0x55];
    let (own, theirs) = (link_local(mac(C1)), link_local(machine));
    for packet in [
        asks_for(UNUSED),
        message(UNSPECIFIED, solicited(C1), SOLICITATION, C1, &[]),
        message(C1, ALL_NODES, ADVERTISEMENT, C1, &link_layer(2, mac(C1))),
        message(C1, UNUSED, ADVERTISEMENT, C1, &link_layer(2, mac(C1))).link(mac(C1), machine),
        Any::ping(own, theirs, 1).link(mac(C1), machine),
        Any::udp((C1, 5353), (ALL_NODES, 5353)).link(mac(C1), GROUP_MAC),
    ] {
        Expect::slow_path().of(&world.container_sends(&packet));
    }
    Expect::dropped(Reason::IccDisabled).of(&world.container_sends(&asks_for(C2)));
    for packet in [
        message(C1, ALL_NODES, ADVERTISEMENT, UNUSED, &link_layer(2, mac(C1))),
        message(own, ALL_NODES, 134, UNSPECIFIED, &[]),
        message(UNSPECIFIED, solicited(UNUSED), SOLICITATION, UNUSED, &[]),
    ] {
        Expect::dropped(Reason::RogueNd).of(&world.container_sends(&packet));
    }
    let offer: Packet = Any::udp((own, 547), (theirs, 546)).link(mac(C1), machine);
    Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&offer));
    // What is behind options in a fragment is the receiver's to find.
    let hidden = Any::ping(own, theirs, 1).link(mac(C1), machine).with(|p: &mut Packet| {
        let options = (DESTINATION, vec![0, 0, 1, 4, 0, 0, 0, 0]);
        p.extensions = vec![(FRAGMENT, vec![0, 0, 0, 1, 0, 0, 0, 9]), options];
    });
    Expect::dropped(Reason::ExtensionHeaders).of(&world.container_sends(&hidden));
    let forged: Packet = Any::ping(link_local(mac(C2)), theirs, 1).link(mac(C1), machine);
    Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&forged));
}

#[test]
fn container_without_ipv6_says_nothing() {
    let mut world = World::new().without_ipv6();
    for packet in [asks_for(GATEWAY), Any::ping(C1, REMOTE, 1).link(mac(C1), world.bridge_mac())] {
        Expect::dropped(Reason::Ipv6Disabled).of(&world.container_sends(&packet));
    }
}
