//! Names of programs and maps, each once, for both sides. The kernel keeps 15 characters of a name.

/// Ingress of a container's host-side veth: everything that the container sends.
pub const FROM_CONTAINER: &str = "from_container";
/// Ingress of an uplink: everything that the outside sends to the host.
pub const FROM_UPLINK: &str = "from_uplink";
/// Egress of an uplink: the guard, and masquerade for what took the slow path.
pub const TO_UPLINK: &str = "to_uplink";
/// Egress of a network's bridge: what the host's stack is about to send to containers.
pub const TO_BRIDGE: &str = "to_bridge";
/// Egress of `lo`: processes of the host that talk to a published port on a local address.
pub const FROM_HOST: &str = "from_host";
/// `bind(2)` of an IPv4 socket: refuses ports that are published.
pub const BIND4: &str = "bind4";
/// `bind(2)` of an IPv6 socket: refuses ports that are published.
pub const BIND6: &str = "bind6";

/// `ifindex` of a host-side veth -> [`crate::Link`]. Written by the controller.
pub const LINKS: &str = "LINKS";
/// [`crate::EndpointKey`] -> [`crate::Endpoint`]. Written by the controller.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// [`crate::PortKey`] -> [`crate::Backend`]. Written by the controller.
pub const PORTS: &str = "PORTS";
/// [`crate::SubnetKey`] (longest prefix) -> network id. Written by the controller.
pub const SUBNETS: &str = "SUBNETS";
/// `ifindex` of an uplink -> [`crate::Uplink`]. Written by the controller.
pub const UPLINKS: &str = "UPLINKS";
/// [`crate::Addr`] of the host -> 1. Written by the controller.
pub const HOST_ADDRS: &str = "HOST_ADDRS";
/// [`crate::FlowKey`] -> [`crate::Flow`]. Written by the programs; the controller only deletes.
pub const FLOWS: &str = "FLOWS";
/// When the programs last swept a full flow table (ticks). Written by the programs.
pub const SWEPT: &str = "SWEPT";
/// [`crate::Reason`] -> [`crate::Count`], per CPU. Written by the programs.
pub const COUNTERS: &str = "COUNTERS";
/// Ring of [`crate::Event`]. Written by the programs, read by the controller.
pub const EVENTS: &str = "EVENTS";
/// Read-only global, set at load: the cookie of the namespace whose ports are reserved.
pub const NETNS_COOKIE: &str = "NETNS_COOKIE";

/// All maps that are pinned, in the order in which the object declares them.
pub const MAPS: [&str; 10] =
    [LINKS, ENDPOINTS, PORTS, SUBNETS, UPLINKS, HOST_ADDRS, FLOWS, SWEPT, COUNTERS, EVENTS];
