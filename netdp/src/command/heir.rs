//! Published ports of an interface that goes, while its endpoint stays in other networks: they go on where it leads out then,
//! as in Docker.

use super::host_ports::Listening;
use crate::Error;
use crate::instance::{self, Part, network_of};
use crate::model::{Attachment, Endpoint, Network};
use crate::ways::Ways;
use crate::world::{Kernel, open_netns};

/// What stays of an endpoint, with the ports of what leaves at the first of its ways out that can serve them. Where there is
/// none, nothing is published any more.
pub(super) fn remainder(endpoint: &Endpoint, networks: &[Network], leaving: &[&Attachment]) -> Endpoint {
    let stays = |it: &Attachment| leaving.iter().all(|leaves| leaves.id != it.id);
    let attachments = endpoint.attachments.iter().filter(|it| stays(it)).cloned().collect();
    let mut remainder = Endpoint { attachments, ..endpoint.clone() };
    let exits = Ways::of(&remainder, networks).exits.into_iter().map(|exit| exit.ifname);
    // One that a DHCP server has lent nothing now leads out again when it has.
    let is_unlent =
        |it: &&Attachment| network_of(it, networks).is_some_and(Network::is_by_dhcp) && it.lease.is_none();
    let unlent = remainder.attachments.iter().filter(is_unlent).map(|it| it.ifname.clone());
    let order: Vec<String> = exits.chain(unlent).collect();
    for port in leaving.iter().flat_map(|it| &it.ports) {
        let serves = |it: &Attachment| {
            let network = network_of(it, networks).filter(|network| network.bridge().is_some());
            network.is_some_and(|network| {
                let lent = it.as_lent(network);
                let takes_none = Listening::of(network).is_routed(&lent, port.host_address);
                // A port of the host cannot become one of the endpoint's own address, nor the other way round.
                lent.behind(port.host_address).is_some() && takes_none == port.host_port.is_none()
            })
        };
        let heir = order.iter().find_map(|ifname| {
            remainder.attachments.iter().position(|it| it.ifname == *ifname && serves(it))
        });
        if let Some(heir) = heir.and_then(|place| remainder.attachments.get_mut(place)) {
            heir.ports.push(port.clone());
        }
    }
    remainder
}

/// Those of the interfaces that have more ports than before.
pub(super) fn heirs<'a>(
    remainder: &'a Endpoint,
    before: &'a Endpoint,
) -> impl Iterator<Item = &'a Attachment> {
    let had = |it: &Attachment| before.attachments.iter().any(|known| known == it);
    remainder.attachments.iter().filter(move |it| !had(it))
}

/// Has the kernel lead the ports there, before the interface goes that they led to. UDP ports of what stays may have led to what
/// leaves. In a namespace that has ended nothing is reached any more.
pub(super) async fn serve(
    kernel: &mut Kernel,
    networks: &[Network],
    remainder: &Endpoint,
) -> Result<(), Error> {
    if remainder.attachments.iter().all(|it| it.ports.is_empty()) {
        return Ok(());
    }
    let ways = Ways::of(remainder, networks);
    let leads_out = |it: &&Attachment| ways.exits.iter().any(|exit| exit.ifname == it.ifname);
    for attachment in remainder.attachments.iter().filter(leads_out) {
        let Some(network) = network_of(attachment, networks) else { continue };
        let part = Part::new(network, remainder, attachment).desired(networks);
        match instance::bring_up(kernel, &part).await {
            // What the kernel still has of it goes while it is looked at.
            Err(_) if open_netns(&remainder.netns).is_err() => return Ok(()),
            applied => applied?.keep(),
        }
    }
    Ok(())
}

/// An interface as it is to be cleared when its ports lead elsewhere already.
pub(super) fn without_handed_on(attachment: &Attachment, remainder: &Endpoint) -> Attachment {
    let has = |port| remainder.attachments.iter().any(|it| it.ports.contains(port));
    let ports = attachment.ports.iter().filter(|port| !has(*port)).cloned().collect();
    Attachment { ports, ..attachment.clone() }
}
