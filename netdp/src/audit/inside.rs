//! The interfaces inside the namespaces of endpoints.

use super::{Difference, Kind, is_of_the_link, otherwise};
use crate::desired::Inside;
use crate::host::uplink::Observed;
use crate::model::{Mac, NetworkRoute};
use crate::netlink::{Link, MAIN_TABLE, Route, RouteKind, Rule};
use crate::ways::{self, Ways};

/// What one namespace should have.
#[derive(Debug)]
pub struct Expected {
    /// The endpoint's name.
    pub endpoint: String,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Which of them leads out.
    pub ways: Ways,
}

/// One interface.
#[derive(Debug)]
pub struct Interface {
    /// Its name and addresses.
    pub inside: Inside,
    /// Its MAC, where that is not the parent's.
    pub mac: Option<Mac>,
    /// Its MTU in bytes, where that is not the parent's.
    pub mtu: Option<u32>,
}

/// Where one namespace differs.
pub fn inside(expected: &Expected, found: &Observed, rules: &[Rule]) -> Vec<Difference> {
    let compare = Compare { expected, found, rules };
    let mut differences = Vec::new();
    for interface in &expected.interfaces {
        let name = &interface.inside.ifname;
        match found.links.iter().find(|link| link.name == *name) {
            Some(link) => {
                differences.extend(compare.link(interface, link));
                differences.extend(compare.addresses(&interface.inside, link));
                differences.extend(compare.routes(&interface.inside, link));
            }
            None => differences.push(compare.missing(format!("interface {name} inside"))),
        }
    }
    differences.extend([true, false].into_iter().filter_map(|ipv4| compare.default_route(ipv4)));
    differences.extend(compare.further_ways());
    differences
}

struct Compare<'a> {
    expected: &'a Expected,
    found: &'a Observed,
    rules: &'a [Rule],
}

impl Compare<'_> {
    fn difference(&self, kind: Kind, what: String, detail: String) -> Difference {
        let owner = format!("endpoint {}", self.expected.endpoint);
        Difference { kind, what, owner, detail }
    }

    fn missing(&self, what: String) -> Difference {
        self.difference(Kind::Missing, what, String::new())
    }

    fn link(&self, expected: &Interface, link: &Link) -> Vec<Difference> {
        let what = |what: &str| format!("{what} of {} inside", link.name);
        let mut differences = Vec::new();
        let mac = Mac(link.mac);
        if let Some(wanted) = expected.mac.filter(|wanted| *wanted != mac) {
            differences.push(self.difference(Kind::Differs, what("MAC"), otherwise(mac, wanted)));
        }
        if let Some(wanted) = expected.mtu.filter(|wanted| *wanted != link.mtu) {
            differences.push(self.difference(Kind::Differs, what("MTU"), otherwise(link.mtu, wanted)));
        }
        if !link.up {
            differences.push(self.difference(Kind::Differs, what("state"), otherwise("down", "up")));
        }
        differences
    }

    fn addresses(&self, expected: &Inside, link: &Link) -> Vec<Difference> {
        let its = || self.found.addresses.iter().filter(|address| address.index == link.index);
        let name = &link.name;
        let mut differences = Vec::new();
        for net in &expected.addresses {
            if !its().any(|address| address.net == *net) {
                differences.push(self.missing(format!("address {net} of {name} inside")));
            }
            let leads = |route: &Route| route.oif == link.index && route.dst == net.trunc();
            if link.up && !self.found.routes.iter().any(leads) {
                differences.push(self.missing(format!("route to {} by {name} inside", net.trunc())));
            }
        }
        let surplus = its().filter(|it| !expected.addresses.contains(&it.net) && !is_of_the_link(&it.net));
        differences.extend(surplus.map(|address| {
            let what = format!("address {} of {name} inside", address.net);
            self.difference(Kind::Surplus, what, String::new())
        }));
        differences
    }

    /// Those that the network was given (`-o route`).
    fn routes(&self, expected: &Inside, link: &Link) -> Vec<Difference> {
        let is_there = |wanted: &&NetworkRoute| {
            self.found.routes.iter().any(|route| {
                route.oif == link.index && route.dst == wanted.to && route.gateway == Some(wanted.via)
            })
        };
        let missing = expected.routes.iter().filter(|wanted| link.up && !is_there(wanted));
        let what = |route: &NetworkRoute| format!("route to {} via {} inside", route.to, route.via);
        missing.map(|route| self.missing(what(route))).collect()
    }

    /// What is sent from an address that has not got the default route leaves by its own interface: a rule for each, and the
    /// table that it asks.
    fn further_ways(&self) -> Vec<Difference> {
        let is_there =
            |route: &ways::Route<'_>| self.found.links.iter().any(|link| link.name == route.exit.ifname);
        let mut differences = Vec::new();
        let mut wanted = Vec::new();
        for ipv4 in [true, false] {
            for route in self.expected.ways.routes(ipv4).skip(1).filter(is_there) {
                differences.extend((!self.has_table(&route)).then(|| self.missing_table(&route)));
                wanted.extend([ways::near(ipv4), route.rule()]);
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        let missing = wanted.iter().filter(|rule| !self.rules.contains(rule));
        differences.extend(missing.map(|rule| self.missing(format!("rule {rule} inside"))));
        let surplus = self.rules.iter().filter(|rule| ways::is_ours(rule) && !wanted.contains(rule));
        differences.extend(
            surplus.map(|rule| self.difference(Kind::Surplus, format!("rule {rule} inside"), String::new())),
        );
        differences
    }

    fn has_table(&self, wanted: &ways::Route<'_>) -> bool {
        let its =
            self.found.routes.iter().filter(|route| route.table == wanted.table() && route.is_default());
        its.into_iter()
            .any(|route| route.gateway == Some(wanted.gateway) && self.is_by(route, &wanted.exit.ifname))
    }

    fn missing_table(&self, route: &ways::Route<'_>) -> Difference {
        let what = format!("default route of table {} inside", route.table());
        self.difference(Kind::Missing, what, format!("to {} by {}", route.gateway, route.exit.ifname))
    }

    /// A container that has one of its own making keeps it.
    fn default_route(&self, ipv4: bool) -> Option<Difference> {
        let chosen = self.expected.ways.routes(ipv4).next()?;
        let (gateway, ifname) = (chosen.gateway, &chosen.exit.ifname);
        let what = format!("default route of {} inside", if ipv4 { "IPv4" } else { "IPv6" });
        let defaults: Vec<&Route> = self.found.routes.iter().filter(|route| leads_out(route, ipv4)).collect();
        if defaults.is_empty() {
            return Some(self.difference(Kind::Missing, what, format!("to {gateway} by {ifname}")));
        }
        let is_ours = |route: &Route| self.expected.ways.exits.iter().any(|it| self.is_by(route, &it.ifname));
        let is_right = |route: &Route| self.is_by(route, ifname) && route.gateway == Some(gateway);
        if defaults.iter().any(|route| is_right(route) || !is_ours(route)) {
            return None;
        }
        let is =
            defaults.first().and_then(|route| route.gateway).map_or_else(String::new, |it| it.to_string());
        Some(self.difference(Kind::Differs, what, otherwise(is, format!("{gateway} by {ifname}"))))
    }

    fn is_by(&self, route: &Route, ifname: &str) -> bool {
        self.found.links.iter().any(|link| link.index == route.oif && link.name == ifname)
    }
}

fn leads_out(route: &Route, ipv4: bool) -> bool {
    let leads = route.is_default() && route.kind == RouteKind::Unicast && route.table == MAIN_TABLE;
    leads && route.dst.addr().is_ipv4() == ipv4
}
