//! `netdp trace` on the command line; that it says what packets meet is shown by `system::reachability`.

use tests::topology::Bed;

#[test]
fn verdict_is_printed_with_its_rule_and_its_reason_and_a_drop_is_no_failure() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let web =
        bed.container(&host, "web", &["-p", "8080:80", "-p", "published=9090,target=90,from=10.0.0.0/8"]);
    let own = host.address.to_string();
    let published = host.netdp(&["trace", "outside", &own, "tcp:8080"]).ok().stdout;
    assert!(published.starts_with("LOOK-UP"), "{published}");
    assert!(published.contains(&format!("leads to {} port 80", web.address)), "{published}");
    assert!(
        published.contains("rule 5 (published)") && published.ends_with("verdict: pass\n"),
        "{published}"
    );
    let direct = host.netdp(&["trace", "outside", "web", "tcp:80"]).ok().stdout;
    assert!(direct.contains("rule 1 (direct_routing)"), "{direct}");
    assert!(direct.ends_with("verdict: drop, direct_routing (76)\n"), "{direct}");
    let shown = host.json(&["trace", "203.0.113.1", &own, "tcp:9090"]);
    assert_eq!((&shown["verdict"], &shown["reason"]["name"]), (&"drop".into(), &"source_denied".into()));
    let out = host.json(&["trace", "web", "outside"]);
    assert_eq!((&out["verdict"], &out["rule"]["name"]), (&"pass".into(), &"masquerade".into()));
    assert!(out["reason"].is_null() && out["protocol"] == 1, "{out}");
    let loopback = host.json(&["trace", "web", "127.0.0.1", "tcp:8080"]);
    assert_eq!(loopback["reason"]["name"], "loopback_from_container");
}

#[test]
fn who_or_what_is_not_known_is_told_and_changes_nothing() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.netdp(&["trace", "host", "outside"]).exits(1).says("netdp up").done_failing();
    host.up_once();
    let _web = bed.container(&host, "web", &[]);
    host.netdp(&["trace", "wep", "outside"]).exits(1).says("did you mean web").done_failing();
    for packet in ["tcp", "tcp:0", "gre:1", "tcp:99999"] {
        host.netdp(&["trace", "web", "outside", packet]).exits(2).says("tcp:PORT").done_failing();
    }
    host.netdp(&["trace", "web"]).exits(2).done_failing();
}
