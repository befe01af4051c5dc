//! `netdp deny`: whose packets are refused at the uplinks.

use std::io::Write;

use serde_json::{Value, json};

use super::Context;
use super::commit::commit;
use crate::Error;
use crate::cli::{DenyAdd, DenyRm};
use crate::deny::Prefix;
use crate::desired::Desired;
use crate::instance::{self, Session};
use crate::output;
use crate::plan::Step;
use crate::reconcile::Applied;
use crate::store::{Denied, Store};
use crate::world::{Kernel, World};

pub(super) async fn add<W: Write>(context: &mut Context<'_, W>, args: &DenyAdd) -> Result<(), Error> {
    if let Some(everybody) = args.prefixes.iter().find(|prefix| prefix.prefix_len() == 0 && !args.force) {
        return Err(Error::DenyEverybody(*everybody));
    }
    let mut session = Session::begin(&context.place).await?;
    warn_of_gateways(&session.kernel, &args.prefixes).await?;
    session.mark([])?;
    let change = session.store.begin()?;
    let created = instance::now();
    for prefix in &args.prefixes {
        change.add_denied(Denied { prefix: *prefix, created })?;
    }
    let applied = apply(&mut session.kernel, &args.prefixes).await;
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result?;
    print(context, &args.prefixes)
}

/// All or none of them, and nothing when the datapath is down: the next `up` brings the list.
async fn apply(kernel: &mut Kernel, prefixes: &[Prefix]) -> Result<Applied, Error> {
    if !kernel.is_up() {
        return Ok(Applied::default());
    }
    instance::bring_up(kernel, &wanted(prefixes)).await
}

fn wanted(prefixes: &[Prefix]) -> Desired {
    let mut desired = Desired::default();
    for prefix in prefixes {
        desired.add_denied(*prefix);
    }
    desired
}

/// Packets of a gateway itself are few, and the host may not need them: errors, and answers to a ping.
async fn warn_of_gateways(kernel: &Kernel, prefixes: &[Prefix]) -> Result<(), Error> {
    for gateway in kernel.gateways().await? {
        if let Some(prefix) = prefixes.iter().find(|prefix| prefix.contains(&gateway)) {
            tracing::warn!(
                "{prefix} holds this host's gateway {gateway}: what it sends itself is refused too"
            );
        }
    }
    Ok(())
}

/// The database first: from then on they are let in, and what a crash leaves goes with the next command.
pub(super) async fn rm<W: Write>(context: &mut Context<'_, W>, args: &DenyRm) -> Result<(), Error> {
    let known = read(context)?;
    let unknown = args.prefixes.iter().find(|prefix| known.iter().all(|denied| denied.prefix != **prefix));
    if let Some(prefix) = unknown {
        return Err(Error::NotDenied(*prefix));
    }
    let mut session = Session::begin(&context.place).await?;
    session.mark([])?;
    let change = session.store.begin()?;
    for prefix in &args.prefixes {
        change.remove_denied(*prefix)?;
    }
    change.commit()?;
    if session.kernel.is_up() {
        for row in wanted(&args.prefixes).rows {
            session.kernel.apply(&Step::Delete(row)).await?;
        }
    }
    session.unmark()?;
    print(context, &args.prefixes)
}

pub(super) fn ls<W: Write>(context: &mut Context<'_, W>) -> Result<(), Error> {
    let list = read(context)?;
    if context.is_json() {
        return Ok(output::document(context.out, &list.iter().map(document).collect())?);
    }
    let rows = list.iter().map(|denied| vec![denied.prefix.to_string(), output::timestamp(denied.created)]);
    Ok(output::table(context.out, &["PREFIX", "SINCE"], rows.collect())?)
}

/// Without a database the list is empty, and none is made in order to say so.
fn read<W: Write>(context: &Context<'_, W>) -> Result<Vec<Denied>, Error> {
    Ok(Store::read(&context.place.state_dir)?.map_or_else(|| Ok(Vec::new()), |store| store.denied())?)
}

fn document(denied: &Denied) -> Value {
    json!({ "prefix": denied.prefix.to_string(), "since": output::timestamp(denied.created) })
}

fn print<W: Write>(context: &mut Context<'_, W>, prefixes: &[Prefix]) -> Result<(), Error> {
    for prefix in prefixes {
        writeln!(context.out, "{prefix}")?;
    }
    Ok(())
}
