//! A SYN that nobody asked for, to a port that a container is seen by (RFC 5382, REQ-4): silence, and after it the host's
//! answer.

use std::net::TcpListener;

use netdp_common::{Port, Reason, link_flags, names, proto, timers::State};
use tests::expect::Expect;
use tests::packet::{ACK, FIN, RST, SYN};
use tests::program::monotonic_ns;

use super::stations::{ANOTHER_REMOTE, C1, HOST, LOCALHOST, Packet, REMOTE, UNSPECIFIED, World};
use crate::fixture::{WEB, kept};

const SECOND: u64 = 1_000_000_000;

fn unasked(world: &World, dport: u16, flags: u8) -> Packet {
    world.as_outside(Packet::tcp((ANOTHER_REMOTE, 4444), (HOST, dport), flags))
}

#[test]
fn unasked_syn_is_dropped_while_it_may_yet_be_asked_for_and_then_left_to_the_host() {
    let mut world = World::new();
    world.machine.put_held(Port::new(4000), 100);
    let syn = unasked(&world, 4000, SYN);
    for _ in 0..2 {
        Expect::dropped(Reason::UnaskedSyn).of(&world.outside_sends(&syn));
    }
    // Not close to the six seconds, whose edges the unit tests know: an emulated processor takes seconds for a packet. And
    // wrapping, as the clock of the programs does: a guest has not been up for 200 seconds.
    world.machine.set_unasked(|_| Some(monotonic_ns().wrapping_sub(SECOND)));
    Expect::dropped(Reason::UnaskedSyn).of(&world.outside_sends(&syn));
    world.machine.set_unasked(|_| Some(monotonic_ns().wrapping_sub(7 * SECOND)));
    for _ in 0..2 {
        Expect::untouched().of(&world.outside_sends(&syn));
    }
    world.machine.set_unasked(|_| Some(monotonic_ns().wrapping_sub(200 * SECOND)));
    Expect::dropped(Reason::UnaskedSyn).of(&world.outside_sends(&syn));
}

#[test]
fn port_is_held_from_the_first_packet_of_a_flow_on() {
    let mut world = World::new();
    let first = world.as_c1(Packet::tcp((C1, 4000), (REMOTE, 443), SYN));
    assert_eq!(world.container_sends(&first).verdict, tests::program::REDIRECT);
    let syn = unasked(&world, 4000, SYN);
    Expect::dropped(Reason::UnaskedSyn).of(&world.outside_sends(&syn));
    // And the flow itself is answered.
    let answer = world.as_outside(Packet::tcp((REMOTE, 443), (HOST, 4000), SYN | ACK));
    assert_eq!(world.outside_sends(&answer).verdict, tests::program::REDIRECT);
}

#[test]
fn live_flow_goes_on_holding_its_port() {
    let mut world = World::new();
    let flows = world.masqueraded(proto::TCP, kept(4100, 443), State::TcpEstablished);
    world.seed(flows.map(|(key, flow)| {
        (key, netdp_common::Flow { seen: tests::program::now_ticks().wrapping_sub(9), ..flow })
    }));
    Expect::untouched().of(&world.outside_sends(&unasked(&world, 4100, SYN)));
    let more = world.as_outside(Packet::tcp((REMOTE, 443), (HOST, 4100), ACK));
    assert_eq!(world.outside_sends(&more).verdict, tests::program::REDIRECT);
    Expect::dropped(Reason::UnaskedSyn).of(&world.outside_sends(&unasked(&world, 4100, SYN)));
}

#[test]
fn port_that_was_published_is_the_hosts_as_soon_as_it_is_withdrawn() {
    let mut world = World::new();
    let flows = world.published(proto::TCP, 5000, WEB, State::TcpEstablished);
    world.seed(flows.map(|(key, flow)| {
        (key, netdp_common::Flow { seen: tests::program::now_ticks().wrapping_sub(9), ..flow })
    }));
    let packets = [
        world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), ACK)),
        world.as_c1(Packet::tcp((C1, WEB.1), (REMOTE, 5000), ACK)),
    ];
    assert_eq!(world.outside_sends(&packets[0]).verdict, tests::program::REDIRECT);
    assert_eq!(world.container_sends(&packets[1]).verdict, tests::program::REDIRECT);
    world.withdraw(WEB.0, proto::TCP);
    for flags in [SYN, SYN | ACK, RST] {
        Expect::untouched().of(&world.outside_sends(&unasked(&world, WEB.0, flags)));
    }
}

#[test]
fn port_of_a_container_that_is_seen_by_its_own_address_is_not_the_hosts() {
    let mut world = World::with_flags(link_flags::ROUTED4 | link_flags::ROUTED6);
    let first = world.as_c1(Packet::tcp((C1, 4300), (REMOTE, 443), SYN));
    assert_eq!(world.container_sends(&first).verdict, tests::program::REDIRECT);
    let answer = world.as_outside(Packet::tcp((REMOTE, 443), (C1, 4300), SYN | ACK));
    assert_eq!(world.outside_sends(&answer).verdict, tests::program::REDIRECT);
    Expect::untouched().of(&world.outside_sends(&unasked(&world, 4300, SYN)));
}

#[test]
fn ports_of_nobody_and_of_the_host_and_other_segments_are_answered_at_once() {
    let mut world = World::new();
    Expect::untouched().of(&world.outside_sends(&unasked(&world, 4200, SYN)));
    world.machine.put_held(Port::new(4201), 100);
    for flags in [SYN | ACK, ACK, RST, FIN | ACK] {
        Expect::untouched().of(&world.outside_sends(&unasked(&world, 4201, flags)));
    }
    let listener = world.machine.ns().enter(|| TcpListener::bind((UNSPECIFIED, 4201)).unwrap());
    Expect::untouched().of(&world.outside_sends(&unasked(&world, 4201, SYN)));
    drop(listener);
    // A port that is published is the container's, whoever was seen by it before.
    world.machine.put_held(Port::new(WEB.0), 100);
    let outcome = world.outside_sends(&unasked(&world, WEB.0, SYN));
    assert_eq!(outcome.verdict, tests::program::REDIRECT);
}

#[test]
fn syn_without_a_whole_header_is_the_hosts() {
    let mut world = World::new();
    world.machine.put_held(Port::new(4202), 100);
    let mut frame = unasked(&world, 4202, SYN).with(|p| p.src = LOCALHOST).build();
    frame.truncate(frame.len() - 10);
    let outcome = world.machine.run(names::FROM_UPLINK, "up0", &frame);
    assert_eq!((outcome.verdict, &outcome.bytes), (tests::program::NEXT, &outcome.given));
}
