//! A container as a server of DHCP, or as somebody who knows a better router: nobody hears it.

use std::net::{Ipv4Addr, Ipv6Addr};

use netdp_common::Reason;
use tests::expect::Expect;
use tests::packet::{Carries, DESTINATION, FRAGMENT, SYN};

use crate::fixture::{ipv4, ipv6, mac};

const EVERYBODY: [u8; 6] = [0xff; 6];
const GROUP_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// All of network 1.
const DIRECTED: Ipv4Addr = Ipv4Addr::new(172, 17, 255, 255);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn to4(dst: Ipv4Addr, dport: u16) -> ipv4::Packet {
    let to = if dst == ipv4::C2 { mac(ipv4::C2) } else { EVERYBODY };
    ipv4::Packet::udp((ipv4::C1, 67), (dst, dport)).link(mac(ipv4::C1), to)
}

fn to6(dst: Ipv6Addr, dport: u16) -> ipv6::Packet {
    let to = if dst == ipv6::C2 { mac(ipv6::C2) } else { GROUP_MAC };
    ipv6::Packet::udp((ipv6::C1, 547), (dst, dport)).link(mac(ipv6::C1), to)
}

#[test]
fn offer_of_an_address_reaches_no_neighbour_by_any_way() {
    let mut world = ipv4::World::new();
    for dst in [ipv4::C2, Ipv4Addr::BROADCAST, DIRECTED] {
        for packet in [
            to4(dst, 68),
            to4(dst, 68).with(|p| p.set_sport(4000)),
            to4(dst, 68).with(|p| p.options = vec![1; 40]),
            to4(dst, 68).with(|p| p.more_fragments = true),
        ] {
            Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&packet));
        }
    }
    let by_gateway = world.as_c1(to4(ipv4::C2, 68));
    Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&by_gateway));
}

#[test]
fn offer_of_an_ipv6_address_reaches_no_neighbour_by_any_way() {
    let mut world = ipv6::World::new();
    let options = (DESTINATION, vec![0, 0, 1, 4, 0, 0, 0, 0]);
    for dst in [ipv6::C2, ALL_NODES] {
        for packet in [
            to6(dst, 546),
            to6(dst, 546).with(|p| p.set_sport(4000)),
            to6(dst, 546).with(|p| p.more_fragments = true),
            to6(dst, 546).with(|p| p.extensions = vec![options.clone()]),
        ] {
            Expect::dropped(Reason::RogueDhcp).of(&world.container_sends(&packet));
        }
        // A part whose ports are hidden behind what is not walked over.
        let first = (FRAGMENT, vec![0, 0, 0, 1, 0, 0, 0, 9]);
        let hidden = to6(dst, 546).with(|p| p.extensions = vec![first, options.clone()]);
        Expect::dropped(Reason::ExtensionHeaders).of(&world.container_sends(&hidden));
    }
}

#[test]
fn requests_other_protocols_and_later_parts_pass() {
    let mut world = ipv4::World::new();
    for packet in [
        to4(ipv4::C2, 67),
        to4(ipv4::C2, 546),
        to4(ipv4::C2, 68).with(|p| p.fragment_offset = 100),
        ipv4::Packet::tcp((ipv4::C1, 67), (ipv4::C2, 68), SYN).link(mac(ipv4::C1), mac(ipv4::C2)),
    ] {
        Expect::redirected(Reason::Local).of(&world.container_sends(&packet));
    }
    Expect::slow_path().of(&world.container_sends(&to4(Ipv4Addr::BROADCAST, 67)));
    let beyond = world.as_c1(ipv4::Packet::udp((ipv4::C1, 67), (ipv4::REMOTE, 68)));
    assert_eq!(
        world.container_sends(&beyond).verdict,
        tests::program::REDIRECT,
        "outside nobody is a neighbour"
    );
    for packet in
        [to6(ipv6::C2, 547), to6(ipv6::C2, 68), to6(ipv6::C2, 546).with(|p| p.fragment_offset = 100)]
    {
        Expect::redirected(Reason::Local).of(&world.container_sends(&packet));
    }
    Expect::slow_path().of(&world.container_sends(&to6(ALL_NODES, 547)));
}

#[test]
fn datagram_that_ends_before_its_ports_is_no_offer() {
    let mut world = ipv4::World::new();
    let mut frame = to4(ipv4::C2, 68).build();
    frame.truncate(34 + 3);
    frame[16..18].copy_from_slice(&23_u16.to_be_bytes());
    let outcome = world.machine.run(netdp_common::names::FROM_CONTAINER, "c1", &frame);
    Expect::redirected(Reason::Local).of(&outcome);
}

#[test]
fn redirect_reaches_no_neighbour_and_what_only_looks_like_one_does() {
    let mut world = ipv4::World::new();
    let message = |dst, kind| {
        let to = if dst == ipv4::C2 { mac(ipv4::C2) } else { EVERYBODY };
        ipv4::Packet::new(ipv4::C1, dst, Carries::Message { kind, rest: [172, 17, 0, 2] })
            .link(mac(ipv4::C1), to)
    };
    for dst in [ipv4::C2, Ipv4Addr::BROADCAST, DIRECTED] {
        Expect::dropped(Reason::IcmpRedirect).of(&world.container_sends(&message(dst, 5)));
        let first = message(dst, 5).with(|p| p.more_fragments = true);
        Expect::dropped(Reason::IcmpRedirect).of(&world.container_sends(&first));
    }
    for packet in [message(ipv4::C2, 3), message(ipv4::C2, 5).with(|p| p.fragment_offset = 8)] {
        Expect::redirected(Reason::Local).of(&world.container_sends(&packet));
    }
    let carries = Carries::Message { kind: 137, rest: [0; 4] };
    for (dst, to) in [(ipv6::C2, mac(ipv6::C2)), (ALL_NODES, GROUP_MAC), (ipv6::GATEWAY, world.bridge_mac())]
    {
        let redirect = ipv6::Packet::new(ipv6::C1, dst, carries.clone()).link(mac(ipv6::C1), to);
        Expect::dropped(Reason::RogueNd).of(&world.container_sends(&redirect.with(|p| p.ttl = 255)));
    }
}
