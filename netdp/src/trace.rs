//! Which decision a packet would meet: the look-ups of the programs, in their order, in a copy of their maps, and then the
//! decision itself by the function that they call. Pure.

mod beyond;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use netdp_common::deny::MAPPED_BITS;
use netdp_common::policy::{Origin, Rule, Target, decide};
use netdp_common::{
    Addr, Backend, EndpointKey, Link, Payer, Port, PortKey, Quota, Reason, SourceKey, SubnetKey, link_flags,
    port_flags, subnet,
};

use crate::datapath::Entry;
use beyond::Beyond;

pub use beyond::Way;

/// Rows of the maps, as far as a first packet is decided by them.
#[derive(Debug, Default)]
pub struct Maps {
    links: Vec<(u32, Link)>,
    endpoints: HashSet<EndpointKey>,
    ports: HashMap<PortKey, Backend>,
    sources: Vec<SourceKey>,
    subnets: Vec<(SubnetKey, u32)>,
    hosts: HashSet<Addr>,
    denied: Vec<SubnetKey>,
    uplinks: Vec<u32>,
    beyond: Beyond,
}

impl Maps {
    /// Numbers of the uplinks, that of the first among them.
    pub fn uplinks(&self) -> &[u32] {
        &self.uplinks
    }

    /// Adds what everybody has of the flow table.
    #[must_use]
    pub fn with_counts(mut self, counts: Vec<(Payer, Quota)>) -> Self {
        self.beyond.counts = counts.into_iter().collect();
        self
    }

    /// Number of the bridge of the network in which a container has this address.
    pub fn bridge_of(&self, src: Addr) -> Option<u32> {
        self.link_of(src).map(|(_, link)| link.bridge)
    }

    fn link_of(&self, src: Addr) -> Option<&(u32, Link)> {
        self.links.iter().find(|(_, link)| link.addr4 == src || link.addr6 == src)
    }
}

impl FromIterator<Entry> for Maps {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut maps = Self::default();
        for entry in entries {
            match entry {
                Entry::Link(number, link) => maps.links.push((number, link)),
                Entry::Endpoint(key, _) => {
                    maps.endpoints.insert(key);
                }
                Entry::Port(key, backend) => {
                    maps.ports.insert(key, backend);
                }
                Entry::Source(key) => maps.sources.push(key),
                Entry::Subnet(key, row) => maps.subnets.push((key, subnet::network(row))),
                Entry::HostAddr(address, _) => {
                    maps.hosts.insert(address);
                }
                Entry::Denied(key) => maps.denied.push(key),
                Entry::Uplink(_, uplink) => {
                    maps.uplinks.push(uplink.ifindex);
                    maps.beyond.uplinks.insert(uplink.ifindex, uplink);
                }
                Entry::Timer(number, row) => {
                    maps.beyond.limits.insert(number, row);
                }
                Entry::Excluded(_) | Entry::Wire(_) => {}
            }
        }
        maps
    }
}

/// A packet that is followed.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where it comes from.
    pub origin: Origin,
    /// Its source, where that matters.
    pub src: Option<Addr>,
    /// Number of the uplink that it comes in by from outside.
    pub ingress: Option<u32>,
    /// Where it leaves, when a container sends it out.
    pub way: Way,
    /// Its destination; none is anybody outside.
    pub dst: Option<Addr>,
    /// Source and destination are on one LAN, by the subnet of a network there.
    pub is_on_lan: bool,
    /// IPv4, not IPv6.
    pub v4: bool,
    /// Number of its protocol.
    pub proto: u8,
    /// Its port, or zero.
    pub port: u16,
}

/// One look-up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// In which map, with which key.
    pub lookup: String,
    /// What is found.
    pub found: String,
}

/// The way of a packet to its decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trace {
    /// The look-ups, in the order of the programs.
    pub steps: Vec<Step>,
    /// What its destination is to who sends it.
    pub target: Target,
    /// What decides.
    pub rule: Rule,
    /// What it is dropped for, if it is.
    pub drop: Option<Reason>,
}

/// Follows a packet.
pub fn follow(maps: &Maps, question: &Question) -> Trace {
    let mut walk = Walk { maps, question, steps: Vec::new(), receiver: None };
    let sender = match question.origin {
        Origin::Container => walk.sender(),
        Origin::Host | Origin::Outside => None,
    };
    let link = sender.map(|(_, link)| link);
    let flags = link.map_or(0, |link| link.flags);
    let is_denied = walk.is_denied();
    let target = walk.target(link);
    let rule = decide(question.origin, flags, target, question.v4);
    let drop = match rule.verdict() {
        _ if is_denied => Some(Reason::Denied),
        Err(reason) => Some(reason),
        Ok(()) => walk.beyond(rule, sender),
    };
    Trace { steps: walk.steps, target, rule, drop }
}

struct Walk<'a> {
    maps: &'a Maps,
    question: &'a Question,
    steps: Vec<Step>,
    /// Number of the veth of the container that a published port, or an address that is let in, leads to.
    receiver: Option<u32>,
}

impl<'a> Walk<'a> {
    fn step(&mut self, lookup: impl Into<String>, found: impl Into<String>) {
        self.steps.push(Step { lookup: lookup.into(), found: found.into() });
    }

    /// The row of the sender's veth.
    fn sender(&mut self) -> Option<(u32, &'a Link)> {
        let src = self.question.src?;
        let found = self.maps.link_of(src);
        let text = found.map_or_else(
            || "no such container".to_owned(),
            |(_, link)| format!("network {}{}", link.network, flags(link.flags)),
        );
        self.step(format!("LINKS of {src}"), text);
        found.map(|(number, link)| (*number, link))
    }

    /// What is in the way of a packet that the rules let pass.
    fn beyond(&mut self, rule: Rule, sender: Option<(u32, &Link)>) -> Option<Reason> {
        let beyond = &self.maps.beyond;
        if let (Rule::Masquerade | Rule::RoutedOut, Some((_, link))) = (rule, sender) {
            let (lookup, found, reason) = beyond.refuses_way(self.question.way, link, self.question.v4);
            self.step(lookup, found);
            if reason.is_some() || self.question.way == Way::Nowhere {
                return reason;
            }
        }
        let payer = beyond::payer(rule, self.question.origin, sender.map(|it| it.0), self.receiver)?;
        let (lookup, found, reason) = beyond.refuses_flow(payer);
        self.step(lookup, found);
        reason
    }

    /// What the destination is, by the look-ups that the programs make.
    fn target(&mut self, link: Option<&Link>) -> Target {
        let Some(dst) = self.question.dst else { return Target::Outside };
        if let Some(link) = link
            && self.is_neighbour(dst, link)
        {
            return Target::Neighbour;
        }
        if dst.is_loopback() {
            return self.on_loopback(dst);
        }
        let is_host = self.maps.hosts.contains(&dst);
        self.step(format!("HOST_ADDRS {dst}"), if is_host { "the host's" } else { "not the host's" });
        if is_host {
            return self.at_host(dst, link);
        }
        match self.network(dst) {
            None => self.unknown(link),
            Some(network) if link.is_some_and(|link| link.network == network) => Target::Neighbour,
            Some(_) => self.container(dst, link.map(|link| link.bridge).or(self.question.ingress)),
        }
    }

    /// Neither the host nor a container; from a LAN it is reached by the frame's own way, unless the host is the gateway.
    fn unknown(&self, link: Option<&Link>) -> Target {
        let Some(link) = link.filter(|link| link.flags & link_flags::LAN != 0) else {
            return Target::Outside;
        };
        let gateway = link.gateway(self.question.v4);
        let has_router = !self.maps.hosts.contains(&gateway);
        if self.question.is_on_lan || has_router { Target::Lan } else { Target::Outside }
    }

    fn at_host(&mut self, dst: Addr, link: Option<&Link>) -> Target {
        let found = self.published(dst);
        let target = match link {
            None => Target::of_port(false, found.is_some()),
            Some(link) => {
                let is_gateway = dst == link.gateway4 || dst == link.gateway6;
                Target::of_host(is_gateway, found.is_some(), link.flags)
            }
        };
        self.for_source(target, found)
    }

    fn is_neighbour(&mut self, dst: Addr, link: &Link) -> bool {
        let key = EndpointKey { addr: dst, network: link.network };
        let is_there = self.maps.endpoints.contains(&key);
        let found = if is_there { "a neighbour" } else { "nobody" };
        self.step(format!("ENDPOINTS {dst} in network {}", link.network), found);
        is_there
    }

    fn on_loopback(&mut self, dst: Addr) -> Target {
        match self.question.origin {
            Origin::Container => Target::Loopback,
            Origin::Host | Origin::Outside => Target::of_port(true, self.published(dst).is_some()),
        }
    }

    /// The longest prefix that an address is in.
    fn network(&mut self, dst: Addr) -> Option<u32> {
        let holders = self.maps.subnets.iter().filter(|(key, _)| is_in(dst, key.prefix_len, key.addr));
        let found = holders.max_by_key(|(key, _)| key.prefix_len).map(|(_, network)| *network);
        let text = found.map_or_else(|| "no container's".to_owned(), |network| format!("network {network}"));
        self.step(format!("SUBNETS {dst}"), text);
        found
    }

    fn container(&mut self, dst: Addr, ingress: Option<u32>) -> Target {
        let row = self.maps.ports.get(&PortKey::beside(dst));
        let beside = row.map_or(0, |row| row.flags);
        let mode = match beside {
            _ if beside & port_flags::UNPROTECTED != 0 => "nat-unprotected",
            _ if beside & port_flags::ROUTED != 0 => "routed",
            _ if beside & port_flags::DIRECT == 0 => "not reached at its own address",
            _ if beside & port_flags::FILTERED != 0 => "reached directly by trusted interfaces",
            _ => "reached directly",
        };
        self.step(format!("PORTS beside {dst}"), mode);
        let found = if beside == 0 { None } else { self.row(dst) };
        let is_trusted = beside & port_flags::FILTERED != 0 && self.is_trusted(dst, ingress);
        let target = Target::of_container(beside, is_trusted, self.question.proto, found.is_some());
        self.receiver = row.map(|row| row.ifindex);
        self.for_source(target, found)
    }

    fn is_trusted(&mut self, container: Addr, ingress: Option<u32>) -> bool {
        let Some(ingress) = ingress else { return false };
        let is_trusted = self.maps.sources.contains(&SourceKey::interface(container, ingress));
        let found = if is_trusted { "trusted" } else { "not trusted" };
        self.step(format!("SOURCES beside {container}, interface {ingress}"), found);
        is_trusted
    }

    /// The row of a published port: the address's own before that of all addresses.
    fn published(&mut self, dst: Addr) -> Option<(PortKey, Backend)> {
        self.row(dst).or_else(|| self.row(dst.any()))
    }

    fn row(&mut self, addr: Addr) -> Option<(PortKey, Backend)> {
        let (port, proto) = (self.question.port, self.question.proto);
        let key = PortKey::new(addr, Port::new(port), proto);
        let row = self.maps.ports.get(&key).copied();
        let found = row.map_or_else(
            || "nothing is published".to_owned(),
            |row| format!("leads to {} port {}", row.addr, row.port.get()),
        );
        self.step(format!("PORTS {addr} port {port} protocol {proto}"), found);
        self.receiver = row.map(|row| row.ifindex);
        Some((key, row?))
    }

    /// A published port for who sends, where that is asked: the rules do not ask it of the host.
    fn for_source(&mut self, target: Target, found: Option<(PortKey, Backend)>) -> Target {
        let (Some((key, row)), Some(src)) = (found, self.question.src) else { return target };
        if self.question.origin == Origin::Host || row.flags & port_flags::FILTERED == 0 {
            return target;
        }
        let of_port = self.maps.sources.iter().filter(|source| source.source.port == key);
        let is_listed = of_port.into_iter().any(|it| is_in(src, it.prefix_len, it.source.addr));
        self.step(format!("SOURCES of the port, {src}"), if is_listed { "may" } else { "may not" });
        target.for_source(is_listed)
    }

    /// Whether it is held against a packet whence it comes, before all rules.
    fn is_denied(&mut self) -> bool {
        let Some(src) = self.question.src.filter(|_| self.question.origin == Origin::Outside) else {
            return false;
        };
        let is_denied = self.maps.denied.iter().any(|key| is_in(src, key.prefix_len, key.addr));
        self.step(format!("DENY {src}"), if is_denied { "denied" } else { "not denied" });
        is_denied
    }
}

/// Whether an address is in a prefix of the 128-bit form.
fn is_in(addr: Addr, prefix_len: u32, prefix: Addr) -> bool {
    let bits = |addr: Addr| match addr.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let same = (bits(addr) ^ bits(prefix)).leading_zeros() >= prefix_len;
    same && (prefix_len >= MAPPED_BITS || addr.is_v4() == prefix.is_v4())
}

/// Flags of a network that decide, for people.
fn flags(flags: u32) -> String {
    let names = [
        (link_flags::INTERNAL, "internal"),
        (link_flags::NO_ICC, "icc off"),
        (link_flags::LAN, "on a LAN"),
        (link_flags::NO_MASQUERADE, "masquerade off"),
        (link_flags::ROUTED4, "routed in IPv4"),
        (link_flags::ROUTED6, "routed in IPv6"),
    ];
    let set = names.iter().filter(|(flag, _)| flags & flag != 0);
    set.flat_map(|(_, name)| [", ", name]).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addr(last: [u8; 2]) -> Addr {
        Addr::from(Ipv4Addr::new(10, 0, last[0], last[1]))
    }

    #[test]
    fn a_prefix_holds_its_own_family_and_what_is_below_it() {
        assert!(is_in(addr([1, 9]), 96 + 24, addr([1, 0])));
        assert!(!is_in(addr([2, 9]), 96 + 24, addr([1, 0])));
        assert!(!is_in(addr([1, 9]), 0, Addr::UNSPECIFIED), "::/0 is not of IPv4");
    }

    #[test]
    fn a_host_without_networks_is_nobodys_business() {
        let maps = Maps::from_iter([Entry::HostAddr(addr([0, 1]), 1)]);
        let question = Question {
            origin: Origin::Outside,
            src: None,
            ingress: None,
            way: Way::Unasked,
            dst: Some(addr([0, 1])),
            is_on_lan: false,
            v4: true,
            proto: 6,
            port: 80,
        };
        let trace = follow(&maps, &question);
        assert_eq!((trace.rule, trace.drop), (Rule::NotOurs, None));
        let lookups: Vec<_> = trace.steps.iter().map(|step| step.lookup.as_str()).collect();
        assert_eq!(
            lookups,
            ["HOST_ADDRS 10.0.0.1", "PORTS 10.0.0.1 port 80 protocol 6", "PORTS 0.0.0.0 port 80 protocol 6"]
        );
    }

    #[test]
    fn a_machine_on_the_lan_is_reached_by_itself_and_what_is_beyond_by_whoever_is_the_gateway() {
        let (own, gateway, machine) = (addr([1, 77]), addr([1, 1]), addr([1, 9]));
        let link = Link {
            addr4: own,
            addr6: Addr::UNSPECIFIED,
            gateway4: gateway,
            gateway6: Addr::UNSPECIFIED,
            snat4: Addr::UNSPECIFIED,
            snat6: Addr::UNSPECIFIED,
            network: 1,
            bridge: 7,
            flags: link_flags::LAN,
            mac: netdp_common::Mac([2; 6]),
            gateway_mac: netdp_common::Mac([4; 6]),
        };
        let rule = |is_on_lan, entries: &[Entry]| {
            let maps = entries.iter().cloned().chain([Entry::Link(5, link)]).collect();
            let (origin, src, dst) = (Origin::Container, Some(own), Some(machine));
            let question = Question {
                origin,
                src,
                ingress: None,
                way: Way::Unasked,
                dst,
                is_on_lan,
                v4: true,
                proto: 6,
                port: 80,
            };
            follow(&maps, &question).rule
        };
        let is_host = [Entry::HostAddr(gateway, 1)];
        assert_eq!((rule(true, &[]), rule(false, &[])), (Rule::Lan, Rule::Lan));
        assert_eq!((rule(true, &is_host), rule(false, &is_host)), (Rule::Lan, Rule::Masquerade));
    }
}
