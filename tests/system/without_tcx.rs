//! Kernels before 6.6: programs are attached by clsact, once, and leave nothing.

use tests::namespace::Namespace;
use tests::older_kernel::run_without_tcx;
use tests::process::Ran;
use tests::server::{Server, ask_stream, assert_served, connect};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host};

/// A qdisc and a filter of somebody else's, which looks at every packet and wants none of these.
const FOREIGN: &str = "tc qdisc add dev up0 clsact && \
    tc filter add dev up0 ingress pref 7 protocol ip u32 match ip protocol 253 0xff classid 1:7";

fn netdp(host: &Host, arguments: &[&str]) -> Ran {
    run_without_tcx(&mut host.command(arguments))
}

fn attach(host: &Host, ns: &Namespace) {
    let path = ns.path().to_str().unwrap();
    let ports = ["-p", "8080:80", "-p", "8080:80/udp"];
    netdp(host, &[&["attach", "--netns", path, "--name", ns.name()][..], &ports].concat()).done();
}

/// All ways of one container, in short.
fn assert_works(bed: &Bed, host: &Host, c1: &Namespace) {
    let _servers = [Server::start(c1, 80), Server::start(&bed.outside.ns, 80)];
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_served(&host.ns, ("127.0.0.1".parse().unwrap(), 8080), "c1");
    assert_served(c1, (bed.outside.address, 80), "outside");
    assert_served(c1, (host.address, 8080), "c1");
}

#[test]
fn every_way_works_by_clsact_and_down_leaves_no_difference() {
    let bed = Bed::new();
    let (host, c1) = (bed.host("h1"), bed.namespace("c1"));
    let before = Snapshot::of(&host);
    netdp(&host, &["up", "--once"]).done();
    attach(&host, &c1);
    let programs = host.attached_programs();
    assert!(
        !programs.is_empty() && programs.iter().all(|(_, kind, _)| kind.starts_with("clsact")),
        "{programs:?}"
    );
    assert_works(&bed, &host, &c1);
    netdp(&host, &["down"]).done();
    before.assert_still(&host);
}

#[test]
fn second_up_replaces_the_filters_and_interrupts_nothing() {
    let bed = Bed::new();
    let (host, c1) = (bed.host("h1"), bed.namespace("c1"));
    netdp(&host, &["up", "--once"]).done();
    attach(&host, &c1);
    let _server = Server::start(&c1, 80);
    let open = connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    ask_stream(&open).unwrap();
    let programs = host.attached_programs();
    netdp(&host, &["up", "--once"]).done();
    assert_eq!(host.attached_programs(), programs);
    ask_stream(&open).unwrap();
}

#[test]
fn qdisc_and_filter_of_somebody_else_stay() {
    let bed = Bed::new();
    let (host, c1) = (bed.host("h1"), bed.namespace("c1"));
    host.ns.sh(FOREIGN).done();
    let before = Snapshot::of(&host);
    netdp(&host, &["up", "--once"]).done();
    attach(&host, &c1);
    assert_works(&bed, &host, &c1);
    netdp(&host, &["down"]).done();
    before.assert_still(&host);
}

#[test]
fn qdisc_and_filter_of_somebody_else_stay_with_tcx_too() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh(FOREIGN).done();
    let before = Snapshot::of(&host);
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    assert_works(&bed, &host, &c1.ns);
    host.down();
    drop(c1);
    before.assert_still(&host);
}

#[test]
fn interfaces_that_went_away_are_forgotten() {
    let bed = Bed::new();
    let (host, c1, c2) = (bed.host("h1"), bed.namespace("c1"), bed.namespace("c2"));
    netdp(&host, &["up", "--once"]).done();
    attach(&host, &c1);
    let path = c2.path().to_str().unwrap();
    netdp(&host, &["attach", "--netns", path, "--name", "c2"]).done();
    // One end of a veth goes with its namespace, and the other end goes with it; the bridge goes by somebody's hand.
    drop(c2);
    host.ns.sh("ip link del netdp0").done();
    netdp(&host, &["up", "--once"]).done();
    assert_works(&bed, &host, &c1);
    netdp(&host, &["detach", "c2"]).done();
    assert_works(&bed, &host, &c1);
}
