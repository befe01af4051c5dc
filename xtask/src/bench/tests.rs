//! Text of README.md made from a small results.json.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::readme::update;
use crate::workspace::Workspace;

const README: &str = "before\n<!-- results.json: written by cargo xtask bench --update-readme -->\nold\n\
                      <!-- end of results.json -->\nafter\n";
const WRITTEN: &str = "\
before
<!-- results.json: written by cargo xtask bench --update-readme -->

`cargo xtask bench --full --update-readme`, 2026-11-28, 15 rounds, 2 processors (a fast one), Linux 6.18.
Medians of the rounds, ratios with their 95 % confidence interval; a ratio above 1 is in netdp's favour: netdp / other, and \
other / netdp where lower is better.

```text
scenario                 family   kind                                    veth   uplink   docker   netdp       netdp vs veth   netdp vs uplink     netdp vs docker
container-to-container   IPv4     tcp-rr (k/s)                            69.9              51.2    65.0   0.94 [0.92, 0.95]                     1.27 [1.26, 1.29]
                                  tcp-stream (Gbit/s)                     20.0                      20.0   1.00 [0.90, 1.10]
container-to-outside     IPv6     latency-p50 (us, lower is better)                20.0             25.0                                  0.80
hairpin                  IPv6     udp-rate (ns/packet, lower is better)                     4000    3000                                         1.33 [1.25, 1.50]
```

netdp with or without something:

```text
scenario                 family   kind                  netdp-      median             vs veth   vs uplink           vs docker       netdp vs this
container-to-container   IPv4     tcp-stream (Gbit/s)   large-mtu     25.0   1.25 [1.20, 1.30]               1.40 [1.30, 1.50]   0.80 [0.79, 0.81]
```

- docker: dockerd 20.10
- left out: hairpin, udp-rr, docker: it answers by another address

<!-- end of results.json -->
after
";

fn estimate(median: f64, low: f64, high: f64) -> Value {
    json!({ "median": median, "low": low, "high": high })
}

fn row(scenario: &str, family: &str, kind: &str, unit: &str, arms: &Value) -> Value {
    let netdp_to = json!({ "netdp-large-mtu": estimate(0.8, 0.79, 0.81) });
    json!({
        "scenario": scenario, "family": family, "kind": kind, "unit": unit, "arms": arms, "netdp_to": netdp_to,
    })
}

fn cell(arm: &str, median: f64, of_veth: &Value, of_uplink: &Value, of_docker: &Value) -> Value {
    json!({ "arm": arm, "median": median, "of_veth": of_veth, "of_uplink": of_uplink, "of_docker": of_docker })
}

fn results() -> Value {
    let none = Value::Null;
    let other = |arm: &str, median: f64| cell(arm, median, &none, &none, &none);
    let stream = json!([
        other("veth", 20.0),
        cell("netdp", 20.0, &estimate(1.0, 0.9, 1.1), &none, &none),
        cell("netdp-large-mtu", 25.0, &estimate(1.25, 1.2, 1.3), &none, &estimate(1.4, 1.3, 1.5)),
    ]);
    let transactions = json!([
        other("veth", 69_900.0),
        other("docker", 51_200.0),
        other("bridge", 52_000.0),
        cell("netdp", 65_000.0, &estimate(0.94, 0.92, 0.95), &none, &estimate(1.27, 1.26, 1.29)),
    ]);
    let waits = json!([other("uplink", 20.0), cell("netdp", 25.0, &none, &estimate(0.8, 0.8, 0.8), &none),]);
    let small =
        json!([other("docker", 4000.0), cell("netdp", 3000.0, &none, &none, &estimate(1.33, 1.25, 1.5)),]);
    json!({
        "complete": true,
        "command": "cargo xtask bench --full --update-readme",
        "machine": {
            "processor": "a fast one", "processors": 2, "kernel": "6.18", "date": "2026-11-28T01:46+00:00",
        },
        "rounds": 15,
        "notes": [{ "what": "docker", "text": "dockerd 20.10" }],
        "left_out": [{ "what": "hairpin, udp-rr, docker", "text": "it answers by another address" }],
        "results": [
            row("container-to-container", "4", "tcp-rr", "1/s", &transactions),
            row("container-to-container", "4", "tcp-stream", "Gbit/s", &stream),
            row("container-to-outside", "6", "latency-p50", "us", &waits),
            row("hairpin", "6", "udp-rate", "ns/packet", &small),
        ],
    })
}

/// README.md after it was to be made from these results.
fn put(readme: &str, results: &Value) -> Result<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = (dir.path().join("README.md"), dir.path().join("results.json"));
    fs::write(&path, readme).unwrap();
    fs::write(&file, results.to_string()).unwrap();
    let updated = update(&path, &file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(updated.is_ok() || text == readme, "it was changed all the same: {text}");
    updated.map(|_| text)
}

#[test]
fn numbers_are_shown_with_all_that_they_came_of() {
    assert_eq!(put(README, &results()).unwrap(), WRITTEN);
}

#[test]
fn what_is_written_again_stays_the_same() {
    assert_eq!(put(WRITTEN, &results()).unwrap(), WRITTEN);
}

#[test]
fn run_that_lost_something_is_not_shown() {
    for (key, value) in [("complete", json!(false)), ("complete", Value::Null), ("command", Value::Null)] {
        let mut results = results();
        results[key] = value;
        assert!(put(README, &results).is_err(), "{key}");
    }
    let mut results = results();
    results["results"][0]["unit"] = json!("furlongs");
    assert!(put(README, &results).unwrap_err().contains("unknown unit"));
}

#[test]
fn readme_without_the_marks_is_left_alone() {
    for readme in ["", "before\nafter\n", &README.replace("<!-- end", "<!-- start")] {
        assert!(put(readme, &results()).unwrap_err().contains("lacks the lines"), "{readme}");
    }
}

#[test]
fn nothing_is_written_unless_all_of_it_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let (readme, file) = (dir.path().join("README.md"), dir.path().join("results.json"));
    let update_by = |results: &str, from: &Path| {
        fs::write(&readme, README).unwrap();
        fs::write(&file, results).unwrap();
        let updated = update(&readme, from);
        (updated, fs::read_to_string(&readme).unwrap())
    };
    let other = dir.path().join("other.json");
    for (results, from) in [("{", &file), ("{}", &file), ("{", &dir.path().to_owned()), ("{}", &other)] {
        let (updated, text) = update_by(results, from);
        assert!(updated.is_err(), "{results}");
        assert_eq!(text, README);
    }
    for from in [&file, &dir.path().to_owned()] {
        assert_eq!(update_by(&results().to_string(), from), (Ok(vec!["results.json"]), WRITTEN.to_owned()));
    }
}

#[test]
fn readme_of_the_project_has_the_marks() {
    let readme = fs::read_to_string(Workspace::find().unwrap().root.join("README.md")).unwrap();
    put(&readme, &results()).unwrap();
}
