//! How long what is idle stays (RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-2).

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::packet::{Packet, UDP};

use crate::lan::Lan;
use crate::wire::{REMOTE, Station};

/// Seconds that must have passed before an idle state ends, by the name that `netdp status` prints.
const FLOORS: [(&str, u64); 9] = [
    ("established", 7440),
    ("fin_wait", 240),
    ("close_wait", 240),
    ("last_ack", 240),
    ("time_wait", 240),
    ("close", 240),
    ("unreplied", 120),
    ("replied", 300),
    ("icmp", 60),
];

fn sleep_until(begin: Instant, seconds: u64) {
    thread::sleep((begin + Duration::from_secs(seconds)).saturating_duration_since(Instant::now()));
}

#[test]
#[ignore = "runs with --table: is idle for 119 seconds"]
fn udp_mapping_that_was_idle_for_119_seconds_is_still_there() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let host = lan.host.address;
    let to = |port, text: &[u8]| Packet::udp((REMOTE, 53), (host, port)).with(|p| p.payload = text.to_vec());
    for port in [5000, 5001] {
        c1.send(&Packet::udp((lan.c1.address, port), (REMOTE, 53)));
        outside.awaits("the first packet", |ip| ip.protocol == UDP && ip.sport() == port);
    }
    outside.send(&to(5001, b"reply"));
    c1.awaits("the reply", |ip| ip.has(b"reply"));
    sleep_until(Instant::now(), 119);
    for port in [5000, 5001] {
        outside.send(&to(port, b"after 119 s"));
        c1.awaits("what came later", |ip| ip.has(b"after 119 s") && ip.dport() == port);
    }
}

#[test]
#[ignore = "runs with --table: is idle for 59 seconds"]
fn query_that_was_idle_for_59_seconds_is_still_answered() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    c1.send(&Packet::ping(lan.c1.address, REMOTE, 77));
    outside.awaits("the query", |ip| ip.kind() == Some((8, 0)));
    sleep_until(Instant::now(), 59);
    outside.send(&Packet::pong(REMOTE, lan.host.address, 77));
    c1.awaits("the answer", |ip| ip.kind() == Some((0, 0)) && ip.id() == 77);
}

/// The seconds of a timer in what `netdp status` prints, wherever it stands.
fn seconds_of(value: &Value, name: &str) -> Option<u64> {
    match value {
        Value::Object(map) => {
            let get =
                |wanted: &str| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, v)| v);
            let is_it = get("name").and_then(Value::as_str) == Some(name);
            let here = is_it.then(|| get("seconds").and_then(Value::as_u64)).flatten();
            here.or_else(|| map.values().find_map(|inner| seconds_of(inner, name)))
        }
        Value::Array(items) => items.iter().find_map(|item| seconds_of(item, name)),
        _ => None,
    }
}

#[test]
fn no_time_that_status_prints_is_shorter_than_the_documents_ask() {
    let lan = Lan::new();
    let status = lan.host.json(&["status"]);
    let found = FLOORS.map(|(name, floor)| (name, floor, seconds_of(&status, name)));
    let short: Vec<_> = found.iter().filter(|(_, floor, found)| found.is_none_or(|s| s < *floor)).collect();
    assert!(short.is_empty(), "(timer, floor, printed): {short:?}");
}

#[test]
fn time_that_is_set_is_the_time_after_which_an_idle_mapping_ends() {
    let lan = Lan::new();
    // A command that puts a time below its floor says so.
    lan.host.netdp(&["timers", "set", "icmp=5"]).done_failing();
    lan.host.netdp(&["timers", "set", "--unsafe", "icmp=5", "unreplied=5"]).done();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    c1.send(&Packet::ping(lan.c1.address, REMOTE, 77));
    c1.send(&Packet::udp((lan.c1.address, 5000), (REMOTE, 53)));
    outside.awaits("the query", |ip| ip.kind() == Some((8, 0)));
    outside.awaits("the datagram", |ip| ip.protocol == UDP && ip.dst == REMOTE);
    // Ticks of a second are rounded up, and the clock is a tick coarse.
    sleep_until(Instant::now(), 9);
    outside.send(&Packet::pong(REMOTE, lan.host.address, 77));
    outside.send(&Packet::udp((REMOTE, 53), (lan.host.address, 5000)));
    c1.refuses("of an ended mapping", |ip| ip.src == REMOTE);
}
