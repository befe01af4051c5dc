//! Addresses come back, whatever ends the command that took them.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::process::Service;
use tests::topology::{Bed, Host};

const ROUNDS: u32 = 30;

fn in_use(host: &Host) -> Value {
    host.json(&["network", "inspect", "blue"])[0]["Status"]["IPAM"]["Subnets"]["10.5.0.0/28"]["IPsInUse"]
        .clone()
}

/// How long something takes here and now.
fn time_of(job: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    job();
    begin.elapsed()
}

/// The subnet has room for 13: with one address lost in each round it would be full long before the end.
#[test]
fn attach_that_is_killed_at_any_moment_loses_no_address() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/28", "blue"]).done();
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    let attach = ["attach", "--netns", path, "--name", "c1", "--network", "blue"];
    let whole = time_of(|| host.netdp(&attach).done());
    host.netdp(&["detach", "c1"]).done();
    let (mut attached, mut not) = (0, 0);
    // A busy machine may take longer from here on: then later kills find one that is done.
    for round in (0..ROUNDS).chain([ROUNDS * 2, ROUNDS * 4, ROUNDS * 8]) {
        if round >= ROUNDS && attached > 0 {
            break;
        }
        let killed = Service::start(&mut host.command(&attach));
        thread::sleep(whole * round * 2 / ROUNDS);
        let _ = killed.kill();
        // The old state or the new one: known and detached, or not known at all.
        match host.netdp(&["detach", "c1"]).code {
            Some(0) => attached += 1,
            _ => not += 1,
        }
        assert_eq!(in_use(&host), 3, "after round {round}");
    }
    eprintln!("killed {} times: {attached} were attached, {not} were not", attached + not);
    assert!(attached > 0 && not > 0, "the kills were all too early or all too late");
    let c2 = bed.container(&host, "c2", &["--network", "blue"]);
    assert_eq!(c2.address.octets(), [10, 5, 0, 2], "the lowest address is free again");
    host.netdp(&["check", "--deep"]).ok().exits(0).done();
    host.netdp(&["detach", "c2"]).done();
    host.netdp(&["network", "rm", "blue"]).done();
}

/// The same in a macvlan network, where the interface is in the container alone.
#[test]
fn attach_to_a_lan_that_is_killed_leaves_no_interface() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let lan = ["-d", "macvlan", "-o", "parent=up0", "--subnet", "203.0.113.0/24", "lan"];
    host.netdp(&[&["network", "create"], &lan[..]].concat()).done();
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    let attach = ["attach", "--netns", path, "--name", "c1", "--network", "lan", "--ip", "203.0.113.99"];
    let whole = time_of(|| host.netdp(&attach).done());
    host.netdp(&["detach", "c1"]).done();
    for round in 0..ROUNDS / 2 {
        let killed = Service::start(&mut host.command(&attach));
        thread::sleep(whole * round * 4 / ROUNDS);
        let _ = killed.kill();
        host.netdp(&attach).done();
        assert!(
            ns.sh("ip -br address show dev eth0").ok().stdout.contains("203.0.113.99/24"),
            "round {round}"
        );
        host.netdp(&["detach", "c1"]).done();
        assert_eq!(ns.sh("ip -br link").ok().stdout.matches("eth").count(), 0, "round {round}");
    }
    host.netdp(&["check", "--deep"]).done();
}
