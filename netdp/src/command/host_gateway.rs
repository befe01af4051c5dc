//! `--add-host NAME:IP|host-gateway`: the address by which an endpoint knows this host.

use std::net::IpAddr;

use crate::Error;
use crate::cli::AddHost;
use crate::model::{Bridge, DEFAULT_NETWORK, Network};
use crate::process;
use crate::store::Store;

/// What the word stands for: one address of each family at most.
pub(super) struct HostGateway {
    addresses: Vec<IpAddr>,
}

impl HostGateway {
    /// What the configuration file says (`host-gateway-ips`), else the gateway of the default network.
    pub(super) fn of(store: &Store, networks: &[Network]) -> Result<Self, Error> {
        let asked = store.host_gateway()?;
        if !asked.is_empty() {
            return Ok(Self { addresses: asked });
        }
        let default = networks.iter().find(|network| network.name.as_str() == DEFAULT_NETWORK);
        let pools = default.and_then(Network::bridge).into_iter().flat_map(Bridge::pools);
        Ok(Self { addresses: pools.filter_map(|pool| pool.gateway).collect() })
    }

    /// Names and addresses, in the order in which they were given.
    pub(super) fn lines(&self, asked: &[AddHost]) -> Result<Vec<(String, IpAddr)>, Error> {
        let mut lines = Vec::new();
        for asked in asked {
            let addresses = asked.address.map_or_else(|| self.addresses.clone(), |address| vec![address]);
            if addresses.is_empty() {
                return Err(process::Error::NoHostGateway(asked.name.clone()).into());
            }
            lines.extend(addresses.into_iter().map(|address| (asked.name.clone(), address)));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_every_address_of_the_host_and_an_error_without_one() {
        let asked: Vec<AddHost> =
            ["a:192.0.2.7", "me:host-gateway"].iter().map(|text| text.parse().unwrap()).collect();
        let addresses: Vec<IpAddr> = vec!["172.17.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let lines = HostGateway { addresses }.lines(&asked).unwrap();
        let lines: Vec<String> = lines.iter().map(|(name, address)| format!("{name} {address}")).collect();
        assert_eq!(lines, ["a 192.0.2.7", "me 172.17.0.1", "me fd00::1"]);
        assert!(HostGateway { addresses: Vec::new() }.lines(&asked).is_err());
    }
}
