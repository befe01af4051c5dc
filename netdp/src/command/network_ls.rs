//! `netdp network ls`.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use super::network_filter::Filter;
use crate::Error;
use crate::cli::NetworkLs;
use crate::instance;
use crate::model::Network;
use crate::output;

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>, args: &NetworkLs) -> Result<(), Error> {
    let (mut networks, endpoints) = instance::read(&context.place)?;
    let filter = Filter::of_ls(&args.filters)?;
    networks.retain(|network| filter.accepts(network, &endpoints));
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
