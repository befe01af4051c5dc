//! `netdp network create`.

use std::io::Write;

use serde_json::json;

use super::Context;
use super::network::{self, Request};
use crate::Error;
use crate::cli::NetworkCreate;
use crate::instance::Session;
use crate::model::{Network, PREMADE};
use crate::output;

pub(super) async fn create<W: Write>(
    context: &mut Context<'_, W>,
    args: &NetworkCreate,
) -> Result<(), Error> {
    let request = request(args);
    if PREMADE.contains(&request.name.as_str()) {
        return Err(Error::Premade(request.name.to_string()));
    }
    request.check()?;
    let mut session = Session::begin(&context.place).await?;
    let request = request.with_defaults(&session.store.network_options()?);
    let network = network::create(&mut session, &request).await?;
    print(context, &network)
}

fn request(args: &NetworkCreate) -> Request {
    Request {
        name: args.name.clone(),
        driver: args.driver,
        ipv4: args.ipv4,
        ipv6: args.ipv6,
        subnets: args.subnets.clone(),
        gateways: args.gateways.clone(),
        ip_ranges: args.ip_ranges.clone(),
        aux_addresses: args.aux_addresses.clone(),
        internal: args.internal,
        options: args.options.clone(),
        labels: args.labels.iter().cloned().collect(),
        ipam: args.ipam,
    }
}

fn print<W: Write>(context: &mut Context<'_, W>, network: &Network) -> Result<(), Error> {
    if context.is_json() {
        return Ok(output::document(context.out, &json!({ "Id": network.id, "Name": network.name }))?);
    }
    Ok(writeln!(context.out, "{}", network.id)?)
}
