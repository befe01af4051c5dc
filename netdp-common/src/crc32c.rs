//! The `CRC32c` of SCTP (RFC 9260, appendix A), changed without a pass over the packet.
//!
//! A CRC is linear: of two packets of one length, the CRCs differ by that of their difference, and the zeros behind
//! what changed only multiply it by a power of x. So a changed port costs the same for a packet of any length.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Steps of a [`Change`]: 32 for each bit of a length, and packets are shorter than 2^17 bytes.
pub const STEPS: u32 = 17 * 32;
/// x^8: what a byte of zeros multiplies by. The highest bit is the coefficient of x^0.
const BYTE: u32 = 0x0080_0000;

/// What a changed word does to the checksum, on its way past the bytes that follow it: multiplied by x^(8 * bytes), by
/// repeated squaring. In steps, each a few instructions of one kind, so that a loop of the kernel can take them and its
/// verifier walks through one.
#[derive(Clone, Copy)]
pub struct Change {
    /// The change, past the bytes of the lower bits of their number.
    product: u32,
    /// x^(8 * 2^k), after 32 * k steps.
    power: u32,
    /// Bits of the number of bytes that are still to come.
    bytes: u32,
    /// Of `power`, the bits that are still to be multiplied by, highest first.
    bits: u32,
    /// `product` and `power`, shifted by as many bits as are gone.
    terms: [u32; 2],
    /// `product` and `power` multiplied by the bits that are gone.
    sums: [u32; 2],
    /// How many bits are gone.
    gone: u32,
}

impl Change {
    /// Four bytes changed that `following` bytes follow. All words as they stand in memory of a little-endian machine,
    /// where SCTP's checksum is read as it was computed.
    #[inline(always)]
    pub const fn new(from: u32, to: u32, following: u32) -> Self {
        let (product, power) = (from ^ to, BYTE);
        // The four bytes themselves are shifted through the register too.
        let bytes = following + 4;
        Self { product, power, bytes, bits: power, terms: [product, power], sums: [0; 2], gone: 0 }
    }

    /// One of [`STEPS`].
    #[inline(always)]
    pub const fn step(&mut self) {
        let taken = (self.bits >> 31).wrapping_neg();
        let [product, power] = self.terms;
        self.sums = [self.sums[0] ^ (product & taken), self.sums[1] ^ (power & taken)];
        self.terms = [shifted(product), shifted(power)];
        self.bits <<= 1;
        self.gone += 1;
        if self.gone == 32 {
            self.multiplied();
        }
    }

    /// Both products are complete.
    #[inline(always)]
    const fn multiplied(&mut self) {
        let [product, power] = self.sums;
        if self.bytes & 1 != 0 {
            self.product = product;
        }
        (self.power, self.bits, self.bytes) = (power, power, self.bytes >> 1);
        (self.terms, self.sums, self.gone) = ([self.product, power], [0; 2], 0);
    }

    /// The checksum with the change, after all steps.
    #[inline(always)]
    pub const fn apply(&self, check: u32) -> u32 {
        check ^ self.product
    }
}

/// Times x, modulo the polynomial.
#[inline(always)]
const fn shifted(term: u32) -> u32 {
    (term >> 1) ^ (POLYNOMIAL & (term & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(bytes: &[u8]) -> u32 {
        let step = |register: u32, _| (register >> 1) ^ (POLYNOMIAL & (register & 1).wrapping_neg());
        !bytes.iter().fold(u32::MAX, |register, &byte| (0..8).fold(register ^ u32::from(byte), step))
    }

    #[test]
    fn full_sum_is_that_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros, and the numbers from 0 to 31.
        assert_eq!(full(&[0; 32]), 0x8a91_36aa);
        let numbers: Vec<u8> = (0..32).collect();
        assert_eq!(full(&numbers), 0x46dd_794e);
    }

    #[test]
    fn changed_sum_equals_the_full_sum_whatever_follows() {
        for len in [4_u32, 5, 8, 12, 100, 1480, 65_535] {
            let byte = |i: u32| (i * 7 + len).to_le_bytes()[0];
            let mut bytes: Vec<u8> = (0..len).map(byte).collect();
            let before = full(&bytes);
            let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let from = word(&bytes);
            bytes[0] ^= 0x5a;
            bytes[3] ^= 0x81;
            let mut change = Change::new(from, word(&bytes), len - 4);
            (0..STEPS).for_each(|_| change.step());
            assert_eq!(change.apply(before), full(&bytes), "{len}");
        }
    }
}
