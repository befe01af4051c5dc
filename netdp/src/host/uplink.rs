//! The interfaces by which this host reaches the outside.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::{OtherWays, v4, v6};
use crate::netlink::{self, Address, Link, MAIN_TABLE, Netlink, Route, RouteKind};

/// What the alias of every link that netdp made begins with.
pub const OWNED: &str = "netdp:";

/// An interface that cannot be an uplink.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("there is no interface {name} to be an uplink; this host has {}", list(there))]
    Unknown {
        /// As the user gave it.
        name: String,
        /// Those that could be.
        there: Vec<String>,
    },
    /// It is not of a kind that can be one.
    #[error("interface {name} cannot be an uplink: {why}; this host has {}", list(there))]
    Unfit {
        /// As the user gave it.
        name: String,
        /// What is wrong with it.
        why: &'static str,
        /// Those that could be.
        there: Vec<String>,
    },
    /// The kernel could not be asked.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none that could be one".to_owned() } else { names.join(", ") }
}

/// What the datapath must know of an uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkFacts {
    /// The interface's number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The IPv4 address that containers go out with, if the interface has one.
    pub addr4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub addr6: Option<Ipv6Addr>,
}

/// The links, addresses and routes of a namespace, asked for once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every address.
    pub addresses: Vec<Address>,
    /// Every route.
    pub routes: Vec<Route>,
}

impl Observed {
    /// As they are now.
    pub async fn of(netlink: &Netlink) -> Result<Self, netlink::Error> {
        Ok(Self {
            links: netlink.links().await?,
            addresses: netlink.addresses().await?,
            routes: netlink.routes().await?,
        })
    }

    /// The uplinks: those named, else every interface with a default route. Interfaces of netdp's own never are.
    pub fn uplinks(&self, named: &[String]) -> Result<Vec<UplinkFacts>, Error> {
        if named.is_empty() {
            let links = self.links.iter().filter(|link| self.unfit(link).is_none() && self.leads_out(link));
            return Ok(links.map(|link| self.facts(link)).collect());
        }
        named.iter().map(|name| self.named(name).map(|link| self.facts(link))).collect()
    }

    fn named(&self, name: &str) -> Result<&Link, Error> {
        let there = || {
            self.links
                .iter()
                .filter(|link| self.unfit(link).is_none())
                .map(|link| link.name.clone())
                .collect()
        };
        let link = self
            .links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| Error::Unknown { name: name.to_owned(), there: there() })?;
        match self.unfit(link) {
            Some(why) => Err(Error::Unfit { name: name.to_owned(), why, there: there() }),
            None => Ok(link),
        }
    }

    fn unfit(&self, link: &Link) -> Option<&'static str> {
        let controller = self.links.iter().find(|other| Some(other.index) == link.controller);
        // What comes in by a port comes in by its bridge.
        if controller.is_some_and(|controller| controller.kind.as_deref() == Some("bridge")) {
            return Some("it is a port of a bridge; the bridge can be one");
        }
        unfit(link)
    }

    fn leads_out(&self, link: &Link) -> bool {
        FAMILIES.iter().any(|family| self.default_route(link, *family).is_some())
    }

    /// The best one of a family by that interface.
    fn default_route(&self, link: &Link, family: Family) -> Option<&Route> {
        let by_link = |route: &&Route| {
            route.oif == link.index
                && family(route.dst.addr())
                && route.is_default()
                && route.table == MAIN_TABLE
                && route.kind == RouteKind::Unicast
        };
        self.routes.iter().filter(by_link).min_by_key(|route| route.metric)
    }

    fn facts(&self, link: &Link) -> UplinkFacts {
        UplinkFacts {
            ifindex: link.index,
            name: link.name.clone(),
            mac: link.mac,
            mtu: link.mtu,
            addr4: self.outgoing_address(link, is_v4).and_then(v4),
            addr6: self.outgoing_address(link, is_v6).and_then(v6),
        }
    }

    /// As the kernel chooses for what goes far: what the default route prefers, else the address of which most of this
    /// holds, the first most of all: it lasts, it is in the gateway's subnet, it is valid everywhere (RFC 6724, 5). What
    /// is masqueraded may live longer than a temporary address.
    fn outgoing_address(&self, link: &Link, family: Family) -> Option<IpAddr> {
        let route = self.default_route(link, family);
        if let Some(preferred) = route.and_then(|route| route.pref_src) {
            return Some(preferred);
        }
        let gateway = route.and_then(|route| route.gateway);
        let near = |net: IpNet| gateway.is_some_and(|gateway| net.contains(&gateway));
        let own = self.addresses.iter().filter(|address| address.index == link.index && address.global);
        own.filter(|address| family(address.net.addr()))
            .min_by_key(|address| {
                let lasts = !address.waning && !address.temporary;
                Reverse((lasts, near(address.net), !is_local(address.net.addr())))
            })
            .map(|address| address.net.addr())
    }

    /// Whether packets to somewhere leave by an interface that is neither one of these uplinks nor netdp's own.
    pub fn ways_beside(&self, uplinks: &[UplinkFacts]) -> OtherWays {
        let known = |index: u32| {
            uplinks.iter().any(|uplink| uplink.ifindex == index)
                || self.links.iter().any(|link| link.index == index && (is_owned(link) || link.loopback))
        };
        let beside = |family: Family| {
            self.routes.iter().any(|route| {
                let leads_on = route.kind == RouteKind::Unicast && !is_link_local(route.dst.addr());
                family(route.dst.addr()) && leads_on && !known(route.oif)
            })
        };
        OtherWays { v4: beside(is_v4), v6: beside(is_v6) }
    }

    /// Every address of the namespace: 127.0.0.1 and `::1`, those of the interfaces, and the gateways of our networks.
    pub fn host_addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|address| address.net.addr()).collect()
    }
}

/// Whether an address is of a family.
type Family = fn(IpAddr) -> bool;

/// Both families.
const FAMILIES: [Family; 2] = [is_v4, is_v6];

fn is_v4(address: IpAddr) -> bool {
    address.is_ipv4()
}

fn is_v6(address: IpAddr) -> bool {
    address.is_ipv6()
}

/// An IPv6 address that means something within a site only (RFC 4193).
fn is_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unique_local())
}

/// Every interface has a route to these, and none leads on from it.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Tells whether netdp made a link.
pub fn is_owned(link: &Link) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with(OWNED))
}

fn unfit(link: &Link) -> Option<&'static str> {
    if is_owned(link) {
        return Some("netdp made it for a network or a container");
    }
    if link.loopback {
        return Some("it is the loopback");
    }
    if !link.ether {
        return Some("it is not an Ethernet interface");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: None,
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            up: true,
            alias: None,
            controller: None,
            loopback: false,
            ether: true,
        }
    }

    fn address(index: u32, net: &str) -> Address {
        Address { index, net: net.parse().expect("a prefix"), global: true, waning: false, temporary: false }
    }

    fn default_route(oif: u32, gateway: &str, metric: u32) -> Route {
        Route {
            dst: "0.0.0.0/0".parse().expect("a prefix"),
            gateway: Some(gateway.parse().expect("an address")),
            oif,
            pref_src: None,
            metric,
            table: MAIN_TABLE,
            kind: RouteKind::Unicast,
        }
    }

    fn route6(oif: u32, dst: &str, gateway: Option<&str>) -> Route {
        let gateway = gateway.map(|gateway| gateway.parse().expect("an address"));
        Route { dst: dst.parse().expect("a prefix"), gateway, ..default_route(oif, "10.0.0.1", 1024) }
    }

    fn host() -> Observed {
        let lo = Link { loopback: true, ether: false, ..link(1, "lo") };
        let bridge = Link { alias: Some("netdp:network:1".to_owned()), ..link(4, "netdp0") };
        let tunnel = Link { ether: false, ..link(5, "wg0") };
        Observed {
            links: vec![lo, link(2, "eth0"), link(3, "eth1"), bridge, tunnel],
            addresses: vec![
                Address { global: false, ..address(1, "127.0.0.1/8") },
                address(2, "192.0.2.7/32"),
                address(2, "10.0.0.2/24"),
                address(3, "10.1.0.2/24"),
                address(3, "2001:db8::2/64"),
            ],
            routes: vec![default_route(2, "10.0.0.1", 100), default_route(5, "10.9.0.1", 50)],
        }
    }

    fn addresses_of(host: &Observed, named: &[&str]) -> Vec<(String, Option<Ipv4Addr>)> {
        let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
        host.uplinks(&named).expect("uplinks").into_iter().map(|uplink| (uplink.name, uplink.addr4)).collect()
    }

    #[test]
    fn an_ethernet_interface_with_a_default_route_is_an_uplink() {
        let expected = ("eth0".to_owned(), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(addresses_of(&host(), &[]), [expected]);
    }

    #[test]
    fn routes_of_other_tables_and_kinds_do_not_count() {
        let mut host = host();
        host.routes = vec![
            Route { table: 100, ..default_route(2, "10.0.0.1", 0) },
            Route { kind: RouteKind::Other, ..default_route(3, "10.0.0.1", 0) },
        ];
        assert_eq!(addresses_of(&host, &[]), []);
    }

    #[test]
    fn the_address_is_what_the_best_route_prefers() {
        let mut host = host();
        let preferred = Ipv4Addr::new(192, 0, 2, 7);
        host.routes.push(Route { pref_src: Some(preferred.into()), ..default_route(2, "10.0.0.1", 1) });
        assert_eq!(addresses_of(&host, &[]), [("eth0".to_owned(), Some(preferred))]);
    }

    #[test]
    fn one_that_is_named_needs_no_route() {
        let expected = ("eth1".to_owned(), Some(Ipv4Addr::new(10, 1, 0, 2)));
        assert_eq!(addresses_of(&host(), &["eth1"]), [expected]);
    }

    #[test]
    fn one_that_cannot_be_is_refused_with_the_names_of_those_that_can() {
        let refusal = |name: &str| host().uplinks(&[name.to_owned()]).expect_err("unfit").to_string();
        assert_eq!(refusal("eth9"), "there is no interface eth9 to be an uplink; this host has eth0, eth1");
        assert!(refusal("lo").contains("it is the loopback"));
        assert!(refusal("wg0").contains("not an Ethernet interface"));
        assert!(refusal("netdp0").contains("netdp made it"));
        let mut host = host();
        host.links[1].controller = Some(4);
        host.links[3].kind = Some("bridge".to_owned());
        assert_eq!(host.uplinks(&[]).expect("uplinks"), []);
        let error = host.uplinks(&["eth0".to_owned()]).expect_err("a port").to_string();
        assert!(error.contains("it is a port of a bridge"), "{error}");
    }

    #[test]
    fn tunnel_with_a_route_is_a_way_beside_the_uplinks() {
        let mut host = host();
        let uplinks = host.uplinks(&[]).expect("uplinks");
        assert_eq!(host.ways_beside(&uplinks), OtherWays { v4: true, v6: false });
        host.routes.retain(|route| route.oif == 2);
        host.routes.push(route6(3, "fe80::/64", None));
        // Kernel 6.1 has it as a route like others.
        host.routes.push(route6(1, "::1/128", None));
        assert_eq!(host.ways_beside(&uplinks), OtherWays::default());
        host.routes.push(route6(5, "2001:db8:7::/48", None));
        assert_eq!(host.ways_beside(&uplinks), OtherWays { v4: false, v6: true });
    }

    #[test]
    fn every_address_is_one_of_the_host() {
        assert_eq!(host().host_addresses().len(), 5);
        assert!(host().host_addresses().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    fn outgoing6(host: &Observed, name: &str) -> Option<String> {
        let uplinks = host.uplinks(&[]).expect("uplinks");
        let uplink = uplinks.into_iter().find(|uplink| uplink.name == name)?;
        uplink.addr6.map(|address| address.to_string())
    }

    #[test]
    fn one_with_an_ipv6_default_route_only_is_an_uplink() {
        let mut host = host();
        host.routes = vec![route6(3, "::/0", Some("fe80::1"))];
        let uplinks = host.uplinks(&[]).expect("uplinks");
        assert_eq!(uplinks.iter().map(|uplink| uplink.name.as_str()).collect::<Vec<_>>(), ["eth1"]);
        assert_eq!(outgoing6(&host, "eth1").as_deref(), Some("2001:db8::2"));
    }

    #[test]
    fn the_ipv6_address_lasts_and_is_valid_everywhere() {
        let mut host = host();
        host.routes = vec![route6(2, "::/0", Some("fe80::1"))];
        host.addresses = vec![
            Address { global: false, ..address(2, "fe80::2/64") },
            Address { temporary: true, ..address(2, "2001:db8::aaaa/64") },
            address(2, "fd00::2/64"),
            Address { waning: true, ..address(2, "2001:db8::dead/64") },
        ];
        assert_eq!(outgoing6(&host, "eth0").as_deref(), Some("fd00::2"));
        host.addresses.push(address(2, "2001:db8::2/64"));
        assert_eq!(outgoing6(&host, "eth0").as_deref(), Some("2001:db8::2"));
        host.routes.push(route6(2, "::/0", Some("fd00::1")));
        host.routes[0].metric = 2000;
        assert_eq!(outgoing6(&host, "eth0").as_deref(), Some("fd00::2"));
        host.routes[1].pref_src = Some("2001:db8::99".parse().expect("an address"));
        assert_eq!(outgoing6(&host, "eth0").as_deref(), Some("2001:db8::99"));
    }
}
