//! A Linux bridge, and nothing that filters or translates.

use std::net::IpAddr;

use tests::namespace::Namespace;

use super::plug::{Ends, SERVER};
use super::{Arm, Place, Way};
use crate::counter::Counter;
use crate::options::{Family, Scenario};

/// Two containers at a bridge.
pub(super) struct Bridge {
    ends: Ends,
}

impl Bridge {
    pub(super) fn build() -> Self {
        let ends = Ends::new();
        ends.bridged();
        Self { ends }
    }
}

impl Arm for Bridge {
    fn place(&self, place: Place) -> &Namespace {
        self.ends.place(place)
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        (scenario == Scenario::ContainerToContainer).then(|| over_ports(SERVER.of(family)))
    }
}

/// From container to container over the ports of a bridge, and not through the host's IP stack.
pub(super) fn over_ports(server: IpAddr) -> Way {
    Way::new(Place::Client, Place::Server, server)
        .counted_by([Counter::Interfaces(Place::Host, "veth")])
        .past([Counter::Forwarded])
}

/// Whether what goes from port to port meets the host's rules as well.
pub(super) fn netfilter(host: &Namespace) -> &'static str {
    // Without the module br_netfilter there is no such file.
    let file = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let called = host.enter(|| std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "1"));
    if called { "bridged packets meet the rules too" } else { "bridged packets do not meet the rules" }
}
