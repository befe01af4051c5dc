//! The interface of the host by which a network is on a LAN: `-o parent=IF`.

use crate::Error;
use crate::bridge_options::Options;
use crate::instance::Session;
use crate::lan;
use crate::model::{Bridge, GatewayMode, Network, vlan_of};
use crate::netlink::Link;

use super::network::Request;

/// No other network has it.
pub(super) fn is_nobodys(networks: &[Network], parent: &str) -> Result<(), Error> {
    match networks.iter().find(|network| network.parent() == Some(parent)) {
        Some(network) => {
            let (network, parent) = (network.name.to_string(), parent.to_owned());
            Err(lan::Error::ParentInUse { network, parent }.into())
        }
        None => Ok(()),
    }
}

/// What of the options would mean nothing for a bridge on a LAN. Nothing of the host is looked at.
pub(super) fn fits(request: &Request, options: &Options) -> Result<(), Error> {
    let Some(parent) = &options.parent else { return Ok(()) };
    if request.internal {
        let why = "an internal network is on no LAN";
        return Err(lan::Error::Unfit { parent: parent.clone(), why }.into());
    }
    let modes = [options.gateway_mode4, options.gateway_mode6];
    match modes.into_iter().find(|mode| *mode != GatewayMode::Nat) {
        Some(mode) => Err(Error::invalid_value(
            "gateway-mode",
            mode.name(),
            "nothing beside -o parent: the LAN reaches the containers by itself",
        )),
        None => Ok(()),
    }
}

/// The MTU of an interface that a bridge can have as its port; of a VLAN that is still to be made, that of what it is one of.
pub(super) async fn mtu(
    session: &Session,
    networks: &[Network],
    options: &Options,
) -> Result<Option<u32>, Error> {
    let Some(parent) = &options.parent else { return Ok(None) };
    is_nobodys(networks, parent)?;
    let link = match (session.kernel.port_to_be(parent).await, vlan_of(parent)) {
        (Err(Error::Lan(lan::Error::NoParent { .. })), Some((base, _))) => {
            base_of_vlan(session, parent, base).await?
        }
        (found, _) => found?,
    };
    Ok(Some(link.mtu))
}

/// What a VLAN that is still to be made is one of.
pub(super) async fn base_of_vlan(session: &Session, parent: &str, base: &str) -> Result<Link, Error> {
    let base = session.kernel.parent(base).await?;
    if base.up {
        return Ok(base);
    }
    let why = "the interface that it is a VLAN of is down; bring that up first (ip link set IF up)";
    Err(lan::Error::Unfit { parent: parent.to_owned(), why }.into())
}

/// A bridge of somebody else's has the ports that they have given it.
pub(super) fn is_own(bridge: &Bridge) -> Result<(), Error> {
    match &bridge.parent {
        Some(parent) if bridge.borrowed.is_some() => {
            let why = "the bridge is there already; make the interface a port of it yourself";
            Err(lan::Error::Unfit { parent: parent.clone(), why }.into())
        }
        _ => Ok(()),
    }
}
