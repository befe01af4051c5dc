//! The deny list: prefixes whose packets are refused at the uplinks (map `DENY`, longest prefix first).
//!
//! Both families are in one trie, IPv4 in its mapped form. An IPv6 prefix that is shorter than 96 bits may cover all of
//! IPv4 there, as `::/0` does, so each row repeats its length. That is enough to tell them apart: every prefix of IPv4 is
//! longer than every one of IPv6 that covers it, and the longest is what a look-up finds.

use crate::addr::Addr;

/// Bits by which a prefix of IPv4 is longer in the form of the maps.
pub const MAPPED_BITS: u32 = 96;

/// Whether the longest prefix that a look-up of this address has found, of so many bits, is one of its own family.
#[inline(always)]
pub const fn covers(prefix_len: u32, addr: Addr) -> bool {
    !addr.is_v4() || prefix_len >= MAPPED_BITS
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn prefix_of_the_other_family_covers_nothing() {
        for (prefix_len, text, expected) in [
            (0, "::1", true),
            (64, "2001:db8::1", true),
            (128, "2001:db8::1", true),
            (0, "192.0.2.1", false),
            (95, "192.0.2.1", false),
            (96, "192.0.2.1", true),
            (128, "192.0.2.1", true),
        ] {
            let address: IpAddr = text.parse().expect("address");
            assert_eq!(covers(prefix_len, address.into()), expected, "{prefix_len} {text}");
        }
    }
}
