//! `netdp inspect`.

use std::io::Write;

use super::Context;
use super::ps::Line;
use crate::Error;
use crate::cli::Inspect;
use crate::instance::{self, find_endpoint};
use crate::netlink::Netlink;
use crate::output;
use crate::process::Processes;

/// JSON in either format, as Docker does; one name, one object.
pub(super) async fn inspect<W: Write>(context: &mut Context<'_, W>, args: &Inspect) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let processes = Processes::of(&context.place);
    let links = Netlink::here()?.link_names().await?;
    let line = match (find_endpoint(&endpoints, &args.name), processes.find(&args.name)) {
        (Ok(endpoint), _) => Line::new(endpoint.clone(), processes.get(&endpoint.id), &links),
        (Err(_), Ok(record)) => Line::of_process(record),
        (Err(error), Err(_)) => return Err(error),
    };
    Ok(output::document(context.out, &line.document(&networks))?)
}
