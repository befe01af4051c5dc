//! A bridge and nftables rules, as one would write them by hand to get what Docker gives.

use std::net::IpAddr;

use tests::namespace::Namespace;
use tests::topology::UPLINK;

use super::address::{Addresses, LOOPBACK, OUTSIDE};
use super::bridge::{netfilter, over_ports};
use super::plug::{Ends, SERVER, subnet};
use super::{Arm, Place, Way};
use crate::counter::Counter;
use crate::options::{Family, Scenario};
use crate::plan::Traffic;
use crate::port;

/// Who moves the packets of a flow that is established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Established {
    /// The rules see them all.
    Rules,
    /// From the interface that they come in by to the one that they leave by, past rules and routes.
    Flowtable,
}

/// Two containers at a bridge, behind nftables.
pub(super) struct Nft {
    ends: Ends,
    established: Established,
    /// Why the kernel takes no flow past the rules, when it does not.
    no_flowtable: Option<String>,
}

impl Nft {
    pub(super) fn build(established: Established) -> Self {
        let ends = Ends::new();
        ends.bridged();
        let host = &ends.host.ns;
        let no_flowtable = refused_flowtable(host);
        if let (Established::Flowtable, Some(why)) = (established, &no_flowtable) {
            panic!("this kernel has no flowtable (CONFIG_NF_FLOW_TABLE): {why}");
        }
        for family in Family::BOTH {
            host.set_sysctl(family.forwarding(), "1");
        }
        // Lets 127.0.0.1 be translated, as dockerd does it when it has no proxies.
        host.set_sysctl("net/ipv4/conf/br0/route_localnet", "1");
        let rules = ends.bed.dir().join("rules.nft");
        let text = Family::BOTH.map(|family| rules_text(family, established)).concat();
        std::fs::write(&rules, text).unwrap();
        host.sh(&format!("nft -f {}", rules.display())).done();
        Self { ends, established, no_flowtable }
    }
}

/// A flowtable of every interface that forwarded packets come in by.
fn flowtable(devices: &str) -> String {
    format!("{{ hook ingress priority 0; devices = {{ {devices} }}; }}")
}

/// What the kernel says against one.
fn refused_flowtable(host: &Namespace) -> Option<String> {
    let flowtable = flowtable(UPLINK);
    let added = host.sh(&format!("nft add table ip probe && nft add flowtable ip probe fast '{flowtable}'"));
    host.sh("nft delete table ip probe").done();
    let said = added.stderr.lines().next().unwrap_or_default();
    (added.code != Some(0)).then(|| said.trim_start_matches("Error: ").to_owned())
}

/// The flowtable, and the rule that gives flows to it.
fn fast(established: Established) -> (String, &'static str) {
    match established {
        Established::Rules => (String::new(), ""),
        Established::Flowtable => {
            let table = flowtable(&format!("{UPLINK}, veth-client, veth-server"));
            (format!("flowtable fast {table}"), "meta l4proto { tcp, udp } flow add @fast")
        }
    }
}

/// Each rule of Docker's that these ways meet, without its iptables and without its proxies.
fn rules_text(family: Family, established: Established) -> String {
    let (flowtable, flow_add) = fast(established);
    let (tcp, udp) = (port::published_tcp(), port::published_udp());
    let (ip, server, subnet) = (family.in_rules(), SERVER.of(family), subnet(family));
    format!(
        "table {ip} bench {{
           counter forwarded {{ }}
           {flowtable}
           chain published {{
             tcp dport {{ {tcp} }} dnat to {server}
             udp dport {{ {udp} }} dnat to {server}
           }}
           chain prerouting {{
             type nat hook prerouting priority dstnat;
             fib daddr type local jump published
           }}
           chain output {{
             type nat hook output priority -100;
             fib daddr type local jump published
           }}
           chain postrouting {{
             type nat hook postrouting priority srcnat;
             {ip} saddr {subnet} oifname != \"br0\" masquerade
             oifname \"br0\" fib saddr type local masquerade
             iifname \"br0\" oifname \"br0\" ct status dnat masquerade
           }}
           chain forward {{
             type filter hook forward priority filter; policy drop;
             counter name forwarded
             {flow_add}
             oifname \"br0\" ct state established,related accept
             oifname \"br0\" {ip} daddr {server} tcp dport {{ {tcp} }} accept
             oifname \"br0\" {ip} daddr {server} udp dport {{ {udp} }} accept
             iifname \"br0\" accept
           }}
         }}\n"
    )
}

impl Arm for Nft {
    fn place(&self, place: Place) -> &Namespace {
        self.ends.place(place)
    }

    fn note(&self) -> Option<String> {
        let what = match (self.established, &self.no_flowtable) {
            (Established::Flowtable, _) => "established flows go past the rules".to_owned(),
            (Established::Rules, None) => "without a flowtable (this kernel has one)".to_owned(),
            (Established::Rules, Some(_)) => "without a flowtable (this kernel has none)".to_owned(),
        };
        Some(format!("{what}; {}", netfilter(&self.ends.host.ns)))
    }

    fn refuses(&self, traffic: Traffic) -> Option<&'static str> {
        loses_answers(traffic)
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        let host = Addresses::of_host(&self.ends.host).of(family);
        let forwarded = match self.established {
            Established::Rules => vec![Counter::Nftables, Counter::Forwarded],
            // The other ways are not between two interfaces of the flowtable.
            Established::Flowtable if !scenario.goes_outside() => return None,
            // The first packets of a flow pass the rules: how many of all those are is a matter of the kind.
            Established::Flowtable => {
                vec![Counter::Interfaces(Place::Host, UPLINK), Counter::Interfaces(Place::Host, "veth-")]
            }
        };
        let from_host = |to| translated_for_host(to, "br0");
        Some(match scenario {
            Scenario::ContainerToContainer => over_ports(SERVER.of(family)),
            Scenario::ContainerToOutside => {
                Way::new(Place::Client, Place::Outside, OUTSIDE.of(family)).counted_by(forwarded)
            }
            Scenario::OutsideToPublished => {
                Way::new(Place::Outside, Place::Server, host).counted_by(forwarded)
            }
            Scenario::HostToLoopback => from_host(LOOPBACK.of(family)),
            Scenario::HostToOwnAddress => from_host(host),
            // By br_netfilter the bridge itself may translate it, so that the IP stack never forwards it.
            Scenario::Hairpin => Way::new(Place::Client, Place::Server, host).counted_by([Counter::Nftables]),
        })
    }
}

/// Why a process of the host that asks at a published port gets no answer by rules alone. Seen with Linux 6.18: the question
/// arrives, and the answer ends as a packet without a route (`Ip6InNoRoutes`).
pub(super) fn loses_answers(Traffic { scenario, family, .. }: Traffic) -> Option<&'static str> {
    ((scenario, family) == (Scenario::HostToLoopback, Family::Six)).then_some(
        "the kernel takes no answer for ::1 from another interface, and IPv6 has no sysctl like route_localnet",
    )
}

/// From a process of the host by a rule of the output chain to the bridge: `lo` does not see it.
pub(super) fn translated_for_host(to: IpAddr, bridge: &'static str) -> Way {
    Way::new(Place::Host, Place::Server, to)
        .counted_by([Counter::Interfaces(Place::Host, bridge)])
        .past([Counter::Interfaces(Place::Host, "lo"), Counter::Forwarded])
}
