//! netdp otherwise than everybody gets it: without one mechanism, which shows what that is worth, or with something to be asked for.

use crate::options::{ArmName, Kind, Scenario};
use crate::plan::MAIN_KINDS;

/// What is other than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Packets do not skip the host's end of a container's veth pair.
    WithoutRedirectPeer,
    /// The kernel is asked for the route of every packet.
    WithoutKeptRoutes,
    /// The network carries the largest packets that an interface takes.
    LargeMtu,
}

impl ArmName {
    /// Nothing for what is not netdp, and for netdp itself.
    pub(crate) fn variant(self) -> Option<Variant> {
        match self {
            Self::NetdpWithoutRedirectPeer => Some(Variant::WithoutRedirectPeer),
            Self::NetdpWithoutKeptRoutes => Some(Variant::WithoutKeptRoutes),
            Self::NetdpLargeMtu => Some(Variant::LargeMtu),
            _ => None,
        }
    }
}

impl Variant {
    /// The mechanism that it does not have, in the words of `netdp up --without`.
    pub(crate) fn lacks(self) -> Option<&'static str> {
        match self {
            Self::WithoutRedirectPeer => Some("redirect-peer"),
            Self::WithoutKeptRoutes => Some("kept-routes"),
            Self::LargeMtu => None,
        }
    }

    /// Where it can differ from netdp.
    pub(crate) fn scenarios(self) -> &'static [Scenario] {
        match self {
            Self::WithoutRedirectPeer => {
                &[Scenario::ContainerToContainer, Scenario::ContainerToOutside, Scenario::OutsideToPublished]
            }
            Self::WithoutKeptRoutes => &[Scenario::ContainerToOutside, Scenario::OutsideToPublished],
            Self::LargeMtu => &[Scenario::ContainerToContainer],
        }
    }

    /// In what it can differ.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::WithoutRedirectPeer | Self::WithoutKeptRoutes => &MAIN_KINDS,
            Self::LargeMtu => {
                &[Kind::TcpRr, Kind::TcpStream, Kind::TcpStreamReverse, Kind::TcpStreamParallel]
            }
        }
    }
}
