//! Routes that a network puts into its containers: `-o route=10.9.0.0/16,10.5.0.7`. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Error;
use crate::ipam;
use crate::model::{NetworkRoute, Pool};

/// As it was given: where to, and by whom if that is not the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    to: IpNet,
    via: Option<IpAddr>,
}

/// Who may be the next hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hops {
    /// On a bridge an endpoint's packets reach its neighbours and the gateway: no neighbour forwards for others.
    GatewayOnly,
    /// On a LAN there may be other routers.
    Anybody,
}

const ACCEPTED: &str =
    "a network without host bits and a next hop, as in 10.9.0.0/16,10.5.0.7; without a next hop, the gateway";

/// Reads one value of the option, which may hold several routes with spaces between.
pub fn read(key: &str, value: &str, routes: &mut Vec<Asked>) -> Result<(), Error> {
    let before = routes.len();
    for text in value.split_whitespace() {
        let (to, via) = text.split_once(',').map_or((text, None), |(to, via)| (to, Some(via)));
        let refused = || Error::invalid_value(key, text, ACCEPTED);
        let to: IpNet = to.parse().map_err(|_| refused())?;
        let via: Option<IpAddr> = via.map(str::parse).transpose().map_err(|_| refused())?;
        let same_family = via.is_none_or(|via| via.is_ipv4() == to.addr().is_ipv4());
        // A default route is what the gateway priority decides about.
        if to != to.trunc() || to.prefix_len() == 0 || !same_family {
            return Err(refused());
        }
        routes.push(Asked { to, via });
    }
    if routes.len() == before { Err(Error::invalid_value(key, value, ACCEPTED)) } else { Ok(()) }
}

/// With their next hops, which the network must be able to reach.
pub fn resolve(routes: &[Asked], pools: &[&Pool], hops: Hops) -> Result<Vec<NetworkRoute>, Error> {
    let resolved = |route: &Asked| {
        let ipv4 = route.to.addr().is_ipv4();
        let Some(pool) = pools.iter().find(|pool| pool.subnet.addr().is_ipv4() == ipv4) else {
            let what = format!("-o route={}", route.to);
            return Err(Error::FamilyOff { what, family: if ipv4 { 4 } else { 6 } });
        };
        let Some(via) = route.via.or(pool.gateway) else {
            return Err(Error::invalid_value(
                "route",
                &route.to.to_string(),
                "nothing in a network without a gateway",
            ));
        };
        if !pool.subnet.contains(&via) {
            let (value, subnet) = (via.to_string(), pool.subnet);
            return Err(ipam::Error::Outside { what: "next hop", value, subnet }.into());
        }
        if hops == Hops::GatewayOnly && Some(via) != pool.gateway {
            return Err(Error::invalid_value(
                "route",
                &via.to_string(),
                "no next hop but the gateway in a bridge network: no endpoint forwards for others",
            ));
        }
        Ok(NetworkRoute { to: route.to, via })
    };
    routes.iter().map(resolved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Result<Vec<Asked>, String> {
        let mut routes = Vec::new();
        read("route", text, &mut routes).map_err(|error| error.to_string())?;
        Ok(routes)
    }

    fn pool() -> Pool {
        let request =
            ipam::Request { subnet: Some("10.5.0.0/16".parse().unwrap()), ..ipam::Request::default() };
        ipam::choose(&request, ipam::Default::Docker, &[]).unwrap()
    }

    fn hops(text: &str, hops: Hops) -> Result<Vec<String>, String> {
        let pool = pool();
        let resolved = resolve(&routes(text)?, &[&pool], hops).map_err(|error| error.to_string())?;
        Ok(resolved.iter().map(|route| format!("{} {}", route.to, route.via)).collect())
    }

    #[test]
    fn without_a_next_hop_it_is_the_gateway() {
        let found = hops("10.9.0.0/16 10.8.0.0/16,10.5.0.7", Hops::Anybody).unwrap();
        assert_eq!(found, ["10.9.0.0/16 10.5.0.1", "10.8.0.0/16 10.5.0.7"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["", "x", "10.9.0.1/16", "0.0.0.0/0", "10.9.0.0/16,fd00::1", "10.9.0.0/16,x"] {
            assert!(routes(text).unwrap_err().contains("10.9.0.0/16,10.5.0.7"), "{text:?}");
        }
        assert!(hops("10.9.0.0/16,10.6.0.1", Hops::Anybody).unwrap_err().contains("not in the subnet"));
        assert!(hops("fd09::/64", Hops::Anybody).unwrap_err().contains("IPv6"));
        assert!(hops("10.9.0.0/16,10.5.0.7", Hops::GatewayOnly).unwrap_err().contains("gateway"));
        assert_eq!(hops("10.9.0.0/16,10.5.0.1", Hops::GatewayOnly).unwrap().len(), 1);
    }
}
