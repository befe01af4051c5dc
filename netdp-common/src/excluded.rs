//! Destinations that a network's masquerade leaves out.

use crate::addr::Addr;
use crate::assert_size;

/// Bits of a network's number: prefixes of `EXCLUDED` are longer by these than those of the addresses in them.
const NETWORK_BITS: u32 = 32;

/// Who sends where: key of the map `EXCLUDED`, a longest-prefix trie, without the length of the prefix. The network comes
/// first and is always matched whole, so that each has its own list.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Destination {
    /// Id of the network.
    pub network: u32,
    /// Where to.
    pub addr: Addr,
}
assert_size!(Destination, 20);

impl Destination {
    /// The length to look up a single destination with.
    pub const BITS: u32 = NETWORK_BITS + 128;
}

/// One prefix that a network reaches untranslated (map `EXCLUDED`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DestinationKey {
    /// Length of the prefix in bits of the 128-bit form: an IPv4 `/8` is 104.
    pub prefix_len: u32,
    /// The network, and the first address of the prefix.
    pub destination: Destination,
}
assert_size!(DestinationKey, 24);

impl DestinationKey {
    /// Length of the key in the trie. It is the row's value too, which tells an exact match from a shorter one.
    pub const fn bits(&self) -> u32 {
        NETWORK_BITS + self.prefix_len
    }

    /// The contrary, for a key that is read from the trie.
    pub const fn from_bits(bits: u32, destination: Destination) -> Self {
        Self { prefix_len: bits.saturating_sub(NETWORK_BITS), destination }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trie_matches_the_whole_network_before_the_destination() {
        let key = DestinationKey {
            prefix_len: 104,
            destination: Destination { network: 7, addr: Addr::UNSPECIFIED },
        };
        assert_eq!(key.bits() as usize, u32::BITS as usize + 96 + 8);
        assert_eq!(DestinationKey::from_bits(key.bits(), key.destination), key);
        assert_eq!(Destination::BITS as usize, size_of::<Destination>() * 8);
    }
}
