//! Choice of a subnet for a network that was given none: Docker's default pools, in Docker's order.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

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
    let taken: Vec<Ipv4Net> = used.iter().filter_map(occupied).collect();
    subnets().find(|subnet| !taken.iter().any(|net| overlap(subnet, net))).ok_or(Exhausted)
}

/// A default route occupies nothing, nor do the two halves of one that VPN clients set (0.0.0.0/1 and
/// 128.0.0.0/1).
fn occupied(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) if net.prefix_len() > 1 => Some(*net),
        IpNet::V4(_) | IpNet::V6(_) => None,
    }
}

fn subnets() -> impl Iterator<Item = Ipv4Net> {
    POOLS.iter().flat_map(|(first, pool, subnet)| {
        Ipv4Net::new_assert(*first, *pool).subnets(*subnet).into_iter().flatten()
    })
}

/// Tells whether two subnets have an address in common.
pub fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
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
