//! Who may use a published port that is not for everybody.

use crate::addr::Addr;
use crate::assert_size;
use crate::flow::FlowKey;
use crate::port::{Backend, PortKey, port_flags};
use crate::{Port, proto};

/// Bits of a [`PortKey`]: prefixes of `SOURCES` are longer by these than those of the addresses in them.
const PORT_BITS: u32 = 160;

/// A row of `PORTS` and somebody who asks for it: key of the map `SOURCES`, a longest-prefix trie, without the length
/// of the prefix. The row comes first and is always matched whole, so that each port has its own list.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Source {
    /// Key of the row of `PORTS`.
    pub port: PortKey,
    /// Who asks, before translation.
    pub addr: Addr,
}
assert_size!(Source, 36);

impl Source {
    /// The length to look up a single source with.
    pub const BITS: u32 = PORT_BITS + 128;

    /// The source of a packet, and the row that was found for it.
    #[inline(always)]
    pub const fn of(packet: &FlowKey, backend: &Backend) -> Self {
        let addr = match backend.flags & port_flags::EVERY_ADDRESS {
            0 => packet.dst,
            _ => packet.dst.any(),
        };
        Self { port: PortKey::new(addr, packet.dport, packet.proto), addr: packet.src }
    }

    /// An interface that packets come in by, as who asks for what stands beside a container's address
    /// ([`PortKey::beside`]): its number (`ifindex`) in the place of an address.
    #[inline(always)]
    pub const fn interface(container: Addr, ifindex: u32) -> Self {
        Self { port: PortKey::beside(container), addr: Addr([0, 0, 0, ifindex]) }
    }

    /// The contrary: the `ifindex` of a row that is of an interface.
    pub const fn ifindex(&self) -> Option<u32> {
        let is_beside = self.port.port.0 == Port::NONE.0 && self.port.proto == proto::NONE;
        if is_beside { Some(self.addr.0[3]) } else { None }
    }
}

/// One prefix that may use a port (map `SOURCES`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceKey {
    /// Length of the source's prefix in bits of the 128-bit form: an IPv4 `/8` is 104.
    pub prefix_len: u32,
    /// The port, and the first address of the prefix.
    pub source: Source,
}
assert_size!(SourceKey, 40);

impl SourceKey {
    /// An interface by which a container's address is reached.
    pub const fn interface(container: Addr, ifindex: u32) -> Self {
        Self { prefix_len: 128, source: Source::interface(container, ifindex) }
    }

    /// Length of the key in the trie. It is the row's value too, which tells an exact match from a shorter one.
    pub const fn bits(&self) -> u32 {
        PORT_BITS + self.prefix_len
    }

    /// The contrary, for a key that is read from the trie.
    pub const fn from_bits(bits: u32, source: Source) -> Self {
        Self { prefix_len: bits.saturating_sub(PORT_BITS), source }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::addr::{Mac, Port};
    use crate::flow::Zone;
    use crate::proto;

    fn backend(flags: u16) -> Backend {
        let (none, mac) = (Addr::UNSPECIFIED, Mac([0; 6]));
        Backend { addr: none, gateway: none, ifindex: 1, port: Port::new(80), mac, gateway_mac: mac, flags }
    }

    fn packet(src: &str, dst: &str) -> FlowKey {
        let addr = |text: &str| Addr::from(text.parse::<IpAddr>().expect("address"));
        let (sport, dport) = (Port::new(5000), Port::new(8080));
        FlowKey {
            src: addr(src),
            dst: addr(dst),
            sport,
            dport,
            proto: proto::TCP,
            zone: Zone::UPLINK,
            pad: 0,
        }
    }

    #[test]
    fn a_source_is_looked_up_below_the_row_that_was_found() {
        for (src, dst, every) in
            [("198.51.100.7", "203.0.113.10", Addr::ANY4), ("fd00::7", "fd00::1", Addr::UNSPECIFIED)]
        {
            let packet = packet(src, dst);
            let of = |flags| Source::of(&packet, &backend(flags));
            assert_eq!(of(port_flags::FILTERED).port.addr, packet.dst);
            assert_eq!(of(port_flags::FILTERED | port_flags::EVERY_ADDRESS).port.addr, every);
            assert_eq!(of(0).addr, packet.src);
        }
    }

    #[test]
    fn an_interface_is_known_by_its_number_and_a_source_is_none() {
        let packet = packet("0.0.0.0", "10.0.0.2");
        assert_eq!(Source::of(&packet, &backend(0)).ifindex(), None);
        let key = SourceKey::interface(packet.dst, 7);
        assert_eq!((key.source.ifindex(), key.bits()), (Some(7), Source::BITS));
        assert_eq!(key.source.port, PortKey::beside(packet.dst));
    }

    #[test]
    fn the_trie_matches_the_whole_port_before_the_source() {
        let key = SourceKey { prefix_len: 104, source: Source::of(&packet("10.0.0.0", "::1"), &backend(0)) };
        assert_eq!(key.bits() as usize, size_of::<PortKey>() * 8 + 96 + 8);
        assert_eq!(SourceKey::from_bits(key.bits(), key.source), key);
        assert_eq!(Source::BITS as usize, size_of::<Source>() * 8);
    }
}
