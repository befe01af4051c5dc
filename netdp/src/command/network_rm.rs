//! `netdp network rm` and `netdp network prune`.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Context;
use super::network_filter::Filter;
use super::{detach, gone};
use crate::Error;
use crate::cli::{NetworkPrune, NetworkRm};
use crate::desired::Desired;
use crate::instance::{self, Session, find_network};
use crate::model::{Endpoint, Network};
use crate::names::Unresolved;
use crate::store::Store;

pub(super) async fn rm<W: Write>(context: &mut Context<'_, W>, args: &NetworkRm) -> Result<(), Error> {
    // Without a database there is no network, and none is made in order to say so.
    if Store::read(&context.place.state_dir)?.is_none() {
        return args
            .names
            .iter()
            .try_for_each(|word| find_network(&[], word).map(drop))
            .or_else(missing_if(args.force));
    }
    let mut session = Session::begin(&context.place).await?;
    let networks = session.store.networks()?;
    release(&mut session, &networks).await?;
    let mut chosen = Vec::new();
    for word in &args.names {
        match find_network(&networks, word) {
            Ok(network) => chosen.push(removable(&session, network, args.force)?),
            Err(error) => missing_if(args.force)(error)?,
        }
    }
    for network in chosen {
        detach_all(&mut session, &networks, network).await?;
        remove(&mut session, network).await?;
        writeln!(context.out, "{}", network.name)?;
    }
    Ok(())
}

pub(super) async fn prune<W: Write>(context: &mut Context<'_, W>, args: &NetworkPrune) -> Result<(), Error> {
    let filter = Filter::of_prune(&args.filters, instance::now())?;
    if Store::read(&context.place.state_dir)?.is_none() || !(args.force || confirmed(context.out)?) {
        return Ok(());
    }
    let mut session = Session::begin(&context.place).await?;
    let networks = session.store.networks()?;
    release(&mut session, &networks).await?;
    for network in networks {
        let used = session.store.attachments_of(network.number)? > 0;
        if network.premade() || used || !filter.accepts(&network, &[]) {
            continue;
        }
        remove(&mut session, &network).await?;
        writeln!(context.out, "{}", network.name)?;
    }
    Ok(())
}

/// A network whose endpoints are all gone is in no use.
async fn release(session: &mut Session, networks: &[Network]) -> Result<(), Error> {
    session.mark([])?;
    gone::release_ending(session, networks).await?;
    session.unmark()
}

/// A script cannot answer, and has said what it wants.
fn confirmed(out: &mut impl Write) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    write!(out, "This removes all networks that no endpoint is attached to. Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// With `-f` a network that is not there is as good as removed.
fn missing_if(force: bool) -> impl Fn(Error) -> Result<(), Error> {
    move |error| match error {
        Error::Unresolved(Unresolved::Unknown { .. }) if force => Ok(()),
        error => Err(error),
    }
}

/// All are looked at before the first is removed.
fn removable<'a>(session: &Session, network: &'a Network, force: bool) -> Result<&'a Network, Error> {
    if network.premade() {
        return Err(Error::Premade(network.name.to_string()));
    }
    let names: Vec<String> =
        members(&session.store.endpoints()?, network).map(|it| it.name.to_string()).collect();
    if force || names.is_empty() {
        return Ok(network);
    }
    Err(Error::NetworkInUse { name: network.name.to_string(), endpoints: names.join(", ") })
}

fn members<'a>(endpoints: &'a [Endpoint], network: &Network) -> impl Iterator<Item = &'a Endpoint> {
    let number = network.number;
    endpoints.iter().filter(move |endpoint| endpoint.attachments.iter().any(|it| it.network == number))
}

async fn detach_all(session: &mut Session, networks: &[Network], network: &Network) -> Result<(), Error> {
    let endpoints = session.store.endpoints()?;
    for endpoint in members(&endpoints, network) {
        detach::take_off(session, networks, endpoint, Some(network), detach::Rest::Goes).await?;
    }
    Ok(())
}

/// The database first: from then on the network is gone, and what a crash leaves of it goes with the next
/// command.
async fn remove(session: &mut Session, network: &Network) -> Result<(), Error> {
    let mut desired = Desired::default();
    desired.add_network(network);
    session.mark([])?;
    let change = session.store.begin()?;
    change.remove_network(network.number)?;
    change.commit()?;
    if session.kernel.is_up() {
        instance::take_down(&mut session.kernel, &desired).await?;
        if network.bridge().is_some_and(|bridge| bridge.borrowed.is_some()) {
            session.mark_all()?;
            instance::sync(&session.store, &mut session.kernel).await?.keep();
        }
    }
    session.unmark()
}
