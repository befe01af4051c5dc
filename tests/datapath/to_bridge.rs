//! The guard of the containers: the host reaches them, what it has merely routed does not.

use netdp_common::{Reason, names};
use tests::expect::Expect;
use tests::packet::SYN;
use tests::program::Outcome;

use super::stations::{C1, GATEWAY, HOST, OTHER_VERSION, Packet, REMOTE, World};

/// The stack sends the packet to network 1; it had come in by this interface, or the host has made it.
fn bridge_sends(world: &mut World, from: Option<&str>, packet: &Packet) -> Outcome {
    let ingress = from.map_or(0, |interface| world.machine.ifindex(interface));
    world.machine.run_routed(names::TO_BRIDGE, ingress, "br0", &packet.build())
}

#[test]
fn host_reaches_its_containers() {
    let mut world = World::new();
    for src in [GATEWAY, HOST, REMOTE] {
        let packet = world.to_c1(Packet::tcp((src, 4000), (C1, 80), SYN));
        Expect::untouched().of(&bridge_sends(&mut world, None, &packet));
    }
}

#[test]
fn what_the_host_has_routed_does_not_reach_a_container() {
    let mut world = World::new();
    for packet in [
        Packet::tcp((REMOTE, 4000), (C1, 80), SYN),
        Packet::udp((REMOTE, 4000), (C1, 53)).with(|p| p.fragment_offset = 8),
        Packet::ping(REMOTE, C1, 1),
    ] {
        let packet = world.to_c1(packet);
        for from in ["up0", "br1"] {
            Expect::dropped(Reason::DirectRouting).of(&bridge_sends(&mut world, Some(from), &packet));
        }
    }
}

#[test]
fn what_is_not_for_a_container_or_lies_about_its_header_is_left_alone() {
    let mut world = World::new();
    let elsewhere = world.to_c1(Packet::udp((HOST, 4000), (REMOTE, 53)));
    let lying =
        world.to_c1(Packet::udp((REMOTE, 4000), (C1, 53))).with(|p| p.lies.version = Some(OTHER_VERSION));
    let long = world.to_c1(Packet::udp((REMOTE, 4000), (C1, 53))).with(|p| p.lies.total_length = Some(9999));
    for packet in [elsewhere, lying, long] {
        Expect::untouched().of(&bridge_sends(&mut world, Some("up0"), &packet));
    }
}
