//! `netdp timers`: how long flows live without a packet.

use serde_json::{Value, json};
use tests::topology::{Bed, Host};

/// One timer of the table.
fn timer(host: &Host, name: &str) -> Value {
    let table = host.json(&["timers", "ls"]);
    let found = table.as_array().unwrap().iter().find(|timer| timer["name"] == name);
    found.unwrap_or_else(|| panic!("no timer {name}: {table}")).clone()
}

#[test]
fn timer_is_set_told_by_status_kept_over_down_and_reset() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    assert_eq!(timer(&host, "established")["seconds"], 432_000);
    host.netdp(&["timers", "set", "established=7440", "replied=180"]).done();
    let expected = json!({
        "name": "established",
        "seconds": 7440,
        "default": 432_000,
        "floor": 7440,
        "floor_source": "RFC 5382, REQ-5",
        "when": "the handshake is complete",
    });
    assert_eq!(timer(&host, "established"), expected);
    assert_eq!(host.json(&["status"])["timers"], host.json(&["timers", "ls"]));
    assert!(host.netdp(&["status"]).ok().stdout.contains("RFC FLOOR"));
    host.down();
    assert_eq!(timer(&host, "replied")["seconds"], 180);
    host.up_once();
    host.netdp(&["timers", "reset", "established"]).done();
    assert_eq!(timer(&host, "established")["seconds"], 432_000);
    assert_eq!(timer(&host, "replied")["seconds"], 180);
    host.netdp(&["timers", "reset"]).done();
    assert_eq!(timer(&host, "replied")["seconds"], 300);
}

#[test]
fn nonsense_is_refused_by_name_and_nothing_of_it_is_done() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    for (value, said) in [
        ("established=7439", "timer established cannot be 7439 s: RFC 5382, REQ-5 asks for at least 7440 s"),
        ("nothing=5", "there is no timer \"nothing\""),
        ("icmp=x", "timer icmp cannot be \"x\""),
        ("icmp=0", "timer icmp cannot be \"0\""),
        ("icmp=-1", "timer icmp cannot be \"-1\""),
        ("icmp=4294967296", "timer icmp cannot be \"4294967296\""),
    ] {
        host.netdp(&["timers", "set", "replied=200", value]).exits(1).says(said).done_failing();
        assert_eq!(timer(&host, "replied")["seconds"], 300, "{value}");
    }
    host.netdp(&["timers", "set", "icmp=2", "--unsafe"]).exits(1).says("3 to").done_failing();
    host.netdp(&["timers", "set", "--unsafe", "established=60"]).done();
    assert_eq!(timer(&host, "established")["seconds"], 60);
}

#[test]
fn flow_ends_when_its_shortened_timer_does() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    let _server = tests::server::Server::start(&bed.outside.ns, 80);
    tests::server::ask_udp(&c1.ns, 0, (bed.outside.address, 80)).unwrap();
    let flows = || host.json(&["flows"]).as_array().map_or(0, Vec::len);
    assert_eq!(flows(), 1);
    host.netdp(&["timers", "set", "--unsafe", "replied=3", "unreplied=3"]).done();
    let limit = tests::process::patient(std::time::Duration::from_secs(8));
    tests::process::eventually("the flow has ended", limit, || flows() == 0);
}
