//! Which of an endpoint's interfaces leads out: of those whose network has a gateway that of the highest priority, among
//! equals that of the first network by name, and that for each family by itself.
//!
//! The others lead out too, but only for what is sent from their own address: a connection that came in by them is answered by
//! them, and the datapath lets nothing else through.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{Endpoint, Netns, Network};
use crate::netlink::{MAIN_TABLE, Rule};

/// Rules of ours have these two priorities: what is near is found as ever, and then each address leads out by its own interface.
const NEAR: u32 = 30_000;
/// See [`NEAR`].
const BY_SOURCE: u32 = 30_001;
/// Routing tables of ours: this and the number of the network. No table of anybody else's is so high by accident.
const TABLES: u32 = 0x6e64_0000;

/// The ways out of an endpoint's network namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ways {
    /// The namespace.
    pub netns: Netns,
    /// The interfaces that lead somewhere, the one that is preferred first.
    pub exits: Vec<Exit>,
    /// Names of interfaces that did and do not any more.
    pub leaving: Vec<String>,
}

/// An interface with gateways.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exit {
    /// Its name.
    pub ifname: String,
    /// Number of its network.
    pub network: u32,
    /// Its own address and its gateway, of each family that has both; IPv4 first.
    pub gateways: Vec<(IpAddr, IpAddr)>,
}

/// A default route: by which interface, and through which gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route<'a> {
    /// The interface.
    pub exit: &'a Exit,
    /// The address that it has.
    pub source: IpAddr,
    /// The gateway.
    pub gateway: IpAddr,
}

impl Route<'_> {
    /// The routing table for what is sent from its address, where that has not got the default route.
    pub fn table(&self) -> u32 {
        TABLES + self.exit.network
    }

    /// What asks that table.
    pub fn rule(&self) -> Rule {
        Rule { priority: BY_SOURCE, source: self.source, table: self.table(), without_default: false }
    }
}

/// What is near is found as ever, before any address's own table.
pub fn near(ipv4: bool) -> Rule {
    let source: IpAddr = if ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Rule { priority: NEAR, source, table: MAIN_TABLE, without_default: true }
}

/// Whether netdp has made a rule.
pub fn is_ours(rule: &Rule) -> bool {
    let by_source = rule.priority == BY_SOURCE && rule.table >= TABLES;
    by_source || *rule == near(rule.source.is_ipv4())
}

impl Ways {
    /// Of an endpoint with all its interfaces.
    pub fn of(endpoint: &Endpoint, networks: &[Network]) -> Self {
        let joined = endpoint.attachments.iter().filter_map(|attachment| {
            let network = networks.iter().find(|network| network.number == attachment.network)?;
            Some((attachment, network))
        });
        let mut joined: Vec<_> = joined.collect();
        joined.sort_by_key(|(attachment, network)| (Reverse(attachment.options.gw_priority), &network.name));
        let exits = joined.into_iter().map(|(attachment, network)| Exit {
            ifname: attachment.ifname.clone(),
            network: network.number,
            gateways: network
                .gateways(attachment)
                .filter_map(|gateway| Some((attachment.address_like(gateway)?, gateway)))
                .collect(),
        });
        let exits = exits.filter(|exit| !exit.gateways.is_empty()).collect();
        Self { netns: endpoint.netns.clone(), exits, leaving: Vec::new() }
    }

    /// The same without some interfaces.
    #[must_use]
    pub fn without(&self, is_out: impl Fn(&str) -> bool) -> Self {
        let (leaving, exits) = self.exits.iter().cloned().partition::<Vec<_>, _>(|exit| is_out(&exit.ifname));
        let leaving = leaving.into_iter().map(|exit| exit.ifname).collect();
        Self { netns: self.netns.clone(), exits, leaving }
    }

    /// All ways of a family, the one that is preferred first.
    pub fn routes(&self, ipv4: bool) -> impl Iterator<Item = Route<'_>> {
        self.exits.iter().flat_map(move |exit| {
            let like = exit.gateways.iter().filter(move |(_, gateway)| gateway.is_ipv4() == ipv4);
            like.map(move |(source, gateway)| Route { exit, source: *source, gateway: *gateway })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam;
    use crate::model::{Attachment, AttachmentOptions, Driver, EndpointOptions, Mac};
    use crate::names::Id;
    use std::collections::BTreeMap;

    /// A network by name: with IPv4, with IPv6, and whether it is internal.
    fn network(number: u8, name: &str, (ipv4, ipv6, internal): (bool, bool, bool)) -> Network {
        let pool = |there: bool, subnet: String| {
            let request = ipam::Request { subnet: Some(subnet.parse().unwrap()), ..ipam::Request::default() };
            there.then(|| ipam::choose(&request, ipam::Default::Docker, &[]).unwrap())
        };
        let mut bridge = crate::fake::bridge(number);
        bridge.pool4 = pool(ipv4, format!("10.{number}.0.0/16"));
        bridge.pool6 = pool(ipv6, format!("fd00:{number}::/64"));
        bridge.internal = internal;
        Network {
            number: number.into(),
            id: Id::stored(format!("{number:064x}")),
            name: name.parse().unwrap(),
            created: 0,
            driver: Driver::Bridge(bridge),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn endpoint(networks: &[Network], priorities: &[i32]) -> Endpoint {
        let attachments = networks.iter().zip(priorities).enumerate().map(|(index, (network, priority))| {
            let (number, bridge) = (u8::try_from(network.number).unwrap(), network.bridge().unwrap());
            Attachment {
                id: Id::stored(format!("{number:010}{:054}", 0)),
                network: network.number,
                addr4: bridge.pool4.as_ref().map(|_| Ipv4Addr::new(10, number, 0, 2)),
                addr6: bridge.pool6.as_ref().map(|_| Ipv6Addr::new(0xfd00, number.into(), 0, 0, 0, 0, 0, 2)),
                mac: Mac([2, 0, 0, 0, 0, number]),
                ifname: format!("eth{index}"),
                options: AttachmentOptions { gw_priority: *priority, ..AttachmentOptions::default() },
                ports: Vec::new(),
                lease: None,
            }
        });
        Endpoint {
            id: Id::stored(format!("{:064x}", 1)),
            name: "c1".parse().unwrap(),
            created: 0,
            netns: Netns { path: "/run/netns/c1".into(), device: 4, inode: 1 },
            options: EndpointOptions::default(),
            attachments: attachments.collect(),
        }
    }

    /// Gateways of both families as they are chosen.
    fn chosen(networks: &[Network], priorities: &[i32]) -> [Option<String>; 2] {
        let ways = Ways::of(&endpoint(networks, priorities), networks);
        [true, false].map(|ipv4| ways.routes(ipv4).next().map(|route| route.gateway.to_string()))
    }

    const BOTH: (bool, bool, bool) = (true, true, false);
    const V4: (bool, bool, bool) = (true, false, false);
    const V6: (bool, bool, bool) = (false, true, false);
    const INTERNAL: (bool, bool, bool) = (true, true, true);

    #[test]
    fn the_highest_priority_leads_out_and_then_the_name() {
        let networks = [network(1, "b", BOTH), network(2, "a", BOTH), network(3, "c", BOTH)];
        let of = |gateway4: &str, gateway6: &str| [Some(gateway4.to_owned()), Some(gateway6.to_owned())];
        assert_eq!(chosen(&networks, &[0, 0, 0]), of("10.2.0.1", "fd00:2::1"));
        assert_eq!(chosen(&networks, &[0, 0, 1]), of("10.3.0.1", "fd00:3::1"));
        assert_eq!(chosen(&networks, &[0, -1, 0]), of("10.1.0.1", "fd00:1::1"));
        assert_eq!(chosen(&networks, &[i32::MAX, i32::MIN, 0]), of("10.1.0.1", "fd00:1::1"));
    }

    #[test]
    fn each_family_is_chosen_by_itself() {
        let networks = [network(1, "a", V4), network(2, "b", V6), network(3, "c", BOTH)];
        assert_eq!(chosen(&networks, &[0; 3]), [Some("10.1.0.1".to_owned()), Some("fd00:2::1".to_owned())]);
        assert_eq!(chosen(&networks[..1], &[5]), [Some("10.1.0.1".to_owned()), None]);
    }

    #[test]
    fn an_internal_network_leads_nowhere() {
        let networks = [network(1, "a", INTERNAL), network(2, "b", V4)];
        assert_eq!(chosen(&networks, &[9, 0]), [Some("10.2.0.1".to_owned()), None]);
        assert_eq!(chosen(&networks[..1], &[9]), [None, None]);
    }

    #[test]
    fn without_an_interface_the_next_one_leads_out() {
        let networks = [network(1, "a", BOTH), network(2, "b", BOTH)];
        let endpoint = endpoint(&networks, &[1, 0]);
        let ways = Ways::of(&endpoint, &networks);
        let left = ways.without(|ifname| ifname == "eth0");
        assert_eq!(left.routes(true).next().unwrap().exit.ifname, "eth1");
        assert_eq!((left.exits.len(), left.leaving), (1, vec!["eth0".to_owned()]));
    }
}
