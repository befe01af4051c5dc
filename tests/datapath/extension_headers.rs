//! IPv6 extension headers: which are walked, how far, and what becomes of the rest (RFC 8200, 4).

use netdp_common::timers::State;
use netdp_common::{Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, SYN};
use tests::program::{DROP, REDIRECT};

use crate::fixture::ipv6::{C1, C2, D1, HOST, Packet, REMOTE, ROUTER, TIME_EXCEEDED, World};
use crate::fixture::{DNS, ROUTER_MAC, WEB, counted, kept, mac};

/// Options of eight bytes, all of them padding.
fn options(kind: u8) -> (u8, Vec<u8>) {
    (kind, vec![0, 0, 1, 4, 0, 0, 0, 0])
}

/// Options of this many units of eight bytes.
fn long(kind: u8, units: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; usize::from(units) * 8];
    bytes[1] = units - 1;
    (kind, bytes)
}

/// A routing header of type 2 with one address.
fn routing(segments_left: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0; 24];
    bytes[1..4].copy_from_slice(&[2, 2, segments_left]);
    (ROUTING, bytes)
}

/// A fragment header of a datagram that is whole (RFC 6946).
fn atomic() -> (u8, Vec<u8>) {
    (FRAGMENT, vec![0, 0, 0, 0, 0, 0, 0, 9])
}

/// Chains that are walked to their end.
fn walked() -> Vec<Vec<(u8, Vec<u8>)>> {
    vec![
        vec![options(HOP_BY_HOP)],
        vec![options(DESTINATION)],
        vec![routing(0)],
        vec![atomic()],
        vec![long(DESTINATION, 20)],
        vec![options(HOP_BY_HOP), options(DESTINATION), routing(0), atomic(), options(DESTINATION)],
        vec![options(DESTINATION); 6],
    ]
}

/// Chains whose end nobody here looks for.
fn refused() -> Vec<Vec<(u8, Vec<u8>)>> {
    vec![
        vec![options(DESTINATION); 7],
        vec![long(DESTINATION, 32)],
        vec![routing(1)],
        vec![options(HOP_BY_HOP), routing(255)],
    ]
}

#[test]
fn transport_behind_a_chain_is_masqueraded_and_the_chain_kept() {
    for (number, chain) in walked().into_iter().enumerate() {
        let mut world = World::new();
        for (packet, protocol, state) in [
            (Packet::udp((C1, 40_000), (REMOTE, 53)), proto::UDP, State::UdpUnreplied),
            (Packet::tcp((C1, 40_000), (REMOTE, 53), SYN), proto::TCP, State::TcpSynSent),
        ] {
            let packet = world.as_c1(packet.with(|p| p.extensions = chain.clone()));
            let [there, back] = world.masqueraded(protocol, kept(40_000, 53), state);
            let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63)).build();
            let outcome = world.container_sends(&packet);
            assert_eq!(outcome.verdict, REDIRECT, "chain {number}");
            Expect::redirected(Reason::Masqueraded)
                .packet(sent)
                .flow(there.0, counted(there.1, &packet))
                .flow(back.0, back.1)
                .of(&outcome);
        }
    }
}

#[test]
fn transport_behind_a_chain_is_published_and_answered() {
    for chain in walked() {
        let mut world = World::new();
        let asked = Packet::udp((REMOTE, 5000), (HOST, DNS.0)).with(|p| p.extensions = chain.clone());
        let asked = world.as_outside(asked);
        let got = world.to_c1(asked.clone()).with(|p| {
            (p.dst, p.ttl) = (C1, 63);
            p.set_dport(DNS.1);
        });
        let outcome = world.outside_sends(&asked);
        assert_eq!((outcome.verdict, outcome.bytes), (REDIRECT, got.build()));
        let answer = Packet::udp((C1, DNS.1), (REMOTE, 5000)).with(|p| p.extensions = chain);
        let answer = world.as_c1(answer);
        let sent = answer.clone().with(|p| {
            (p.src, p.ttl) = (HOST, 63);
            p.set_sport(DNS.0);
        });
        let outcome = world.container_sends(&answer);
        assert_eq!((outcome.verdict, outcome.bytes), (REDIRECT, sent.build()));
    }
}

#[test]
fn chain_that_is_not_walked_does_not_leave_a_container() {
    let mut world = World::new();
    for chain in refused() {
        for dst in [REMOTE, C2, HOST, D1] {
            let packet =
                world.as_c1(Packet::udp((C1, 40_000), (dst, 53)).with(|p| p.extensions = chain.clone()));
            Expect::dropped(Reason::ExtensionHeaders).of(&world.container_sends(&packet));
        }
    }
}

#[test]
fn chain_that_is_not_walked_is_the_hosts_and_reaches_no_container() {
    let mut world = World::new();
    for chain in refused() {
        let with = |packet: Packet| packet.with(|p| p.extensions.clone_from(&chain));
        let published = world.as_outside(with(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), SYN)));
        Expect::untouched().of(&world.outside_sends(&published));
        for dst in [C1, D1] {
            let direct = with(Packet::udp((REMOTE, 5000), (dst, 53)));
            let came = world.as_outside(direct.clone());
            Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&came));
            let ingress = world.machine.ifindex("up0");
            let routed = world.to_c1(direct).build();
            let outcome = world.machine.run_routed(names::TO_BRIDGE, ingress, "br0", &routed);
            Expect::dropped(Reason::DirectRouting).of(&outcome);
        }
        let leaving = |src| with(Packet::udp((src, 5000), (REMOTE, 53))).link([2, 0, 0, 0, 0, 2], ROUTER_MAC);
        Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&leaving(C1)));
        Expect::untouched().of(&world.uplink_sends(&leaving(HOST)));
    }
}

#[test]
fn frame_that_ends_anywhere_within_its_headers_begins_nothing() {
    let chain = vec![options(HOP_BY_HOP), routing(0), atomic(), options(DESTINATION)];
    let mut world = World::new();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.extensions = chain));
    let whole = packet.build();
    for length in 54..whole.len() {
        let mut frame = whole[..length].to_vec();
        let payload = u16::try_from(length - 54).unwrap();
        frame[18..20].copy_from_slice(&payload.to_be_bytes());
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame);
        assert_eq!(outcome.verdict, DROP, "{length} bytes");
        assert!(outcome.change.flows.is_empty(), "{length} bytes");
        let counted = outcome.change.counts.keys().copied().next();
        let reasons = [Reason::Malformed.number(), Reason::ExtensionHeaders.number()];
        assert!(counted.is_some_and(|reason| reasons.contains(&reason)), "{length} bytes: {counted:?}");
    }
}

#[test]
fn part_of_a_datagram_stays_in_its_network() {
    let mut world = World::new();
    for edit in [|p: &mut Packet| p.more_fragments = true, |p: &mut Packet| p.fragment_offset = 1] {
        for chain in [vec![], vec![options(HOP_BY_HOP)]] {
            let to =
                |dst| Packet::udp((C1, 4000), (dst, 53)).with(edit).with(|p| p.extensions.clone_from(&chain));
            let local = to(C2).link(mac(C1), mac(C2));
            Expect::redirected(Reason::Local).of(&world.container_sends(&local));
            let outside = world.as_c1(to(REMOTE));
            Expect::dropped(Reason::Fragment).of(&world.container_sends(&outside));
        }
    }
}

#[test]
fn error_about_a_packet_with_a_chain_reaches_its_sender() {
    for chain in [vec![options(HOP_BY_HOP)], vec![options(DESTINATION); 6], vec![routing(0), atomic()]] {
        let mut world = World::new();
        world.seed(world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished));
        let inside = Packet::tcp((C1, 40_000), (REMOTE, 443), ACK).with(|p| p.extensions.clone_from(&chain));
        let quoted = chain.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 8;
        let sent = inside.clone().with(|p| p.src = HOST).build();
        let came = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &sent, quoted));
        let got =
            world.to_c1(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), quoted)).with(|p| p.ttl -= 1);
        Expect::redirected(Reason::IcmpError).packet(got.build()).of(&world.outside_sends(&came));
    }
}

#[test]
fn error_that_quotes_a_chain_without_its_end_or_a_part_is_not_translated() {
    let mut world = World::new();
    world.seed(world.masqueraded(proto::UDP, kept(40_000, 443), State::UdpReplied));
    let inside = Packet::udp((HOST, 40_000), (REMOTE, 443));
    for (about, quoted) in [
        (inside.clone().with(|p| p.extensions = vec![options(DESTINATION); 7]), 64),
        (inside.clone().with(|p| p.extensions = vec![options(DESTINATION); 2]), 16),
        (inside.clone().with(|p| p.extensions = vec![options(DESTINATION); 2]), 19),
        (inside.clone().with(|p| p.extensions = vec![long(DESTINATION, 4)]), 8),
        (inside.with(|p| p.more_fragments = true), 16),
    ] {
        let error = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &about.build(), quoted));
        Expect::untouched().of(&world.outside_sends(&error));
    }
}
