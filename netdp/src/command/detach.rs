//! `netdp detach`: takes an endpoint off its networks.

use std::io::Write;

use super::{Context, heir, lease, run};
use crate::Error;
use crate::cli::Detach;
use crate::instance::{self, Part, Session, find_endpoint, find_network, network_of};
use crate::model::{Attachment, Endpoint, Network};
use crate::plan::Step;
use crate::store::Store;
use crate::ways::Ways;
use crate::world::{Kernel, World};

pub(super) async fn detach<W: Write>(context: &mut Context<'_, W>, args: &Detach) -> Result<(), Error> {
    // Without a database there is no endpoint, and none is made in order to say so.
    if Store::read(&context.place.state_dir)?.is_none() {
        return find_endpoint(&[], &args.name).map(drop);
    }
    let mut session = Session::begin(&context.place).await?;
    let (networks, endpoints) = (session.store.networks()?, session.store.endpoints()?);
    let endpoint = find_endpoint(&endpoints, &args.name)?;
    let network = match &args.network {
        Some(word) => Some(find_network(&networks, word)?),
        None => None,
    };
    take_off(&mut session, &networks, endpoint, network, Rest::Goes).await?;
    Ok(writeln!(context.out, "{}", endpoint.name)?)
}

/// What becomes of an endpoint that is in no network any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rest {
    /// It is forgotten.
    Goes,
    /// It can be connected again.
    Stays,
}

/// Takes an endpoint off one network or off all. The database first: from then on the ports and addresses are
/// free, and what a crash leaves in the kernel goes with the next command.
pub(super) async fn take_off(
    session: &mut Session,
    networks: &[Network],
    endpoint: &Endpoint,
    network: Option<&Network>,
    rest: Rest,
) -> Result<(), Error> {
    let leaves = |attachment: &Attachment| network.is_none_or(|network| attachment.network == network.number);
    let (leaving, staying): (Vec<&Attachment>, Vec<&Attachment>) =
        endpoint.attachments.iter().partition(|attachment| leaves(attachment));
    if let (Some(network), true) = (network, leaving.is_empty()) {
        let (endpoint, network) = (endpoint.name.to_string(), network.name.to_string());
        return Err(Error::NotAttached { endpoint, network });
    }
    session.mark([])?;
    let all = staying.is_empty() && rest == Rest::Goes;
    let remainder = heir::remainder(endpoint, networks, &leaving);
    forget(session, endpoint, &leaving, (!all).then_some(&remainder))?;
    if session.kernel.is_up() {
        if !staying.is_empty() {
            lead_out(&mut session.kernel, networks, &leaving, endpoint).await;
        }
        let served = heir::serve(&mut session.kernel, networks, &remainder).await;
        let leaving: Vec<Attachment> =
            leaving.into_iter().map(|it| heir::without_handed_on(it, &remainder)).collect();
        let cleared = clear(&mut session.kernel, networks, &leaving, endpoint).await;
        Error::all([served, cleared].into_iter().filter_map(Result::err).collect())?;
    }
    session.unmark()?;
    lease::give_back(session);
    run::refresh(session, networks, &remainder)
}

/// Takes away what the kernel has of some interfaces: as much as can be, and the errors together.
pub(super) async fn clear(
    kernel: &mut Kernel,
    networks: &[Network],
    leaving: impl IntoIterator<Item = &Attachment>,
    endpoint: &Endpoint,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    for attachment in leaving {
        let Some(network) = network_of(attachment, networks) else { continue };
        let part = Part::new(network, endpoint, attachment).alone();
        errors.extend(instance::take_down(kernel, &part).await.err());
    }
    Error::all(errors)
}

/// The default routes move to what stays before the interface goes that has them.
async fn lead_out(kernel: &mut Kernel, networks: &[Network], leaving: &[&Attachment], endpoint: &Endpoint) {
    let is_leaving = |ifname: &str| leaving.iter().any(|attachment| attachment.ifname == ifname);
    let ways = Ways::of(endpoint, networks).without(is_leaving);
    match kernel.apply(&Step::LeadOut(ways)).await {
        Ok(()) | Err(Error::NetnsGone(_)) => {}
        Err(error) => tracing::warn!("{} may have no default route any more: {error}", endpoint.name),
    }
}

/// All of an endpoint, or all but what remains.
fn forget(
    session: &Session,
    endpoint: &Endpoint,
    leaving: &[&Attachment],
    remainder: Option<&Endpoint>,
) -> Result<(), Error> {
    let change = session.store.begin()?;
    let Some(remainder) = remainder else {
        change.remove_endpoint(&endpoint.id)?;
        return Ok(change.commit()?);
    };
    leaving.iter().try_for_each(|attachment| change.remove_attachment(&attachment.id))?;
    heir::heirs(remainder, endpoint).try_for_each(|heir| change.set_attachment(heir))?;
    Ok(change.commit()?)
}
