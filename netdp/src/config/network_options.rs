//! `default-network-opts`: options of networks that are made without them, by driver.

use super::Error;
use super::document::Item;
use crate::bridge_options;
use crate::lan;
use crate::model::NetworkOptions;

/// Reads it; drivers that netdp does not have are told in `notes`.
pub(super) fn network_options(item: &Item<'_>, notes: &mut Vec<String>) -> Result<NetworkOptions, Error> {
    let mut options = NetworkOptions::new();
    for (driver, item) in
        item.entries("a table of options for each driver, as in { bridge = { mtu = 1400 } }")?
    {
        let check = match driver {
            "bridge" => |pairs: &[_]| bridge_options::Options::read(pairs).map(drop),
            "macvlan" => |pairs: &[_]| lan::Options::check(lan::Kind::Macvlan, pairs),
            "ipvlan" => |pairs: &[_]| lan::Options::check(lan::Kind::Ipvlan, pairs),
            "host" | "none" | "null" | "overlay" | "windows" => {
                notes.push(format!("default-network-opts.{driver} has no effect in netdp"));
                continue;
            }
            _ => return Err(item.unknown(&["bridge", "macvlan", "ipvlan"])),
        };
        let mut pairs = Vec::new();
        for (key, item) in item.entries("a table of options, as those of network create -o")? {
            let pair = [(key.to_owned(), item.scalar()?)];
            check(&pair).map_err(|error| item.contradicts(error))?;
            pairs.extend(pair);
        }
        check(&pairs).map_err(|error| item.contradicts(error))?;
        options.insert(driver.to_owned(), pairs);
    }
    Ok(options)
}
