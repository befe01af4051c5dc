//! `netdp defaults`, and the options of a network that have to do with masquerade.

use serde_json::{Value, json};
use tests::topology::{Bed, UPLINK};

/// The value of one default.
fn value(table: &Value, name: &str) -> Value {
    let found = table.as_array().unwrap().iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no default {name}: {table}"))["value"].clone()
}

#[test]
fn default_is_set_kept_over_down_and_reset() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let ls = || host.json(&["defaults", "ls"]);
    let first = json!([
        { "name": "udp-mapping", "value": "endpoint-independent", "default": "endpoint-independent" },
        {
            "name": "udp-filtering",
            "value": "address-and-port-dependent",
            "default": "address-and-port-dependent",
        },
    ]);
    assert_eq!(ls(), first, "also without a database");
    host.up_once();
    host.netdp(&["defaults", "set", "udp-filtering=endpoint-independent"]).done();
    host.down();
    assert_eq!(value(&ls(), "udp-filtering"), "endpoint-independent");
    assert_eq!(value(&ls(), "udp-mapping"), "endpoint-independent");
    host.netdp(&["defaults", "set", "udp-mapping=address-and-port-dependent"]).done();
    host.netdp(&["defaults", "reset", "udp-filtering"]).done();
    assert_eq!(value(&ls(), "udp-mapping"), "address-and-port-dependent");
    host.netdp(&["defaults", "reset"]).done();
    assert_eq!(ls(), first);
}

#[test]
fn default_that_is_not_there_or_cannot_be_is_refused_and_nothing_of_it_is_done() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    for (bad, said) in [
        ("udp-mapping=symmetric", "invalid value \"symmetric\" of udp-mapping"),
        ("colour=red", "there is no default \"colour\": there are udp-mapping, udp-filtering"),
    ] {
        let set = ["defaults", "set", "udp-filtering=endpoint-independent", bad];
        host.netdp(&set).exits(1).says(said).done_failing();
        assert_eq!(value(&host.json(&["defaults", "ls"]), "udp-filtering"), "address-and-port-dependent");
    }
    host.netdp(&["defaults", "reset", "colour"]).exits(1).says("no default").done_failing();
    host.netdp(&["defaults", "set"]).exits(2).done_failing();
}

#[test]
fn snat_ip_that_is_not_the_hosts_is_refused_by_name() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.9.0.0/24", "other"]).done();
    for address in ["203.0.113.77", "127.0.0.1", "10.9.0.1", "224.0.0.1"] {
        let create = ["network", "create", "-o", &format!("snat-ip={address}"), "known"];
        let said =
            format!("snat-ip {address} is no address of this host that the outside knows; it has 203.0.113.");
        host.netdp(&create).exits(1).says(&said).done_failing();
    }
    let of_docker = format!("com.docker.network.host_ipv4={}", host.address);
    for (option, said) in [
        (format!("snat-ip={}", host.address6), "add --ipv6"),
        ("masquerade-exclude=fd00::/8".to_owned(), "add --ipv6"),
        ("masquerade-exclude=10.0.0.1/8".to_owned(), "networks without host bits"),
        ("snat-ip=x".to_owned(), "invalid value \"x\" of snat-ip"),
    ] {
        host.netdp(&["network", "create", "-o", &option, "known"]).exits(1).says(said).done_failing();
    }
    let off = ["network", "create", "-o", "masquerade=false", "-o", &of_docker, "known"];
    host.netdp(&off).exits(1).says("nothing where masquerade is off").done_failing();
    host.netdp(&["network", "create", "-o", &of_docker, "known"]).done();
    let options = &host.json(&["network", "inspect", "known"])[0]["Options"];
    assert_eq!(options["com.docker.network.host_ipv4"], host.address.to_string());
    assert!(host.ns.out(&format!("ip address show {UPLINK}")).contains(&host.address.to_string()));
}
