//! Endpoints whose network namespace has ended without a word. As a container that was stopped in Docker they keep their name and
//! what they were asked to have, but nothing that another one could want: addresses, ports, membership of a network.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{detach, lease};
use crate::Error;
use crate::instance::{self, Session};
use crate::model::{Endpoint, Network};
use crate::world::open_netns;

/// How long the kernel is given to remove the interfaces of a namespace that has ended: milliseconds, and more on a busy host.
const ENDING: Duration = Duration::from_secs(2);

/// Whether an endpoint is gone, or will be in a moment: a namespace without a path may be one whose last process has just ended,
/// and then the kernel is about to remove its interfaces. Or a process holds it, and they stay.
pub(super) async fn ends(session: &Session, endpoint: &Endpoint) -> Result<bool, Error> {
    let deadline = Instant::now() + ENDING;
    loop {
        if is_gone(endpoint, &links(session).await?) {
            return Ok(true);
        }
        if open_netns(&endpoint.netns).is_ok() || Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sets free what gone endpoints have; those that end in a moment are waited for. Says whether there was anything.
pub(super) async fn release_ending(session: &mut Session, networks: &[Network]) -> Result<bool, Error> {
    let mut gone = Vec::new();
    for endpoint in holders(session)? {
        if open_netns(&endpoint.netns).is_err() && ends(session, &endpoint).await? {
            gone.push(endpoint);
        }
    }
    set_free(session, networks, &gone).await
}

/// The same with those that are gone already.
pub(super) async fn release(session: &mut Session, networks: &[Network]) -> Result<bool, Error> {
    let links = links(session).await?;
    let mut gone = holders(session)?;
    gone.retain(|endpoint| is_gone(endpoint, &links));
    set_free(session, networks, &gone).await
}

fn is_gone(endpoint: &Endpoint, links: &BTreeSet<String>) -> bool {
    instance::state(endpoint, links) == "gone"
}

async fn links(session: &Session) -> Result<BTreeSet<String>, Error> {
    Ok(session.kernel.names().await?.into_values().collect())
}

/// Endpoints that have something.
fn holders(session: &Session) -> Result<Vec<Endpoint>, Error> {
    let mut endpoints = session.store.endpoints()?;
    endpoints.retain(|endpoint| !endpoint.attachments.is_empty());
    Ok(endpoints)
}

/// The database first: what a crash leaves in the kernel goes with the next command.
async fn set_free(session: &mut Session, networks: &[Network], gone: &[Endpoint]) -> Result<bool, Error> {
    if gone.is_empty() {
        return Ok(false);
    }
    let change = session.store.begin()?;
    for attachment in gone.iter().flat_map(|endpoint| &endpoint.attachments) {
        change.remove_attachment(&attachment.id)?;
    }
    change.commit()?;
    for endpoint in gone {
        tracing::info!(endpoint = %endpoint.name, "its network namespace is gone; its addresses and ports are free");
        if session.kernel.is_up() {
            detach::clear(&mut session.kernel, networks, &endpoint.attachments, endpoint).await?;
        }
    }
    lease::give_back(session);
    Ok(true)
}
