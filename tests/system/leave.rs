//! `netdp down` leaves the host as `netdp up` found it.

use std::time::Duration;

use tests::namespace::Namespace;
use tests::server::{Server, assert_served};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host};

const OWN_SETTINGS: &str = "\
    nft add table inet own && \
    nft add chain inet own across '{ type filter hook forward priority 0; policy drop; }' && \
    nft add rule inet own across tcp dport 22 counter && \
    ip rule add pref 100 to 198.51.100.0/24 lookup 77 && \
    ip route add blackhole 198.51.100.0/24 table 77 && \
    tc qdisc add dev up0 root pfifo limit 999";

/// A host that has settings of its own, and two namespaces that will be containers.
fn furnished(bed: &Bed) -> (Host, [Namespace; 2]) {
    let host = bed.host("h1");
    host.ns.sh(OWN_SETTINGS).done();
    (host, [bed.namespace("c1"), bed.namespace("c2")])
}

fn attach(host: &Host, ns: &Namespace, options: &[&str]) {
    let path = ns.path().to_str().unwrap();
    host.netdp(&[&["attach", "--netns", path, "--name", ns.name()], options].concat()).done();
}

fn use_everything(host: &Host, bed: &Bed, containers: &[Namespace; 2]) {
    host.netdp(&["network", "create", "--subnet", "10.77.0.0/24", "other"]).done();
    attach(host, &containers[0], &["-p", "8080:80", "-p", "8080:80/udp"]);
    attach(host, &containers[1], &["--network", "other"]);
    let _servers = [Server::start(&containers[0], 80), Server::start(&bed.outside.ns, 80)];
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_served(&host.ns, ("127.0.0.1".parse().unwrap(), 8080), "c1");
    assert_served(&containers[1], (bed.outside.address, 80), "outside");
}

#[test]
fn down_leaves_no_difference_with_containers_attached_and_controller_running() {
    let bed = Bed::new();
    let (host, containers) = furnished(&bed);
    let before = Snapshot::of(&host);
    let controller = host.up();
    use_everything(&host, &bed, &containers);
    host.down();
    drop(controller);
    before.assert_still(&host);
    assert_eq!(containers[0].out("ip -o link | grep -v ' lo:' | wc -l").trim(), "0", "veth in the container");
    Server::start(&host.ns, 8080);
}

#[test]
fn down_leaves_no_difference_after_a_killed_controller() {
    let bed = Bed::new();
    let (host, containers) = furnished(&bed);
    let before = Snapshot::of(&host);
    let controller = host.up();
    use_everything(&host, &bed, &containers);
    controller.kill();
    host.down();
    before.assert_still(&host);
}

#[test]
fn down_ends_a_serving_controller_or_it_ends_later_without_bringing_the_datapath_back() {
    let bed = Bed::new();
    let (host, _containers) = furnished(&bed);
    let before = Snapshot::of(&host);
    let mut controller = host.up();
    host.down();
    std::thread::sleep(Duration::from_secs(6));
    let status = host.netdp(&["status"]);
    assert_ne!(status.code, Some(0), "the datapath is down\n{status}");
    before.assert_still(&host);
    if controller.ended().is_none() {
        controller.terminate(Duration::from_secs(5)).done();
    }
    before.assert_still(&host);
}

#[test]
fn database_survives_down_and_up_brings_all_back() {
    let bed = Bed::new();
    let (host, containers) = furnished(&bed);
    host.up_once();
    use_everything(&host, &bed, &containers);
    let (networks, endpoints) = (host.json(&["network", "ls"]), host.json(&["ps"]));
    host.down();
    host.netdp(&["down"]).done();
    host.up_once();
    assert_eq!(host.json(&["network", "ls"]), networks);
    assert_eq!(host.json(&["ps"]), endpoints);
    let _server = Server::start(&containers[0], 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

#[test]
fn purge_drops_the_database_too() {
    let bed = Bed::new();
    let (host, containers) = furnished(&bed);
    let before = Snapshot::of(&host);
    host.up_once();
    use_everything(&host, &bed, &containers);
    host.netdp(&["down", "--purge"]).done();
    before.assert_still(&host);
    assert!(!host.state_dir().join("netdp.db").exists());
    host.up_once();
    assert!(!host.json(&["ps"]).to_string().contains("c1"));
}

#[test]
fn detach_and_network_rm_take_away_what_attach_and_create_made() {
    let bed = Bed::new();
    let (host, containers) = furnished(&bed);
    host.up_once();
    let before = Snapshot::of(&host);
    use_everything(&host, &bed, &containers);
    host.netdp(&["detach", "c1"]).done();
    host.netdp(&["detach", "c2"]).done();
    host.netdp(&["network", "rm", "other"]).done();
    before.assert_still(&host);
}

#[test]
fn container_namespace_that_went_away_is_no_obstacle() {
    let bed = Bed::new();
    let (host, [c1, c2]) = furnished(&bed);
    let before = Snapshot::of(&host).without("mounts");
    host.up_once();
    attach(&host, &c1, &["-p", "8080:80"]);
    attach(&host, &c2, &[]);
    drop(c1);
    host.up_once();
    host.netdp(&["detach", "c1"]).done();
    drop(c2);
    host.down();
    before.assert_still(&host);
}
