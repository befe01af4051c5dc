//! The datapath never needs the controller.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::process::{Service, eventually, measured};
use tests::server::{Requests, Server, ask_stream, assert_served, connect};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Container, Host};

const PORTS: [&str; 8] = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "5201:5201", "-p", "5201:5201/udp"];

/// Kills the controller and starts another one, this many times.
const ROUNDS: u32 = 10;

fn assert_attached_once(host: &Host) -> usize {
    let programs = host.attached_programs();
    let distinct: BTreeSet<_> = programs.iter().collect();
    assert!(!programs.is_empty());
    assert_eq!(distinct.len(), programs.len(), "a program is attached twice: {programs:?}");
    programs.len()
}

/// Kills the controller over and over while `during` runs traffic; every time the dead time is used.
fn kill_and_restart(bed: &Bed, host: &Host, clients: &Container) {
    let mut controller = host.up();
    let attached = assert_attached_once(host);
    for _ in 0..ROUNDS {
        controller.kill();
        assert_served(&bed.outside.ns, (host.address, 8080), "c1");
        assert_served(&clients.ns, (bed.outside.address, 80), "outside");
        assert_eq!(assert_attached_once(host), attached);
        thread::sleep(Duration::from_millis(200));
        controller = host.up();
        assert_eq!(assert_attached_once(host), attached);
    }
    let ended = controller.terminate(Duration::from_secs(5));
    assert_eq!(ended.code, Some(0), "SIGTERM ends the controller in order\n{ended}");
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

fn assert_uninterrupted(stream: Service, name: &str) {
    let ran = stream.wait(Duration::from_mins(1)).ok();
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let intervals = report["intervals"].as_array().unwrap();
    let stalled = intervals.iter().filter(|i| i["sum"]["bytes"].as_u64() == Some(0)).count();
    assert!(report["error"].is_null() && !intervals.is_empty(), "{name}: {}", report["error"]);
    assert_eq!(stalled, 0, "{name}: seconds without a byte, of {}", intervals.len());
}

#[test]
fn ten_crashes_under_load_lose_no_request_and_interrupt_no_stream() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let c2 = bed.container(&host, "c2", &[]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let _iperf = [
        Service::start(c1.ns.command("iperf3").args(["-s"])),
        Service::start(c1.ns.command("iperf3").args(["-s", "-p", "5202"])),
    ];
    eventually("iperf3 listens", Duration::from_secs(5), || {
        c1.ns.out("ss -Hltn").matches(":520").count() == 2
    });
    let client =
        |ns: &tests::namespace::Namespace, line: String| Service::start(ns.command("sh").args(["-c", &line]));
    let outside = client(&bed.outside.ns, format!("exec iperf3 -J -b 300M -t 15 -c {}", host.address));
    let inside = client(&c2.ns, format!("exec iperf3 -J -b 300M -t 15 -c {} -p 5202", c1.address));
    let requests = Requests::start(&bed.outside.ns, (host.address, 8080));
    let begin = Instant::now();
    kill_and_restart(&bed, &host, &c2);
    measured(&format!("{ROUNDS} crashes and restarts in {:?}", begin.elapsed()));
    let tally = requests.finish();
    measured(&format!("{} requests, slowest {:?}", tally.answered, tally.slowest));
    assert!(tally.failed.is_empty(), "{} failed: {:?}", tally.failed.len(), tally.failed.first());
    assert!(tally.answered > 1000, "{}", tally.answered);
    assert_uninterrupted(outside, "outside to published port");
    assert_uninterrupted(inside, "container to container");
}

#[test]
fn run_directory_left_by_a_killed_controller_is_taken_over() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _server = Server::start(&c1.ns, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    controller.kill();
    let listed = host.json(&["ps"]);
    assert!(listed.to_string().contains("c1"), "commands work without a controller: {listed}");
    let c2 = bed.container(&host, "c2", &[]);
    assert_served(&c2.ns, (c1.address, 80), "c1");
    let controller = host.up();
    ask_stream(&open).unwrap();
    controller.terminate(Duration::from_secs(5)).done();
    ask_stream(&open).unwrap();
}

#[test]
fn up_once_twice_changes_nothing_and_keeps_connections() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _server = Server::start(&c1.ns, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let before = Snapshot::of(&host);
    host.up_once();
    ask_stream(&open).unwrap();
    assert_attached_once(&host);
    before.assert_still(&host);
}
