//! ICMP errors about packets of our flows: both the message and the packet inside are translated, and no flow changes.

use netdp_common::timers::State;
use netdp_common::{Numbers, Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries};

use super::stations::{
    C1, C2, GATEWAY, HOST, ICMP, Ip, L4, OTHER_VERSION, PORT_UNREACHABLE, Packet, REMOTE, ROUTER,
    TIME_EXCEEDED, TOO_BIG, World,
};
use crate::fixture::{DNS, Masquerade, WEB, expired, kept, mac};

/// Ports of a masqueraded flow whose source port was changed.
const MOVED: Masquerade = Masquerade { inside: 4000, public: 50_000, remote: 443 };

/// An error about a masqueraded packet, as it comes in and as `C1` must get it.
fn about_masqueraded(world: &World, inside: &Packet, reporter: Ip, bytes: usize) -> [Packet; 2] {
    let sent = inside.clone().with(|p| {
        p.src = HOST;
        p.set_sport(MOVED.public);
    });
    let kind = if reporter == REMOTE { PORT_UNREACHABLE } else { TIME_EXCEEDED };
    let came = world.as_outside(Packet::error(reporter, kind, &sent.build(), bytes));
    let got = world.to_c1(Packet::error(reporter, kind, &inside.build(), bytes)).with(|p| p.ttl -= 1);
    [came, got]
}

#[test]
fn error_about_a_masqueraded_packet_reaches_the_container_as_if_about_its_own() {
    for reporter in [REMOTE, ROUTER] {
        for bytes in [8, 16] {
            let mut world = World::new();
            let flows = world.masqueraded(proto::UDP, MOVED, State::UdpReplied);
            world.seed(flows);
            let inside = Packet::udp((C1, MOVED.inside), (REMOTE, MOVED.remote));
            let [came, got] = about_masqueraded(&world, &inside, reporter, bytes);
            let outcome = world.outside_sends(&came);
            Expect::redirected(Reason::IcmpError).packet(got.build()).of(&outcome);
        }
    }
}

#[test]
fn error_about_tcp_quotes_the_ports_and_changes_no_state() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::TCP, MOVED, State::TcpEstablished);
    world.seed(flows);
    let inside = Packet::tcp((C1, MOVED.inside), (REMOTE, MOVED.remote), ACK);
    let [came, got] = about_masqueraded(&world, &inside, ROUTER, 28);
    let outcome = world.outside_sends(&came);
    Expect::redirected(Reason::IcmpError).packet(got.build()).of(&outcome);
}

#[test]
fn error_about_tcp_is_believed_about_bytes_that_are_on_their_way() {
    const SENT: u32 = 100;
    for (acked, seq, believed) in [
        (u32::MAX - 999, u32::MAX - 999, true),
        (u32::MAX - 999, 50, true),
        (u32::MAX - 999, SENT, true),
        (u32::MAX - 999, SENT + 1, false),
        (u32::MAX - 999, u32::MAX - 1000, false),
        (u32::MAX - 999, 1 << 31, false),
        // Nothing is acknowledged yet, or something that cannot be.
        (0, u32::MAX, true),
        (0, 1 << 30, false),
        (1 << 30, u32::MAX, true),
        (1 << 30, (1 << 30) + 1, false),
    ] {
        let mut world = World::new();
        let mut flows = world.masqueraded(proto::TCP, MOVED, State::TcpEstablished);
        flows[0].1.numbers = Numbers { sent: SENT, acked: 1 };
        flows[1].1.numbers = Numbers { sent: 1, acked };
        world.seed(flows);
        let (sport, dport) = (MOVED.inside, MOVED.remote);
        let inside = Packet::new(C1, REMOTE, Carries::Tcp { sport, dport, flags: ACK, seq, ack: 1 });
        let [came, got] = about_masqueraded(&world, &inside, ROUTER, 16);
        let outcome = world.outside_sends(&came);
        if believed {
            Expect::redirected(Reason::IcmpError).packet(got.build()).of(&outcome);
        } else {
            Expect::dropped(Reason::IcmpSequence).of(&outcome);
        }
    }
}

#[test]
fn error_about_tcp_that_ends_before_its_number_is_not_translated() {
    let mut world = World::new();
    world.seed(world.masqueraded(proto::TCP, kept(4000, 443), State::TcpEstablished));
    let inside = Packet::tcp((HOST, 4000), (REMOTE, 443), ACK);
    let error = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 7));
    Expect::untouched().of(&world.outside_sends(&error));
}

#[test]
fn error_about_a_masqueraded_echo_reaches_the_container() {
    let mut world = World::new();
    let flows = world.masqueraded(ICMP, Masquerade { inside: 7, public: 900, remote: 0 }, State::Icmp);
    world.seed(flows);
    let inside = Packet::ping(C1, REMOTE, 7);
    let sent = inside.clone().with(|p| {
        p.src = HOST;
        p.set_sport(900);
    });
    let came = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &sent.build(), 8));
    let got = world.to_c1(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 8)).with(|p| p.ttl -= 1);
    Expect::redirected(Reason::IcmpError).packet(got.build()).of(&world.outside_sends(&came));
}

#[test]
fn path_mtu_of_the_outside_reaches_the_container_for_both_kinds_of_flow() {
    let mut world = World::new();
    let flows = world.published(proto::TCP, 5000, WEB, State::TcpEstablished);
    world.seed(flows);
    let inside = Packet::tcp((C1, WEB.1), (REMOTE, 5000), ACK);
    let sent = inside.clone().with(|p| {
        p.src = HOST;
        p.set_sport(WEB.0);
    });
    let came = world.as_outside(Packet::error(ROUTER, TOO_BIG, &sent.build(), 8));
    let got = world.to_c1(Packet::error(ROUTER, TOO_BIG, &inside.build(), 8)).with(|p| p.ttl -= 1);
    Expect::redirected(Reason::IcmpError).packet(got.build()).of(&world.outside_sends(&came));
}

#[test]
fn error_of_the_container_about_a_published_packet_leaves_as_the_hosts() {
    let mut world = World::new();
    let flows = world.published(proto::UDP, 5000, DNS, State::UdpUnreplied);
    world.seed(flows);
    let received = Packet::udp((REMOTE, 5000), (C1, DNS.1));
    let error = world.as_c1(Packet::error(C1, PORT_UNREACHABLE, &received.build(), 8));
    let outside = received.clone().with(|p| {
        p.dst = HOST;
        p.set_dport(DNS.0);
    });
    let sent = Packet::error(HOST, PORT_UNREACHABLE, &outside.build(), 8);
    let sent = sent.link(error.from_mac, error.to_mac).with(|p| p.ttl -= 1);
    Expect::redirected(Reason::IcmpError).packet(sent.build()).of(&world.container_sends(&error));
}

#[test]
fn error_of_a_container_about_the_flow_of_another_is_dropped() {
    let mut world = World::new();
    let flows = world.published(proto::UDP, 5000, DNS, State::UdpReplied);
    world.seed(flows);
    let received = Packet::udp((REMOTE, 5000), (C1, DNS.1));
    let error = Packet::error(C2, PORT_UNREACHABLE, &received.build(), 8).link(mac(C2), world.bridge_mac());
    let outcome = world.machine.run(names::FROM_CONTAINER, "c2", &error.build());
    assert_eq!(outcome.verdict, tests::program::DROP, "C2 must not end the connections of C1");
}

#[test]
fn error_with_a_wrong_checksum_is_dropped_both_ways() {
    let mut world = World::new();
    let wrong = |p: &mut Packet| p.lies.transport_checksum = true;
    let flows = world.masqueraded(proto::UDP, MOVED, State::UdpReplied);
    world.seed(flows);
    let sent = Packet::udp((HOST, MOVED.public), (REMOTE, MOVED.remote)).build();
    for bytes in [8, 9, 16] {
        let came = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &sent, bytes).with(wrong));
        Expect::dropped(Reason::IcmpBadChecksum).of(&world.outside_sends(&came));
    }
    let flows = world.published(proto::UDP, 5000, DNS, State::UdpUnreplied);
    world.seed(flows);
    let received = Packet::udp((REMOTE, 5000), (C1, DNS.1)).build();
    let error = world.as_c1(Packet::error(C1, PORT_UNREACHABLE, &received, 8).with(wrong));
    Expect::dropped(Reason::IcmpBadChecksum).of(&world.container_sends(&error));
}

#[test]
fn sum_is_that_of_the_datagram_whatever_its_length_and_its_frames() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::UDP, MOVED, State::UdpReplied);
    world.seed(flows);
    for length in (0..40).chain([500, 1001, 1400]) {
        let payload = (0..length).map(|n: u32| (n * 7).to_le_bytes()[0]).collect();
        let inside = Packet::udp((C1, MOVED.inside), (REMOTE, MOVED.remote)).with(|p| p.payload = payload);
        let [came, got] = about_masqueraded(&world, &inside, ROUTER, 1408);
        // An Ethernet frame that is padded.
        let padding = [1, 2, 3];
        let came = [came.build(), padding.to_vec()].concat();
        let outcome = world.machine.run(names::FROM_UPLINK, "up0", &came);
        Expect::redirected(Reason::IcmpError).packet([got.build(), padding.to_vec()].concat()).of(&outcome);
    }
}

#[test]
fn missing_checksum_inside_stays_missing() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::UDP, MOVED, State::UdpReplied);
    world.seed(flows);
    let inside = Packet::udp((C1, MOVED.inside), (REMOTE, MOVED.remote))
        .with(|p| p.carries = Carries::Udp { sport: MOVED.inside, dport: MOVED.remote, checksum: false });
    let [came, got] = about_masqueraded(&world, &inside, ROUTER, 16);
    let outcome = world.outside_sends(&came);
    Expect::redirected(Reason::IcmpError).packet(got.build()).of(&outcome);
}

#[test]
fn error_about_no_flow_of_ours_is_the_hosts() {
    let mut world = World::new();
    for inside in [
        Packet::udp((HOST, 4000), (REMOTE, 53)),
        Packet::tcp((HOST, 4000), (REMOTE, 443), ACK),
        Packet::ping(HOST, REMOTE, 9),
    ] {
        let error = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 8));
        Expect::untouched().of(&world.outside_sends(&error));
    }
}

#[test]
fn error_about_a_flow_that_has_ended_is_not_translated() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::UDP, kept(4000, 53), State::UdpReplied);
    world.seed(flows.map(|(key, flow)| (key, expired(flow))));
    let inside = Packet::udp((HOST, 4000), (REMOTE, 53));
    let error = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 8));
    let outcome = world.outside_sends(&error);
    assert_eq!((outcome.verdict, &outcome.bytes), (tests::program::NEXT, &outcome.given));
}

#[test]
fn error_that_quotes_too_little_or_nonsense_is_not_translated() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::UDP, kept(4000, 53), State::UdpReplied);
    world.seed(flows);
    let inside = Packet::udp((HOST, 4000), (REMOTE, 53));
    for (quote, bytes) in [
        (inside.clone().build(), 0),
        (inside.clone().build(), 3),
        (inside.clone().with(|p| p.lies.version = Some(OTHER_VERSION)).build(), 8),
        (inside.with(|p| p.fragment_offset = 5).build(), 8),
    ] {
        let mut error = Packet::error(ROUTER, TIME_EXCEEDED, &inside_frame(), 8);
        error.payload = quote[14..L4 + bytes].to_vec();
        let error = world.as_outside(error);
        Expect::untouched().of(&world.outside_sends(&error));
    }
}

/// Any packet of the host, for the addresses of an error.
fn inside_frame() -> Vec<u8> {
    Packet::udp((HOST, 4000), (REMOTE, 53)).build()
}

#[test]
fn unrelated_error_of_a_container_goes_nowhere_but_to_the_host() {
    let mut world = World::new();
    let inside = Packet::udp((REMOTE, 5000), (C1, 53));
    let outside = world.as_c1(Packet::error(C1, PORT_UNREACHABLE, &inside.build(), 8));
    assert_eq!(world.container_sends(&outside).verdict, tests::program::DROP);
    let own = Packet::udp((GATEWAY, 5000), (C1, 53));
    let to_host = world.as_c1(Packet::error(C1, PORT_UNREACHABLE, &own.build(), 8));
    Expect::slow_path().of(&world.container_sends(&to_host));
}

#[test]
fn error_to_a_container_address_is_direct_routing() {
    let mut world = World::new();
    let inside = Packet::udp((C1, 4000), (REMOTE, 53));
    let error = world.as_outside(Packet::error(ROUTER, TIME_EXCEEDED, &inside.build(), 8));
    Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&error));
}
