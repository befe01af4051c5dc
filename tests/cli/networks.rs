//! `netdp network`: what it lists, tells and prunes.

use serde_json::Value;
use tests::topology::{Bed, Host};

fn names(host: &Host, filters: &[&str]) -> Vec<String> {
    let filters = filters.iter().flat_map(|filter| ["-f", filter]);
    let command: Vec<&str> = ["network", "ls"].into_iter().chain(filters).collect();
    let listed = host.json(&command);
    let names = listed.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap().to_owned());
    names.collect()
}

fn street() -> (Bed, Host) {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let create = |options: &[&str]| host.netdp(&[&["network", "create"], options].concat()).done();
    create(&["--label", "team=web", "--subnet", "10.1.0.0/24", "blue"]);
    create(&[
        "--label",
        "team=db",
        "--label",
        "keep",
        "--ip-range",
        "10.2.0.8/30",
        "--subnet",
        "10.2.0.0/24",
        "green",
    ]);
    (bed, host)
}

#[test]
fn filters_choose_as_dockers_do() {
    let (bed, host) = street();
    let _c1 = bed.container(&host, "c1", &["--network", "green"]);
    assert_eq!(names(&host, &[]), ["bridge", "host", "none", "blue", "green"]);
    assert_eq!(names(&host, &["type=custom"]), ["blue", "green"]);
    assert_eq!(names(&host, &["type=builtin"]), ["bridge", "host", "none"]);
    assert_eq!(names(&host, &["driver=bridge", "driver=null"]), ["bridge", "none", "blue", "green"]);
    assert_eq!(names(&host, &["label=team"]), ["blue", "green"]);
    assert_eq!(names(&host, &["label=team=db", "label=keep"]), ["green"]);
    assert_eq!(names(&host, &["dangling=true"]), ["blue"]);
    assert_eq!(names(&host, &["name=ree", "scope=local"]), ["green"]);
    assert_eq!(names(&host, &["scope=swarm"]), Vec::<String>::new());
    let quiet = host.netdp(&["network", "ls", "-q", "-f", "name=blue"]).ok().stdout;
    assert_eq!(quiet.trim().len(), 12, "{quiet}");
    for (filter, said) in
        [("colour=red", "driver="), ("type=red", "custom or builtin"), ("dangling=x", "true or false")]
    {
        host.netdp(&["network", "ls", "-f", filter]).exits(1).says(said).done_failing();
    }
}

#[test]
fn inspect_tells_how_many_addresses_are_left() {
    let (bed, host) = street();
    let _c1 = bed.container(&host, "c1", &["--network", "green"]);
    let inspected = host.json(&["network", "inspect", "blue", "green"]);
    let status = |number: usize, subnet: &str| -> Value {
        inspected[number]["Status"]["IPAM"]["Subnets"][subnet].clone()
    };
    assert_eq!(status(0, "10.1.0.0/24"), serde_json::json!({ "IPsInUse": 3, "DynamicIPsAvailable": 253 }));
    assert_eq!(status(1, "10.2.0.0/24"), serde_json::json!({ "IPsInUse": 4, "DynamicIPsAvailable": 3 }));
    assert_eq!(inspected[1]["IPAM"]["Config"][0]["IPRange"], "10.2.0.8/30");
}

#[test]
fn prune_takes_what_nobody_is_attached_to_and_the_filter_names() {
    let (bed, host) = street();
    let prune = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let command: Vec<&str> = ["network", "prune", "-f"].into_iter().chain(filters).collect();
        host.netdp(&command).ok().stdout
    };
    assert_eq!(prune(&["until=1h"]), "");
    assert_eq!(prune(&["label!=keep"]), "blue\n");
    let _c1 = bed.container(&host, "c1", &["--network", "green"]);
    assert_eq!(prune(&[]), "");
    host.netdp(&["network", "rm", "green"])
        .exits(1)
        .says("network green has active endpoints: c1")
        .done_failing();
    host.netdp(&["network", "prune", "-f", "--filter", "name=x"]).exits(1).says("until=").done_failing();
    host.netdp(&["detach", "c1"]).done();
    assert_eq!(prune(&["label=keep"]), "green\n");
    assert_eq!(names(&host, &["type=custom"]), Vec::<String>::new());
}
