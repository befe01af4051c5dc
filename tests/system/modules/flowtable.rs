//! Beside a host that routes for others with a flowtable of nft on its uplink.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::module::needs;
use tests::namespace::Namespace;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Container, Host};

use super::{LONGEST, assert_transfer};

/// The host's own routing: what it forwards is counted until the flowtable has taken the connection over.
const RULES: &str = "
table ip own {
  counter walked { }
  flowtable fast { hook ingress priority 0; devices = { up0, side0 }; }
  chain across {
    type filter hook forward priority 0; policy accept;
    counter name walked
    ip protocol { tcp, udp } flow add @fast
  }
}
";

const SIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const PORTS: [&str; 6] = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "9000:90"];

/// A station that the host routes for.
fn side(bed: &Bed, host: &Host) -> Namespace {
    let ns = bed.namespace("side");
    let path = ns.path().display();
    host.ns
        .sh(&format!(
            "ip link add side0 type veth peer name eth0 netns {path} && ip link set side0 up && \
             ip address add 198.51.100.1/24 dev side0"
        ))
        .done();
    ns.sh(&format!(
        "ip address add {SIDE}/24 dev eth0 && ip link set eth0 up && ip route add default via 198.51.100.1"
    ))
    .done();
    bed.outside.ns.sh(&format!("ip route add 198.51.100.0/24 via {}", host.address)).done();
    ns
}

/// A routing host with its flowtable, before or after `netdp up`.
fn routing(bed: &Bed, rules_first: bool) -> (Host, Container, Namespace) {
    for module in ["nf_tables", "nf_flow_table_inet", "nft_flow_offload"] {
        needs(module);
    }
    let host = bed.host("h1");
    let side = side(bed, &host);
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    let rules = bed.file("own.nft");
    std::fs::write(&rules, RULES).unwrap();
    let load = || host.ns.sh(&format!("nft -f {}", rules.display())).done();
    if rules_first {
        load();
        host.up_once();
    } else {
        host.up_once();
        load();
    }
    let c1 = bed.container(&host, "c1", &PORTS);
    (host, c1, side)
}

/// Packets that have walked through the host's forward hook.
fn walked(host: &Host) -> u64 {
    let listed: Value = host.ns.sh("nft -j list counters table ip own").json();
    let entries = listed["nftables"].as_array().unwrap();
    entries.iter().find_map(|entry| entry["counter"]["packets"].as_u64()).unwrap()
}

fn assert_both_work(rules_first: bool) {
    let bed = Bed::new();
    let (host, c1, side) = routing(&bed, rules_first);
    let outside = &bed.outside;
    let _servers = [Server::start(&c1.ns, 80), Server::start(&outside.ns, 80)];
    let before = walked(&host);
    assert_transfer((&outside.ns, 90), &side, (outside.address, 90), LONGEST);
    assert_transfer((&side, 91), &outside.ns, (SIDE, 91), LONGEST);
    // A frame holds at most 64 KiB: without the flowtable it would be 32 for each of four ways, and as many answers.
    let slow = walked(&host) - before;
    assert!(slow > 0 && slow < 64, "{slow} packets were not taken by the flowtable");
    let before = walked(&host);
    assert_served(&c1.ns, (outside.address, 80), "outside");
    assert_served(&outside.ns, (host.address, 8080), "c1");
    assert_transfer((&outside.ns, 92), &c1.ns, (outside.address, 92), LONGEST);
    assert_transfer((&c1.ns, 90), &outside.ns, (host.address, 9000), LONGEST);
    assert_eq!(walked(&host), before, "a packet of netdp's was routed by the host");
}

#[test]
#[ignore = "runs in the VM: needs the module nft_flow_offload"]
fn flowtable_on_the_uplink_and_netdp_each_take_their_own() {
    assert_both_work(true);
}

#[test]
#[ignore = "runs in the VM: needs the module nft_flow_offload"]
fn flowtable_that_comes_after_netdp_takes_nothing_of_it() {
    assert_both_work(false);
}
