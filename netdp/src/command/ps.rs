//! `netdp ps`.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use super::inspect::host_links;
use crate::Error;
use crate::cli::Ps;
use crate::instance;
use crate::model::{Endpoint, Network};
use crate::output;

pub(super) async fn ps<W: Write>(context: &mut Context<'_, W>, args: &Ps) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let links = host_links().await?;
    let shown: Vec<(&Endpoint, &str)> = endpoints
        .iter()
        .map(|endpoint| (endpoint, instance::state(endpoint, &links)))
        .filter(|(_, state)| args.all || *state == "running")
        .collect();
    if context.is_json() {
        let documents: Vec<Value> =
            shown.iter().map(|(endpoint, state)| output::endpoint(endpoint, &networks, state)).collect();
        return Ok(output::document(context.out, &json!(documents))?);
    }
    if args.quiet {
        for (endpoint, _) in shown {
            writeln!(context.out, "{}", endpoint.id.short(output::SHORT))?;
        }
        return Ok(());
    }
    let rows = shown.iter().map(|(endpoint, state)| row(endpoint, &networks, state)).collect();
    Ok(output::table(context.out, &["ENDPOINT ID", "NAME", "STATE", "ADDRESSES", "PORTS", "NETNS"], rows)?)
}

fn row(endpoint: &Endpoint, networks: &[Network], state: &str) -> Vec<String> {
    let name = |number| networks.iter().find(|network| network.number == number).map(|it| it.name.as_str());
    let joined = endpoint.attachments.iter();
    let addresses: Vec<String> = joined
        .flat_map(|it| it.addresses().map(|address| (it.network, address)))
        .map(|(network, address)| format!("{}={address}", name(network).unwrap_or_default()))
        .collect();
    let ports: Vec<String> =
        endpoint.attachments.iter().flat_map(|attachment| &attachment.ports).map(output::port).collect();
    vec![
        endpoint.id.short(output::SHORT).to_owned(),
        endpoint.name.to_string(),
        state.to_owned(),
        addresses.join(" "),
        ports.join(", "),
        endpoint.netns.path.display().to_string(),
    ]
}
