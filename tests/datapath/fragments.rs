//! Fragments: on their way to where they are put in order, back from there, and behind the first of their datagram.

use netdp_common::fragments::{LIMIT_CONTAINER, LIMIT_UPLINK, macs};
use netdp_common::timers::State;
use netdp_common::{Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries};
use tests::program::Outcome;

use super::stations::{ANOTHER_REMOTE, C1, C2, GATEWAY, HOST, Packet, REMOTE, World};
use crate::fixture::{ROUTER_MAC, counted, kept, mac};

/// Eight bytes, three times.
const TEXT: &[u8] = b"fragmentfragmentfragment";

fn first(from: (super::stations::Ip, u16), to: (super::stations::Ip, u16)) -> Packet {
    Packet::udp(from, to)
        .with(|p| (p.more_fragments, p.dont_fragment, p.payload) = (true, false, TEXT.into()))
}

/// The last fragment of the datagram.
fn last(from: super::stations::Ip, to: super::stations::Ip) -> Packet {
    Packet::new(from, to, Carries::Other(proto::UDP))
        .with(|p| (p.fragment_offset, p.dont_fragment, p.payload) = (4, false, TEXT.into()))
}

/// The frame as it goes to the sorter.
fn handed_over(packet: &Packet, ifindex: u32) -> Vec<u8> {
    let [to, from] = macs(ifindex);
    packet.clone().link(from.0, to.0).build()
}

#[test]
fn fragment_of_a_container_is_handed_over_with_the_number_of_its_interface() {
    let mut world = World::new();
    world.machine.put_sorter("up0");
    let c1 = world.machine.ifindex("c1");
    for packet in [first((C1, 4000), (REMOTE, 53)), last(C1, REMOTE), last(C1, GATEWAY), last(C1, HOST)] {
        let packet = world.as_c1(packet);
        let outcome = world.container_sends(&packet);
        Expect::redirected(Reason::Sorted).packet(handed_over(&packet, c1)).of(&outcome);
    }
    assert!(world.machine.pending("c1") > 0 && world.machine.pending("up0") == 0);
}

#[test]
fn fragment_of_a_container_that_may_not_send_it_is_refused_before() {
    let mut world = World::new();
    world.machine.put_sorter("up0");
    let forged = world.as_c1(last(C2, REMOTE));
    Expect::dropped(Reason::SpoofedIp).of(&world.container_sends(&forged));
    let expired = world.as_c1(last(C1, REMOTE).with(|p| p.ttl = 1));
    Expect::dropped(Reason::TtlExceeded).of(&world.container_sends(&expired));
    let to_host = world.as_c1(last(C1, GATEWAY).with(|p| p.ttl = 1));
    Expect::slow_path().of(&world.container_sends(&to_host));
    let local = last(C1, C2).link(mac(C1), mac(C2));
    Expect::redirected(Reason::Local).of(&world.container_sends(&local));
    assert_eq!(world.machine.pending("c1"), 0);
}

#[test]
fn container_with_too_many_incomplete_datagrams_waits_and_reaches_the_host() {
    let mut world = World::new();
    world.machine.put_sorter("up0");
    world.machine.put_pending("c1", LIMIT_CONTAINER);
    let outside = world.as_c1(last(C1, REMOTE));
    Expect::dropped(Reason::FragmentLimit).of(&world.container_sends(&outside));
    let host = world.as_c1(last(C1, GATEWAY));
    Expect::slow_path().of(&world.container_sends(&host));
    world.machine.put_pending("c1", LIMIT_CONTAINER - 2000);
    Expect::redirected(Reason::Sorted)
        .packet(handed_over(&outside, world.machine.ifindex("c1")))
        .of(&world.container_sends(&outside));
}

#[test]
fn fragment_from_outside_for_the_host_is_handed_over() {
    let mut world = World::new();
    world.machine.put_sorter("c1");
    let up0 = world.machine.ifindex("up0");
    for packet in [first((REMOTE, 5000), (HOST, 53)), last(REMOTE, HOST)] {
        let packet = world.as_outside(packet);
        let outcome = world.outside_sends(&packet);
        Expect::redirected(Reason::Sorted).packet(handed_over(&packet, up0)).of(&outcome);
    }
}

#[test]
fn fragment_from_outside_that_is_nobodys_or_too_much_is_as_without() {
    let mut world = World::new();
    world.machine.put_sorter("c1");
    let forged = world.as_outside(last(C1, HOST));
    Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&forged));
    let inside = world.as_outside(last(REMOTE, C1));
    Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&inside));
    for packet in [last(REMOTE, ANOTHER_REMOTE), last(REMOTE, HOST).with(|p| p.ttl = 1)] {
        Expect::untouched().of(&world.outside_sends(&world.as_outside(packet)));
    }
    world.machine.put_pending("up0", LIMIT_UPLINK);
    Expect::untouched().of(&world.outside_sends(&world.as_outside(last(REMOTE, HOST))));
}

/// The frame comes back from the sorter.
fn comes_back(world: &mut World, packet: &Packet, ifindex: u32) -> Outcome {
    let [_, from] = macs(ifindex);
    let frame = packet.clone().link(from.0, [2, 0, 0, 0, 0, 9]).with(|p| p.ttl -= 1).build();
    world.machine.run(names::FROM_FRAGMENTS, "c2", &frame)
}

#[test]
fn what_comes_back_goes_where_it_came_from_with_its_time_to_live() {
    let mut world = World::new();
    world.machine.put_pending("c1", 10_000);
    let c1 = world.machine.ifindex("c1");
    for packet in [first((C1, 4000), (REMOTE, 53)), last(C1, REMOTE), last(C1, REMOTE).with(|p| p.ttl = 255)]
    {
        let packet = world.as_c1(packet);
        let outcome = comes_back(&mut world, &packet, c1);
        Expect::resumed().packet(packet.build()).of(&outcome);
    }
    assert!(world.machine.pending("c1") < 10_000);
    let up0 = world.machine.ifindex("up0");
    let [_, from] = macs(up0);
    let packet = last(REMOTE, HOST).link(from.0, [2, 0, 0, 0, 0, 9]);
    let outcome = comes_back(&mut world, &packet, up0);
    Expect::resumed().packet(packet.build()).of(&outcome);
}

#[test]
fn what_comes_back_from_nowhere_goes_nowhere() {
    let mut world = World::new();
    let nobody = 4_000_000;
    let outcome = comes_back(&mut world, &last(C1, REMOTE), nobody);
    Expect::dropped(Reason::Fragment).of(&outcome);
    let of_the_sorter = comes_back(&mut world, &last(C1, REMOTE), 0);
    Expect::untouched().of(&of_the_sorter);
    let c1 = world.machine.ifindex("c1");
    let lies = last(C1, REMOTE).with(|p| p.lies.total_length = Some(9999));
    Expect::dropped(Reason::Malformed).of(&comes_back(&mut world, &lies, c1));
}

fn leaving(packet: Packet) -> Packet {
    packet.link([2, 0, 0, 0, 0, 2], ROUTER_MAC)
}

#[test]
fn fragments_that_the_stack_has_cut_follow_the_first() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([there, back]);
    let late = leaving(last(C1, REMOTE));
    Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&late));
    let packet = leaving(first((C1, 40_000), (REMOTE, 53)));
    let outcome = world.uplink_sends(&packet);
    let sent = packet.clone().with(|p| p.src = HOST).build();
    Expect::passed(Reason::Masqueraded).packet(sent).flow(there.0, counted(there.1, &packet)).of(&outcome);
    let sent = late.clone().with(|p| p.src = HOST).build();
    Expect::passed(Reason::Masqueraded).packet(sent).of(&world.uplink_sends(&late));
    let another = leaving(last(C1, ANOTHER_REMOTE));
    Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&another));
}

#[test]
fn first_fragment_without_its_header_is_refused_and_so_are_those_behind_it() {
    let mut world = World::new();
    world.seed(world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished));
    let whole = Packet::tcp((C1, 40_000), (REMOTE, 443), ACK).with(|p| p.dont_fragment = false).build();
    let header = whole.len() - 20;
    for length in [8, 16] {
        let tiny = Packet::new(C1, REMOTE, Carries::Other(proto::TCP)).with(|p| {
            (p.more_fragments, p.dont_fragment) = (true, false);
            p.payload = whole[header..header + length].to_vec();
        });
        Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&leaving(tiny)));
        let rest = last(C1, REMOTE).with(|p| p.carries = Carries::Other(proto::TCP));
        Expect::dropped(Reason::Unmasqueraded).of(&world.uplink_sends(&leaving(rest)));
    }
}
