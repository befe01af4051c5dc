//! What of the host stays as it is, and what of it does not matter, after moby's `bridge_linux_test.go` and `bridge_test.go`.

use tests::server::{Server, assert_served};
use tests::topology::Bed;

use super::host_on;

#[test]
fn drop_in_forward_chain() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.ns.sh("nft add table inet fw && nft 'add chain inet fw forward { type filter hook forward priority 0; policy drop; }'").done();
    let container = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _servers = [Server::start(&container.ns, 80), Server::start(&bed.outside.ns, 81)];
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_served(&container.ns, (bed.outside.address, 81), "outside");
}

#[test]
fn filter_forward_policy() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = host.ns.sysctl("net/ipv4/ip_forward");
    host.up_once();
    let container = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    assert_eq!(host.ns.sysctl("net/ipv4/ip_forward"), before, "containers go out without it");
    assert_eq!(host.ns.out("nft list ruleset"), "", "no rule, no policy");
    let _server = Server::start(&bed.outside.ns, 81);
    assert_served(&container.ns, (bed.outside.address, 81), "outside");
}

#[test]
fn firewall_reload_leaves_no_gap() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let container = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&container.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.ns.sh("nft flush ruleset").done();
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

#[test]
fn no_ip6_tables() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "--ipv6", "both"]).done();
    let container = bed.container(&host, "c1", &["--network", "both", "-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start_dual(&container.ns, 80);
    assert_eq!(host.ns.out("nft list ruleset"), "", "IPv6 is translated and guarded without a rule");
    tests::server::assert_served_at(&bed.outside.ns, (host.address6, 8080).into(), "c1");
}
