//! A thousand containers on one host instance.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tests::process::measured;
use tests::server::{Server, ask_udp};
use tests::topology::{Bed, Container, Host, address_of};

const CONTAINERS: usize = 1000;

/// Echo requests from one container to all others are sent in rounds of this many per second: the kernel's
/// table of neighbours is one for all namespaces of the machine and holds 1024 that are not permanent.
const ROUND: usize = 50;

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Resident memory of a process in KiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Time that a process has had of the processors.
fn busy(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let ticks: Vec<u64> =
        behind_name.split_whitespace().skip(11).take(2).map(|word| word.parse().unwrap()).collect();
    Duration::from_millis(10 * (ticks[0] + ticks[1]))
}

/// Share of one processor that a process takes, in percent.
fn share(id: u32, time: Duration) -> f64 {
    let before = busy(id);
    std::thread::sleep(time);
    100.0 * busy(id).saturating_sub(before).as_secs_f64() / time.as_secs_f64()
}

fn ping(from: &Container, to: Ipv4Addr) {
    let ran = from.ns.sh(&format!("ping -n -q -c 1 -W 3 {to} && ip neigh flush all"));
    assert_eq!(ran.code, Some(0), "{} cannot reach {to}\n{ran}", from.ns.name());
}

/// Attaches one more and asks it to reach the first, the one before it, the outside, and to be reached by both.
fn attach(bed: &Bed, host: &Host, all: &mut Vec<Container>) -> Duration {
    let ns = bed.namespace(&format!("c{}", all.len()));
    let path = ns.path().to_str().unwrap();
    let begin = Instant::now();
    let attached = host.json(&["attach", "--netns", path, "--name", ns.name()]);
    let took = begin.elapsed();
    let address = address_of(&ns, "eth0");
    let new = Container { ns, address, address6: None, attached };
    ask_udp(&new.ns, 0, (bed.outside.address, 80))
        .unwrap_or_else(|e| panic!("{} to outside: {e}", new.ns.name()));
    for other in all.first().into_iter().chain(all.last()) {
        ping(&new, other.address);
        ping(other, new.address);
    }
    all.push(new);
    took
}

#[test]
fn thousand_containers_reach_one_another_and_the_outside() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let _server = Server::start(&bed.outside.ns, 80);
    let mut all = Vec::new();
    let (begin, idle) = (Instant::now(), busy(controller.id()));
    let mut times: Vec<Duration> = (0..CONTAINERS).map(|_| attach(&bed, &host, &mut all)).collect();
    let (first, last) = (times[..100].to_vec(), times[CONTAINERS - 100..].to_vec());
    times.sort();
    measured(&format!(
        "{CONTAINERS} attaches: p50 {:?}, p99 {:?}, mean of the first 100 {:?}, of the last 100 {:?}",
        percentile(&times, 50),
        percentile(&times, 99),
        first.iter().sum::<Duration>() / 100,
        last.iter().sum::<Duration>() / 100
    ));
    let following =
        100.0 * busy(controller.id()).saturating_sub(idle).as_secs_f64() / begin.elapsed().as_secs_f64();
    let (after, rest) =
        (share(controller.id(), Duration::from_secs(15)), share(controller.id(), Duration::from_secs(30)));
    measured(&format!(
        "controller: {} KiB resident, {following:.2} % of a processor during the attaches, {after:.2} % in the 15 s after \
         them, {rest:.2} % at rest",
        resident(controller.id())
    ));
    assert_matrix(&all);
    let listed = host.json(&["ps"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(CONTAINERS));
    let begin = Instant::now();
    host.netdp_within(&["down"], Duration::from_mins(2)).done();
    measured(&format!("down: {:?}", begin.elapsed()));
    let left = host.ns.out("ip -o link | grep -c ' nd' || true");
    assert_eq!(left.trim(), "0", "veths left");
}

/// Every container reaches the middle one and is reached by it, in rounds.
fn assert_matrix(all: &[Container]) {
    let middle = &all[all.len() / 2];
    for round in all.chunks(ROUND) {
        let begin = Instant::now();
        let others = round.iter().filter(|other| other.address != middle.address);
        for other in others {
            ping(other, middle.address);
            ping(middle, other.address);
        }
        std::thread::sleep(Duration::from_millis(500).saturating_sub(begin.elapsed()));
    }
}
