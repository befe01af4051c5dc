//! Packets of one flow, or of two that want one port, on two processors at once (R3, R4, R5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use tests::packet::{Packet, UDP};
use tests::process::patient;
use tests::server::Server;

use crate::lan::{Lan, PUBLISHED};
use crate::wire::{Ip, REMOTE, Sender};

/// Pairs of packets that are sent at once.
const PAIRS: u16 = 10_000;
/// The first port of them.
const FIRST: u16 = 20_000;

/// Sends each pair at one moment from two threads.
fn send_at_once(
    senders: [&Sender; 2],
    packet: impl Fn(usize, u16) -> Packet + Sync,
    ports: std::ops::Range<u16>,
) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        for (side, sender) in senders.into_iter().enumerate() {
            let (barrier, packet, ports) = (&barrier, &packet, ports.clone());
            scope.spawn(move || {
                for port in ports {
                    let frame = sender.frame(&packet(side, port));
                    barrier.wait();
                    sender.send(&frame);
                }
            });
        }
    });
}

/// Which side sent it, and from which inside port: the payload says so.
fn tag(ip: &Ip) -> Option<(u8, u16)> {
    let text = ip.body.get(8..).filter(|_| ip.protocol == UDP && ip.dst == REMOTE)?;
    let (side, port) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    Some((side.parse().ok()?, port.parse().ok()?))
}

fn tagged(from: Ipv4Addr, side: usize, port: u16) -> Packet {
    Packet::udp((from, port), (REMOTE, 5300)).with(|p| p.payload = format!("{side} {port}").into_bytes())
}

/// Outside port by side and inside port, of all that arrives until nothing more does.
fn outside_ports(outside: &Sender, wanted: usize) -> BTreeMap<(u8, u16), u16> {
    let mut seen = BTreeMap::new();
    let mut last = Instant::now();
    while seen.len() < wanted && last.elapsed() < patient(Duration::from_secs(1)) {
        if let Some(ip) = outside.next() {
            seen.extend(tag(&ip).map(|tag| (tag, ip.sport())));
            last = Instant::now();
        }
    }
    seen
}

#[test]
fn two_datagrams_of_one_tuple_at_once_both_arrive_from_one_port() {
    let lan = Lan::new();
    let senders = [Sender::container(&lan, &lan.c1), Sender::container(&lan, &lan.c1)];
    let outside = Sender::outside(&lan);
    let from = lan.c1.address;
    send_at_once([&senders[0], &senders[1]], |side, port| tagged(from, side, port), FIRST..FIRST + PAIRS);
    let seen = outside_ports(&outside, 2 * usize::from(PAIRS));
    assert_eq!(seen.len(), 2 * usize::from(PAIRS), "some are lost: {}", lan.host.json(&["status"]));
    let split: Vec<_> =
        (FIRST..FIRST + PAIRS).filter(|port| seen[&(0, *port)] != seen[&(1, *port)]).collect();
    assert!(split.is_empty(), "{} pairs left from two ports, such as {:?}", split.len(), split.first());
    assert_answers_arrive(&lan, &seen.values().copied().collect());
}

/// Answers to these outside ports all reach the container: no direction of a flow was lost.
fn assert_answers_arrive(lan: &Lan, ports: &BTreeSet<u16>) {
    let (outside, ear) = (Sender::outside(lan), Sender::container(lan, &lan.c1));
    for port in ports {
        outside.send(&outside.frame(&Packet::udp((REMOTE, 5300), (lan.host.address, *port))));
    }
    let mut answered = BTreeSet::new();
    let mut last = Instant::now();
    while answered.len() < ports.len() && last.elapsed() < patient(Duration::from_secs(1)) {
        if let Some(ip) = ear.next().filter(|ip| ip.src == REMOTE && ip.protocol == UDP) {
            answered.insert(ip.dport());
            last = Instant::now();
        }
    }
    assert_eq!(answered.len(), ports.len(), "some answers are lost");
}

#[test]
fn two_containers_that_begin_from_one_port_at_once_get_two() {
    let lan = Lan::new();
    let senders = [Sender::container(&lan, &lan.c1), Sender::container(&lan, &lan.c2)];
    let outside = Sender::outside(&lan);
    let from = [lan.c1.address, lan.c2.address];
    send_at_once(
        [&senders[0], &senders[1]],
        |side, port| tagged(from[side], side, port),
        FIRST..FIRST + PAIRS,
    );
    let seen = outside_ports(&outside, 2 * usize::from(PAIRS));
    assert_eq!(seen.len(), 2 * usize::from(PAIRS), "some are lost");
    let distinct: BTreeSet<u16> = seen.values().copied().collect();
    assert_eq!(distinct.len(), seen.len(), "some flows share a port");
}

#[test]
fn question_twice_at_once_and_its_answers_meet() {
    let lan = Lan::new();
    let _server = Server::start(&lan.c1.ns, 80);
    let senders = [Sender::outside(&lan), Sender::outside(&lan)];
    let ear = Sender::outside(&lan);
    let to = (lan.host.address, PUBLISHED);
    // Few at a time: more would not fit into the buffer of the server's socket.
    for first in (FIRST..FIRST + 2000).step_by(50) {
        let ports = first..first + 50;
        send_at_once([&senders[0], &senders[1]], |_, port| Packet::udp((REMOTE, port), to), ports.clone());
        let mut answers = BTreeMap::new();
        let deadline = Instant::now() + patient(Duration::from_secs(3));
        while answers.values().sum::<u32>() < 100 && Instant::now() < deadline {
            let answer = ear.next().filter(|ip| ip.dst == REMOTE && ip.protocol == UDP);
            if let Some(ip) = answer {
                assert_eq!((ip.src, ip.sport()), to);
                *answers.entry(ip.dport()).or_insert(0) += 1;
            }
        }
        assert_eq!(answers, ports.map(|port| (port, 2)).collect::<BTreeMap<_, _>>());
    }
}
