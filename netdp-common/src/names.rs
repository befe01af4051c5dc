//! Names of programs and maps, each once, for both sides. The kernel keeps 15 characters of a name.

/// Ingress of a container's host-side veth: everything that the container sends.
pub const FROM_CONTAINER: &str = "from_container";
/// Ingress of an uplink: everything that the outside sends to the host.
pub const FROM_UPLINK: &str = "from_uplink";
/// XDP on an uplink: what must never cost the host a socket buffer.
pub const PREFILTER: &str = "prefilter";
/// Egress of an uplink: the guard, and masquerade for what took the slow path.
pub const TO_UPLINK: &str = "to_uplink";
/// Egress of a network's bridge: what the host's stack is about to send to containers.
pub const TO_BRIDGE: &str = "to_bridge";
/// Egress of `lo`: processes of the host that talk to a published port on a local address.
pub const FROM_HOST: &str = "from_host";
/// Ingress of the veth that leads to the namespace where fragments are sorted: what comes back from there.
pub const FROM_FRAGMENTS: &str = "from_fragments";
/// `bind(2)` of an IPv4 socket: refuses ports that are published.
pub const BIND4: &str = "bind4";
/// `bind(2)` of an IPv6 socket: refuses ports that are published.
pub const BIND6: &str = "bind6";
/// Look-up of a socket for what comes in: what an endpoint sends to its gateway's port of DNS is the
/// resolver's.
pub const RESOLVER: &str = "resolver";

/// `ifindex` of a host-side veth -> [`crate::Link`]. Written by the controller.
pub const LINKS: &str = "LINKS";
/// [`crate::EndpointKey`] -> [`crate::Endpoint`]. Written by the controller.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// [`crate::PortKey`] -> [`crate::Backend`]. Written by the controller.
pub const PORTS: &str = "PORTS";
/// [`crate::SourceKey`] (longest prefix) -> the length of the prefix. Written by the controller.
pub const SOURCES: &str = "SOURCES";
/// [`crate::SubnetKey`] (longest prefix) -> network id. Written by the controller.
pub const SUBNETS: &str = "SUBNETS";
/// [`crate::DestinationKey`] (longest prefix) -> the length of the prefix. Written by the controller.
pub const EXCLUDED: &str = "EXCLUDED";
/// `ifindex` of an uplink -> [`crate::Uplink`]. Written by the controller.
pub const UPLINKS: &str = "UPLINKS";
/// [`crate::Addr`] of the host -> 1. Written by the controller.
pub const HOST_ADDRS: &str = "HOST_ADDRS";
/// [`crate::SubnetKey`] (longest prefix) -> the length of the prefix once more: whose packets are refused
/// ([`crate::deny`]). Written by the controller.
pub const DENY: &str = "DENY";
/// One slot of [`crate::prefilter::flags`]. Written by the controller.
pub const WIRE: &str = "WIRE";
/// [`crate::FlowKey`] -> [`crate::Flow`]. Written by the programs; the controller only deletes.
pub const FLOWS: &str = "FLOWS";
/// [`crate::mapping::MappingKey`] -> [`crate::mapping::Mapping`]. Written by the programs; the controller only deletes.
pub const MAPPINGS: &str = "MAPPINGS";
/// Port of TCP -> until when a container is seen by it (ticks). Written by the programs.
pub const HELD: &str = "HELD";
/// [`crate::FlowKey`] of a SYN that nobody asked for -> when it came (ns). Written by the programs.
pub const UNASKED: &str = "UNASKED";
/// [`crate::Payer`] -> [`crate::Quota`]. Written by the programs; the controller only deletes.
pub const QUOTAS: &str = "QUOTAS";
/// [`crate::Release`], first in first out: what the controller has deleted. Taken in by the programs.
pub const RELEASED: &str = "RELEASED";
/// [`crate::Place`] -> [`crate::FlowKey`] of a half-open flow. Written by the programs.
pub const HALF_OPEN: &str = "HALF_OPEN";
/// Slots that each hold the [`crate::FlowKey`] of a flow's replies, for the sweep. Written by the programs.
pub const LEDGER: &str = "LEDGER";
/// Slots that each hold the [`crate::MappingKey`] of an inside endpoint, for the sweep. Written by the programs.
pub const INSIDE: &str = "INSIDE";
/// Number of a [`crate::State`] -> its timeout in ticks ([`crate::settings`]), and further rows that are limits
/// ([`crate::quota`]). Written by the controller.
pub const SETTINGS: &str = "SETTINGS";
/// When the programs last swept the flow table ([`crate::quota::SWEEP_SHIFT`]). Written by the programs.
pub const SWEPT: &str = "SWEPT";
/// [`crate::FlowKey`] with the datagram's identification for ports -> that with the ports. Written by the programs.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// `ifindex` of an uplink or a host-side veth -> [`crate::fragments::Pending`]. Written by the programs.
pub const PENDING: &str = "PENDING";
/// One slot: `ifindex` of the veth that leads to where fragments are sorted, or zero. Written by the controller.
pub const SORTER: &str = "SORTER";
/// Number of a [`crate::resolver`] socket -> that socket. Written by the resolver; what it closes is gone from here.
pub const RESOLVERS: &str = "RESOLVERS";
/// [`crate::Reason`] -> [`crate::Count`], per CPU. Written by the programs.
pub const COUNTERS: &str = "COUNTERS";
/// Ring of [`crate::Event`]. Written by the programs, read by the controller.
pub const EVENTS: &str = "EVENTS";
/// Read-only global, set at load: the cookie of the namespace whose ports are reserved.
pub const NETNS_COOKIE: &str = "NETNS_COOKIE";
/// Read-only global, set at load: how many flows the table has room for.
pub const FLOW_CAPACITY: &str = "FLOW_CAPACITY";

/// Read-only global, set at load: mechanisms to do without ([`crate::without`]).
pub const WITHOUT: &str = "WITHOUT";

/// All maps that are pinned, in the order in which the object declares them.
pub const MAPS: [&str; 27] = [
    LINKS, ENDPOINTS, PORTS, SOURCES, SUBNETS, EXCLUDED, UPLINKS, HOST_ADDRS, DENY, WIRE, SETTINGS, FLOWS,
    MAPPINGS, HELD, UNASKED, SWEPT, QUOTAS, RELEASED, HALF_OPEN, LEDGER, INSIDE, FRAGMENTS, PENDING, SORTER,
    RESOLVERS, COUNTERS, EVENTS,
];
