//! Ways that the programs keep for a moment: what the routing table says is followed, also when it says something else.

use std::thread::sleep;
use std::time::Duration;

use netdp_common::timers::State;
use netdp_common::{Reason, proto};
use tests::packet::ACK;
use tests::program::{NEXT, Outcome, REDIRECT};

use super::stations::{ANOTHER_REMOTE, C1, Packet, REMOTE, World};
use crate::fixture::kept;

/// Two interrupts of the slowest clock that a kernel has (`CONFIG_HZ=100`).
const MOMENT: Duration = Duration::from_millis(20);
/// Packets of which some follow another within the same interrupt of the clock.
const STREAM: usize = 50;
/// MACs of the routers, which are known: only a way with a neighbour is kept.
const ROUTERS: &str = "ip neigh replace 203.0.113.1 lladdr 02:00:00:00:00:99 dev up0 nud permanent && \
     ip neigh replace 2001:db8:10::1 lladdr 02:00:00:00:00:99 dev up0 nud permanent";

fn world() -> World {
    let mut world = World::new();
    world.machine.ns().sh(ROUTERS).done();
    for remote in [443, 444] {
        let flow = world.masqueraded(proto::TCP, kept(40_000, remote), State::TcpEstablished);
        world.seed(flow);
    }
    world
}

fn packet(world: &World, to: u16, payload: usize) -> Packet {
    let packet = Packet::tcp((C1, 40_000), (REMOTE, to), ACK).with(|p| p.payload = vec![7; payload]);
    world.as_c1(packet)
}

fn stream(world: &mut World, packet: &Packet) -> Vec<Outcome> {
    (0..STREAM).map(|_| world.container_sends(packet)).collect()
}

fn verdicts(outcomes: &[Outcome]) -> Vec<i32> {
    let mut verdicts: Vec<i32> = outcomes.iter().map(|outcome| outcome.verdict).collect();
    verdicts.dedup();
    verdicts
}

fn ip(world: &World, words: &str) {
    let family = if std::net::IpAddr::from(REMOTE).is_ipv6() { "-6 " } else { "" };
    world.machine.ns().sh(&format!("ip {family}{words}")).done();
}

#[test]
fn way_that_is_kept_ends_with_the_route() {
    let mut world = world();
    let packet = packet(&world, 443, 64);
    assert_eq!(verdicts(&stream(&mut world, &packet)), [REDIRECT]);
    ip(&world, &format!("route add unreachable {REMOTE}"));
    sleep(MOMENT);
    assert_eq!(verdicts(&stream(&mut world, &packet)), [NEXT], "the stack answers");
    ip(&world, &format!("route del unreachable {REMOTE}"));
    sleep(MOMENT);
    assert_eq!(verdicts(&stream(&mut world, &packet)), [REDIRECT]);
}

#[test]
fn rule_that_takes_a_way_away_is_followed() {
    let mut world = world();
    let packet = packet(&world, 443, 64);
    assert_eq!(verdicts(&stream(&mut world, &packet)), [REDIRECT]);
    ip(&world, &format!("rule add from {C1} prohibit"));
    sleep(MOMENT);
    assert_eq!(verdicts(&stream(&mut world, &packet)), [NEXT]);
}

#[test]
fn packet_that_does_not_fit_a_kept_way_is_answered() {
    let mut world = world();
    let (small, large) = (packet(&world, 443, 64), packet(&world, 444, 1400));
    ip(&world, "link set up0 mtu 1400");
    sleep(MOMENT);
    for _ in 0..STREAM {
        assert_eq!(world.container_sends(&small).verdict, REDIRECT);
        let counted: Vec<u32> = world.container_sends(&large).change.counts.into_keys().collect();
        assert_eq!(counted, [Reason::Answered.number()], "too big");
    }
}

#[test]
fn way_to_one_destination_is_not_that_to_another() {
    let mut world = world();
    ip(&world, &format!("route add unreachable {ANOTHER_REMOTE}"));
    let other = world.as_c1(Packet::tcp((C1, 40_000), (ANOTHER_REMOTE, 443), ACK));
    let packet = packet(&world, 443, 64);
    for _ in 0..STREAM {
        assert_eq!(world.container_sends(&packet).verdict, REDIRECT);
        assert_eq!(world.container_sends(&other).verdict, NEXT);
    }
}
