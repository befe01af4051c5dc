//! Flows: what one of a million costs.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use tests::capture::RawSocket;
use tests::namespace::Namespace;
use tests::packet::{Mac, Packet};
use tests::processor::on_processor;
use tests::topology::{Bed, Container, Host, OUTSIDE};

use super::effort::Effort;
use super::figure::{Row, Sweep};
use super::resource;
use super::turn::{go_on, in_turn};
use super::way::Way;
use crate::ending::Ending;
use crate::server::Servers;

/// What a table has room for unless told otherwise.
const USUAL_TABLE: u32 = 131_072;
/// Room for what is measured, and for the share of a larger table that is kept for published ports.
const ROOM: u32 = 150_000;
/// Ports that the other flows begin at, and of these each as many as are needed to different ports outside.
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;
const FIRST_OUTSIDE: u32 = 9000;
/// Questions that are under way at once: fewer than a socket has room for.
const BATCH: u32 = 128;
/// How long an answerer waits for a question that is lost.
const PATIENCE: Duration = Duration::from_millis(200);
/// Percent of the flows that there must be.
const THERE: u64 = 99;

/// A host, the container whose one flow is measured, and another whose flows fill the table.
struct Table {
    host: Host,
    client: Container,
    _crowd: Container,
}

/// One host for each number of flows.
pub(super) fn sweep(effort: &Effort) -> Result<Sweep, Ending> {
    let bed = Bed::new();
    let mut tables = Vec::new();
    for flows in effort.flows {
        eprintln!("filling the table with {flows}");
        tables.push(fill(&bed, *flows)?);
    }
    let _servers = Servers::start(&bed.outside.ns, &[]);
    let ways: Vec<Way> = tables.iter().map(outward).collect();
    eprintln!("traffic");
    let (rounds, sizes, length) = (effort.rounds, ways.len(), effort.length);
    let rr = in_turn(rounds, sizes, |at| ways[at].rr(length))?;
    let crr = in_turn(rounds, sizes, |at| ways[at].crr(length))?;
    ways.iter().try_for_each(Way::prove)?;
    for (table, flows) in tables.iter().zip(effort.flows) {
        check(&table.host, *flows)?;
    }
    Ok(Sweep {
        of: "flows",
        sizes: effort.flows.to_vec(),
        rows: vec![
            Row::new("container to outside, one transaction", "us", rr),
            Row::new("container to outside, one connection", "us", crr),
            Row::new(
                "memory of maps",
                "MiB",
                tables.iter().map(|table| vec![resource::maps(&table.host)]).collect(),
            ),
        ],
        notes: vec![format!(
            "The other flows are UDP and answered; a table that is to hold more than {USUAL_TABLE} is set larger."
        )],
    })
}

fn outward(table: &Table) -> Way<'_> {
    Way::new(&table.client.ns, OUTSIDE, &table.host, &["masqueraded", "reply"])
}

/// Builds a host with so many flows.
fn fill(bed: &Bed, flows: u32) -> Result<Table, Ending> {
    let host = bed.unwatched_host(&format!("f{flows}"));
    host.up_once();
    // Nothing of it is to expire, nor to be refused, before it is measured.
    host.netdp(&["timers", "set", "replied=86400"]).done();
    host.netdp(&["limits", "set", "flows=16777216", "ports=65536", "half-open=65536"]).done();
    if flows + ROOM / 10 > USUAL_TABLE {
        host.netdp(&["limits", "set", &format!("table={}", flows + ROOM)]).done();
        host.down();
        host.up_once();
    }
    let crowd = bed.container(&host, &format!("f{flows}-crowd"), &[]);
    let client = bed.container(&host, &format!("f{flows}-client"), &[]);
    // It opens more connections than there are ports.
    client.ns.set_sysctl("net/ipv4/tcp_tw_reuse", "1");
    // Its own stack knows nothing of these flows and would tell the outside so.
    crowd.ns.sh("ip route add blackhole 203.0.113.0/24").done();
    // One that is measured is there too.
    let others = flows - 1;
    let outside = &bed.outside.ns;
    on_processor(0, || ask_and_answer(outside, (&host, &crowd), others))?;
    Ok(Table { host, client, _crowd: crowd })
}

/// Begins so many flows, and has them answered.
fn ask_and_answer(
    outside: &Namespace,
    (host, crowd): (&Host, &Container),
    others: u32,
) -> Result<(), Ending> {
    let (mac, next) = (mac_of(&crowd.ns, "eth0"), mac_of(&host.ns, "netdp0"));
    let asker = RawSocket::open(&crowd.ns, "eth0", &[]);
    for first in (0..others).step_by(PORTS as usize) {
        let port = u16::try_from(FIRST_OUTSIDE + first / PORTS).map_err(|_| failed("too many flows"))?;
        let answerer = answerer(outside, port).map_err(|error| failed(&error.to_string()))?;
        let here = PORTS.min(others - first);
        for batch in (0..here).step_by(BATCH as usize) {
            go_on()?;
            let asked = BATCH.min(here - batch);
            for number in batch..batch + asked {
                asker.send(&question((crowd.address, FIRST_PORT + number), port, (mac, next)));
            }
            answer(&answerer, asked).map_err(|error| failed(&format!("flow {}: {error}", first + batch)))?;
        }
    }
    Ok(())
}

fn failed(why: &str) -> Ending {
    Ending::Failed(format!("the table was not filled: {why}"))
}

fn question((from, port): (Ipv4Addr, u32), to: u16, (mac, next): (Mac, Mac)) -> Vec<u8> {
    let port = u16::try_from(port).unwrap();
    Packet::udp((from, port), (OUTSIDE, to)).link(mac, next).build()
}

fn answerer(ns: &Namespace, port: u16) -> io::Result<UdpSocket> {
    let socket = ns.enter(|| UdpSocket::bind((OUTSIDE, port)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Answers so many, or those that came.
fn answer(socket: &UdpSocket, asked: u32) -> io::Result<()> {
    let mut question = [0; 64];
    for _ in 0..asked {
        match socket.recv_from(&mut question) {
            Ok((length, from)) => socket.send_to(&question[..length], from).map(drop)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fails unless the table has what it is said to have.
fn check(host: &Host, flows: u32) -> Result<(), Ending> {
    let there = host.json(&["status"])["flows"].as_u64().unwrap_or_default();
    if there < u64::from(flows) * THERE / 100 {
        return Err(failed(&format!("of {flows} flows {there} are there")));
    }
    Ok(())
}

fn mac_of(ns: &Namespace, interface: &str) -> Mac {
    let shown: Value = ns.sh(&format!("ip -j link show dev {interface}")).json();
    let text = shown[0]["address"].as_str().unwrap();
    let bytes: Vec<u8> = text.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}
