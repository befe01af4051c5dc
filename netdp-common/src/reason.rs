//! Why a packet went the way it went: one number for the counter, the event and the text.

use crate::assert_size;

/// Packets and bytes of one [`Reason`] (map `COUNTERS`, one value per CPU).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Count {
    /// Packets as the hook saw them: a GSO packet is one.
    pub packets: u64,
    /// Bytes, link layer included.
    pub bytes: u64,
}
assert_size!(Count, 16);

/// Slots of the map `COUNTERS`; room for reasons to come.
pub const SLOTS: u32 = 128;

/// Numbers from here on are drops; below are ways through.
const FIRST_DROP: u32 = 64;

macro_rules! reasons {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal; )+) => {
        /// Stable numbers: never reused, so that a counter means the same in every version.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $( $(#[$doc])* $name = $number, )+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The name that `netdp status`, events and metrics use.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// The reason of a number, as it stands in an event.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $( $number => Some(Self::$name), )+ _ => None }
            }
        }
    };
}

reasons! {
    /// Container to container of one network, handed over at the hook.
    Local = 0, "local";
    /// Container to the outside, masqueraded.
    Masqueraded = 1, "masqueraded";
    /// To a published port, from the outside, the host or a container.
    Published = 2, "published";
    /// The reply of a masqueraded or published flow.
    Reply = 3, "reply";
    /// Handed to the bridge or the host's stack, which know how to answer.
    SlowPath = 4, "slow_path";
    /// An ICMP error, translated with the packet inside it.
    IcmpError = 5, "icmp_error";
    /// Went no further, and its sender was told by an ICMP error of ours: its time to live had ended, or it was too big
    /// for the next link. Where nobody may be told, or too many were, the packet counts as `ttl_exceeded` or `frag_needed`.
    /// One that is refused for want of room counts under that reason, answered or not.
    Answered = 6, "answered";
    /// A fragment, handed over to be put in order with the others of its datagram.
    Sorted = 14, "fragment_sorted";

    /// A veth that no endpoint is known for.
    UnknownEndpoint = 64, "unknown_endpoint";
    /// The source MAC is not the container's.
    SpoofedMac = 65, "invalid_source_mac";
    /// The source address is not the container's.
    SpoofedIp = 66, "invalid_source_ip";
    /// An ARP message that claims another's address.
    SpoofedArp = 67, "invalid_source_arp";
    /// A header that contradicts itself or the length of the frame.
    Malformed = 68, "malformed";
    /// Neither IPv4 nor ARP.
    UnknownL3 = 69, "unknown_l3";
    /// A protocol that cannot be translated.
    UnknownL4 = 70, "unknown_l4";
    /// IPv6 from a container of a network without IPv6.
    Ipv6Disabled = 71, "ipv6_disabled";
    /// A fragment of a datagram whose ports are not known.
    Fragment = 72, "fragment";
    /// Between two networks, and not to a published port.
    InterNetwork = 73, "inter_network";
    /// Between two containers of a network that forbids it.
    IccDisabled = 74, "icc_disabled";
    /// Out of an internal network.
    InternalNetwork = 75, "internal_network";
    /// From the outside to a container's address.
    DirectRouting = 76, "direct_routing";
    /// The route leaves by an interface that is no uplink, or by one that has no address.
    NoUplink = 77, "no_uplink";
    /// No free port was found within the bounded number of tries.
    NatPortExhausted = 78, "nat_port_exhausted";
    /// The flow table is full of live flows.
    FlowTableFull = 79, "ct_table_full";
    /// No flow, and a packet that cannot begin one.
    CtInvalid = 80, "ct_invalid";
    /// A container's address on its way out of an uplink, caught by the guard.
    Unmasqueraded = 81, "unmasqueraded";
    /// The kernel could not say where to send it.
    NoFib = 82, "no_fib";
    /// The time to live ran out, and nobody was told ([`Reason::Answered`]).
    TtlExceeded = 83, "ttl_exceeded";
    /// A helper of the kernel refused to change the packet.
    RewriteFailed = 84, "rewrite_failed";
    /// A loopback address, or none at all, as destination from a container.
    LoopbackFromContainer = 86, "loopback_from_container";
    /// Masquerade is off for the network.
    MasqueradeOff = 87, "masquerade_off";
    /// An ICMP error about a packet of no known flow.
    IcmpUnrelated = 88, "icmp_unrelated";
    /// Larger than the MTU of the next link, or of the container's interface, and nobody was told ([`Reason::Answered`]).
    FragNeeded = 89, "frag_needed";
    /// The kernel did not take the packet for the interface that it was meant for.
    RedirectFailed = 90, "redirect_failed";
    /// A unicast frame that is neither for the gateway nor for the endpoint that it is addressed to.
    WrongMac = 91, "invalid_destination_mac";
    /// A VLAN tag from a container.
    VlanTag = 92, "vlan_tag";
    /// More IPv6 extension headers than are walked, or none behind them that is within reach.
    ExtensionHeaders = 93, "extension_headers";
    /// What only routers say, or neighbour discovery that speaks for somebody else (RFC 4861), from a container.
    RogueNd = 94, "invalid_neighbour_discovery";
    /// An ICMP redirect from a container.
    IcmpRedirect = 95, "icmp_redirect";
    /// Families that are not translated into one another for this protocol.
    FamilyMismatch = 96, "family_mismatch";
    /// To a published port, from a source that it is not for.
    SourceDenied = 97, "source_denied";
    /// From the outside, from a prefix of the deny list.
    Denied = 98, "denied";
    /// A loopback address, or an IPv4-mapped one, from or to the outside.
    LoopbackFromWire = 99, "loopback_from_wire";
    /// A container's address as a source from the outside.
    ContainerFromWire = 100, "container_from_wire";
    /// The host's own address as a source from the outside.
    HostFromWire = 101, "host_from_wire";
    /// A packet that says by which stations it goes (RFC 7126, 4.3; RFC 5095).
    SourceRouted = 102, "source_routed";
    /// An ICMP error whose checksum is wrong, or that of the IP header inside (RFC 5508, REQ-3).
    IcmpBadChecksum = 103, "icmp_bad_checksum";
    /// One flow or port more than the container may have.
    Quota = 108, "quota";
    /// What is left of the flow table is for published ports.
    FlowTableReserved = 109, "ct_table_reserved";
    /// A fragment from an interface that has too many incomplete datagrams already.
    FragmentLimit = 110, "fragment_limit";
    /// The network's `snat-ip` is no address of the host now.
    SnatIpGone = 115, "snat_ip_gone";
    /// To the outside endpoint of a container that has not sent to the sender's.
    UdpFiltered = 116, "udp_filtered";
    /// GRE, ESP and the like, known by addresses alone, to a remote that the host itself talks to by it.
    HeldByHost = 117, "held_by_host";
    /// What only a server of DHCP says, from a container to a neighbour; or a client's words where the host asks for addresses.
    RogueDhcp = 118, "dhcp_server";
    /// An ICMP error about TCP bytes that were not on their way (RFC 5927).
    IcmpSequence = 119, "icmp_sequence";
    /// A SYN that nobody asked for, to a port that a container is seen by (RFC 5382, REQ-4).
    UnaskedSyn = 120, "unasked_syn";
    /// To a port of a container of a routed network that is not published.
    Unpublished = 121, "unpublished";
}

impl Reason {
    /// The number: slot in `COUNTERS`, field of an event.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Whether it is a limit that the packet was dropped for: to be told by ICMP as administratively prohibited.
    #[inline(always)]
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::Quota | Self::FlowTableReserved | Self::FlowTableFull | Self::NatPortExhausted)
    }

    /// Whether the packet was dropped.
    pub const fn is_drop(self) -> bool {
        self.number() >= FIRST_DROP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_reasons_and_fit_the_map() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason.number()), Some(reason));
            assert!(reason.number() < SLOTS);
        }
        assert_eq!(Reason::from_number(63), None);
    }

    #[test]
    fn names_are_unique() {
        for (i, a) in Reason::ALL.iter().enumerate() {
            assert!(Reason::ALL[i + 1..].iter().all(|b| a.name() != b.name()), "{}", a.name());
        }
    }
}
