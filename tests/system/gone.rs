//! A network namespace that ends without a word: its endpoint keeps the name, and what it had is free.

use std::time::Duration;

use serde_json::{Value, json};
use tests::process::eventually;
use tests::server::{Server, assert_refused, assert_served};
use tests::topology::{Bed, Host};

const OPTIONS: [&str; 6] = ["--network", "blue", "--ip", "10.51.0.9", "-p", "8080:80"];

fn blue(host: &Host) {
    host.netdp(&["network", "create", "--subnet", "10.51.0.0/24", "blue"]).done();
}

fn status(host: &Host, name: &str) -> Value {
    host.json(&["inspect", name])["State"]["Status"].clone()
}

#[test]
fn its_address_and_port_are_given_on_at_once_without_a_controller() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    blue(&host);
    let c1 = bed.container(&host, "c1", &OPTIONS);
    let taken = bed.namespace("c0");
    let attach = ["attach", "--netns", taken.path().to_str().unwrap(), "--name", "c0"];
    host.netdp(&[&attach, &OPTIONS[..]].concat()).exits(1).done_failing();
    drop(c1);
    let c2 = bed.container(&host, "c2", &OPTIONS);
    assert_eq!(c2.address.to_string(), "10.51.0.9");
    let server = Server::start(&c2.ns, 80);
    assert_eq!(tests::server::ask_tcp(&bed.outside.ns, (host.address, 8080)).unwrap().name, "c2");
    drop(server);
    assert_eq!(status(&host, "c1"), "gone");
    assert_eq!(host.json(&["inspect", "c1"])["NetworkSettings"]["Networks"], json!({}));
    // Under its name again, in another namespace.
    let ns = bed.namespace("c3");
    host.netdp(&["attach", "--netns", ns.path().to_str().unwrap(), "--name", "c1", "--network", "blue"])
        .done();
    assert_eq!(status(&host, "c1"), "running");
}

#[test]
fn the_controller_notices_and_sets_free_what_it_had() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _controller = host.up();
    blue(&host);
    let options = [&OPTIONS[..], &["-p", "8080:80/udp"]].concat();
    let c1 = bed.container(&host, "c1", &options);
    let server = Server::start(&c1.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    drop((server, c1));
    eventually("its address is free", Duration::from_mins(1), || {
        host.json(&["network", "inspect", "blue"])[0]["Containers"] == json!({})
    });
    assert_refused(&bed.outside.ns, (host.address, 8080));
    let shown = host.json(&["inspect", "c1"]);
    assert_eq!((&shown["State"]["Status"], &shown["NetworkSettings"]["Ports"]), (&json!("gone"), &json!({})));
    assert_eq!(host.json(&["ps"]), json!([]));
    assert_eq!(host.json(&["ps", "-a"])[0]["Name"], "c1");
    host.netdp(&["network", "rm", "blue"]).done();
}

#[test]
fn network_of_which_all_are_gone_can_be_removed_and_left() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    for network in ["blue", "red"] {
        host.netdp(&["network", "create", network]).done();
    }
    let c1 = bed.container(&host, "c1", &["--network", "blue"]);
    host.netdp(&["network", "connect", "red", "c1"]).done();
    drop(c1);
    eventually("it is gone", Duration::from_mins(1), || status(&host, "c1") == "gone");
    let disconnect = ["network", "disconnect", "red", "c1"];
    host.netdp(&disconnect).exits(1).says("is gone").done_failing();
    host.netdp(&[&disconnect[..2], &["-f"], &disconnect[2..]].concat()).done();
    host.netdp(&["network", "connect", "red", "c1"]).exits(1).says("is gone").done_failing();
    host.netdp(&["network", "rm", "blue"]).done();
    host.netdp(&["network", "prune", "-f"]).done();
    assert_eq!(host.netdp(&["network", "ls", "-q"]).ok().stdout.lines().count(), 3);
    host.netdp(&["detach", "c1"]).done();
}

/// The kernel takes their interfaces away while they are looked at.
#[test]
fn containers_that_end_while_all_is_looked_at_keep_nobody_waiting() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let stays = bed.container(&host, "stays", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&stays.ns, 80);
    let mut failed = Vec::new();
    for round in 0..6 {
        let names: Vec<String> = (0..6).map(|number| format!("c{round}-{number}")).collect();
        let containers: Vec<_> = names.iter().map(|name| bed.container(&host, name, &[])).collect();
        drop(containers);
        let ran = host.netdp(&["up", "--once"]);
        if ran.code != Some(0) {
            failed.push(ran.stderr.clone());
        }
        assert_served(&bed.outside.ns, (host.address, 8080), "stays");
        for name in &names {
            host.netdp(&["detach", name]).done();
        }
    }
    assert!(failed.is_empty(), "{} of 6 failed: {failed:#?}", failed.len());
}

/// What is published goes on nowhere, and the network is left all the same.
#[test]
fn it_leaves_one_of_its_networks_like_any_other() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    blue(&host);
    let c1 = bed.container(&host, "c1", &OPTIONS);
    host.netdp(&["network", "connect", "bridge", "c1"]).done();
    drop(c1);
    host.netdp(&["detach", "--network", "blue", "c1"]).done();
    assert_eq!(host.json(&["network", "inspect", "blue"])[0]["Containers"], json!({}));
    assert_refused(&bed.outside.ns, (host.address, 8080));
    host.netdp(&["detach", "c1"]).done();
    // What the kernel had of interfaces that it has removed by itself goes with the next look at all of them.
    host.up_once();
    host.netdp(&["check", "--deep"]).done();
}
