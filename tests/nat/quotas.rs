//! What one container may have of flows and ports, and what it is told at the limit (RFC 6888 REQ-4, 5 and 11, RFC 5508
//! REQ-8, S15).

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use netdp_common::Reason;
use tests::namespace::Namespace;
use tests::packet::{Packet, SYN, UDP};
use tests::process::{eventually, measured, patient, slowness};
use tests::processor::on_processor;
use tests::server::{Server, assert_served, bound};

use crate::lan::{Lan, PUBLISHED, REMOTES};
use crate::pressure::flood;
use crate::tcp::assert_carries;
use crate::wire::{REMOTE, Sender, Station};

#[test]
fn neighbour_begins_new_flows_although_a_container_has_opened_all_that_it_may() {
    let lan = Lan::new();
    let _servers = [Server::start(&lan.bed.outside.ns, 81), Server::start(&lan.c1.ns, 80)];
    flood(&lan, &lan.c2, Packet::udp);
    assert_served(&lan.c1.ns, (REMOTES[0], 81), "outside");
    assert_served(&lan.bed.outside.ns, (lan.host.address, PUBLISHED), "c1");
}

#[test]
fn neighbour_begins_new_flows_although_a_container_floods_with_syns() {
    let lan = Lan::new();
    let _servers = [Server::start(&lan.bed.outside.ns, 81), Server::start(&lan.c1.ns, 80)];
    flood(&lan, &lan.c2, |from, to| Packet::tcp(from, to, SYN));
    assert_served(&lan.c1.ns, (REMOTES[0], 81), "outside");
    assert_served(&lan.bed.outside.ns, (lan.host.address, PUBLISHED), "c1");
}

#[test]
fn flow_beyond_the_limit_is_answered_with_administratively_prohibited() {
    let lan = Lan::new();
    flood(&lan, &lan.c2, Packet::udp);
    let (c2, outside) = (Station::container(&lan, &lan.c2), Station::outside(&lan));
    let more = Packet::udp((lan.c2.address, 65_000), (REMOTE, 99)).with(|p| p.payload = b"one more".to_vec());
    // Answers are limited by rate, and the flood had its share of them.
    for _ in 0..20 {
        c2.send(&more);
        thread::sleep(Duration::from_millis(100));
    }
    let told = c2.awaits("the answer", |ip| ip.kind() == Some((3, 13)));
    assert_eq!((told.dst, told.inner().sport(), told.inner().dst), (lan.c2.address, 65_000, REMOTE));
    outside.refuses("it left all the same", |ip| ip.has(b"one more"));
}

#[test]
fn ports_of_one_container_are_limited() {
    let lan = Lan::new();
    let (sender, ear) = (Sender::container(&lan, &lan.c1), Sender::outside(&lan));
    let mut ports = BTreeSet::new();
    for port in 1024..=65_535_u16 {
        // Not a resolver, to whom one question makes room for the next after a while.
        sender.send(&sender.frame(&Packet::udp((lan.c1.address, port), (REMOTE, 5300))));
        if port % 1024 == 0 {
            let arrived =
                std::iter::from_fn(|| ear.next()).filter(|ip| ip.protocol == UDP && ip.dst == REMOTE);
            ports.extend(arrived.map(|ip| ip.sport()));
        }
    }
    assert!(ports.len() <= 32_768, "{} ports for one container", ports.len());
    // What is left serves the others.
    let other = Sender::container(&lan, &lan.c2);
    other.send(
        &other.frame(
            &Packet::udp((lan.c2.address, 5000), (REMOTE, 53)).with(|p| p.payload = b"other".to_vec()),
        ),
    );
    let mut has_left = false;
    eventually("its datagram leaves", Duration::from_secs(3), || {
        has_left |= ear.next().is_some_and(|ip| ip.has(b"other"));
        has_left
    });
}

/// Connections that are there before the flood.
const ESTABLISHED: u16 = 1000;
/// Flows of the flood; a tenth of them where the processor is emulated, which is several times what one may have.
fn flows() -> u32 {
    if slowness() > 1 { 100_000 } else { 1_000_000 }
}

/// Opens connections from a namespace to a server of the other end, and gives both ends.
fn connections(from: &Namespace, to: (&Namespace, Ipv4Addr, u16)) -> Vec<(TcpStream, TcpStream)> {
    let listener = bound(to.0, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, to.2)));
    let port = if to.2 == 80 { PUBLISHED } else { to.2 };
    let connect = |_| {
        let near = from.enter(|| TcpStream::connect((to.1, port))).unwrap();
        let far = listener.accept().unwrap().0;
        for end in [&near, &far] {
            end.set_read_timeout(Some(patient(Duration::from_secs(5)))).unwrap();
        }
        (near, far)
    };
    (0..ESTABLISHED).map(connect).collect()
}

/// The processor of who floods, with those that answer it, and that of the neighbour: what the one costs the other is then what
/// the datapath lets it, and not who gets the processor.
const FLOODED: usize = 0;
const NEIGHBOUR: usize = 1;

/// How many connections per second can be made and answered, and how many were not, until told to end or for a time.
fn rate(ns: &Namespace, to: SocketAddr, limit: Duration, end: &AtomicBool) -> (f64, u32) {
    let begin = Instant::now();
    let (mut made, mut failed) = (0_u32, 0_u32);
    let connect = || {
        while begin.elapsed() < limit && !end.load(Ordering::Relaxed) {
            match is_answered(to) {
                Ok(true) => made += 1,
                _ => failed += 1,
            }
        }
    };
    on_processor(NEIGHBOUR, || ns.enter(connect));
    (f64::from(made) / begin.elapsed().as_secs_f64(), failed)
}

fn is_answered(to: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(stream.read(&mut [0; 16])? > 0)
}

/// Answers each connection with a byte, and ends when the test does.
fn greet(ns: &Namespace, port: u16) {
    let listener = bound(ns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    on_processor(NEIGHBOUR, || {
        ns.spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.and_then(|mut stream| stream.write_all(b"x"));
            }
        })
    });
}

/// What the datapath dropped for this reason.
fn dropped(lan: &Lan, reason: Reason) -> u64 {
    let drops = lan.host.json(&["drops"]);
    let row = drops.as_array().unwrap().iter().find(|row| row["reason"] == reason.name()).cloned();
    row.map_or(0, |row| row["packets"].as_u64().unwrap())
}

/// Rounds in which the flood comes, beside as many of the same frames that meet nothing of netdp: short ones, of which a
/// few may fall together with something else.
const ROUNDS: u32 = 25;

/// Sends a part of the packets of a container that opens a million flows, and gives the neighbour's rate meanwhile: the first
/// ones are answered, and fill what the container may have; then come others, and then SYNs.
fn rate_beside(sender: &Sender, lan: &Lan, to: SocketAddr, part: Range<u32>) -> (f64, u32) {
    let (neighbour, address, all) = (&lan.c1.ns, lan.c2.address, flows());
    let frame = |n: u32| {
        let (from, beyond) = ((address, u16::try_from(1024 + n % 64_000).unwrap()), n / 64_000);
        let remote = (Ipv4Addr::from(u32::from(REMOTE) + beyond), 9);
        sender.frame(&match n {
            0..64_000 => Packet::udp(from, (REMOTES[0], 81)),
            _ if n < all / 5 * 3 => Packet::udp(from, remote),
            _ => Packet::tcp(from, remote, SYN),
        })
    };
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let prober = scope.spawn(|| rate(neighbour, to, Duration::from_mins(2), &end));
        on_processor(FLOODED, || part.for_each(|n| sender.send(&frame(n))));
        end.store(true, Ordering::Relaxed);
        prober.join().unwrap()
    })
}

/// A sender whose frames meet nothing of netdp: what another busy processor costs on any machine.
fn nowhere(lan: &Lan) -> Sender {
    lan.c2
        .ns
        .sh("ip link add to type veth peer name nowhere && ip link set to up && ip link set nowhere up")
        .done();
    Sender::new((&lan.c2.ns, "to"), [2; 6])
}

#[test]
fn neighbour_keeps_a_thousand_connections_and_its_pace_while_a_container_opens_a_million_flows() {
    let lan = Lan::alone();
    let server = |ns, port| on_processor(FLOODED, || Server::start(ns, port));
    let _servers = [server(&lan.bed.outside.ns, 81), server(&lan.host.ns, 82)];
    let established = connections(&lan.c1.ns, (&lan.bed.outside.ns, REMOTES[0], 7000));
    greet(&lan.bed.outside.ns, 7001);
    let to = SocketAddr::from((REMOTES[0], 7001));
    // What the other processor costs by being busy is printed, and is nobody's fault.
    let alone = rate(&lan.c1.ns, to, Duration::from_secs(3), &AtomicBool::new(false)).0;
    let (nowhere, flood) = (nowhere(&lan), Sender::container(&lan, &lan.c2));
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let part = flows() / ROUNDS * round..flows() / ROUNDS * (round + 1);
        let quiet = |part| rate_beside(&nowhere, &lan, to, part);
        let loud = |part| rate_beside(&flood, &lan, to, part);
        // The order alternates: what comes second may find another machine.
        let (undisturbed, flooded) = if round % 2 == 0 {
            let undisturbed = quiet(part.clone());
            (undisturbed, loud(part))
        } else {
            let flooded = loud(part.clone());
            (quiet(part), flooded)
        };
        assert_eq!((undisturbed.1, flooded.1), (0, 0), "new connections failed");
        println!(
            "{:.0} new connections per second beside a neighbour's flows, {:.0} without",
            flooded.0, undisturbed.0
        );
        ratios.push(flooded.0 / undisturbed.0);
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    measured(&format!(
        "beside {} flows of a neighbour: {median:.3} of the undisturbed rate, of {ratios:.3?}; {alone:.0} new connections \
         per second on a machine at rest",
        flows()
    ));
    // An emulated processor has no speed of its own, and its neighbours in the machine take of it what they want.
    assert!(median >= 0.95 || slowness() > 1, "{median:.3} of the undisturbed rate");
    assert!(dropped(&lan, Reason::Quota) > 0);
    for (near, far) in &established {
        assert_carries(near, far, b"there");
        assert_carries(far, near, b"and back");
    }
    assert_served(&lan.bed.outside.ns, (lan.host.address, 82), "h1");
}

#[test]
fn syn_flood_to_a_published_port_leaves_its_connections_and_lets_new_ones_in() {
    let lan = Lan::new();
    let established = connections(&lan.bed.outside.ns, (&lan.c1.ns, lan.host.address, 80));
    greet(&lan.c1.ns, 80);
    let (to, end) = (SocketAddr::from((lan.host.address, PUBLISHED)), AtomicBool::new(false));
    let quiet = rate(&lan.bed.outside.ns, to, Duration::from_secs(3), &end);
    let sender = Sender::outside(&lan);
    let begin = Instant::now();
    let (took, flooded) = thread::scope(|scope| {
        let prober = scope.spawn(|| rate(&lan.bed.outside.ns, to, Duration::from_mins(2), &end));
        for n in 0..flows() / 4 {
            let from =
                (Ipv4Addr::from(u32::from(REMOTE) + n / 50_000), u16::try_from(1024 + n % 50_000).unwrap());
            sender.send(&sender.frame(&Packet::tcp(from, (lan.host.address, PUBLISHED), SYN)));
        }
        let took = begin.elapsed();
        end.store(true, Ordering::Relaxed);
        (took, prober.join().unwrap())
    });
    measured(&format!(
        "{} SYNs to a published port in {took:?}: {:.0} new connections per second before, {:.0} meanwhile, {} failed",
        flows() / 4,
        quiet.0,
        flooded.0,
        flooded.1
    ));
    for (near, far) in &established {
        assert_carries(near, far, b"there");
        assert_carries(far, near, b"and back");
    }
    assert!(flooded.0 > 0.0, "nobody came in");
}
