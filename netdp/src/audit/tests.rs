use ipnet::IpNet;

use super::*;
use crate::desired::Inside;
use crate::host::uplink;
use crate::model::{Mac, Netns, NetworkRoute};
use crate::netlink::{Address, Link, MAIN_TABLE, Route, RouteKind, Rule};
use crate::ways::{Exit, Ways, near};

const MAC: [u8; 6] = [2, 0x42, 10, 0, 0, 2];

fn expected() -> Expected {
    let inside = Inside {
        netns: Netns { path: "/run/netns/c".into(), device: 4, inode: 1 },
        ifname: "eth0".to_owned(),
        mac: Mac(MAC),
        until: None,
        addresses: vec!["10.0.0.2/16".parse().unwrap()],
        sysctls: Vec::new(),
        routes: Vec::new(),
    };
    let exit = |ifname: &str, last: u8| Exit {
        ifname: ifname.to_owned(),
        network: 1,
        gateways: vec![([10, 0, 0, 2].into(), [10, 0, 0, last].into())],
    };
    let ways = Ways {
        netns: inside.netns.clone(),
        exits: vec![exit("eth0", 1), exit("eth1", 9)],
        leaving: Vec::new(),
    };
    let interface = Interface { inside, mac: Some(Mac(MAC)), mtu: Some(1500) };
    Expected { endpoint: "web".to_owned(), interfaces: vec![interface], ways }
}

fn address(net: &str) -> Address {
    Address { index: 2, net: net.parse().unwrap(), global: true, waning: false, temporary: false }
}

fn route(dst: &str) -> Route {
    let dst: IpNet = dst.parse().unwrap();
    Route {
        dst,
        gateway: None,
        oif: 2,
        pref_src: None,
        metric: 0,
        table: MAIN_TABLE,
        kind: RouteKind::Unicast,
    }
}

fn found() -> uplink::Observed {
    let link = |index, name: &str| Link {
        index,
        name: name.to_owned(),
        kind: Some("veth".to_owned()),
        mac: MAC,
        mtu: 1500,
        up: true,
        alias: None,
        controller: None,
        loopback: false,
        ether: true,
    };
    let addresses = vec![address("10.0.0.2/16"), address("fe80::42/64")];
    let gateway = Some([10, 0, 0, 1].into());
    let own = Route { gateway: Some([10, 0, 0, 9].into()), oif: 3, table: TABLE, ..route("0.0.0.0/0") };
    let routes = vec![route("10.0.0.0/16"), Route { gateway, ..route("0.0.0.0/0") }, own];
    uplink::Observed { links: vec![link(2, "eth0"), link(3, "eth1"), link(4, "tun0")], addresses, routes }
}

/// Table of network 1.
const TABLE: u32 = 0x6e64_0001;

/// The interface that has not got the default route has a rule for its address.
fn rules() -> Vec<Rule> {
    vec![
        near(true),
        Rule { priority: 30_001, source: [10, 0, 0, 2].into(), table: TABLE, without_default: false },
    ]
}

/// What is told after a change of what was found.
fn told(change: impl FnOnce(&mut uplink::Observed)) -> Vec<String> {
    told_with(&expected(), change, &rules())
}

fn told_with(expected: &Expected, change: impl FnOnce(&mut uplink::Observed), rules: &[Rule]) -> Vec<String> {
    let mut found = found();
    change(&mut found);
    let differences = inside(expected, &found, rules);
    assert!(differences.iter().all(|difference| difference.owner == "endpoint web"));
    differences.into_iter().map(|it| format!("{} {} {}", it.kind.word(), it.what, it.detail)).collect()
}

#[test]
fn what_is_as_it_should_be_is_not_told() {
    assert_eq!(told(|_| {}), [""; 0]);
}

/// Something that somebody does to what was found.
type Deed = fn(&mut uplink::Observed);

#[test]
fn each_thing_inside_is_told_by_itself() {
    let table: [(Deed, &str); 9] = [
        (
            |found| found.routes[2].oif = 2,
            "missing default route of table 1852047361 inside to 10.0.0.9 by eth1",
        ),
        (|found| found.links[0].name = "eth7".to_owned(), "missing interface eth0 inside "),
        (|found| found.links[0].mtu = 1400, "differs MTU of eth0 inside is 1400, should be 1500"),
        (|found| found.links[0].up = false, "differs state of eth0 inside is down, should be up"),
        (|found| found.addresses.push(address("10.0.0.3/16")), "surplus address 10.0.0.3/16 of eth0 inside "),
        (
            |found| found.routes.retain(|it| !it.is_default() || it.table == TABLE),
            "missing default route of IPv4 inside to 10.0.0.1 by eth0",
        ),
        (
            |found| (found.routes[1].oif, found.routes[1].gateway) = (3, Some([10, 0, 0, 9].into())),
            "differs default route of IPv4 inside is 10.0.0.9, should be 10.0.0.1 by eth0",
        ),
        (|found| found.routes.retain(Route::is_default), "missing route to 10.0.0.0/16 by eth0 inside "),
        (
            |found| found.addresses.retain(|it| it.net.addr().is_ipv6()),
            "missing address 10.0.0.2/16 of eth0 inside ",
        ),
    ];
    for (change, words) in table {
        assert_eq!(told(change), [words]);
    }
}

#[test]
fn rules_and_routes_of_the_network_are_told() {
    let without = |at: usize| {
        let mut rules = rules();
        rules.remove(at);
        rules
    };
    let missing = |rules: &[Rule]| told_with(&expected(), |_| {}, rules);
    assert_eq!(missing(&without(0)), ["missing rule 30000: from 0.0.0.0 lookup 254 inside "]);
    assert_eq!(missing(&without(1)), ["missing rule 30001: from 10.0.0.2 lookup 1852047361 inside "]);
    let mut more = rules();
    more.push(Rule { source: [10, 0, 0, 7].into(), ..more[1] });
    // Somebody else's.
    more.push(Rule { priority: 5, ..more[1] });
    assert_eq!(missing(&more), ["surplus rule 30001: from 10.0.0.7 lookup 1852047361 inside "]);
    let mut routed = expected();
    let (to, via) = ("10.9.0.0/16".parse().unwrap(), [10, 0, 0, 1].into());
    routed.interfaces[0].inside.routes = vec![NetworkRoute { to, via }];
    assert_eq!(told_with(&routed, |_| {}, &rules()), ["missing route to 10.9.0.0/16 via 10.0.0.1 inside "]);
    let there = |found: &mut uplink::Observed| {
        found.routes.push(Route { gateway: Some(via), ..route("10.9.0.0/16") });
    };
    assert_eq!(told_with(&routed, there, &rules()), [""; 0]);
}

#[test]
fn default_route_of_the_containers_own_making_is_its_own() {
    assert_eq!(told(|found| found.routes[1].oif = 4), [""; 0]);
}

#[test]
fn default_route_of_another_table_leads_nowhere() {
    assert_eq!(told(|found| found.routes[1].table = 7).len(), 1);
}
