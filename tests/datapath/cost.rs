//! What a packet of an established flow costs in each program, by the kernel's own clock.

use netdp_common::timers::State;
use netdp_common::{names, proto};
use tests::packet::ACK;
use tests::process::measured;
use tests::program::REDIRECT;

use super::stations::{C1, C2, HOST, Packet, REMOTE, World};
use crate::fixture::{WEB, kept, mac};

const RUNS: usize = 20_000;
/// Nanoseconds; several times what was measured beside other work. What is above walks over something.
const CEILING: u64 = 5000;

/// Nanoseconds for a frame, beside those for one that is left alone after the first look at it, which is mostly the clock.
fn measure(world: &mut World, way: &str, (program, interface): (&str, &str), packet: &Packet) {
    let nothing = vec![0; 60];
    let floor = world.machine.cost(names::TO_BRIDGE, "br0", &nothing, RUNS);
    let cost = world.machine.cost(program, interface, &packet.build(), RUNS);
    measured(&format!("{way}: {cost} ns in the program, of which {floor} ns are the measurement"));
    assert!(cost < CEILING, "{way}: {cost} ns");
}

#[test]
fn every_way_of_an_established_flow() {
    let mut world = World::new();
    let outgoing = world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished);
    let incoming = world.published(proto::TCP, 5000, WEB, State::TcpEstablished);
    world.seed(outgoing);
    world.seed(incoming);
    let text = |packet: Packet| packet.with(|p| p.payload = vec![7; 64]);
    let out = world.as_c1(text(Packet::tcp((C1, 40_000), (REMOTE, 443), ACK)));
    assert_eq!(world.container_sends(&out).verdict, REDIRECT);
    let container = (names::FROM_CONTAINER, "c1");
    let uplink = (names::FROM_UPLINK, "up0");
    measure(&mut world, "container to outside", container, &out);
    let reply = world.as_outside(text(Packet::tcp((REMOTE, 443), (HOST, 40_000), ACK)));
    measure(&mut world, "its reply", uplink, &reply);
    let request = world.as_outside(text(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), ACK)));
    measure(&mut world, "outside to published", uplink, &request);
    let answer = world.as_c1(text(Packet::tcp((C1, WEB.1), (REMOTE, 5000), ACK)));
    measure(&mut world, "its reply", container, &answer);
    let local = text(Packet::tcp((C1, 5000), (C2, 80), ACK)).link(mac(C1), mac(C2));
    measure(&mut world, "container to container", container, &local);
}
