//! What is in the namespaces of endpoints, for comparison only.

use super::open_netns;
use crate::Error;
use crate::host::uplink::Observed;
use crate::model::Netns;
use crate::netlink::Netlink;

/// Links, addresses and routes of an endpoint's namespace.
pub(crate) async fn observe(netns: &Netns) -> Result<Observed, Error> {
    Ok(Observed::of(&Netlink::in_netns(&open_netns(netns)?)?).await?)
}
