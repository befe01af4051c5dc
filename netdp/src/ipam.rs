//! Which addresses a network has and which of them the next endpoint gets. Pure: what is taken comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::host::pools;
use crate::model::Pool;

/// The longest prefix with room for a gateway and an endpoint.
const LONGEST_PREFIX: u8 = 30;
/// The shortest prefix that is taken: a whole class A.
const SHORTEST_PREFIX: u8 = 8;

/// What an operator asks for; what is missing is chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// `--subnet`
    pub subnet: Option<Ipv4Net>,
    /// `--gateway`
    pub gateway: Option<Ipv4Addr>,
    /// `--ip-range`
    pub range: Option<Ipv4Net>,
    /// `--aux-address`
    pub reserved: BTreeMap<String, Ipv4Addr>,
}

/// Addresses that somebody else has already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// The addresses.
    pub net: Ipv4Net,
    /// Who has them, in words: `network web`, `a route of this host`.
    pub by: String,
}

/// Why there are no addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The subnet has bits set behind its prefix.
    #[error("invalid subnet {given}: it has host bits set; the subnet is {meant}")]
    HostBits {
        /// As it was given.
        given: Ipv4Net,
        /// With the host bits cleared.
        meant: Ipv4Net,
    },
    /// The subnet is too large or too small.
    #[error("invalid subnet {0}: a prefix is /8 to /30 long")]
    Prefix(Ipv4Net),
    /// The subnet is of a range that no host may have.
    #[error("invalid subnet {0}: loopback, multicast and reserved addresses are no endpoint's")]
    Unusable(Ipv4Net),
    /// Somebody else has some of these addresses.
    #[error("subnet {subnet} overlaps {net} of {by}")]
    Overlap {
        /// What was asked for.
        subnet: Ipv4Net,
        /// What it overlaps.
        net: Ipv4Net,
        /// Whose that is.
        by: String,
    },
    /// `--gateway`, `--ip-range` or `--aux-address` without `--subnet`.
    #[error("{0} needs a --subnet that it lies in")]
    NoSubnet(&'static str),
    /// An address or range lies outside.
    #[error("{what} {value} is not in the subnet {subnet}")]
    Outside {
        /// What it is: `gateway`, `address`, `ip-range`.
        what: &'static str,
        /// The address or range.
        value: String,
        /// The subnet.
        subnet: Ipv4Net,
    },
    /// The network's own address or its broadcast address.
    #[error("{what} {address} is the network or broadcast address of {subnet}")]
    NotAHost {
        /// What it is: `gateway`, `address`.
        what: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The subnet.
        subnet: Ipv4Net,
    },
    /// The address belongs to someone.
    #[error("address {0} is already in use")]
    InUse(Ipv4Addr),
    /// All addresses are given out.
    #[error("no free address left in {0}")]
    Exhausted(Ipv4Net),
    /// None of the pools that subnets are chosen from is free.
    #[error(transparent)]
    NoPool(#[from] pools::Exhausted),
}

impl Error {
    /// What the operator can do.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Overlap { .. } => {
                Some("choose another --subnet, or leave it out to have a free one chosen")
            }
            Self::Exhausted(_) => {
                Some("detach an endpoint of the network, or create a network with a larger --subnet")
            }
            Self::InUse(_) => Some("choose another --ip, or leave it out to get the lowest free one"),
            Self::HostBits { .. }
            | Self::Prefix(_)
            | Self::Unusable(_)
            | Self::NoSubnet(_)
            | Self::NoPool(_)
            | Self::Outside { .. }
            | Self::NotAHost { .. } => None,
        }
    }
}

/// The pool of a new network.
pub fn choose(request: &Request, taken: &[Taken]) -> Result<Pool, Error> {
    let subnet = match request.subnet {
        Some(subnet) => checked(subnet, taken)?,
        None => free_subnet(request, taken)?,
    };
    let gateway = match request.gateway {
        Some(gateway) => host_of(subnet, "gateway", gateway)?,
        None => first_host(subnet, &request.reserved)?,
    };
    if let Some(range) = request.range.filter(|range| !subnet.contains(range)) {
        return Err(Error::Outside { what: "ip-range", value: range.to_string(), subnet });
    }
    for address in request.reserved.values() {
        if host_of(subnet, "aux-address", *address)? == gateway {
            return Err(Error::InUse(gateway));
        }
    }
    Ok(Pool { subnet, gateway, range: request.range, reserved: request.reserved.clone() })
}

fn checked(subnet: Ipv4Net, taken: &[Taken]) -> Result<Ipv4Net, Error> {
    if subnet != subnet.trunc() {
        return Err(Error::HostBits { given: subnet, meant: subnet.trunc() });
    }
    if !(SHORTEST_PREFIX..=LONGEST_PREFIX).contains(&subnet.prefix_len()) {
        return Err(Error::Prefix(subnet));
    }
    let first = subnet.network().octets()[0];
    if first == 0 || first == 127 || first >= 224 {
        return Err(Error::Unusable(subnet));
    }
    match overlapping(subnet, taken) {
        Some(other) => Err(Error::Overlap { subnet, net: other.net, by: other.by.clone() }),
        None => Ok(subnet),
    }
}

fn overlapping(subnet: Ipv4Net, taken: &[Taken]) -> Option<&Taken> {
    taken.iter().find(|other| pools::overlap(&subnet, &other.net))
}

/// The first of Docker's pools that is free.
fn free_subnet(request: &Request, taken: &[Taken]) -> Result<Ipv4Net, Error> {
    if request.gateway.is_some() {
        return Err(Error::NoSubnet("--gateway"));
    }
    if request.range.is_some() {
        return Err(Error::NoSubnet("--ip-range"));
    }
    if !request.reserved.is_empty() {
        return Err(Error::NoSubnet("--aux-address"));
    }
    let nets: Vec<IpNet> = taken.iter().map(|other| other.net.into()).collect();
    Ok(pools::choose(&nets)?)
}

fn first_host(subnet: Ipv4Net, reserved: &BTreeMap<String, Ipv4Addr>) -> Result<Ipv4Addr, Error> {
    let free = |address: &Ipv4Addr| reserved.values().all(|other| other != address);
    subnet.hosts().find(free).ok_or(Error::Exhausted(subnet))
}

fn host_of(subnet: Ipv4Net, what: &'static str, address: Ipv4Addr) -> Result<Ipv4Addr, Error> {
    if !subnet.contains(&address) {
        return Err(Error::Outside { what, value: address.to_string(), subnet });
    }
    if address == subnet.network() || address == subnet.broadcast() {
        return Err(Error::NotAHost { what, address, subnet });
    }
    Ok(address)
}

/// The address that was asked for, when it can be had.
pub fn claim(pool: &Pool, address: Ipv4Addr, used: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, Error> {
    host_of(pool.subnet, "address", address)?;
    if is_free(pool, address, used) { Ok(address) } else { Err(Error::InUse(address)) }
}

/// The lowest free address.
pub fn next_free(pool: &Pool, used: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, Error> {
    let whole = pool.range.unwrap_or(pool.subnet);
    // Not `hosts()`: the first and last address of a range inside the subnet are addresses like others.
    let (first, last) = (whole.network().to_bits(), whole.broadcast().to_bits());
    (first..=last)
        .map(Ipv4Addr::from_bits)
        .find(|address| host_of(pool.subnet, "address", *address).is_ok() && is_free(pool, *address, used))
        .ok_or(Error::Exhausted(whole))
}

fn is_free(pool: &Pool, address: Ipv4Addr, used: &BTreeSet<Ipv4Addr>) -> bool {
    address != pool.gateway
        && !used.contains(&address)
        && pool.reserved.values().all(|reserved| *reserved != address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn asked(subnet: &str) -> Request {
        Request { subnet: Some(net(subnet)), ..Request::default() }
    }

    fn route(text: &str) -> Taken {
        Taken { net: net(text), by: "a route of this host".to_owned() }
    }

    #[test]
    fn the_first_pool_that_clashes_with_nothing_is_chosen() {
        let pool = choose(&Request::default(), &[]).unwrap();
        assert_eq!((pool.subnet, pool.gateway), (net("172.17.0.0/16"), ip("172.17.0.1")));
        let taken = [route("172.16.0.0/15"), route("172.18.5.0/24")];
        assert_eq!(choose(&Request::default(), &taken).unwrap().subnet, net("172.19.0.0/16"));
        assert_eq!(
            choose(&Request::default(), &[route("172.16.0.0/12")]).unwrap().subnet,
            net("192.168.0.0/20")
        );
        let all = [route("172.16.0.0/12"), route("192.168.0.0/16")];
        assert_eq!(choose(&Request::default(), &all), Err(Error::NoPool(pools::Exhausted)));
    }

    #[test]
    fn a_subnet_that_cannot_be_is_refused() {
        assert!(matches!(choose(&asked("10.1.2.3/24"), &[]), Err(Error::HostBits { .. })));
        assert!(matches!(choose(&asked("10.0.0.0/31"), &[]), Err(Error::Prefix(_))));
        assert!(matches!(choose(&asked("0.0.0.0/0"), &[]), Err(Error::Prefix(_))));
        assert!(matches!(choose(&asked("127.0.0.0/16"), &[]), Err(Error::Unusable(_))));
        assert!(matches!(choose(&asked("224.1.0.0/16"), &[]), Err(Error::Unusable(_))));
        let error = choose(&asked("10.1.0.0/16"), &[route("10.1.2.0/24")]).unwrap_err();
        assert_eq!(error.to_string(), "subnet 10.1.0.0/16 overlaps 10.1.2.0/24 of a route of this host");
    }

    #[test]
    fn gateway_range_and_reserved_lie_in_the_subnet() {
        let with = |gateway| Request { gateway: Some(ip(gateway)), ..asked("10.1.0.0/24") };
        assert_eq!(choose(&with("10.1.0.254"), &[]).unwrap().gateway, ip("10.1.0.254"));
        assert!(matches!(choose(&with("10.2.0.1"), &[]), Err(Error::Outside { .. })));
        assert!(matches!(choose(&with("10.1.0.0"), &[]), Err(Error::NotAHost { .. })));
        assert!(matches!(choose(&with("10.1.0.255"), &[]), Err(Error::NotAHost { .. })));
        let range = Request { range: Some(net("10.2.0.0/28")), ..asked("10.1.0.0/24") };
        assert!(matches!(choose(&range, &[]), Err(Error::Outside { .. })));
        let reserved = BTreeMap::from([("router".to_owned(), ip("10.1.0.1"))]);
        let request = Request { reserved: reserved.clone(), ..asked("10.1.0.0/24") };
        assert_eq!(choose(&request, &[]).unwrap().gateway, ip("10.1.0.2"));
        let alone = Request { reserved, ..Request::default() };
        assert_eq!(choose(&alone, &[]), Err(Error::NoSubnet("--aux-address")));
    }

    #[test]
    fn the_lowest_free_address_is_given_until_none_is_left() {
        let pool = choose(&asked("10.1.0.0/29"), &[]).unwrap();
        let mut used = BTreeSet::new();
        for last in 2..=6 {
            let address = next_free(&pool, &used).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 1, 0, last));
            used.insert(address);
        }
        assert_eq!(next_free(&pool, &used), Err(Error::Exhausted(net("10.1.0.0/29"))));
        used.remove(&ip("10.1.0.3"));
        assert_eq!(next_free(&pool, &used), Ok(ip("10.1.0.3")));
    }

    #[test]
    fn a_range_limits_what_is_chosen_but_not_what_is_asked_for() {
        let request = Request { range: Some(net("10.1.0.16/30")), ..asked("10.1.0.0/24") };
        let pool = choose(&request, &[]).unwrap();
        assert_eq!(next_free(&pool, &BTreeSet::new()), Ok(ip("10.1.0.16")));
        assert_eq!(claim(&pool, ip("10.1.0.99"), &BTreeSet::new()), Ok(ip("10.1.0.99")));
        assert!(claim(&pool, ip("10.1.1.1"), &BTreeSet::new()).is_err());
        assert_eq!(claim(&pool, ip("10.1.0.1"), &BTreeSet::new()), Err(Error::InUse(ip("10.1.0.1"))));
    }
}
