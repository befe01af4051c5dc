//! A route that a network puts into its containers.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Where to and by whom, beside the default route.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetworkRoute {
    /// The destination.
    pub to: IpNet,
    /// The next hop, an address of the network.
    pub via: IpAddr,
}
