//! The wire of the ways to and from the outside: from node to node.

use tests::namespace::Namespace;
use tests::topology::{Bed, Host, UPLINK};

use super::address::{Addresses, OUTSIDE};
use super::{Arm, Place, Way, plug};
use crate::counter::Counter;
use crate::options::{Family, Scenario};

/// A host without containers, rules and programs, at the uplink that the hosts of all arms have: a process of its own talks with
/// the outside.
pub(super) struct Uplink {
    host: Host,
    bed: Bed,
}

impl Uplink {
    pub(super) fn build() -> Self {
        let bed = Bed::new();
        let host = bed.unwatched_host("host");
        plug::allow_many_connections(&host.ns);
        Self { host, bed }
    }
}

impl Arm for Uplink {
    fn place(&self, place: Place) -> &Namespace {
        match place {
            Place::Outside => &self.bed.outside.ns,
            _ => &self.host.ns,
        }
    }

    fn note(&self) -> Option<String> {
        Some(
            "the host itself and the outside, over the same uplink as in every other arm: the wire of \
             the ways to and from the outside"
                .to_owned(),
        )
    }

    fn way(&self, scenario: Scenario, family: Family) -> Option<Way> {
        let own = Addresses::of_host(&self.host).of(family);
        let way = match scenario {
            Scenario::ContainerToOutside => Way::new(Place::Host, Place::Outside, OUTSIDE.of(family)),
            Scenario::OutsideToPublished => Way::new(Place::Outside, Place::Host, own),
            _ => return None,
        };
        Some(way.counted_by([Counter::Interfaces(Place::Host, UPLINK)]).past([Counter::Forwarded]))
    }
}
