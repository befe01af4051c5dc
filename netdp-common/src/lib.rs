//! The contract between netdp's programs in the kernel and its controller.
//!
//! Rules of the map layouts in this crate:
//!
//! - `repr(C)`, natural alignment, no implicit padding: each size is asserted beside its type, and padding
//!   fields are explicit and zero. A padding byte in a key would make look-ups fail by chance.
//! - No `bool`, `Option` or `enum` in a key or value: any byte pattern that the kernel hands back is valid.
//! - Byte order is in the type: [`Addr`], [`Port`] and [`Mac`] hold network order; plain integers are native.
//! - Numbers ([`Reason`], [`State`], [`Zone`], [`Exit`]) are never reused for something else.
//!
//! The pure packet logic lives here too ([`tracker`], [`translate`], [`csum`], [`crc32c`], [`ipv4`], [`ipv6`]): it is compiled into
//! the programs and, unchanged, into the unit tests of the host.
#![cfg_attr(not(feature = "user"), no_std)]

pub mod addr;
pub mod answer;
pub mod crc32c;
pub mod csum;
pub mod deny;
pub mod endpoint;
pub mod event;
pub mod excluded;
pub mod flow;
pub mod fragments;
pub mod ipv4;
pub mod ipv6;
pub mod mapping;
pub mod names;
pub mod policy;
pub mod port;
pub mod prefilter;
pub mod quota;
pub mod reason;
pub mod resolver;
pub mod settings;
pub mod source;
pub mod timers;
pub mod tracker;
pub mod translate;
pub mod uplink;
pub mod without;

pub use addr::{Addr, Mac, Port};
pub use endpoint::{Endpoint, EndpointKey, Link, SubnetKey, link_flags, subnet};
pub use event::Event;
pub use excluded::{Destination, DestinationKey};
pub use flow::{Exit, Flow, FlowKey, Zone, flow_flags};
pub use mapping::{Mapping, MappingKey};
pub use port::{Backend, PortKey, port_flags};
pub use quota::{Limit, Payer, Place, Quota, Release};
pub use reason::{Count, Reason};
pub use source::{Source, SourceKey};
pub use timers::State;
pub use tracker::Numbers;
pub use uplink::Uplink;

/// Version of everything in this crate that is pinned. A controller that finds maps of another version refuses
/// to open them; it never reads one layout as another.
pub const SCHEMA: u32 = 2;

/// IP protocol numbers (IANA), as they stand in [`FlowKey::proto`] and [`PortKey::proto`].
pub mod proto {
    /// Hop-by-hop options: no transport protocol has this number.
    pub const NONE: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;

    /// Whether this is ICMP of either family.
    #[inline(always)]
    pub const fn is_icmp(proto: u8) -> bool {
        matches!(proto, ICMP | ICMPV6)
    }

    /// Whether packets carry ports that a translation can change; other protocols are known by their addresses alone.
    #[inline(always)]
    pub const fn has_ports(proto: u8) -> bool {
        matches!(proto, TCP | UDP | SCTP | UDPLITE)
    }
}

#[cfg(feature = "user")]
mod pod {
    //! aya's mark for types that may cross the map boundary byte by byte.
    use crate::{
        Addr, Backend, Count, Destination, Endpoint, EndpointKey, Event, Flow, FlowKey, Link, Mapping,
        MappingKey, Payer, Place, PortKey, Quota, Release, Source, Uplink, fragments::Pending,
    };

    macro_rules! pod {
        ($($t:ty),+) => { $(
            // SAFETY: repr(C), made of integers and integer arrays only, and without padding (the size
            // assertion beside the type), so every byte pattern is a value and no byte is uninitialised.
            unsafe impl aya::Pod for $t {}
        )+ };
    }
    pod!(
        Addr,
        Backend,
        Count,
        Destination,
        Endpoint,
        EndpointKey,
        Event,
        Flow,
        FlowKey,
        Link,
        Mapping,
        MappingKey,
        Payer,
        Pending,
        Place,
        PortKey,
        Quota,
        Release,
        Source,
        Uplink
    );
}

/// Asserts at compile time that a layout has the size that the other side expects.
macro_rules! assert_size {
    ($t:ty, $n:literal) => {
        const _: () = assert!(core::mem::size_of::<$t>() == $n);
    };
}
pub(crate) use assert_size;
