//! Incremental update of the Internet checksum (RFC 1624, equation 3: HC' = ~(~HC + ~m + m')).
//!
//! All words are taken as they stand in memory: one's-complement addition does not depend on byte order
//! (RFC 1071, section 2 (B)), as long as checksum and data are read alike.

use crate::addr::Addr;

/// Folds carries into 16 bits. Twice is enough for any sum of fewer than 2^16 words.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits above")]
pub const fn fold(mut sum: u32) -> u16 {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum after one 16-bit word changed from `from` to `to`.
#[inline(always)]
pub const fn replace16(check: u16, from: u16, to: u16) -> u16 {
    !fold(!check as u32 + !from as u32 + to as u32)
}

/// The checksum after one aligned 32-bit word changed from `from` to `to`.
#[inline(always)]
pub const fn replace32(check: u16, from: u32, to: u32) -> u16 {
    let removed = (!from & 0xffff) + (!from >> 16);
    let added = (to & 0xffff) + (to >> 16);
    !fold(!check as u32 + removed + added)
}

/// The sum that `bpf_l4_csum_replace` takes as `to` with size 0: what two pseudo-header addresses add when
/// `from` becomes `to`. Not folded to 16 bits; the kernel folds (`inet_proto_csum_replace_by_diff`).
#[inline(always)]
pub const fn diff32(from: u32, to: u32) -> u32 {
    add(!from, to)
}

/// What the pseudo-header of IPv6 adds to a sum (RFC 8200, 8.1): both addresses, the length and the protocol. Not folded.
#[inline(always)]
pub const fn pseudo_header6(src: Addr, dst: Addr, len: u32, proto: u8) -> u32 {
    let addrs = add(diff_addr(Addr::UNSPECIFIED, src), diff_addr(Addr::UNSPECIFIED, dst));
    add(addrs, add(len.to_be(), (proto as u32).to_be()))
}

/// One's-complement sum of two words (`csum_add` in the kernel's `net/checksum.h`).
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u32
}

/// What changes in a sum over an address: all four words, whichever the families. The third word of an IPv4 address is
/// `::ffff`, which is zero in one's complement, so that an address also adds as much as its last word alone.
#[inline(always)]
pub const fn diff_addr(from: Addr, to: Addr) -> u32 {
    let last = diff32(from.0[3], to.0[3]);
    if from.is_v4() && to.is_v4() {
        return last;
    }
    let high = add(diff32(from.0[0], to.0[0]), diff32(from.0[1], to.0[1]));
    add(add(high, diff32(from.0[2], to.0[2])), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn full(words: &[u16]) -> u16 {
        !fold(words.iter().map(|&w| u32::from(w)).sum())
    }

    #[test]
    fn incremental_update_equals_the_full_sum() {
        let mut seed = 0x1234_5678_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        for _ in 0..100_000 {
            #[expect(clippy::cast_possible_truncation, reason = "random words")]
            let mut words = [random() as u16, random() as u16, random() as u16, (random() >> 16) as u16];
            let old = full(&words);
            let (from, to) = (u32::from(words[1]) | u32::from(words[2]) << 16, random());
            words[1] = (to & 0xffff) as u16;
            words[2] = (to >> 16) as u16;
            let new = replace32(old, from, to);
            // 0x0000 and 0xffff are the same number in one's complement.
            assert!(new == full(&words) || new ^ full(&words) == 0xffff);
            let third = words[3];
            words[3] = third.wrapping_add(77);
            assert_eq!(fold(u32::from(!replace16(new, third, words[3]))), fold(u32::from(!full(&words))));
        }
    }

    #[test]
    fn address_of_either_family_may_take_the_place_of_one_of_the_other() {
        let texts = ["10.1.2.3", "192.168.255.254", "fd00:1:2:3:4:5:6:7", "::1"];
        let addrs = texts.map(|text| Addr::from(text.parse::<IpAddr>().expect("address")));
        let words = |addr: Addr| addr.0.map(|word| [(word & 0xffff) as u16, (word >> 16) as u16]);
        for from in addrs {
            for to in addrs {
                let sum =
                    |addr: Addr| words(addr).as_flattened().iter().map(|&word| u32::from(word)).sum::<u32>();
                let changed = fold(add(u32::from(fold(sum(from))), diff_addr(from, to)));
                let (changed, whole) = (u32::from(changed) % 0xffff, u32::from(fold(sum(to))) % 0xffff);
                assert_eq!(changed, whole, "{from} {to}");
            }
        }
    }
}
