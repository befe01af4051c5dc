//! Ethernet addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{Id, Name};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Docker's scheme: `02:42` and the four bytes of the address, so that an address always has the same
    /// MAC.
    pub fn of_address(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }

    /// That of an endpoint in a network, always the same: who has a list of MACs finds it there again. By FNV-1a, which differs for
    /// each of many names and has to withstand nobody.
    pub fn of_member(network: &Id, name: &Name) -> Self {
        let text = network.as_str().bytes().chain([b'/']).chain(name.as_str().bytes());
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let [_, _, bytes @ ..] = text.fold(0xcbf2_9ce4_8422_2325, step).to_be_bytes();
        Self::local(bytes)
    }

    /// The address that an interface of this MAC gives itself on its link (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [vendor0, vendor1, vendor2, last @ ..] = self.0;
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfe, 0x80]);
        octets[8..13].copy_from_slice(&[vendor0 ^ 2, vendor1, vendor2, 0xff, 0xfe]);
        octets[13..].copy_from_slice(&last);
        octets.into()
    }

    /// A unicast MAC of the locally administered range from six random bytes.
    pub fn local(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        netdp_common::Mac(self.0).fmt(f)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid MAC address {text:?}: write six bytes as in 02:42:ac:11:00:02");
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !parts.iter().all(two_digits) {
            return Err(invalid());
        }
        let bytes: Vec<u8> = parts.iter().filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
        let mac = Self(bytes.try_into().map_err(|_| invalid())?);
        if mac.0[0] & 1 == 1 || mac.0 == [0; 6] {
            return Err(format!("invalid MAC address {text:?}: it is not that of a single interface"));
        }
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_read_and_print() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac, Mac::of_address(Ipv4Addr::new(172, 17, 0, 2)));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for bad in
            ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!("+2:42:ac:11:00:02".parse::<Mac>().is_err());
    }

    #[test]
    fn a_mac_says_the_link_local_address() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        let mac: Mac = "fe:ff:12:34:56:78".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::fcff:12ff:fe34:5678");
    }

    #[test]
    fn a_random_mac_is_local_and_unicast() {
        assert_eq!(Mac::local([0xff; 6]).0[0] & 3, 2);
        assert_eq!(Mac::local([0; 6]).0[0] & 3, 2);
    }
}
