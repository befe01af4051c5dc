//! An arm: one way to move packets, built in namespaces of its own. All have the same shape, and differ in what stands between
//! the ends.
//!
//! ```text
//!   client ──┐
//!            ├─ host ── up0 ══ outside
//!   server ──┘
//! ```
//!
//! The wires ([`veth`] and [`uplink`]) have only a part of it: two ends and a pair, or the host and what is outside.

mod address;
mod bridge;
mod docker;
mod netdp;
mod nft;
mod plug;
mod routed;
mod uplink;
mod veth;

use std::net::IpAddr;

use tests::namespace::Namespace;

use crate::counter::Counter;
use crate::options::{ArmName, Family, Kind, Scenario};
use crate::plan::Traffic;

/// Where the ends of the traffic are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Client,
    Server,
    Host,
    Outside,
}

/// How one scenario goes in one arm.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// Who begins.
    pub(crate) from: Place,
    /// Who answers.
    pub(crate) served_by: Place,
    /// By which address.
    pub(crate) to: IpAddr,
    /// What must have counted the packets.
    pub(crate) grows: Vec<Counter>,
    /// What must not have seen them.
    pub(crate) still: Vec<Counter>,
}

impl Way {
    pub(crate) fn new(from: Place, served_by: Place, to: impl Into<IpAddr>) -> Self {
        Self { from, served_by, to: to.into(), grows: Vec::new(), still: Vec::new() }
    }

    pub(crate) fn counted_by(mut self, counters: impl IntoIterator<Item = Counter>) -> Self {
        self.grows.extend(counters);
        self
    }

    pub(crate) fn past(mut self, counters: impl IntoIterator<Item = Counter>) -> Self {
        self.still.extend(counters);
        self
    }
}

/// One arm, built.
pub(crate) trait Arm {
    /// The namespace of an end; an arm is not asked for one that none of its ways begins or ends in.
    fn place(&self, place: Place) -> &Namespace;

    /// How it carries this; nothing when it does not.
    fn way(&self, scenario: Scenario, family: Family) -> Option<Way>;

    /// Why it cannot carry this on a way that it otherwise has.
    fn refuses(&self, _traffic: Traffic) -> Option<&'static str> {
        None
    }

    /// What a counter of its own stands at.
    fn count(&self, counter: &Counter) -> u64 {
        counter.read(self.place(counter.place()))
    }

    /// What a reader of its numbers must know.
    fn note(&self) -> Option<String> {
        None
    }

    /// Called before each measurement, for what has processes in the packets' way.
    fn before(&self, _kind: Kind) {}
}

/// Builds it; fails by a panic that says what this machine lacks. What has no IPv6 by default gets it only when that is among the
/// families.
pub(crate) fn build(name: ArmName, families: &[Family]) -> Box<dyn Arm> {
    match name {
        ArmName::Veth => Box::new(veth::Veth::build()),
        ArmName::Uplink => Box::new(uplink::Uplink::build()),
        ArmName::Routed => Box::new(routed::Routed::build()),
        ArmName::Bridge => Box::new(bridge::Bridge::build()),
        ArmName::Nft => Box::new(nft::Nft::build(nft::Established::Rules)),
        ArmName::NftFlowtable => Box::new(nft::Nft::build(nft::Established::Flowtable)),
        ArmName::Docker => Box::new(docker::Docker::build(docker::Loopback::Proxy, families)),
        ArmName::DockerNoproxy => Box::new(docker::Docker::build(docker::Loopback::Rules, families)),
        ArmName::Netdp
        | ArmName::NetdpWithoutRedirectPeer
        | ArmName::NetdpWithoutKeptRoutes
        | ArmName::NetdpLargeMtu => Box::new(netdp::Netdp::build(families, name.variant())),
    }
}
