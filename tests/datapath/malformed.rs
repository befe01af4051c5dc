//! Headers that contradict themselves: dropped from a container, not judged for the host.
//!
//! Frames that end before the IP header does are in the system tests: `BPF_PROG_TEST_RUN` takes none.

use netdp_common::{Reason, names};
use tests::expect::Expect;
use tests::packet::{Carries, Packet, SYN};

use crate::fixture::ipv4::PROHIBITED;
use crate::fixture::{C1, C2, GATEWAY, HOST, REMOTE, World, error, mac};

/// Every lie about an IPv4 header that its own length can prove.
fn lies(packet: &Packet) -> Vec<Vec<u8>> {
    vec![
        packet.clone().with(|p| p.lies.version = Some(6)).build(),
        packet.clone().with(|p| p.lies.version = Some(0)).build(),
        packet.clone().with(|p| p.lies.header_words = Some(0)).build(),
        packet.clone().with(|p| p.lies.header_words = Some(4)).build(),
        packet.clone().with(|p| p.lies.header_words = Some(15)).build(),
        packet.clone().with(|p| p.lies.total_length = Some(19)).build(),
        packet.clone().with(|p| p.lies.total_length = Some(u16::MAX)).build(),
    ]
}

#[test]
fn container_that_lies_about_its_header_is_dropped() {
    let mut world = World::new();
    let packet = Packet::ping(C1, C2, 1).link(mac(C1), mac(C2));
    for frame in lies(&packet) {
        Expect::dropped(Reason::Malformed).of(&world.machine.run(names::FROM_CONTAINER, "c1", &frame));
    }
}

#[test]
fn frame_of_a_container_that_ends_too_soon_is_dropped() {
    let mut world = World::new();
    let packet =
        world.as_c1(Packet::tcp((C1, 4000), (REMOTE, 80), SYN).with(|p| p.lies.total_length = Some(0)));
    let frame = packet.build();
    for length in [34, 37, 42, 53] {
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame[..length]);
        Expect::dropped(Reason::Malformed).of(&outcome);
    }
    let arp = tests::packet::arp_request(mac(C1), C1, C2);
    Expect::dropped(Reason::Malformed).of(&world.machine.run(names::FROM_CONTAINER, "c1", &arp[..30]));
}

#[test]
fn udp_and_icmp_headers_that_are_cut_off_are_dropped() {
    let mut world = World::new();
    for packet in [Packet::udp((C1, 1), (REMOTE, 2)), Packet::ping(C1, REMOTE, 1)] {
        let packet = world.as_c1(packet.with(|p| p.lies.total_length = Some(0)));
        let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &packet.build()[..34 + 7]);
        Expect::dropped(Reason::Malformed).of(&outcome);
    }
}

#[test]
fn fragments_and_unknown_messages_of_a_container_do_not_leave() {
    let mut world = World::new();
    let whole = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    for packet in [whole.clone().with(|p| p.more_fragments = true), whole.with(|p| p.fragment_offset = 8)] {
        Expect::dropped(Reason::Fragment).of(&world.container_sends(&packet));
    }
    let advertisement = world.as_c1(Packet::new(C1, REMOTE, Carries::Error { kind: 9, code: 0 }));
    Expect::dropped(Reason::UnknownL4).of(&world.container_sends(&advertisement));
}

#[test]
fn outside_that_lies_is_left_to_the_host() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, 8080), SYN));
    for frame in lies(&packet) {
        Expect::untouched().of(&world.machine.run(names::FROM_UPLINK, "up0", &frame));
    }
    let frame = packet.build();
    for length in [34, 38, 50] {
        Expect::untouched().of(&world.machine.run(names::FROM_UPLINK, "up0", &frame[..length]));
    }
}

/// Options that are none, and what becomes of them from a container.
const REFUSED: [(&[u8], Reason); 6] = [
    (&[0x94, 0, 0, 0], Reason::Malformed),
    (&[0x94, 1, 0, 0], Reason::Malformed),
    (&[0x94, 40, 0, 0], Reason::Malformed),
    (&[1, 1, 1, 0x94], Reason::Malformed),
    (&[0x83, 7, 4, 198, 51, 100, 9, 0], Reason::SourceRouted),
    (&[1, 0x89, 7, 4, 198, 51, 100, 9], Reason::SourceRouted),
];

#[test]
fn header_with_a_wrong_checksum_or_options_that_are_none_leaves_no_container() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::tcp((C1, 4000), (REMOTE, 80), SYN));
    let wrong = packet.clone().with(|p| p.lies.ip_checksum = true);
    Expect::dropped(Reason::Malformed).of(&world.container_sends(&wrong));
    let wrong = wrong.with(|p| p.options = vec![1; 40]);
    Expect::dropped(Reason::Malformed).of(&world.container_sends(&wrong));
    for (options, reason) in REFUSED {
        let packet = packet.clone().with(|p| p.options = options.to_vec());
        Expect::dropped(reason).of(&world.container_sends(&packet));
    }
}

#[test]
fn header_with_a_wrong_checksum_or_options_that_are_none_is_left_to_the_host() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, 8080), SYN));
    Expect::untouched().of(&world.outside_sends(&packet.clone().with(|p| p.lies.ip_checksum = true)));
    for (options, _) in REFUSED {
        let packet = packet.clone().with(|p| p.options = options.to_vec());
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn options_that_harm_nobody_pass() {
    for options in [&[0x94, 4, 0, 0][..], &[0, 0x83, 0, 0], &[1; 40], &[0x9e, 4, 1, 2, 0, 0, 0, 0]] {
        let mut world = World::new();
        let packet = Packet::tcp((C1, 4000), (REMOTE, 80), SYN).with(|p| p.options = options.to_vec());
        let outcome = world.container_sends(&world.as_c1(packet));
        assert_eq!(outcome.verdict, tests::program::REDIRECT, "{options:?}: {outcome:?}");
        tests::packet::judge(&outcome.bytes, tests::packet::Offloaded::No).unwrap();
    }
}

#[test]
fn nobody_is_no_destination() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::udp((C1, 4000), (std::net::Ipv4Addr::UNSPECIFIED, 53)));
    Expect::dropped(Reason::LoopbackFromContainer).of(&world.container_sends(&packet));
}

#[test]
fn second_container_does_not_share_a_protocol_without_ports_with_the_first_one() {
    let mut world = World::new();
    let first = world.as_c1(Packet::new(C1, REMOTE, Carries::Other(50)));
    assert_eq!(world.container_sends(&first).verdict, tests::program::REDIRECT);
    let second = Packet::new(C2, REMOTE, Carries::Other(50)).link(mac(C2), world.bridge_mac());
    let outcome = world.machine.run(names::FROM_CONTAINER, "c2", &second.build());
    Expect::redirected(Reason::NatPortExhausted).packet(error(&second, GATEWAY, PROHIBITED)).of(&outcome);
}

#[test]
fn wrong_checksums_stay_wrong() {
    let mut world = World::new();
    let packet =
        world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)).with(|p| p.lies.transport_checksum = true));
    let outcome = world.container_sends(&packet);
    let wrong = tests::packet::judge(&outcome.bytes, tests::packet::Offloaded::No).unwrap_err();
    assert!(wrong.contains("UDP"), "{wrong}");
}
