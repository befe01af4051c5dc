//! Which addresses a network has and which of them the next endpoint gets. Pure: what is taken comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

use crate::host::pools;
use crate::model::{AddressPool, Pool};

/// Prefixes that an IPv4 subnet may have: from a whole class A to the two ends of a link (RFC 3021).
const PREFIXES4: RangeInclusive<u8> = 8..=31;
/// Prefixes that an IPv6 subnet may have, as far as it has two ends of a link (RFC 6164).
const PREFIXES6: RangeInclusive<u8> = 16..=127;

/// What an operator asks for in one family; what is missing is chosen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Request {
    /// `--subnet`
    pub subnet: Option<IpNet>,
    /// `--gateway`
    pub gateway: Option<IpAddr>,
    /// None is chosen: the host is not in the network.
    pub without_gateway: bool,
    /// `--ip-range`
    pub ranges: Vec<IpNet>,
    /// `--aux-address`
    pub reserved: BTreeMap<String, IpAddr>,
}

/// Addresses that somebody else has already.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Taken {
    /// The addresses.
    pub net: IpNet,
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
        given: IpNet,
        /// With the host bits cleared.
        meant: IpNet,
    },
    /// The subnet is too large or too small.
    #[error("invalid subnet {0}: a prefix is /{first} to /{last} long", first = prefixes(.0).start(), last = prefixes(.0).end())]
    Prefix(IpNet),
    /// The subnet is of a range that no host may have.
    #[error("invalid subnet {0}: loopback, link-local, multicast and reserved addresses are no endpoint's")]
    Unusable(IpNet),
    /// Somebody else has some of these addresses.
    #[error("subnet {subnet} overlaps {net} of {by}")]
    Overlap {
        /// What was asked for.
        subnet: IpNet,
        /// What it overlaps.
        net: IpNet,
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
        subnet: IpNet,
    },
    /// The network's own address or its broadcast address.
    #[error("{what} {address} is the network or broadcast address of {subnet}")]
    NotAHost {
        /// What it is: `gateway`, `address`.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// The address belongs to someone.
    #[error("address {0} is already in use")]
    InUse(IpAddr),
    /// All addresses are given out.
    #[error("no free address left in {0}")]
    Exhausted(IpNet),
    /// None of the pools that subnets are chosen from is free.
    #[error(transparent)]
    NoPool(#[from] pools::Exhausted),
    /// None of the operator's own either.
    #[error(transparent)]
    NoOwnPool(#[from] pools::OwnExhausted),
    /// All subnets of the host's own IPv6 prefix overlap with something.
    #[error(transparent)]
    NoUla(#[from] pools::UlaExhausted),
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
            Self::InUse(_) => Some("choose another address, or leave it out to get the lowest free one"),
            Self::HostBits { .. }
            | Self::Prefix(_)
            | Self::Unusable(_)
            | Self::NoSubnet(_)
            | Self::NoPool(_)
            | Self::NoOwnPool(_)
            | Self::NoUla(_)
            | Self::Outside { .. }
            | Self::NotAHost { .. } => None,
        }
    }
}

/// Where the subnet of a network comes from that was given none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Default<'a> {
    /// Docker's IPv4 pools.
    Docker,
    /// What the operator has named, in this order; those of the other family are left out.
    Pools(&'a [AddressPool]),
    /// The host's own IPv6 prefix (RFC 4193).
    Ula(Ipv6Net),
}

/// The pool of a new network in one family.
pub fn choose(request: &Request, default: Default<'_>, taken: &[Taken]) -> Result<Pool, Error> {
    let subnet = match request.subnet {
        Some(subnet) => checked(subnet, taken)?,
        None => free_subnet(request, default, taken)?,
    };
    let gateway = match request.gateway {
        Some(gateway) => Some(host_of(subnet, "gateway", gateway)?),
        None if request.without_gateway => None,
        None => Some(first_host(subnet, &request.reserved)?),
    };
    if let Some(range) = request.ranges.iter().find(|range| !subnet.contains(*range)) {
        return Err(Error::Outside { what: "ip-range", value: range.to_string(), subnet });
    }
    for address in request.reserved.values() {
        if Some(host_of(subnet, "aux-address", *address)?) == gateway {
            return Err(Error::InUse(*address));
        }
    }
    Ok(Pool { subnet, gateway, ranges: ranges(&request.ranges), reserved: request.reserved.clone() })
}

fn prefixes(subnet: &IpNet) -> RangeInclusive<u8> {
    match subnet {
        IpNet::V4(_) => PREFIXES4,
        IpNet::V6(_) => PREFIXES6,
    }
}

fn checked(subnet: IpNet, taken: &[Taken]) -> Result<IpNet, Error> {
    if subnet != subnet.trunc() {
        return Err(Error::HostBits { given: subnet, meant: subnet.trunc() });
    }
    if !prefixes(&subnet).contains(&subnet.prefix_len()) {
        return Err(Error::Prefix(subnet));
    }
    if is_unusable(subnet.network()) {
        return Err(Error::Unusable(subnet));
    }
    match taken.iter().find(|other| pools::overlap(&subnet, &other.net)) {
        Some(other) => Err(Error::Overlap { subnet, net: other.net, by: other.by.clone() }),
        None => Ok(subnet),
    }
}

fn is_unusable(first: IpAddr) -> bool {
    match first {
        IpAddr::V4(first) => matches!(first.octets()[0], 0 | 127 | 224..),
        // `::/8` has the loopback address and those that stand for IPv4 (RFC 4291, 2.5).
        IpAddr::V6(first) => first.octets()[0] == 0 || first.is_multicast() || first.is_unicast_link_local(),
    }
}

/// The first subnet of the default that is free.
fn free_subnet(request: &Request, default: Default<'_>, taken: &[Taken]) -> Result<IpNet, Error> {
    if request.gateway.is_some() {
        return Err(Error::NoSubnet("--gateway"));
    }
    if !request.ranges.is_empty() {
        return Err(Error::NoSubnet("--ip-range"));
    }
    if !request.reserved.is_empty() {
        return Err(Error::NoSubnet("--aux-address"));
    }
    let nets: Vec<IpNet> = taken.iter().map(|other| other.net).collect();
    match default {
        Default::Docker => Ok(pools::choose(&nets)?.into()),
        Default::Pools(pools) => Ok(pools::choose_of(pools, &nets)?),
        Default::Ula(prefix) => Ok(pools::choose_in(prefix, &nets)?.into()),
    }
}

fn first_host(subnet: IpNet, reserved: &BTreeMap<String, IpAddr>) -> Result<IpAddr, Error> {
    let free = |address: &IpAddr| {
        host_of(subnet, "gateway", *address).is_ok() && reserved.values().all(|other| other != address)
    };
    addresses_of(subnet).find(free).ok_or(Error::Exhausted(subnet))
}

fn host_of(subnet: IpNet, what: &'static str, address: IpAddr) -> Result<IpAddr, Error> {
    if !subnet.contains(&address) {
        return Err(Error::Outside { what, value: address.to_string(), subnet });
    }
    if of_no_host(subnet).any(|other| other == address) {
        return Err(Error::NotAHost { what, address, subnet });
    }
    Ok(address)
}

/// Addresses that no host can have. IPv6 has no broadcast, and its first address is every router's (RFC 4291, 2.6.1); a
/// subnet of two addresses has neither (RFC 3021, RFC 6164).
fn of_no_host(subnet: IpNet) -> impl Iterator<Item = IpAddr> {
    let all = [Some(subnet.network()), subnet.addr().is_ipv4().then(|| subnet.broadcast())];
    all.into_iter().flatten().filter(move |_| subnet.max_prefix_len() - subnet.prefix_len() > 1)
}

/// Every address, lowest first. Not `hosts()`: the first and last address of a range inside the subnet are addresses
/// like others.
fn addresses_of(net: IpNet) -> Box<dyn Iterator<Item = IpAddr>> {
    match net {
        IpNet::V4(net) => {
            let bits = net.network().to_bits()..=net.broadcast().to_bits();
            Box::new(bits.map(|bits| Ipv4Addr::from_bits(bits).into()))
        }
        IpNet::V6(net) => {
            let bits = net.network().to_bits()..=net.broadcast().to_bits();
            Box::new(bits.map(|bits| Ipv6Addr::from_bits(bits).into()))
        }
    }
}

/// The address that was asked for, when it can be had.
pub fn claim(pool: &Pool, address: IpAddr, used: &BTreeSet<IpAddr>) -> Result<IpAddr, Error> {
    host_of(pool.subnet, "address", address)?;
    if is_free(pool, address, used) { Ok(address) } else { Err(Error::InUse(address)) }
}

/// The lowest free address.
pub fn next_free(pool: &Pool, used: &BTreeSet<IpAddr>) -> Result<IpAddr, Error> {
    dynamic(pool)
        .iter()
        .flat_map(|range| addresses_of(*range))
        .find(|address| host_of(pool.subnet, "address", *address).is_ok() && is_free(pool, *address, used))
        .ok_or_else(|| Error::Exhausted(dynamic(pool).first().copied().unwrap_or(pool.subnet)))
}

/// Where addresses are chosen from.
fn dynamic(pool: &Pool) -> &[IpNet] {
    if pool.ranges.is_empty() { std::slice::from_ref(&pool.subnet) } else { &pool.ranges }
}

/// Lowest first, and none that lies in another one.
fn ranges(asked: &[IpNet]) -> Vec<IpNet> {
    let mut ranges = asked.to_vec();
    ranges.sort();
    ranges.dedup_by(|later, earlier| earlier.contains(&*later));
    ranges
}

/// How many addresses of a pool are somebody's, and how many can still be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Those of endpoints, the gateway's, reserved ones, and those that no host can have.
    pub in_use: u64,
    /// Those that endpoints get which ask for none.
    pub free: u64,
}

/// What there is of a pool when endpoints have these addresses.
pub fn usage(pool: &Pool, used: &BTreeSet<IpAddr>) -> Usage {
    let subnet = pool.subnet;
    let taken: BTreeSet<IpAddr> = of_no_host(subnet)
        .chain(pool.gateway)
        .chain(pool.reserved.values().copied())
        .chain(used.iter().copied())
        .filter(|address| subnet.contains(address))
        .collect();
    let free = dynamic(pool).iter().map(|range| {
        let taken = taken.iter().filter(|address| range.contains(*address)).count() as u128;
        size(range).saturating_sub(taken)
    });
    let number = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    Usage { in_use: taken.len() as u64, free: number(free.fold(0, u128::saturating_add)) }
}

fn size(net: &IpNet) -> u128 {
    1_u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

fn is_free(pool: &Pool, address: IpAddr, used: &BTreeSet<IpAddr>) -> bool {
    Some(address) != pool.gateway
        && !used.contains(&address)
        && pool.reserved.values().all(|reserved| *reserved != address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn choose(request: &Request, taken: &[Taken]) -> Result<Pool, Error> {
        super::choose(request, Default::Docker, taken)
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
        assert_eq!((pool.subnet, pool.gateway), (net("172.17.0.0/16"), Some(ip("172.17.0.1"))));
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
        assert!(matches!(choose(&asked("10.0.0.0/32"), &[]), Err(Error::Prefix(_))));
        assert!(matches!(choose(&asked("0.0.0.0/0"), &[]), Err(Error::Prefix(_))));
        assert!(matches!(choose(&asked("127.0.0.0/16"), &[]), Err(Error::Unusable(_))));
        assert!(matches!(choose(&asked("224.1.0.0/16"), &[]), Err(Error::Unusable(_))));
        let error = choose(&asked("10.1.0.0/16"), &[route("10.1.2.0/24")]).unwrap_err();
        assert_eq!(error.to_string(), "subnet 10.1.0.0/16 overlaps 10.1.2.0/24 of a route of this host");
    }

    #[test]
    fn gateway_range_and_reserved_lie_in_the_subnet() {
        let with = |gateway| Request { gateway: Some(ip(gateway)), ..asked("10.1.0.0/24") };
        assert_eq!(choose(&with("10.1.0.254"), &[]).unwrap().gateway, Some(ip("10.1.0.254")));
        assert!(matches!(choose(&with("10.2.0.1"), &[]), Err(Error::Outside { .. })));
        assert!(matches!(choose(&with("10.1.0.0"), &[]), Err(Error::NotAHost { .. })));
        assert!(matches!(choose(&with("10.1.0.255"), &[]), Err(Error::NotAHost { .. })));
        let range = Request { ranges: vec![net("10.2.0.0/28")], ..asked("10.1.0.0/24") };
        assert!(matches!(choose(&range, &[]), Err(Error::Outside { .. })));
        let reserved = BTreeMap::from([("router".to_owned(), ip("10.1.0.1"))]);
        let request = Request { reserved: reserved.clone(), ..asked("10.1.0.0/24") };
        assert_eq!(choose(&request, &[]).unwrap().gateway, Some(ip("10.1.0.2")));
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
        let request = Request { ranges: vec![net("10.1.0.16/30")], ..asked("10.1.0.0/24") };
        let pool = choose(&request, &[]).unwrap();
        assert_eq!(next_free(&pool, &BTreeSet::new()), Ok(ip("10.1.0.16")));
        assert_eq!(claim(&pool, ip("10.1.0.99"), &BTreeSet::new()), Ok(ip("10.1.0.99")));
        assert!(claim(&pool, ip("10.1.1.1"), &BTreeSet::new()).is_err());
        assert_eq!(claim(&pool, ip("10.1.0.1"), &BTreeSet::new()), Err(Error::InUse(ip("10.1.0.1"))));
    }

    #[test]
    fn several_ranges_are_used_lowest_first() {
        let ranges = ["10.1.0.64/30", "10.1.0.8/31", "10.1.0.66/32"].map(net).to_vec();
        let pool = choose(&Request { ranges, ..asked("10.1.0.0/24") }, &[]).unwrap();
        assert_eq!(pool.ranges, [net("10.1.0.8/31"), net("10.1.0.64/30")]);
        let mut used = BTreeSet::new();
        for last in [8, 9, 64, 65, 66, 67] {
            let address = next_free(&pool, &used).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 1, 0, last));
            used.insert(address);
        }
        assert!(matches!(next_free(&pool, &used), Err(Error::Exhausted(_))));
        assert_eq!(usage(&pool, &used), Usage { in_use: 9, free: 0 });
    }

    #[test]
    fn usage_counts_what_no_endpoint_can_have() {
        let reserved = BTreeMap::from([("router".to_owned(), ip("10.1.0.9"))]);
        let pool = choose(&Request { reserved, ..asked("10.1.0.0/24") }, &[]).unwrap();
        assert_eq!(usage(&pool, &BTreeSet::new()), Usage { in_use: 4, free: 252 });
        assert_eq!(usage(&pool, &[ip("10.1.0.2"), ip("fd00::1")].into()), Usage { in_use: 5, free: 251 });
        let six = choose(&asked("fd00::/48"), &[]).unwrap();
        assert_eq!(usage(&six, &BTreeSet::new()), Usage { in_use: 2, free: u64::MAX });
    }

    #[test]
    fn ipv6_takes_the_first_free_subnet_of_the_hosts_own_prefix() {
        let default = Default::Ula("fd12:3456:789a::/48".parse().unwrap());
        let choose = |taken: &[Taken]| super::choose(&Request::default(), default, taken).unwrap();
        let first = choose(&[]);
        assert_eq!(
            (first.subnet, first.gateway),
            (net("fd12:3456:789a::/64"), Some(ip("fd12:3456:789a::1")))
        );
        assert_eq!(next_free(&first, &BTreeSet::new()), Ok(ip("fd12:3456:789a::2")));
        assert_eq!(choose(&[route("fd12:3456:789a::/63")]).subnet, net("fd12:3456:789a:2::/64"));
        assert_eq!(choose(&[route("10.0.0.0/8"), route("fd00::/48")]).subnet, first.subnet);
        let all = super::choose(&Request::default(), default, &[route("fd12::/16")]);
        assert!(matches!(all, Err(Error::NoUla(_))), "{all:?}");
    }

    #[test]
    fn an_ipv6_subnet_that_cannot_be_is_refused() {
        assert!(matches!(choose(&asked("fd00::1/64"), &[]), Err(Error::HostBits { .. })));
        assert_eq!(
            choose(&asked("fd00::/128"), &[]).unwrap_err().to_string(),
            "invalid subnet fd00::/128: a prefix is /16 to /127 long"
        );
        for unusable in ["::/64", "fe80::/64", "ff02::/64", "::ffff:0:0/100"] {
            assert!(matches!(choose(&asked(unusable), &[]), Err(Error::Unusable(_))), "{unusable}");
        }
        let clash = choose(&asked("2001:db8::/32"), &[route("2001:db8:1::/64")]);
        assert!(matches!(clash, Err(Error::Overlap { .. })));
    }

    #[test]
    fn a_subnet_of_two_addresses_has_two_hosts() {
        for (subnet, first, second) in
            [("10.1.0.6/31", "10.1.0.6", "10.1.0.7"), ("fd00::8/127", "fd00::8", "fd00::9")]
        {
            let pool = choose(&Request { without_gateway: true, ..asked(subnet) }, &[]).unwrap();
            assert_eq!(pool.gateway, None);
            assert_eq!(usage(&pool, &BTreeSet::new()), Usage { in_use: 0, free: 2 });
            assert_eq!(next_free(&pool, &BTreeSet::new()), Ok(ip(first)));
            assert_eq!(claim(&pool, ip(second), &[ip(first)].into()), Ok(ip(second)));
            let both = [ip(first), ip(second)].into();
            assert!(matches!(next_free(&pool, &both), Err(Error::Exhausted(_))));
            let with_gateway = choose(&asked(subnet), &[]).unwrap();
            assert_eq!(with_gateway.gateway, Some(ip(first)));
            assert_eq!(next_free(&with_gateway, &BTreeSet::new()), Ok(ip(second)));
        }
    }

    #[test]
    fn where_nobody_needs_a_gateway_its_address_is_an_endpoint_s() {
        let without = Request { without_gateway: true, ..asked("10.1.0.0/29") };
        let pool = choose(&without, &[]).unwrap();
        assert_eq!(next_free(&pool, &BTreeSet::new()), Ok(ip("10.1.0.1")));
        let given = Request { gateway: Some(ip("10.1.0.1")), ..without };
        assert_eq!(next_free(&choose(&given, &[]).unwrap(), &BTreeSet::new()), Ok(ip("10.1.0.2")));
    }

    #[test]
    fn the_last_ipv6_address_is_a_hosts_and_the_first_is_not() {
        let pool = choose(&asked("fd00::/126"), &[]).unwrap();
        assert_eq!(claim(&pool, ip("fd00::3"), &BTreeSet::new()), Ok(ip("fd00::3")));
        assert!(matches!(claim(&pool, ip("fd00::"), &BTreeSet::new()), Err(Error::NotAHost { .. })));
        assert!(matches!(claim(&pool, ip("10.0.0.1"), &BTreeSet::new()), Err(Error::Outside { .. })));
    }
}
