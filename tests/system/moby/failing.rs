//! What fails leaves nothing behind, after moby's `bridge_test.go`.

use tests::server::{Server, assert_served};
use tests::topology::Bed;

use super::host_on;

#[test]
fn join_error() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let ns = bed.namespace("c1");
    ns.sh("ip link add eth0 type veth peer name eth9").done();
    let path = ns.path().to_str().unwrap();
    let links = host.ns.out("ip -br link");
    let line =
        ["attach", "--netns", path, "--name", "c1", "--ifname", "eth0", "-p", "8080:80", "-p", "8080:80/udp"];
    let _ = host.netdp(&line).exits(1);
    assert_eq!(host.ns.out("ip -br link"), links);
    assert_eq!(host.json(&["ps", "-a"]).as_array().unwrap().len(), 0);
    // Port and address are free for the next.
    let c2 = bed.container(&host, "c2", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&c2.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c2");
}

#[test]
fn network_create_error_no_bridge() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let links = host.ns.out("ip -br link");
    for options in [
        ["--subnet", "203.0.113.0/25"],
        ["--gateway", "10.9.9.9"],
        ["-o", "bridge-name=this-name-is-too-long"],
    ] {
        let line = [&["network", "create"], &options[..], &["broken"]].concat();
        let ran = host.netdp(&line);
        assert_ne!(ran.code, Some(0), "{ran}");
        assert_eq!(host.ns.out("ip -br link"), links, "{options:?}");
        let _ = host.netdp(&["network", "inspect", "broken"]).exits(1);
    }
}

#[test]
fn network_init_error_user_defined() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "--subnet", "10.44.0.0/24", "-o", "bridge-name=br-mine", "mine"])
        .done();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let c2 = bed.container(&host, "c2", &["--network", "mine", "-p", "8081:80", "-p", "8081:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c2.ns, 80)];
    host.down();
    // Its place was taken meanwhile.
    host.ns.sh("ip link add br-mine type veth peer name not-mine").done();
    let ran = host.netdp(&["up", "--once"]).ok();
    assert!(ran.stderr.contains("network mine waits") && ran.stderr.contains("br-mine"), "{ran}");
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.ns.sh("ip link delete br-mine").done();
    host.up_once();
    for (port, name) in [(8080, "c1"), (8081, "c2")] {
        assert_served(&bed.outside.ns, (host.address, port), name);
    }
}
