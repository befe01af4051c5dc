//! `from=`: who may use a published port.
//!
//! A list is for both families. The port of an address, or of all addresses of a family, knows the prefixes of that
//! family only: `::/0` contains the form in which the maps hold IPv4 addresses, and is no word about them.
//!
//! A list is for whoever comes from elsewhere. Processes of the host are not asked for, as they reach the container's
//! own address too; a container that uses the host's address is asked for by its own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use netdp_common::deny::MAPPED_BITS;
use netdp_common::{PortKey, Source, SourceKey};
use serde::{Deserialize, Serialize};

/// How many prefixes one port may have: a list that is longer belongs to a firewall.
pub const MOST: usize = 64;

/// The sources of a port; without one it is for everybody.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Sources(BTreeSet<IpNet>);

/// Why a text is no list of sources.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// `from=` without a value.
    #[error("from= needs a network: write it as from=10.0.0.0/8 or from=fd00::/8")]
    Empty,
    /// No network at all.
    #[error("invalid network {0:?} in from=: write it as from=10.0.0.0/8 or from=fd00::/8")]
    Network(String),
    /// An address of the network in the place of the network's own.
    #[error("from={given} has host bits set: write it as from={}, or from={}/{} for that address alone", .given.trunc(), .given.addr(), .given.max_prefix_len())]
    HostBits {
        /// The text that was given.
        given: IpNet,
    },
    /// IPv4 in the clothes of IPv6, which no packet wears.
    #[error("from={0} is an IPv4 network written as IPv6: write it as IPv4")]
    Mapped(IpNet),
    /// The port is of the other family.
    #[error("from={from} can never match: host-ip={address} is of the other address family")]
    Family {
        /// The source.
        from: IpNet,
        /// The host's address that the port is to be on.
        address: IpAddr,
    },
    /// Too many.
    #[error("{0} networks in from=, and one port may have at most {MOST}")]
    TooMany(usize),
}

impl Sources {
    /// Adds one more.
    pub fn add(&mut self, text: &str) -> Result<(), Error> {
        self.0.insert(network(text)?);
        Ok(())
    }

    /// Refuses a list that is too long, or that has a part which the port's address makes meaningless.
    pub fn check(&self, host_address: Option<IpAddr>) -> Result<(), Error> {
        if self.0.len() > MOST {
            return Err(Error::TooMany(self.0.len()));
        }
        let Some(address) = host_address else { return Ok(()) };
        match self.0.iter().find(|from| from.addr().is_ipv4() != address.is_ipv4()) {
            Some(from) => Err(Error::Family { from: *from, address }),
            None => Ok(()),
        }
    }

    /// Whether there is no restriction.
    pub fn is_everybody(&self) -> bool {
        self.0.is_empty()
    }

    /// The prefixes, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// The rows of the map `SOURCES` for the port of this key.
    pub fn keys(&self, port: PortKey) -> impl Iterator<Item = SourceKey> {
        let v4 = port.addr.is_v4();
        let key = move |from: &IpNet| {
            let mapped = if v4 { MAPPED_BITS } else { 0 };
            let source = Source { port, addr: from.network().into() };
            SourceKey { prefix_len: mapped + u32::from(from.prefix_len()), source }
        };
        self.0.iter().filter(move |from| from.addr().is_ipv4() == v4).map(key)
    }
}

fn network(text: &str) -> Result<IpNet, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    let given: IpNet = text.parse().or_else(|_| alone()).map_err(|_| Error::Network(text.to_owned()))?;
    if let IpNet::V6(net) = given
        && net.prefix_len() >= 96
        && net.addr().to_ipv4_mapped().is_some()
    {
        return Err(Error::Mapped(given));
    }
    if given != given.trunc() {
        return Err(Error::HostBits { given });
    }
    Ok(given)
}

/// With commas between, and empty for everybody: as the database keeps it.
impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, from) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            from.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Sources {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut sources = Self::default();
        text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| sources.add(part))?;
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use netdp_common::{Addr, Port};

    use super::*;

    #[test]
    fn a_list_survives_the_way_into_the_database_and_out() {
        for text in ["", "10.0.0.0/8", "0.0.0.0/0", "10.0.0.0/8,192.0.2.7/32,fd00::/8"] {
            assert_eq!(text.parse::<Sources>().unwrap().to_string(), text);
        }
        let sources: Sources = "192.0.2.7,::1,192.0.2.7/32".parse().unwrap();
        assert_eq!(
            sources.to_string(),
            "192.0.2.7/32,::1/128",
            "an address is itself alone, and once is enough"
        );
        assert!("".parse::<Sources>().unwrap().is_everybody());
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        let refused = |text: &str| Sources::default().add(text).unwrap_err().to_string();
        for (text, words) in [
            ("", "from= needs a network"),
            ("x", "invalid network \"x\""),
            ("10.0.0.0/33", "invalid network"),
            ("10.0.0.0/", "invalid network"),
            ("10.0.0/8", "invalid network"),
            ("fd00::/129", "invalid network"),
            ("fe80::1%eth0", "invalid network"),
            ("10.0.0.0/8 ", "invalid network"),
            (
                "10.0.0.1/8",
                "from=10.0.0.1/8 has host bits set: write it as from=10.0.0.0/8, or from=10.0.0.1/32",
            ),
            ("fd00::1/8", "host bits set: write it as from=fd00::/8, or from=fd00::1/128"),
            ("::ffff:10.0.0.0/104", "written as IPv6"),
        ] {
            assert!(refused(text).contains(words), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn a_list_of_the_other_family_or_too_long_is_refused() {
        let both: Sources = "10.0.0.0/8,fd00::/8".parse().unwrap();
        assert_eq!(both.check(None), Ok(()));
        let v4 = both.check(Some(Ipv4Addr::UNSPECIFIED.into())).unwrap_err().to_string();
        assert_eq!(v4, "from=fd00::/8 can never match: host-ip=0.0.0.0 is of the other address family");
        assert!(both.check(Some(Ipv6Addr::LOCALHOST.into())).unwrap_err().to_string().contains("10.0.0.0/8"));
        let many = |n: u32| -> Sources {
            let texts: Vec<String> = (0..n).map(|n| Ipv4Addr::from_bits(n).to_string()).collect();
            texts.join(",").parse().unwrap()
        };
        assert_eq!(many(64).check(None), Ok(()));
        let error = many(65).check(None).unwrap_err().to_string();
        assert_eq!(error, "65 networks in from=, and one port may have at most 64");
    }

    #[test]
    fn a_port_knows_the_prefixes_of_its_own_family() {
        let both: Sources = "10.0.0.0/8,::/0".parse().unwrap();
        let keys = |addr: Addr| -> Vec<(u32, String)> {
            let keys = both.keys(PortKey::new(addr, Port::new(80), 6));
            keys.map(|key| (key.prefix_len, key.source.addr.to_string())).collect()
        };
        assert_eq!(keys(Addr::ANY4), [(104, "10.0.0.0".to_owned())]);
        assert_eq!(keys(Addr::UNSPECIFIED), [(0, "::".to_owned())]);
    }
}
