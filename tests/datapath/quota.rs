//! What one container may have of the flow table: the limit, the rings of half-open flows, the reserve, and the counts.

use std::thread;
use std::time::Duration;

use netdp_common::quota::{Kind, Limit};
use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Payer, Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Packet, SYN};
use tests::program::{FLOW_CAPACITY, Machine, NEXT, Outcome, REDIRECT};

use crate::fixture::ipv4::PROHIBITED;
use crate::fixture::{C1, C2, DNS, GATEWAY, HOST, REMOTE, WEB, World, error, expired, kept};

/// Source port of the first flow.
const FIRST: u16 = 20_000;

fn payer(world: &World, kind: Kind) -> Payer {
    Payer { ifindex: world.machine.ifindex("c1"), kind }
}

/// What `C1` has of flows that it began, of flows to its ports, and of ports; and what all have.
fn used(world: &World) -> [i64; 4] {
    let of = |kind| world.machine.used(payer(world, kind));
    [of(Kind::BEGINS), of(Kind::SERVES), of(Kind::PORTS), world.machine.used(Payer::ALL)]
}

/// `C1` sends the first packet of a flow.
fn begins(world: &mut World, n: u16) -> Outcome {
    let packet = world.as_c1(Packet::udp((C1, FIRST + n), (REMOTE, 53)));
    world.container_sends(&packet)
}

/// Somebody outside sends the first packet of a flow to the published port of `C1`.
fn asks(world: &mut World, n: u16) -> Outcome {
    let packet = world.as_outside(Packet::udp((REMOTE, FIRST + n), (HOST, DNS.0)));
    world.outside_sends(&packet)
}

fn connects(world: &mut World, n: u16) -> Outcome {
    let packet = world.as_outside(Packet::tcp((REMOTE, FIRST + n), (HOST, WEB.0), SYN));
    world.outside_sends(&packet)
}

/// Whether a packet went on its way; an answer to one that does not is redirected, too.
fn is_begun(outcome: &Outcome) -> bool {
    let is_way =
        |slot: &u32| [Reason::Masqueraded, Reason::Published].iter().any(|way| way.number() == *slot);
    outcome.verdict == REDIRECT
        && outcome.change.counts.len() == 1
        && outcome.change.counts.keys().all(is_way)
}

/// Until the programs may sweep once more: they do at most once in 4 ms.
fn after_the_last_sweep() {
    thread::sleep(Duration::from_millis(20));
}

/// Whether a packet was dropped for want of room, whether or not that is told.
fn is_refused(outcome: &Outcome) -> bool {
    let counts = &outcome.change.counts;
    !counts.is_empty() && counts.keys().all(|slot| Reason::from_number(*slot).is_some_and(Reason::is_limit))
}

/// Whether the flow that `C1` began so is there.
fn is_there(machine: &Machine, port: u16) -> bool {
    machine.flows().keys().any(|key| key.sport.get() == port)
}

#[test]
fn flow_beyond_the_limit_is_refused_and_those_that_are_there_go_on() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Flows, 16);
    for n in 0..16 {
        assert!(is_begun(&begins(&mut world, n)), "{n}");
    }
    assert_eq!(used(&world), [16, 0, 16, 16]);
    let packet = world.as_c1(Packet::udp((C1, FIRST + 16), (REMOTE, 53)));
    Expect::redirected(Reason::Quota)
        .packet(error(&packet, GATEWAY, PROHIBITED))
        .swept_or_just_before()
        .of(&world.container_sends(&packet));
    assert!(is_begun(&begins(&mut world, 3)), "it goes on");
    assert_eq!(used(&world), [16, 0, 16, 16]);
}

#[test]
fn neighbour_and_published_ports_have_limits_of_their_own() {
    let mut world = World::new();
    let (begun, served) = (payer(&world, Kind::BEGINS), payer(&world, Kind::SERVES));
    world.machine.put_used(begun, 32_768);
    assert!(is_refused(&begins(&mut world, 0)));
    assert!(is_begun(&asks(&mut world, 0)));
    let neighbour = Packet::udp((C2, FIRST), (REMOTE, 53)).link(crate::fixture::mac(C2), world.bridge_mac());
    assert_eq!(world.machine.run(names::FROM_CONTAINER, "c2", &neighbour.build()).verdict, REDIRECT);
    world.machine.put_used(served, 32_768);
    let packet = world.as_outside(Packet::udp((REMOTE, FIRST + 1), (HOST, DNS.0)));
    Expect::dropped(Reason::Quota).swept_or_just_before().of(&world.outside_sends(&packet));
}

#[test]
fn port_beyond_the_limit_is_refused_and_more_flows_from_one_that_it_has_are_not() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Ports, 16);
    for n in 0..16 {
        assert!(is_begun(&begins(&mut world, n)), "{n}");
    }
    let packet = world.as_c1(Packet::udp((C1, FIRST + 16), (REMOTE, 53)));
    Expect::redirected(Reason::Quota)
        .packet(error(&packet, GATEWAY, PROHIBITED))
        .swept_or_just_before()
        .of(&world.container_sends(&packet));
    let another = world.as_c1(Packet::udp((C1, FIRST), (REMOTE, 54)));
    assert_eq!(world.container_sends(&another).verdict, REDIRECT);
    let tcp = world.as_c1(Packet::tcp((C1, FIRST + 16), (REMOTE, 443), SYN));
    assert_eq!(world.container_sends(&tcp).verdict, REDIRECT, "a connection needs no port of its own");
    assert_eq!(used(&world), [18, 0, 16, 18]);
}

#[test]
fn ports_by_which_a_container_meets_itself_are_limited_too() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Ports, 16);
    assert!(is_begun(&begins(&mut world, 0)));
    let meets = |world: &mut World, n: u16| {
        let packet = world.as_c1(Packet::udp((C1, FIRST + n), (HOST, FIRST)));
        world.container_sends(&packet)
    };
    // Nobody lets it in, and each takes a port all the same, in case its endpoint answers.
    for n in 1..40 {
        meets(&mut world, n);
    }
    assert_eq!(used(&world)[2], 16);
    assert!(is_refused(&meets(&mut world, 40)));
    assert_eq!(used(&world)[2], 16, "what is refused has no port");
}

#[test]
fn half_open_flow_beyond_the_limit_takes_the_place_of_the_oldest() {
    let mut world = World::new();
    world.machine.put_limit(Limit::HalfOpen, 8);
    for n in 0..8 {
        assert!(is_begun(&begins(&mut world, n)));
    }
    for n in 8..12 {
        assert!(is_begun(&begins(&mut world, n)), "{n}");
        assert!(!is_there(&world.machine, FIRST + n - 8) && is_there(&world.machine, FIRST + n - 7));
    }
    assert_eq!(world.machine.flows().len(), 16, "both entries of each");
    assert_eq!(used(&world)[0], 8);
}

#[test]
fn flow_that_was_answered_is_evicted_by_no_flood() {
    let mut world = World::new();
    world.machine.put_limit(Limit::HalfOpen, 8);
    begins(&mut world, 0);
    let answer = world.as_outside(Packet::udp((REMOTE, 53), (HOST, FIRST)));
    assert_eq!(world.outside_sends(&answer).verdict, REDIRECT);
    for n in 1..25 {
        assert!(is_begun(&begins(&mut world, n)), "{n}");
    }
    assert!(is_there(&world.machine, FIRST));
    assert_eq!(world.machine.flows().len(), 18, "eight that are half-open, and the one");
    assert_eq!(world.outside_sends(&answer).verdict, REDIRECT);
}

#[test]
fn flood_of_syns_to_a_published_port_evicts_no_connection_and_none_of_another_payer() {
    let mut world = World::new();
    world.machine.put_limit(Limit::HalfOpen, 8);
    let client = FIRST + 1000;
    let [there, back] = world.published(proto::TCP, client, WEB, State::TcpEstablished);
    world.seed([there, back]);
    begins(&mut world, 500);
    for n in 0..24 {
        assert!(is_begun(&connects(&mut world, n)), "{n}");
    }
    assert_eq!(used(&world)[..2], [1, 8]);
    assert!(is_there(&world.machine, FIRST + 500), "what the container began is in a ring of its own");
    let data = world.as_outside(Packet::tcp((REMOTE, client), (HOST, WEB.0), ACK));
    assert_eq!(world.outside_sends(&data).verdict, REDIRECT);
    assert!(world.machine.flows().contains_key(&there.0) && world.machine.flows().contains_key(&back.0));
}

#[test]
fn connection_stays_half_open_until_its_handshake_is_complete() {
    for completes in [false, true] {
        let mut world = World::new();
        world.machine.put_limit(Limit::HalfOpen, 8);
        connects(&mut world, 0);
        let answer = Packet::tcp((C1, WEB.1), (REMOTE, FIRST), SYN | ACK)
            .with(|p| p.set_numbers(0x5000_0000, 0x1000_0001, 0));
        let answer = world.as_c1(answer);
        assert_eq!(world.container_sends(&answer).verdict, REDIRECT);
        if completes {
            let last = Packet::tcp((REMOTE, FIRST), (HOST, WEB.0), ACK)
                .with(|p| p.set_numbers(0x1000_0001, 0x5000_0001, 0));
            let last = world.as_outside(last);
            assert_eq!(world.outside_sends(&last).verdict, REDIRECT);
        }
        for n in 1..24 {
            connects(&mut world, n);
        }
        assert_eq!(is_there(&world.machine, FIRST), completes);
    }
}

#[test]
fn flows_to_published_ports_begin_where_those_of_containers_are_refused() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Reserve, 8);
    world.machine.put_used(Payer::ALL, u64::from(FLOW_CAPACITY) - 9);
    assert!(is_begun(&begins(&mut world, 0)));
    let packet = world.as_c1(Packet::udp((C1, FIRST + 1), (REMOTE, 53)));
    Expect::redirected(Reason::FlowTableReserved)
        .packet(error(&packet, GATEWAY, PROHIBITED))
        .swept_or_just_before()
        .of(&world.container_sends(&packet));
    assert!(is_begun(&asks(&mut world, 0)) && is_begun(&connects(&mut world, 1)));
    assert_eq!(used(&world), [1, 2, 1, i64::from(FLOW_CAPACITY) - 6]);
}

#[test]
fn container_at_its_limit_is_given_room_by_its_flows_that_have_ended() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Flows, 16);
    for n in 0..16 {
        begins(&mut world, n);
    }
    let ended: Vec<(FlowKey, Flow)> = world
        .machine
        .flows()
        .into_iter()
        .filter(|(key, flow)| {
            [key.sport, key.dport].iter().any(|p| p.get() < FIRST + 5 && p.get() >= FIRST) && flow.packets < 9
        })
        .collect();
    assert_eq!(ended.len(), 10);
    for (key, flow) in ended {
        world.machine.put_flow(key, expired(flow));
    }
    after_the_last_sweep();
    assert!(is_begun(&begins(&mut world, 16)));
    assert_eq!(used(&world)[0], 12, "five have ended, and one has begun");
}

#[test]
fn what_the_controller_deletes_is_given_back_before_anybody_is_refused() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Flows, 16);
    for n in 0..16 {
        begins(&mut world, n);
    }
    let [there, back] = world.masqueraded(proto::UDP, kept(FIRST, 53), State::UdpUnreplied);
    world.machine.forget_flow(there.0);
    world.machine.forget_flow(back.0);
    let payer = payer(&world, Kind::BEGINS);
    world.machine.release(payer, 1);
    after_the_last_sweep();
    assert!(is_begun(&begins(&mut world, 16)));
    assert!(is_refused(&begins(&mut world, 17)));
    assert_eq!((used(&world)[0], used(&world)[3]), (16, 16));
}

#[test]
fn flow_that_is_not_begun_costs_nothing() {
    let mut world = World::new();
    world.machine.put_limit(Limit::Flows, 16);
    // Malformed; of no protocol that begins so; and without a route.
    let cut = world.as_c1(Packet::udp((C1, FIRST), (REMOTE, 53)));
    let bytes = cut.build();
    for length in 34..bytes.len() {
        world.machine.judge(names::FROM_CONTAINER, "c1", &bytes[..length]);
    }
    let late = world.as_c1(Packet::tcp((C1, FIRST), (REMOTE, 443), SYN | ACK));
    Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&late));
    let elsewhere = world.as_outside(Packet::udp((REMOTE, 53), (HOST, 9)));
    assert_eq!(world.outside_sends(&elsewhere).verdict, NEXT);
    assert_eq!(used(&world), [0; 4]);
    // Nor one for which no port is found: what it was charged for is given back.
    let entries: Vec<_> = (0..u16::try_from(FLOW_CAPACITY).unwrap())
        .map(|n| world.masqueraded(proto::UDP, kept(30_000 + n, 53), State::UdpReplied))
        .collect();
    for both in entries {
        world.seed(both);
    }
    assert!(is_refused(&begins(&mut world, 0)));
    assert_eq!(used(&world), [0, 0, 1, 0], "the outside port stays its own for as long as any");
}

#[test]
fn counts_are_those_of_the_flows_that_are_there_whatever_happens() {
    let mut world = World::new();
    world.machine.put_limit(Limit::HalfOpen, 4);
    let mut random = 0x2545_f491_u32;
    for _ in 0..400 {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let n = u16::try_from(random >> 8 & 15).unwrap();
        let outcome = match random % 6 {
            0 | 1 => begins(&mut world, n),
            2 => asks(&mut world, n),
            3 => connects(&mut world, n),
            4 => {
                let answer = world.as_outside(Packet::udp((REMOTE, 53), (HOST, FIRST + n)));
                world.outside_sends(&answer)
            }
            _ => {
                let flow = world.machine.flows().into_iter().nth(usize::from(n));
                if let Some((key, flow)) = flow {
                    let twin = flow.twin_key(&key);
                    let other = world.machine.flows().get(&twin).copied();
                    world.machine.put_flow(key, expired(flow));
                    if let Some(other) = other {
                        world.machine.put_flow(twin, expired(other));
                    }
                }
                begins(&mut world, n)
            }
        };
        assert_ne!(outcome.verdict, 0);
        let replies: Vec<Flow> = world.machine.flows().into_values().filter(Flow::is_reply).collect();
        let count = |kind| {
            let of = |flow: &&Flow| Payer::of(flow) == payer(&world, kind);
            i64::try_from(replies.iter().filter(of).count()).unwrap()
        };
        let there = [count(Kind::BEGINS), count(Kind::SERVES), i64::try_from(replies.len()).unwrap()];
        let [begun, served, _, all] = used(&world);
        assert_eq!([begun, served, all], there);
    }
}
