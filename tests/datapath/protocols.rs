//! SCTP, UDP-Lite, protocols that are known by their addresses alone, timestamps; and lengths that lie.

use netdp_common::timers::State;
use netdp_common::{Addr, Reason, Zone, names, proto};
use tests::expect::Expect;
use tests::packet::{Carries, SYN};

use super::stations::{C1, C2, GATEWAY, HOST, L4, PROHIBITED, Packet, REMOTE, World};
use crate::fixture::{Masquerade, counted, error, in_state, kept, key, mac};

/// SCTP chunk types (RFC 9260, 3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
/// A published port of SCTP, and the one behind it.
const SIGNALLING: (u16, u16) = (9000, 2905);

fn world() -> World {
    let mut world = World::new();
    for any in [Addr::ANY4, Addr::UNSPECIFIED] {
        if any.is_v4() == Addr::from(C1).is_v4() {
            world.publish(any, SIGNALLING, proto::SCTP);
        }
    }
    world
}

#[test]
fn association_of_a_container_is_masqueraded() {
    let mut world = world();
    let packet = world.as_c1(Packet::sctp((C1, 40_000), (REMOTE, 2905), INIT));
    let [there, back] = world.masqueraded(proto::SCTP, kept(40_000, 2905), State::SctpInit);
    let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63));
    Expect::redirected(Reason::Masqueraded)
        .packet(sent.build())
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&world.container_sends(&packet));
}

#[test]
fn sum_of_sctp_is_right_for_every_length_and_with_padding_behind_the_datagram() {
    let mut world = world();
    for len in [0, 1, 2, 3, 4, 5, 8, 63, 255, 1001, 1300] {
        for padding in [0, 1, 7] {
            let chunk = if len == 0 { INIT } else { COOKIE_ECHO };
            let packet = Packet::sctp((REMOTE, 5000), (HOST, SIGNALLING.0), chunk);
            let packet = world.as_outside(packet.with(|p| p.payload = vec![0x5a; len]));
            let got = world.to_c1(packet.clone()).with(|p| {
                (p.dst, p.ttl) = (C1, 63);
                p.set_dport(SIGNALLING.1);
            });
            let pad = vec![0xee; padding];
            let outcome =
                world.machine.run(names::FROM_UPLINK, "up0", &[packet.build(), pad.clone()].concat());
            let difference = tests::packet::difference(&[got.build(), pad].concat(), &outcome.bytes);
            assert_eq!(difference, None, "{len} bytes and {padding} of padding");
        }
    }
}

#[test]
fn sum_of_sctp_that_the_device_is_to_make_is_left_alone_and_a_wrong_one_stays_wrong() {
    let mut world = world();
    let packet = world.as_outside(Packet::sctp((REMOTE, 5000), (HOST, SIGNALLING.0), INIT));
    let got = |world: &World, packet: &Packet| {
        let got = world.to_c1(packet.clone()).with(|p| {
            (p.dst, p.ttl) = (C1, 63);
            p.set_dport(SIGNALLING.1);
        });
        got.build()
    };
    let mut unsummed = packet.clone();
    if let Carries::Sctp { checksum, .. } = &mut unsummed.carries {
        *checksum = false;
    }
    let outcome = world.outside_sends(&unsummed);
    assert_eq!(outcome.bytes, got(&world, &unsummed));
    assert_eq!(outcome.bytes[L4 + 8..L4 + 12], [0; 4]);
    let wrong = packet.with(|p| p.lies.transport_checksum = true);
    assert_eq!(world.outside_sends(&wrong).bytes, got(&world, &wrong), "off by one, before and after");
}

#[test]
fn chunk_that_begins_no_association_begins_no_flow() {
    let mut world = world();
    for chunk in [INIT_ACK, ABORT, SHUTDOWN_ACK] {
        let packet = world.as_c1(Packet::sctp((C1, 40_000), (REMOTE, 2905), chunk));
        Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&packet));
        let packet = world.as_outside(Packet::sctp((REMOTE, 5000), (HOST, SIGNALLING.0), chunk));
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn abort_of_the_other_end_ends_the_association() {
    let mut world = world();
    let [there, back] = world.masqueraded(proto::SCTP, kept(40_000, 2905), State::SctpEstablished);
    world.seed([there, back]);
    let packet = world.as_outside(Packet::sctp((REMOTE, 2905), (HOST, 40_000), ABORT));
    let got = world.to_c1(packet.clone()).with(|p| (p.dst, p.ttl) = (C1, 63));
    Expect::redirected(Reason::Reply)
        .packet(got.build())
        .flow(back.0, counted(in_state(back.1, State::SctpShutdown), &packet))
        .flow(there.0, in_state(there.1, State::SctpShutdown))
        .of(&world.outside_sends(&packet));
}

#[test]
fn sctp_without_a_whole_chunk_header_is_malformed() {
    let mut world = world();
    let whole = world.as_c1(Packet::sctp((C1, 40_000), (REMOTE, 2905), INIT)).build();
    for length in [8, 11, 12, 15] {
        let mut frame = whole[..L4 + length].to_vec();
        let at = if L4 == 34 { 16 } else { 18 };
        let claimed = u16::try_from(if L4 == 34 { 20 + length } else { length }).unwrap();
        frame[at..at + 2].copy_from_slice(&claimed.to_be_bytes());
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame);
        Expect::dropped(Reason::Malformed).of(&outcome);
    }
}

#[test]
fn udp_lite_is_masqueraded_and_its_coverage_kept() {
    for (coverage, port) in [(0, 40_000), (8, 40_001), (12, 40_002)] {
        let mut world = World::new();
        let carries = Carries::UdpLite { sport: port, dport: 53, coverage };
        let packet = world.as_c1(Packet::new(C1, REMOTE, carries));
        let [there, back] = world.masqueraded(proto::UDPLITE, kept(port, 53), State::GenericUnreplied);
        let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63));
        Expect::redirected(Reason::Masqueraded)
            .packet(sent.build())
            .flow(there.0, counted(there.1, &packet))
            .flow(back.0, back.1)
            .of(&world.container_sends(&packet));
    }
}

#[test]
fn protocol_without_ports_goes_to_one_remote_from_one_container() {
    for protocol in [47, 50, 4] {
        let mut world = World::new();
        let packet = world.as_c1(Packet::new(C1, REMOTE, Carries::Other(protocol)));
        let ports = Masquerade { inside: 0, public: 0, remote: 0 };
        let [there, back] = world.masqueraded(protocol, ports, State::GenericUnreplied);
        let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63));
        Expect::redirected(Reason::Masqueraded)
            .packet(sent.build())
            .flow(there.0, counted(there.1, &packet))
            .flow(back.0, back.1)
            .of(&world.container_sends(&packet));
        let second = Packet::new(C2, REMOTE, Carries::Other(protocol)).link(mac(C2), world.bridge_mac());
        let outcome = world.machine.run(names::FROM_CONTAINER, "c2", &second.build());
        Expect::redirected(Reason::NatPortExhausted).packet(error(&second, GATEWAY, PROHIBITED)).of(&outcome);
        let answer = world.as_outside(Packet::new(REMOTE, HOST, Carries::Other(protocol)));
        let got = world.to_c1(answer.clone()).with(|p| (p.dst, p.ttl) = (C1, 63));
        let replied = key((REMOTE, 0), (HOST, 0), protocol, Zone::UPLINK);
        assert_eq!(replied, back.0);
        let outcome = world.outside_sends(&answer);
        assert_eq!((outcome.verdict, outcome.bytes), (tests::program::REDIRECT, got.build()));
    }
}

#[test]
fn length_of_zero_is_that_of_the_frame() {
    let mut world = World::new();
    let packet = Packet::tcp((C1, 40_000), (REMOTE, 443), SYN).with(|p| p.lies.total_length = Some(0));
    let packet = world.as_c1(packet);
    let sent = packet.clone().with(|p| (p.src, p.ttl) = (HOST, 63));
    let outcome = world.container_sends(&packet);
    assert_eq!((outcome.verdict, outcome.bytes), (tests::program::REDIRECT, sent.build()));
}

#[test]
fn transport_header_that_lies_about_its_length_is_malformed() {
    let mut world = World::new();
    let udp = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53))).build();
    for length in [0_u16, 7, 17, 9999] {
        let mut frame = udp.clone();
        frame[L4 + 4..L4 + 6].copy_from_slice(&length.to_be_bytes());
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame);
        Expect::dropped(Reason::Malformed).of(&outcome);
    }
    let tcp = world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), SYN)).build();
    for words in [0_u8, 4, 6, 15] {
        let mut frame = tcp.clone();
        frame[L4 + 12] = words << 4;
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame);
        Expect::dropped(Reason::Malformed).of(&outcome);
    }
}
