//! The ways out of an endpoint's network namespace: default routes that move with its networks.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use super::{Kernel, open_netns};
use crate::Error;
use crate::netlink::{DefaultRoute, Link, MAIN_TABLE, Netlink, Route, RouteKind, Rule};
use crate::ways::{self, Ways};

/// A namespace with what is there already.
struct Inside {
    netlink: Netlink,
    links: BTreeMap<String, Link>,
    routes: Vec<Route>,
    rules: BTreeSet<Rule>,
}

impl Inside {
    async fn look(ns: &OwnedFd) -> Result<Self, Error> {
        let netlink = Netlink::in_netns(ns)?;
        let links = netlink.links().await?.into_iter().map(|link| (link.name.clone(), link)).collect();
        let (routes, rules) = (netlink.routes().await?, netlink.rules().await?.into_iter().collect());
        Ok(Self { netlink, links, routes, rules })
    }

    /// The default routes of a family that packets take which nothing else is known of.
    fn defaults(&self, ipv4: bool) -> impl Iterator<Item = &Route> {
        let is_like = move |route: &&Route| route.dst.addr().is_ipv4() == ipv4;
        let leads = |route: &&Route| route.is_default() && route.kind == RouteKind::Unicast;
        self.routes.iter().filter(leads).filter(|route| route.table == MAIN_TABLE).filter(is_like)
    }
}

impl Kernel {
    /// Brings the default routes of a namespace in line; one that somebody else has made there stays.
    pub(super) async fn lead_out(&self, ways: &Ways) -> Result<(), Error> {
        let ns = open_netns(&ways.netns)?;
        if let ([only], []) = (ways.exits.as_slice(), ways.leaving.as_slice()) {
            let netlink = Netlink::in_netns(&ns)?;
            if self.lead_out_first(&netlink, &only.ifname, ways).await? {
                return Ok(());
            }
        }
        let inside = Inside::look(&ns).await?;
        for ipv4 in [true, false] {
            self.lead_out_by(&inside, ways, ipv4).await?;
        }
        Ok(())
    }

    /// A namespace with a first interface and no default route yet, which is the usual one, is not looked at any further; says
    /// whether it was that.
    async fn lead_out_first(&self, netlink: &Netlink, ifname: &str, ways: &Ways) -> Result<bool, Error> {
        let Some(link) = netlink.link(ifname).await? else { return Ok(false) };
        let mtu = self.mtu_beyond(link.mtu).await?;
        for route in [true, false].into_iter().filter_map(|ipv4| ways.routes(ipv4).next()) {
            let default = DefaultRoute { gateway: route.gateway, oif: link.index, mtu, table: MAIN_TABLE };
            match netlink.add_default_route(&default).await {
                Err(error) if error.is_exists() => return Ok(false),
                result => result?,
            }
        }
        Ok(true)
    }

    async fn lead_out_by(&self, inside: &Inside, ways: &Ways, ipv4: bool) -> Result<(), Error> {
        let mut there: Vec<(ways::Route<'_>, DefaultRoute)> = Vec::new();
        for route in ways.routes(ipv4) {
            let Some(link) = inside.links.get(&route.exit.ifname) else { continue };
            let mtu = self.mtu_beyond(link.mtu).await?;
            let default = DefaultRoute { gateway: route.gateway, oif: link.index, mtu, table: MAIN_TABLE };
            there.push((route, default));
        }
        let leaving = ways.leaving.iter().filter_map(|ifname| inside.links.get(ifname));
        let ours: BTreeSet<u32> =
            there.iter().map(|(_, default)| default.oif).chain(leaving.map(|link| link.index)).collect();
        let chosen = there.first().map(|(_, default)| *default);
        // In this order: what is sent from any address of ours has its way at every moment.
        let wanted = add_rules(inside, &there, ipv4).await?;
        set_default(inside, chosen, &ours, ipv4).await?;
        delete_rules(inside, &wanted, ipv4).await
    }
}

/// Moves the default route that is one of ours.
async fn set_default(
    inside: &Inside,
    chosen: Option<DefaultRoute>,
    ours: &BTreeSet<u32>,
    ipv4: bool,
) -> Result<(), Error> {
    let is_foreign = |route: &Route| !ours.contains(&route.oif);
    let is_chosen =
        |route: &Route| chosen.is_some_and(|it| (Some(it.gateway), it.oif) == (route.gateway, route.oif));
    let foreign = inside.defaults(ipv4).any(is_foreign);
    // In one step: at no moment is there none.
    if let Some(chosen) = chosen.filter(|_| !foreign && !inside.defaults(ipv4).any(is_chosen)) {
        return Ok(inside.netlink.replace_default_route(&chosen).await?);
    }
    for old in inside.defaults(ipv4).filter(|route| ours.contains(&route.oif) && !is_chosen(route)) {
        inside.netlink.delete_default_route(old).await?;
    }
    Ok(())
}

/// What is sent from an address that has not got the default route leaves by its own interface.
async fn add_rules(
    inside: &Inside,
    there: &[(ways::Route<'_>, DefaultRoute)],
    ipv4: bool,
) -> Result<BTreeSet<Rule>, Error> {
    let mut wanted = BTreeSet::new();
    for (route, default) in there.iter().skip(1) {
        inside.netlink.replace_default_route(&DefaultRoute { table: route.table(), ..*default }).await?;
        wanted.extend([ways::near(ipv4), route.rule()]);
    }
    for rule in wanted.difference(&inside.rules) {
        inside.netlink.add_rule(rule).await?;
    }
    Ok(wanted)
}

/// Those of an interface that has the default route now, or is no more.
async fn delete_rules(inside: &Inside, wanted: &BTreeSet<Rule>, ipv4: bool) -> Result<(), Error> {
    let ours = inside.rules.iter().filter(|rule| ways::is_ours(rule) && rule.source.is_ipv4() == ipv4);
    for rule in ours.filter(|rule| !wanted.contains(rule)) {
        inside.netlink.delete_rule(rule).await?;
    }
    Ok(())
}
