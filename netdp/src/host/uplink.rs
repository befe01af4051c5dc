//! The interfaces by which this host reaches the outside.

use std::net::{IpAddr, Ipv4Addr};

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
    /// The address that containers go out with, if the interface has one.
    pub addr4: Option<Ipv4Addr>,
}

/// The links, addresses and routes of a namespace, asked for once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Every interface.
    pub links: Vec<Link>,
    /// Every address.
    pub addresses: Vec<Address>,
    /// Every IPv4 route.
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

    /// The uplinks: those named, else every interface with an IPv4 default route. Interfaces of netdp's own
    /// never are.
    pub fn uplinks(&self, named: &[String]) -> Result<Vec<UplinkFacts>, Error> {
        if named.is_empty() {
            let links = self.links.iter().filter(|link| unfit(link).is_none() && self.leads_out(link));
            return Ok(links.map(|link| self.facts(link)).collect());
        }
        named.iter().map(|name| self.named(name).map(|link| self.facts(link))).collect()
    }

    fn named(&self, name: &str) -> Result<&Link, Error> {
        let there =
            || self.links.iter().filter(|link| unfit(link).is_none()).map(|link| link.name.clone()).collect();
        let link = self
            .links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| Error::Unknown { name: name.to_owned(), there: there() })?;
        match unfit(link) {
            Some(why) => Err(Error::Unfit { name: name.to_owned(), why, there: there() }),
            None => Ok(link),
        }
    }

    fn leads_out(&self, link: &Link) -> bool {
        self.default_route(link).is_some()
    }

    /// The best one by that interface.
    fn default_route(&self, link: &Link) -> Option<&Route> {
        let by_link = |route: &&Route| {
            route.oif == link.index
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
            addr4: self.outgoing_address(link),
        }
    }

    /// As the kernel chooses: what the default route prefers, else an address in the gateway's subnet, else
    /// the first.
    fn outgoing_address(&self, link: &Link) -> Option<Ipv4Addr> {
        let route = self.default_route(link);
        if let Some(IpAddr::V4(preferred)) = route.and_then(|route| route.pref_src) {
            return Some(preferred);
        }
        let gateway = route.and_then(|route| route.gateway);
        let own = || self.addresses.iter().filter(|address| address.index == link.index && address.global);
        own()
            .filter(|address| gateway.is_some_and(|gateway| address.net.contains(&gateway)))
            .chain(own())
            .find_map(|address| ipv4(address.net.addr()))
    }

    /// Every IPv4 address of the namespace: 127.0.0.1, those of the interfaces, and the gateways of our
    /// networks.
    pub fn host_addresses(&self) -> Vec<Ipv4Addr> {
        self.addresses.iter().filter_map(|address| ipv4(address.net.addr())).collect()
    }
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
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
        Address { index, net: net.parse().expect("a prefix"), global: true }
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
    }

    #[test]
    fn every_ipv4_address_is_one_of_the_host() {
        assert_eq!(host().host_addresses().len(), 4);
        assert!(host().host_addresses().contains(&Ipv4Addr::LOCALHOST));
    }
}
