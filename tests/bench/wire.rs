//! The wires: what a packet costs at least, with nothing between the ends but veth pairs.
//!
//! `veth`, one bare pair, stands beside every scenario. Ways to and from the outside are longer in every other arm: they have the
//! host's uplink beyond the host. Beside them stands `uplink` as well, which has that uplink and nothing else.

use crate::options::{ArmName, Scenario};

impl ArmName {
    /// Whether it is only there for others to be compared with.
    pub(crate) fn is_wire(self) -> bool {
        matches!(self, Self::Veth | Self::Uplink)
    }
}

impl Scenario {
    /// Whether it takes the host's uplink.
    pub(crate) fn goes_outside(self) -> bool {
        matches!(self, Self::ContainerToOutside | Self::OutsideToPublished)
    }
}
