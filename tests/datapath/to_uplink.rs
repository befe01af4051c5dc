//! The guard: no container's address leaves untranslated.

use netdp_common::timers::State;
use netdp_common::{Reason, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, SYN};

use super::stations::{ANOTHER_REMOTE, C1, D1, HOST, Packet, REMOTE, UNUSED, World};
use crate::fixture::{DNS, ROUTER_MAC, counted, kept};

fn leaving(packet: Packet) -> Packet {
    packet.link([2, 0, 0, 0, 0, 2], ROUTER_MAC)
}

#[test]
fn host_traffic_passes_byte_for_byte() {
    let mut world = World::new();
    for packet in [
        Packet::tcp((HOST, 5000), (REMOTE, 80), SYN),
        Packet::udp((HOST, 8080), (REMOTE, 53)),
        Packet::ping(HOST, REMOTE, 1),
        Packet::udp((ANOTHER_REMOTE, 1), (REMOTE, 2)),
        Packet::new(HOST, REMOTE, Carries::Other(47)),
    ] {
        Expect::untouched().of(&world.uplink_sends(&leaving(packet)));
    }
}

#[test]
fn masqueraded_flow_gives_way_to_what_the_host_begins_from_its_port() {
    for (packet, protocol) in [
        (Packet::tcp((HOST, 40_000), (REMOTE, 53), SYN), proto::TCP),
        (Packet::udp((HOST, 40_000), (REMOTE, 53)), proto::UDP),
    ] {
        let mut world = World::new();
        let [there, back] = world.masqueraded(protocol, kept(40_000, 53), State::UdpReplied);
        world.seed([there, back]);
        let outcome = world.uplink_sends(&leaving(packet));
        Expect::untouched().forgotten(there.0).forgotten(back.0).of(&outcome);
    }
}

#[test]
fn mid_stream_and_answers_of_the_host_end_no_flow() {
    let mut world = World::new();
    world.seed(world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished));
    world.seed(world.published(proto::UDP, 5000, DNS, State::UdpReplied));
    for packet in [
        Packet::tcp((HOST, 40_000), (REMOTE, 443), ACK),
        Packet::tcp((HOST, 40_001), (REMOTE, 443), SYN),
        Packet::udp((HOST, DNS.0), (REMOTE, 5000)),
        Packet::pong(HOST, REMOTE, 40_000),
    ] {
        Expect::untouched().of(&world.uplink_sends(&leaving(packet)));
    }
}

#[test]
fn container_address_without_a_flow_is_dropped() {
    let mut world = World::new();
    for src in [C1, D1, UNUSED] {
        for packet in [
            Packet::tcp((src, 5000), (REMOTE, 80), SYN),
            Packet::udp((src, 5000), (REMOTE, 53)),
            Packet::ping(src, REMOTE, 1),
            Packet::udp((src, 5000), (REMOTE, 53)).with(|p| p.fragment_offset = 8),
            Packet::new(src, REMOTE, Carries::Other(132)),
        ] {
            Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&leaving(packet)));
        }
    }
}

#[test]
fn packet_that_the_stack_has_routed_is_translated_by_its_flow() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([there, back]);
    let packet = leaving(Packet::udp((C1, 40_000), (REMOTE, 53)).with(|p| p.ttl = 63));
    let outcome = world.uplink_sends(&packet);
    let sent = packet.clone().with(|p| p.src = HOST).build();
    Expect::passed(Reason::Masqueraded).packet(sent).flow(there.0, counted(there.1, &packet)).of(&outcome);
}

#[test]
fn late_packet_of_an_ended_flow_is_dropped_and_the_flow_forgotten() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([(there.0, crate::fixture::expired(there.1)), (back.0, crate::fixture::expired(back.1))]);
    let packet = leaving(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let outcome = world.uplink_sends(&packet);
    Expect::dropped(Reason::Unmasqueraded).forgotten(there.0).forgotten(back.0).of(&outcome);
}
