//! Choice of a subnet for a network that was given none: for IPv4 Docker's default pools, in Docker's order, and for
//! IPv6 the host's own prefix.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::AddressPool;

/// (first address, prefix length of the pool, prefix length of a subnet taken from it)
const POOLS: [(Ipv4Addr, u8, u8); 6] = [
    (Ipv4Addr::new(172, 17, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 18, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 19, 0, 0), 16, 16),
    (Ipv4Addr::new(172, 20, 0, 0), 14, 16),
    (Ipv4Addr::new(172, 24, 0, 0), 13, 16),
    (Ipv4Addr::new(192, 168, 0, 0), 16, 20),
];

/// Every subnet of the pools is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all of netdp's address pools (172.17.0.0/16 to 172.31.0.0/16, and 192.168.0.0/16 in pieces of /20) overlap with \
     networks, addresses or routes of this host; give a free one with --subnet"
)]
pub struct Exhausted;

/// The first subnet of the pools that overlaps with none of `used`: subnets of networks, addresses of the
/// host (with their prefix), destinations of its routes.
pub fn choose(used: &[IpNet]) -> Result<Ipv4Net, Exhausted> {
    subnets().find(|subnet| is_free(&(*subnet).into(), used)).ok_or(Exhausted)
}

/// Length of the IPv6 prefix that a host has for its networks: its "global id" (RFC 4193, 3.1).
const ULA_PREFIX: u8 = 48;
/// Length of a network's IPv6 prefix (RFC 4291, 2.5.4).
const ULA_SUBNET: u8 = 64;

/// So many subnets are looked at: more than a host has networks.
const MOST_TRIED: usize = 1 << 16;

/// Every IPv6 subnet of the host's own prefix is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all subnets of {0}, which this host takes for its networks, overlap with networks, addresses or routes of this \
     host; give a free one with --subnet"
)]
pub struct UlaExhausted(pub Ipv6Net);

/// A host's own IPv6 prefix from five random bytes (RFC 4193, 3.2.2).
pub fn ula(random: [u8; 5]) -> Ipv6Net {
    let mut octets = [0; 16];
    octets[0] = 0xfd;
    octets[1..6].copy_from_slice(&random);
    Ipv6Net::new_assert(octets.into(), ULA_PREFIX)
}

/// The first subnet of a host's own prefix that overlaps with none of `used`.
pub fn choose_in(prefix: Ipv6Net, used: &[IpNet]) -> Result<Ipv6Net, UlaExhausted> {
    let mut subnets = prefix.subnets(ULA_SUBNET).into_iter().flatten();
    subnets.find(|subnet| is_free(&(*subnet).into(), used)).ok_or(UlaExhausted(prefix))
}

/// Every subnet of the operator's pools is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "all subnets of default-address-pools ({0}) overlap with networks, addresses or routes of this host; add one there, or \
     give a free one with --subnet"
)]
pub struct OwnExhausted(String);

/// The first subnet of the operator's pools that overlaps with none of `used`. They are of one family.
pub fn choose_of(pools: &[AddressPool], used: &[IpNet]) -> Result<IpNet, OwnExhausted> {
    let mut subnets = pools.iter().flat_map(|pool| pool.base.subnets(pool.size).into_iter().flatten());
    let names = || pools.iter().map(|pool| pool.base.to_string()).collect::<Vec<_>>().join(", ");
    subnets
        .by_ref()
        .take(MOST_TRIED)
        .find(|subnet| is_free(subnet, used))
        .ok_or_else(|| OwnExhausted(names()))
}

fn is_free(subnet: &IpNet, used: &[IpNet]) -> bool {
    !used.iter().any(|net| is_occupied(net) && overlap(subnet, net))
}

/// A default route occupies nothing, nor do the parts of one that VPN clients set: 0.0.0.0/1 and 128.0.0.0/1, and of
/// IPv6 all that is given out (`2000::/3`).
pub fn is_occupied(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() > 1,
        IpNet::V6(net) => net.prefix_len() > 3,
    }
}

fn subnets() -> impl Iterator<Item = Ipv4Net> {
    POOLS.iter().flat_map(|(first, pool, subnet)| {
        Ipv4Net::new_assert(*first, *pool).subnets(*subnet).into_iter().flatten()
    })
}

/// Tells whether two subnets have an address in common.
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn chosen(used: &[&str]) -> String {
        choose(&nets(used)).expect("a free one").to_string()
    }

    #[test]
    fn the_first_free_one_is_taken() {
        assert_eq!(chosen(&[]), "172.17.0.0/16");
        assert_eq!(chosen(&["172.17.0.0/16", "172.18.3.1/24"]), "172.19.0.0/16");
        assert_eq!(chosen(&["172.18.0.0/16"]), "172.17.0.0/16");
    }

    #[test]
    fn a_wider_route_occupies_all_of_its_pool() {
        assert_eq!(chosen(&["172.16.0.0/12"]), "192.168.0.0/20");
        assert_eq!(chosen(&["172.16.0.0/12", "192.168.17.0/24"]), "192.168.0.0/20");
        assert_eq!(chosen(&["172.16.0.0/12", "192.168.0.0/20"]), "192.168.16.0/20");
    }

    #[test]
    fn default_routes_and_ipv6_occupy_nothing() {
        assert_eq!(chosen(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "fd00::/8"]), "172.17.0.0/16");
    }

    #[test]
    fn a_hosts_own_prefix_is_unique_local() {
        assert_eq!(ula([0x12, 0x34, 0x56, 0x78, 0x9a]).to_string(), "fd12:3456:789a::/48");
        assert_eq!(ula([0; 5]).to_string(), "fd00::/48");
    }

    #[test]
    fn pools_of_the_operator_are_taken_in_their_order() {
        let pool = |base: &str, size| AddressPool { base: base.parse().unwrap(), size };
        let pools = [pool("10.10.0.0/30", 31), pool("10.20.0.0/16", 24)];
        let mut used = Vec::new();
        for expected in ["10.10.0.0/31", "10.10.0.2/31", "10.20.0.0/24", "10.20.1.0/24"] {
            let subnet = choose_of(&pools, &used).unwrap();
            assert_eq!(subnet.to_string(), expected);
            used.push(subnet);
        }
        let error = choose_of(&pools, &nets(&["10.0.0.0/8"])).unwrap_err().to_string();
        assert!(error.contains("10.10.0.0/30, 10.20.0.0/16"), "{error}");
    }

    #[test]
    fn thirty_one_subnets_and_then_an_error() {
        let mut used = Vec::new();
        while let Ok(subnet) = choose(&used) {
            used.push(subnet.into());
        }
        assert_eq!(used.len(), 15 + 16);
        assert!(used.contains(&nets(&["172.31.0.0/16"])[0]));
        assert!(Exhausted.to_string().ends_with("give a free one with --subnet"));
    }
}
