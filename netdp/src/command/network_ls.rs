//! `netdp network ls`.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use crate::Error;
use crate::cli::NetworkLs;
use crate::instance;
use crate::model::Network;
use crate::output;

/// What `-f` can ask for.
const FILTERS: &str = "driver, id, label, name";

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>, args: &NetworkLs) -> Result<(), Error> {
    let (mut networks, endpoints) = instance::read(&context.place)?;
    for (key, value) in &args.filters {
        let keep = filter(key)?;
        networks.retain(|network| keep(network, value));
    }
    if context.is_json() {
        let documents: Vec<Value> =
            networks.iter().map(|network| output::network(network, &endpoints)).collect();
        return Ok(output::document(context.out, &json!(documents))?);
    }
    if args.quiet {
        for network in &networks {
            writeln!(context.out, "{}", network.id.short(output::SHORT))?;
        }
        return Ok(());
    }
    let rows = networks.iter().map(row).collect();
    Ok(output::table(context.out, &["NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNET", "DEVICE"], rows)?)
}

fn row(network: &Network) -> Vec<String> {
    let (subnet, device) = match network.bridge() {
        Some(bridge) => (subnets(network), bridge.device.clone()),
        None => (subnets(network), network.lan().map(|lan| lan.parent.clone()).unwrap_or_default()),
    };
    let id = network.id.short(output::SHORT).to_owned();
    vec![id, network.name.to_string(), network.driver.name().to_owned(), "local".to_owned(), subnet, device]
}

fn subnets(network: &Network) -> String {
    network.pools().map(|pool| pool.subnet.to_string()).collect::<Vec<_>>().join(" ")
}

fn filter(key: &str) -> Result<fn(&Network, &str) -> bool, Error> {
    match key {
        "driver" => Ok(|network, value| network.driver.name() == value),
        "id" => Ok(|network, value| network.id.as_str().starts_with(value)),
        "label" => Ok(has_label),
        "name" => Ok(|network, value| network.name.as_str().contains(value)),
        _ => Err(Error::UnknownOption { key: format!("-f {key}"), known: FILTERS.to_owned() }),
    }
}

/// `key` alone asks for the label, `key=value` for its value too.
fn has_label(network: &Network, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => network.labels.get(key).is_some_and(|label| label == value),
        None => network.labels.contains_key(wanted),
    }
}
