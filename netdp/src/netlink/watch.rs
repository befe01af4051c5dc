//! Tells when links, addresses or routes of a namespace change.

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use rtnetlink::{MulticastGroup, sys::AsyncSocket};
use tokio::time::{Instant, timeout_at};

use super::Error;

/// A burst is over when so long nothing more came.
const QUIET: Duration = Duration::from_millis(50);
/// A burst that does not end is reported after so long.
const PATIENCE: Duration = Duration::from_millis(500);
/// Room for the events of some thousand links that change at once, in bytes.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;

/// Reports changes of the namespace that it was opened in.
pub struct Watch {
    events: BoxStream<'static, ()>,
    /// When the burst that is not reported yet began.
    burst: Option<Instant>,
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
        Ok(Self { events: events.map(|_event| ()).boxed(), burst: None, _handle: handle })
    }

    /// Waits for the next burst of changes and for its end. What changed is not told, as events may have
    /// been lost (the kernel says so by an event of its own): the caller looks for itself. `None` when the
    /// socket is closed.
    ///
    /// Safe to cancel: a burst that was begun is reported by the next call.
    pub async fn changed(&mut self) -> Option<()> {
        if self.burst.is_none() {
            self.events.next().await?;
        }
        let begin = *self.burst.get_or_insert_with(Instant::now);
        while let Ok(event) = timeout_at(end_of_burst(begin), self.events.next()).await {
            event?;
        }
        self.burst = None;
        Some(())
    }
}

fn end_of_burst(begin: Instant) -> Instant {
    (begin + PATIENCE).min(Instant::now() + QUIET)
}
