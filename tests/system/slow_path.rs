//! What the kernel answers, because the fast path hands it over: expired TTL, a packet too big, ARP, broadcast.

use tests::server::{Server, assert_served};
use tests::topology::{Bed, Container, Host, UPLINK};

fn host_and_two(bed: &Bed) -> (Host, Container, Container) {
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let c2 = bed.container(&host, "c2", &[]);
    (host, c1, c2)
}

#[test]
fn expired_ttl_is_answered_by_the_gateway() {
    let bed = Bed::new();
    let (_host, c1, _c2) = host_and_two(&bed);
    let ran = c1.ns.sh(&format!("ping -n -c 1 -t 1 -W 2 {}", bed.outside.address));
    let answer = format!("From {}", crate::ways::gateway(&c1));
    assert!(ran.stdout.contains(&answer) && ran.stdout.contains("Time to live exceeded"), "{ran}");
}

#[test]
fn packet_too_big_for_the_uplink_is_answered_with_its_mtu() {
    let bed = Bed::new();
    let (host, c1, _c2) = host_and_two(&bed);
    host.ns.sh(&format!("ip link set {UPLINK} mtu 1300")).done();
    bed.outside.ns.sh("ip link set h1 mtu 1300").done();
    let ran = c1.ns.sh(&format!("ping -n -c 2 -i 0.2 -M do -s 1400 -W 2 {}", bed.outside.address));
    assert!(ran.stdout.to_lowercase().contains("mtu") && ran.stdout.contains("1300"), "{ran}");
    c1.ns.sh(&format!("ping -n -c 2 -i 0.2 -M do -s 1200 -W 2 {}", bed.outside.address)).done();
}

#[test]
fn tcp_finds_a_smaller_path_mtu_in_both_directions() {
    let bed = Bed::new();
    let (host, c1, _c2) = host_and_two(&bed);
    host.ns.sh(&format!("ip link set {UPLINK} mtu 1300")).done();
    bed.outside.ns.sh("ip link set h1 mtu 1300").done();
    let server = tests::process::Service::start(bed.outside.ns.command("iperf3").args(["-s"]));
    tests::process::eventually("iperf3 listens", std::time::Duration::from_secs(5), || {
        bed.outside.ns.out("ss -Hltn sport = :5201").contains("5201")
    });
    // For a time and not for a number of bytes: iperf3 stops counting when the sender has handed over its last byte,
    // and a few megabytes fit into the buffers between the two.
    for direction in ["-t 1", "-t 1 -R"] {
        let end = crate::ways::iperf(&c1.ns, bed.outside.address, direction);
        assert!(end["sum_received"]["bytes"].as_u64().unwrap() >= 8 << 20, "{direction}: {end}");
    }
    drop(server);
}

#[test]
fn arp_resolves_gateway_and_neighbour() {
    let bed = Bed::new();
    let (_host, c1, c2) = host_and_two(&bed);
    for to in [crate::ways::gateway(&c1), c2.address] {
        c1.ns.sh(&format!("ping -n -q -c 1 -W 5 {to}")).done();
        let entry = c1.ns.out(&format!("ip neigh show to {to}"));
        assert!(entry.contains("lladdr"), "{entry}");
    }
}

#[test]
fn broadcast_reaches_the_network() {
    let bed = Bed::new();
    let (_host, c1, c2) = host_and_two(&bed);
    c2.ns.set_sysctl("net/ipv4/icmp_echo_ignore_broadcasts", "0");
    let shown = c1.ns.out("ip -4 -o address show dev eth0");
    let broadcast = shown.split_once("brd ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
    let to = broadcast.unwrap_or_else(|| "255.255.255.255".to_owned());
    let ran = c1.ns.sh(&format!("ping -n -b -c 2 -i 0.2 -W 1 {to}"));
    assert!(ran.stdout.contains(&format!("from {}", c2.address)), "{ran}");
}

#[test]
fn traceroute_like_probe_over_the_host_shows_gateway_then_target() {
    let bed = Bed::new();
    let (_host, c1, _c2) = host_and_two(&bed);
    let _server = Server::start(&bed.outside.ns, 80);
    c1.ns.sh(&format!("ping -n -c 1 -t 2 -W 2 {}", bed.outside.address)).done();
    assert_served(&c1.ns, (bed.outside.address, 80), "outside");
}

#[test]
fn closed_udp_port_outside_is_reported_to_the_container() {
    let bed = Bed::new();
    let (_host, c1, _c2) = host_and_two(&bed);
    let error = tests::server::ask_udp(&c1.ns, 0, (bed.outside.address, 9)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn closed_udp_port_of_a_container_is_reported_to_the_outside() {
    let bed = Bed::new();
    let (host, _c1, _c2) = host_and_two(&bed);
    let error = tests::server::ask_udp(&bed.outside.ns, 0, (host.address, 8080)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
