//! `netdp port`.

use std::io::Write;

use serde_json::Value;

use super::Context;
use crate::Error;
use crate::cli::Port;
use crate::instance::{self, find_endpoint};
use crate::model::PublishedPort;
use crate::output;
use crate::process::Processes;

pub(super) fn port<W: Write>(context: &mut Context<'_, W>, args: &Port) -> Result<(), Error> {
    let (_, endpoints) = instance::read(&context.place)?;
    let endpoint = match find_endpoint(&endpoints, &args.name) {
        Ok(endpoint) => endpoint.clone(),
        // A process without an endpoint publishes nothing.
        Err(unknown) => {
            let record = Processes::of(&context.place).find(&args.name).map_err(|_| unknown)?;
            output::without_endpoint(&record)
        }
    };
    let ports = || endpoint.attachments.iter().flat_map(|attachment| &attachment.ports);
    let Some((inside, protocol)) = args.port else {
        if context.is_json() {
            return Ok(output::document(context.out, &output::ports(&endpoint))?);
        }
        return Ok(ports().try_for_each(|port| {
            let (inside, protocol) = (port.container_port, port.protocol);
            writeln!(context.out, "{inside}/{protocol} -> {}", port.host_side())
        })?);
    };
    let wanted: Vec<&PublishedPort> =
        ports().filter(|port| (port.container_port, port.protocol) == (inside, protocol)).collect();
    if wanted.is_empty() {
        let (port, endpoint) = (format!("{inside}/{protocol}"), endpoint.name.to_string());
        return Err(Error::NotPublished { port, endpoint });
    }
    if context.is_json() {
        let all = output::ports(&endpoint);
        let bindings = all.get(format!("{inside}/{protocol}")).unwrap_or(&Value::Null);
        return Ok(output::document(context.out, bindings)?);
    }
    Ok(wanted.into_iter().try_for_each(|port| writeln!(context.out, "{}", port.host_side()))?)
}
