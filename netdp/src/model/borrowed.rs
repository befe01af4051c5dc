//! A bridge that somebody else made and a network uses.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a bridge had when a network began to use it; netdp neither makes nor removes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Borrowed {
    /// Its own addresses, with the lengths of their subnets' prefixes: they stay when the network goes.
    pub addresses: Vec<IpNet>,
}
