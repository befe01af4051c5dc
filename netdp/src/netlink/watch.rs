//! Tells when links, addresses or routes of a namespace change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, sys::AsyncSocket};
use tokio::time::{Instant, timeout_at};

use super::{Error, Link};

/// A burst is over when so long nothing more came.
const QUIET: Duration = Duration::from_millis(100);
/// A burst that does not end is reported after so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Room for the events of some thousand links that change at once, in bytes.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// What one event tells.
enum Change {
    /// A link is there, and as it says.
    Link(Link),
    /// What a bridge says of its port, whose own event comes too.
    Port,
    /// Something else, or that events were lost.
    Other,
}

fn change(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Change {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
            if message.header.interface_family == AddressFamily::Bridge {
                Change::Port
            } else {
                Change::Link(message.into())
            }
        }
        _ => Change::Other,
    }
}

/// Changes that came close upon one another.
#[derive(Debug, Default)]
pub struct Burst {
    /// Links that were made or changed, by number, as they were last.
    pub links: BTreeMap<u32, Link>,
    /// There was something else: a link that is gone, an address, a route, or events that were lost.
    pub other: bool,
}

impl Burst {
    fn add(&mut self, change: Change) {
        match change {
            Change::Link(link) => drop(self.links.insert(link.index, link)),
            Change::Port => {}
            Change::Other => self.other = true,
        }
    }
}

/// Reports changes of the namespace that it was opened in.
pub struct Watch {
    events: BoxStream<'static, Change>,
    /// The burst that is not reported yet, and when it began.
    burst: Option<(Instant, Burst)>,
    /// Dropping it would end the connection.
    _handle: rtnetlink::Handle,
}

impl Watch {
    /// Of the namespace that the calling thread is in. Must be called within a tokio runtime.
    pub fn here() -> Result<Self, Error> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Route,
        ];
        let (mut connection, handle, events) =
            rtnetlink::new_multicast_connection(&groups).map_err(|cause| Error::Socket { cause })?;
        // A smaller buffer only means that events are lost sooner, which is reported as a change too.
        let _ = connection.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER);
        tokio::spawn(connection);
        Ok(Self {
            events: events.map(|(message, _)| change(&message.payload)).boxed(),
            burst: None,
            _handle: handle,
        })
    }

    /// Waits for the next burst of changes and for its end. Events may have been lost (the kernel says so by an event of its
    /// own): where it says more than of links that are there, the caller looks for itself. `None` when the socket is closed.
    ///
    /// Safe to cancel: a burst that was begun is reported by the next call.
    pub async fn changed(&mut self) -> Option<Burst> {
        if self.burst.is_none() {
            let first = self.events.next().await?;
            self.burst.insert((Instant::now(), Burst::default())).1.add(first);
        }
        let (begin, burst) = self.burst.as_mut()?;
        while let Ok(event) = timeout_at(end_of_burst(*begin), self.events.next()).await {
            burst.add(event?);
        }
        self.burst.take().map(|(_, burst)| burst)
    }
}

fn end_of_burst(begin: Instant) -> Instant {
    (begin + PATIENCE).min(Instant::now() + QUIET)
}
