//! `netdp inspect`.

use std::collections::BTreeSet;
use std::io::Write;

use super::Context;
use crate::Error;
use crate::cli::Inspect;
use crate::instance::{self, find_endpoint};
use crate::netlink::Netlink;
use crate::output;

/// JSON in either format, as Docker does; one name, one object.
pub(super) async fn inspect<W: Write>(context: &mut Context<'_, W>, args: &Inspect) -> Result<(), Error> {
    let (networks, endpoints) = instance::read(&context.place)?;
    let endpoint = find_endpoint(&endpoints, &args.name)?;
    let state = instance::state(endpoint, &host_links().await?);
    Ok(output::document(context.out, &output::endpoint(endpoint, &networks, state))?)
}

/// Names of this host's interfaces.
pub(super) async fn host_links() -> Result<BTreeSet<String>, Error> {
    Ok(Netlink::here()?.links().await?.into_iter().map(|link| link.name).collect())
}
