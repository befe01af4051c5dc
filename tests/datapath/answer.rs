//! What netdp says itself to who has sent a packet that goes no further, and to whom it says nothing.

use netdp_common::timers::State;
use netdp_common::{Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, SYN};
use tests::program::{DROP, NEXT, REDIRECT, monotonic_ns};

use super::stations::{C1, GATEWAY, HOST, ICMP, L4, PORT_UNREACHABLE, Packet, REMOTE, TIME_EXCEEDED, World};
use crate::fixture::{DNS, WEB, answer, counted, error, kept};

#[test]
fn container_is_told_by_its_gateway_that_the_time_has_ended_and_there_is_no_flow() {
    let mut world = World::new();
    for ttl in [0, 1] {
        for packet in [
            Packet::udp((C1, 40_000), (REMOTE, 53)),
            Packet::tcp((C1, 40_000), (REMOTE, 80), SYN),
            Packet::ping(C1, REMOTE, 7),
            Packet::sctp((C1, 40_000), (REMOTE, 80), 1),
            Packet::new(C1, REMOTE, Carries::Other(47)),
            Packet::udp((C1, 40_000), (HOST, DNS.0)),
        ] {
            let packet = world.as_c1(packet.with(|p| p.ttl = ttl));
            let told = error(&packet, GATEWAY, TIME_EXCEEDED);
            Expect::redirected(Reason::Answered).packet(told).of(&world.container_sends(&packet));
        }
    }
}

#[test]
fn packet_of_a_flow_is_answered_too() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([there, back]);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.ttl = 1));
    Expect::redirected(Reason::Answered)
        .packet(error(&packet, GATEWAY, TIME_EXCEEDED))
        .flow(there.0, counted(there.1, &packet))
        .of(&world.container_sends(&packet));
}

#[test]
fn outside_is_told_by_the_address_that_it_wrote_to() {
    let mut world = World::new();
    for packet in
        [Packet::udp((REMOTE, 5000), (HOST, DNS.0)), Packet::tcp((REMOTE, 5000), (HOST, WEB.0), SYN)]
    {
        let packet = world.as_outside(packet.with(|p| p.ttl = 1));
        let told = error(&packet, HOST, TIME_EXCEEDED);
        Expect::redirected(Reason::Answered).packet(told).of(&world.outside_sends(&packet));
    }
}

#[test]
fn packet_for_the_host_itself_needs_no_more_hops() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, 22)).with(|p| p.ttl = 1));
    Expect::untouched().of(&world.outside_sends(&packet));
    let packet = world.as_c1(Packet::udp((C1, 5000), (HOST, 22)).with(|p| p.ttl = 1));
    Expect::slow_path().of(&world.container_sends(&packet));
}

#[test]
fn packet_too_big_for_the_next_link_is_answered_with_its_mtu() {
    let mut world = World::new();
    world.machine.ns().sh("ip link set up0 mtu 1300").done();
    for length in [1253, 1300, 1400] {
        let packet = Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.payload = vec![7; length + 20]);
        let packet = world.as_c1(packet);
        let told = answer(&packet, GATEWAY, Carries::TooBig { mtu: 1300 });
        Expect::redirected(Reason::Answered).packet(told).of(&world.container_sends(&packet));
    }
    let [there, back] = world.masqueraded(proto::TCP, kept(40_000, 80), State::TcpEstablished);
    world.seed([there, back]);
    let packet = Packet::tcp((C1, 40_000), (REMOTE, 80), ACK).with(|p| p.payload = vec![7; 1300]);
    let packet = world.as_c1(packet);
    Expect::redirected(Reason::Answered)
        .packet(answer(&packet, GATEWAY, Carries::TooBig { mtu: 1300 }))
        .flow(there.0, counted(there.1, &packet))
        .of(&world.container_sends(&packet));
}

#[test]
fn as_much_is_quoted_as_fits_and_no_padding() {
    let mut world = World::new();
    for length in [0, 1, 2, 3, 30, 499, 520, 521, 1183, 1185, 1184, 1400] {
        let packet = Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| {
            (p.ttl, p.payload) = (1, (0..length).map(|n: u32| (n * 11).to_le_bytes()[0]).collect());
        });
        let packet = world.as_c1(packet);
        let outcome = world.container_sends(&packet);
        Expect::redirected(Reason::Answered).packet(error(&packet, GATEWAY, TIME_EXCEEDED)).of(&outcome);
        let padded = [packet.build(), vec![9; 5]].concat();
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &padded);
        Expect::redirected(Reason::Answered).packet(error(&packet, GATEWAY, TIME_EXCEEDED)).of(&outcome);
    }
}

#[test]
fn errors_are_not_answered() {
    let mut world = World::new();
    let flows = world.published(proto::UDP, 5000, DNS, State::UdpUnreplied);
    world.seed(flows);
    let received = Packet::udp((REMOTE, 5000), (C1, DNS.1)).build();
    let about = world.as_c1(Packet::error(C1, PORT_UNREACHABLE, &received, 8).with(|p| p.ttl = 1));
    Expect::dropped(Reason::TtlExceeded).of(&world.container_sends(&about));
}

#[test]
fn malformed_and_spoofed_packets_and_parts_are_not_answered() {
    let mut world = World::new();
    let expired = Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.ttl = 1);
    for (packet, reason) in [
        (expired.clone().with(|p| p.lies.total_length = Some(2000)), Reason::Malformed),
        (expired.clone().with(|p| p.src = REMOTE), Reason::SpoofedIp),
        (expired.clone().with(|p| p.fragment_offset = 3), Reason::TtlExceeded),
    ] {
        let packet = world.as_c1(packet);
        Expect::dropped(reason).of(&world.container_sends(&packet));
    }
    let frame = world.as_c1(expired).build();
    for length in L4..frame.len() {
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame[..length]);
        assert_eq!((outcome.verdict, outcome.bytes), (DROP, outcome.given), "{length} bytes");
    }
}

#[test]
fn packet_that_may_be_cut_is_left_to_the_host_and_no_other() {
    let mut world = World::new();
    world.machine.ns().sh("ip link set up0 mtu 1300").done();
    let packet = Packet::udp((C1, 40_000), (REMOTE, 53))
        .with(|p| (p.dont_fragment, p.payload) = (false, vec![7; 1300]));
    let outcome = world.container_sends(&world.as_c1(packet));
    // Nobody cuts a packet of IPv6 on its way.
    let expected = if ICMP == proto::ICMP { (NEXT, Reason::SlowPath) } else { (REDIRECT, Reason::Answered) };
    assert_eq!(outcome.verdict, expected.0);
    assert!(outcome.change.counts.contains_key(&expected.1.number()), "{:?}", outcome.change);
}

#[test]
fn answers_of_an_interface_are_limited() {
    let mut world = World::new();
    let frame = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.ttl = 1)).build();
    // The program is loaded before the clock is started.
    world.machine.judge(names::FROM_CONTAINER, "c1", &frame);
    let begun = monotonic_ns();
    let verdicts: Vec<_> =
        (0..2000).map(|_| world.machine.judge(names::FROM_CONTAINER, "c1", &frame)).collect();
    let milliseconds = usize::try_from((monotonic_ns() - begun) / 1_000_000).unwrap();
    let answered = verdicts.iter().filter(|verdict| **verdict == REDIRECT).count();
    assert_eq!(answered + verdicts.iter().filter(|verdict| **verdict == DROP).count(), verdicts.len());
    // A thousand a second and fifty at once.
    assert!((49..=milliseconds + 51).contains(&answered), "{answered} in {milliseconds} ms");
}
