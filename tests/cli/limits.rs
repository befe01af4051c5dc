//! `netdp limits`: what one container may have of the flow table.

use serde_json::{Value, json};
use tests::server::Server;
use tests::topology::{Bed, Host};

/// One limit of the table.
fn limit(host: &Host, name: &str) -> Value {
    let table = host.json(&["limits", "ls"]);
    let found = table.as_array().unwrap().iter().find(|limit| limit["name"] == name);
    found.unwrap_or_else(|| panic!("no limit {name}: {table}")).clone()
}

#[test]
fn limit_is_set_told_by_status_kept_over_down_and_reset() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    assert_eq!(limit(&host, "flows")["value"], 32_768);
    host.netdp(&["limits", "set", "flows=100", "half-open=50"]).done();
    let expected = json!({
        "name": "half-open",
        "value": 50,
        "default": 16384,
        "least": 16,
        "most": 65_536,
        "of": "of its flows those that are not answered yet; one more evicts the oldest",
    });
    assert_eq!(limit(&host, "half-open"), expected);
    assert_eq!(host.json(&["status"])["limits"], host.json(&["limits", "ls"]));
    assert!(host.netdp(&["status"]).ok().stdout.contains("OF WHAT"));
    host.down();
    assert_eq!(limit(&host, "flows")["value"], 100);
    host.up_once();
    host.netdp(&["limits", "reset", "flows"]).done();
    assert_eq!(limit(&host, "flows")["value"], 32_768);
    assert_eq!(limit(&host, "half-open")["value"], 50);
    host.netdp(&["limits", "reset"]).done();
    assert_eq!(limit(&host, "half-open")["value"], 16384);
}

#[test]
fn nonsense_is_refused_by_name_and_nothing_of_it_is_done() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    for (value, said) in [
        ("nothing=5", "there is no limit \"nothing\": there are flows, ports, half-open, reserve, table"),
        ("ports=x", "limit ports cannot be \"x\": it takes 16 to 65536"),
        ("ports=15", "limit ports cannot be \"15\""),
        ("ports=65537", "limit ports cannot be \"65537\""),
        ("half-open=-1", "limit half-open cannot be \"-1\""),
        ("table=4294967296", "limit table cannot be \"4294967296\""),
    ] {
        host.netdp(&["limits", "set", "flows=200", value]).exits(1).says(said).done_failing();
        assert_eq!(limit(&host, "flows")["value"], 32_768, "{value}");
    }
    host.netdp(&["limits", "set", "reserve=0"]).done();
    assert_eq!(limit(&host, "reserve")["value"], 0);
}

#[test]
fn limit_that_is_set_holds_at_once_and_what_ends_is_given_back() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _serving = host.up();
    let c1 = bed.container(&host, "c1", &[]);
    let _server = Server::start(&bed.outside.ns, 80);
    host.netdp(&["limits", "set", "flows=16"]).done();
    let ask = |port| tests::server::ask_udp(&c1.ns, port, (bed.outside.address, 80)).is_ok();
    let begun = (4000..4018).filter(|port| ask(*port)).count();
    assert_eq!(begun, 16, "as many as it may have");
    let refused = || {
        let drops = host.json(&["drops"]);
        drops.as_array().unwrap().iter().find(|it| it["reason"] == "quota").map(|it| it["packets"].clone())
    };
    assert!(refused().is_some_and(|packets| packets.as_u64() >= Some(2)), "{:?}", refused());
    host.netdp(&["timers", "set", "--unsafe", "replied=3", "unreplied=3"]).done();
    let limit = tests::process::patient(std::time::Duration::from_secs(12));
    tests::process::eventually("there is room again", limit, || ask(4100));
    host.netdp(&["limits", "reset"]).done();
    assert!((4200..4224).all(ask));
}

#[test]
fn size_of_the_table_holds_from_the_next_time_on() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["limits", "set", "table=2048"]).done();
    // It keeps the flows that it has.
    host.netdp(&["up", "--once"]).ok().says("keeps its 262144 entries").done();
    host.down();
    host.netdp(&["up", "--once"]).done();
    host.netdp(&["limits", "set", "table=4096"]).done();
    host.netdp(&["up", "--once"]).ok().says("keeps its 4096 entries").done();
}
