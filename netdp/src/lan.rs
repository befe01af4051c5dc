//! What `-o` can say of a macvlan or ipvlan network. Pure: nothing of the host is looked at.

use crate::bridge_options::{MTUS, ifname_prefix};
use crate::model::{IpvlanMode, LanMode, MacvlanMode};
use crate::netlink::MAX_NAME;
use crate::routes;

/// Why there is no such network, or no endpoint in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says on which LAN it is.
    #[error("a {0} network needs the interface that is on the LAN")]
    NeedsParent(&'static str),
    /// No interface has that name.
    #[error("-o parent={parent}: there is no such interface; this host has {there}")]
    NoParent {
        /// As it was given.
        parent: String,
        /// Those that are there.
        there: String,
    },
    /// An interface that is on no LAN.
    #[error("-o parent={parent}: {why}")]
    Unfit {
        /// As it was given.
        parent: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What the host says and hears by it would be lost.
    #[error(
        "-o parent={parent}: the interface has addresses of this host ({addresses}), which would not be reached any more"
    )]
    Addresses {
        /// As it was given.
        parent: String,
        /// Its own.
        addresses: String,
    },
    /// Another network has it.
    #[error("network {network} is already using parent interface {parent}")]
    ParentInUse {
        /// The other network.
        network: String,
        /// The interface.
        parent: String,
    },
    /// Such endpoints have addresses that everybody on the LAN reaches.
    #[error("cannot publish ports in network {0}: its endpoints are on the LAN with all their ports")]
    Publish(String),
    /// The MAC is the parent's.
    #[error(
        "a MAC address cannot be chosen in the ipvlan network {0}: all of its endpoints have the parent's"
    )]
    MacOfParent(String),
}

impl Error {
    /// What the operator can do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NeedsParent(_) => Some("add -o parent=IF; ip link shows the interfaces"),
            Self::NoParent { .. } => Some("choose one of these, or IF.NUMBER for a VLAN of one"),
            Self::ParentInUse { .. } => {
                Some("attach to that network, or choose another parent or a VLAN of it")
            }
            Self::Addresses { .. } => Some(
                "move the addresses and routes to a bridge of yours with that interface as a port, and use it: -o bridge-name=BRIDGE",
            ),
            Self::Publish(_) => Some("leave out -p, or attach to a bridge network"),
            Self::MacOfParent(_) => Some("leave out --mac-address"),
            Self::Unfit { .. } => None,
        }
    }
}

/// What was asked for.
#[derive(Debug, Eq, PartialEq)]
pub struct Options {
    /// `parent`
    pub parent: String,
    /// `mode`
    pub mode: LanMode,
    /// `mtu`, in bytes.
    pub mtu: Option<u32>,
    /// `route`: routes of containers beside the default one.
    pub routes: Vec<routes::Asked>,
}

/// The driver that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A MAC for each endpoint.
    Macvlan,
    /// The parent's MAC for all.
    Ipvlan,
}

impl Kind {
    fn first_mode(self) -> LanMode {
        match self {
            Self::Macvlan => LanMode::Macvlan(MacvlanMode::Bridge),
            Self::Ipvlan => LanMode::Ipvlan(IpvlanMode::L2),
        }
    }

    fn mode_option(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan_mode",
            Self::Ipvlan => "ipvlan_mode",
        }
    }
}

impl Options {
    /// Reads pairs of key and value; an unknown key is told all that are known.
    pub fn read(kind: Kind, pairs: &[(String, String)]) -> Result<Self, crate::Error> {
        let options = Self::of(kind, pairs)?;
        if options.parent.is_empty() {
            return Err(Error::NeedsParent(options.mode.driver()).into());
        }
        Ok(options)
    }

    /// Whether these are options, whatever is not among them.
    pub fn check(kind: Kind, pairs: &[(String, String)]) -> Result<(), crate::Error> {
        Self::of(kind, pairs).map(drop)
    }

    fn of(kind: Kind, pairs: &[(String, String)]) -> Result<Self, crate::Error> {
        let mut options =
            Self { parent: String::new(), mode: kind.first_mode(), mtu: None, routes: Vec::new() };
        for (key, value) in pairs {
            match key.as_str() {
                "parent" => options.parent = parent(key, value)?,
                "mtu" | "com.docker.network.driver.mtu" => options.mtu = Some(mtu(key, value)?),
                "route" | "netdp.route" => routes::read(key, value, &mut options.routes)?,
                "ifname-prefix" | "com.docker.network.container_iface_prefix" => {
                    ifname_prefix(key, value)?;
                }
                key if key == "mode" || key == kind.mode_option() => options.mode = mode(kind, key, value)?,
                _ => return Err(unknown(kind, key)),
            }
        }
        Ok(options)
    }
}

fn unknown(kind: Kind, key: &str) -> crate::Error {
    let known = format!(
        "parent, mode ({}), mtu (com.docker.network.driver.mtu), route, ifname-prefix",
        kind.mode_option()
    );
    crate::Error::UnknownOption { key: key.to_owned(), known }
}

pub(crate) fn parent(key: &str, value: &str) -> Result<String, crate::Error> {
    let fits = (1..=MAX_NAME).contains(&value.len()) && !value.contains(['/', ' ', ':']);
    if fits && value != "." && value != ".." {
        return Ok(value.to_owned());
    }
    Err(crate::Error::invalid_value(key, value, "the name of an interface, of 1 to 15 letters"))
}

fn mtu(key: &str, value: &str) -> Result<u32, crate::Error> {
    let mtu = value.parse().ok().filter(|mtu| MTUS.contains(mtu));
    mtu.ok_or_else(|| crate::Error::invalid_value(key, value, "68 to 65535 bytes"))
}

fn mode(kind: Kind, key: &str, value: &str) -> Result<LanMode, crate::Error> {
    match (kind, value) {
        (Kind::Macvlan, "bridge") => Ok(LanMode::Macvlan(MacvlanMode::Bridge)),
        (Kind::Macvlan, "private") => Ok(LanMode::Macvlan(MacvlanMode::Private)),
        (Kind::Macvlan, "vepa") => Ok(LanMode::Macvlan(MacvlanMode::Vepa)),
        (Kind::Macvlan, "passthru") => Ok(LanMode::Macvlan(MacvlanMode::Passthru)),
        (Kind::Macvlan, _) => {
            Err(crate::Error::invalid_value(key, value, "bridge, private, vepa or passthru"))
        }
        (Kind::Ipvlan, "l2") => Ok(LanMode::Ipvlan(IpvlanMode::L2)),
        (Kind::Ipvlan, "l3") => Ok(LanMode::Ipvlan(IpvlanMode::L3)),
        (Kind::Ipvlan, "l3s") => Ok(LanMode::Ipvlan(IpvlanMode::L3s)),
        (Kind::Ipvlan, _) => Err(crate::Error::invalid_value(key, value, "l2, l3 or l3s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, pairs: &[(&str, &str)]) -> Result<Options, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::read(kind, &pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn dockers_names_and_the_short_ones_mean_the_same() {
        let options = read(Kind::Macvlan, &[("parent", "eth1.20"), ("macvlan_mode", "vepa")]);
        assert_eq!(options, read(Kind::Macvlan, &[("parent", "eth1.20"), ("mode", "vepa")]));
        assert_eq!(options.unwrap().mode, LanMode::Macvlan(MacvlanMode::Vepa));
        let first = read(Kind::Ipvlan, &[("parent", "eth1"), ("mtu", "1400")]).unwrap();
        assert_eq!((first.mode, first.mtu), (LanMode::Ipvlan(IpvlanMode::L2), Some(1400)));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(read(Kind::Macvlan, &[]).unwrap_err().contains("a macvlan network needs"));
        for (pair, said) in [
            (("mode", "l2"), "bridge, private, vepa or passthru"),
            (("ipvlan_mode", "l2"), "macvlan_mode"),
            (("icc", "false"), "parent, mode"),
            (("parent", "a/b"), "name of an interface"),
            (("mtu", "1"), "68 to 65535"),
        ] {
            let error = read(Kind::Macvlan, &[("parent", "eth1"), pair]).unwrap_err();
            assert!(error.contains(said), "{pair:?}: {error}");
        }
    }
}
