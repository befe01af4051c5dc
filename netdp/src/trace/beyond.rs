//! What may still be in the way of a packet that the rules let pass: no way out, no room for its flow.

use std::collections::HashMap;

use netdp_common::policy::{Origin, Rule};
use netdp_common::quota::{self, Kind};
use netdp_common::{Addr, Limit, Link, Payer, Quota, Reason, Uplink};

/// Where the kernel's routing table sends a packet of a container, by the bridge of its network.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Way {
    /// Nobody has asked, as the destination is none in particular.
    #[default]
    Unasked,
    /// Nowhere: the host's stack says so to the sender.
    Nowhere,
    /// By the interface with this number.
    By(u32),
}

/// What the programs know of ways out and of room.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    pub(super) uplinks: HashMap<u32, Uplink>,
    /// Rows of the limits that are set, by the number of the row.
    pub(super) limits: HashMap<u32, u32>,
    pub(super) counts: HashMap<Payer, Quota>,
}

impl Beyond {
    /// What is in the way, with what was looked up and found.
    pub(super) fn refuses_way(&self, way: Way, link: &Link, v4: bool) -> (String, String, Option<Reason>) {
        let text = |found: &str, reason| ("UPLINKS by the route".to_owned(), found.to_owned(), reason);
        let has_source = |uplink: &Uplink| {
            let own = if v4 { uplink.addr4 } else { uplink.addr6 };
            link.is_routed(v4) || link.snat(v4) != Addr::UNSPECIFIED || own != Addr::UNSPECIFIED
        };
        match way {
            Way::Nowhere => text("no route: the host answers that", None),
            Way::Unasked if self.uplinks.values().any(has_source) => text("an uplink with an address", None),
            Way::Unasked => text("no uplink with an address", Some(Reason::NoUplink)),
            Way::By(number) => match self.uplinks.get(&number) {
                None => text(&format!("interface {number} is no uplink"), Some(Reason::NoUplink)),
                Some(uplink) if has_source(uplink) => text(&format!("by uplink {number}"), None),
                Some(_) => text(&format!("uplink {number} has no address"), Some(Reason::NoUplink)),
            },
        }
    }

    /// Whether who pays for the flow has as many as it may have: the sender, or where that is no container, the receiver.
    pub(super) fn refuses_flow(&self, payer: Payer) -> (String, String, Option<Reason>) {
        let used = self.counts.get(&payer).map_or(0, |row| row.used);
        let most = Limit::Flows.value(self.limits.get(&Limit::Flows.row()).copied().unwrap_or(0));
        let reason = quota::is_spent(used, most).then_some(Reason::Quota);
        (format!("QUOTAS of interface {}", payer.ifindex), format!("{used} flows of {most}"), reason)
    }
}

/// Who pays for the flow of a packet that passes by this rule; none where it begins none.
pub(super) fn payer(rule: Rule, origin: Origin, sender: Option<u32>, receiver: Option<u32>) -> Option<Payer> {
    match rule {
        Rule::Masquerade
        | Rule::RoutedOut
        | Rule::Published
        | Rule::RoutedPort
        | Rule::RoutedIcmp
        | Rule::DirectPort
        | Rule::Unprotected => {}
        _ => return None,
    }
    match origin {
        Origin::Container => sender.map(|ifindex| Payer { ifindex, kind: Kind::BEGINS }),
        Origin::Host | Origin::Outside => receiver.map(|ifindex| Payer { ifindex, kind: Kind::SERVES }),
    }
}

#[cfg(test)]
mod tests {
    use netdp_common::Mac;

    use super::*;

    fn link(flags: u32) -> Link {
        let (none, mac) = (Addr::UNSPECIFIED, Mac([0; 6]));
        Link {
            addr4: none,
            addr6: none,
            gateway4: none,
            gateway6: none,
            snat4: none,
            snat6: none,
            network: 1,
            bridge: 5,
            flags,
            mac,
            gateway_mac: mac,
        }
    }

    #[test]
    fn way_leads_out_by_an_uplink_that_has_an_address_of_the_family() {
        let uplink = Uplink { addr4: Addr::ANY4, addr6: Addr::UNSPECIFIED, ifindex: 2, pad: 0 };
        let beyond = Beyond { uplinks: [(2, uplink)].into(), ..Beyond::default() };
        let refuses = |way, flags, v4| beyond.refuses_way(way, &link(flags), v4).2;
        assert_eq!((refuses(Way::By(2), 0, true), refuses(Way::Unasked, 0, true)), (None, None));
        assert_eq!(refuses(Way::Nowhere, 0, true), None);
        for way in [Way::By(2), Way::Unasked] {
            assert_eq!(refuses(way, 0, false), Some(Reason::NoUplink), "{way:?}");
            assert_eq!(refuses(way, netdp_common::link_flags::ROUTED6, false), None, "{way:?}");
        }
        assert_eq!(refuses(Way::By(9), 0, true), Some(Reason::NoUplink));
    }

    #[test]
    fn who_has_spent_its_flows_begins_no_more() {
        let payer = Payer { ifindex: 7, kind: Kind::BEGINS };
        let spent = Quota { used: 16, ..Quota::NONE };
        let mut beyond = Beyond { counts: [(payer, spent)].into(), ..Beyond::default() };
        assert_eq!(beyond.refuses_flow(payer).2, None);
        beyond.limits.insert(Limit::Flows.row(), Limit::to_row(16));
        assert_eq!(beyond.refuses_flow(payer).2, Some(Reason::Quota));
        assert_eq!(beyond.refuses_flow(Payer { kind: Kind::SERVES, ..payer }).2, None);
    }

    #[test]
    fn nobody_pays_for_what_begins_no_flow() {
        for rule in Rule::ALL {
            let begins = payer(*rule, Origin::Container, Some(7), Some(9));
            assert!(begins.is_none() || rule.verdict().is_ok(), "{rule:?}");
        }
        let of = |origin| payer(Rule::Published, origin, Some(7), Some(9)).map(|payer| payer.ifindex);
        assert_eq!([Origin::Container, Origin::Host, Origin::Outside].map(of), [Some(7), Some(9), Some(9)]);
        assert_eq!(payer(Rule::Icc, Origin::Container, Some(7), None), None);
    }
}
